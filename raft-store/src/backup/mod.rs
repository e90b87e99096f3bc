//! The whole index in one stream of bytes, and a new node made of it: the way back when all masters are lost.
//!
//! Owns what is told and in what order; its bytes are `format`'s, what a restored state keeps is `restore`'s. Invariant: a
//! backup is one view: the state at one applied entry, whole.

mod format;
mod restore;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use format::{BackupError, Decoder, Header, Part, Sum};
pub(crate) use restore::TERM_GAP;
pub use restore::{RestoreError, Restored, restore};

use crate::errors::ReadError;
use crate::inspect::EntryId;
use crate::store::StoreError;
use crate::view::{RowStream, View};
use format::Summing;

/// Bytes of rows in a piece, but for the row that ends it.
const PIECE_BYTES: usize = 1 << 20;

/// A backup that is being told.
pub struct Backup {
    stage: Stage,
    rows: RowStream,
    number: u64,
    summing: Summing,
}

enum Stage {
    Header(Header),
    Rows,
    Done,
}

impl Backup {
    /// None if there is no cluster in the view yet.
    pub(crate) fn new(view: Arc<View>, taken_ms: u64) -> Option<Self> {
        let config = view.state.cluster.config?;
        let applied = EntryId::of(view.applied.last?);
        let stage = Stage::Header(Header { config, applied, taken_ms });
        Some(Self { stage, rows: RowStream::new(view), number: 0, summing: Summing::default() })
    }

    /// The next bytes; none behind the last. Reads from the index: not for async threads.
    pub fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        match self.stage {
            Stage::Header(header) => {
                self.stage = Stage::Rows;
                Ok(Some(header.encode()))
            }
            Stage::Rows => self.next_piece().map(Some),
            Stage::Done => Ok(None),
        }
    }

    fn next_piece(&mut self) -> Result<Vec<u8>, ReadError> {
        let number = self.number;
        self.number += 1;
        let Some(rows) = self.rows.next_chunk(PIECE_BYTES)? else {
            self.stage = Stage::Done;
            return Ok(format::end(number, &self.summing.sum()));
        };
        if rows.len() > format::PIECE_BYTES_MAX || self.summing.add(&rows).is_none() {
            return Err(StoreError::Damaged("a row is larger than any should be".into()).into());
        }
        Ok(format::piece(number, &rows))
    }
}
