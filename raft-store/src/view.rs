//! The whole applied state at one index, frozen.
//!
//! Everything that looks at more than one row, and everything that reads for long, takes a view: a redb read transaction
//! and a clone of the small state, taken together. Also owns the order in which a state is told as a stream of rows,
//! which snapshots send and the state hash sums up:
//!
//! ```text
//! row: {table u8: 0 small, 1 objects, 2 garbage; key length u32; value length u32; key; value}
//! ```
//! in the order of tables and keys, without Raft's own row. Invariant: equal states tell equal bytes, however cut.

use std::sync::Arc;

use hayrick_protocol::limits::{HEADERS_BYTES_MAX, KEY_BYTES_MAX};
use xxhash_rust::xxh3::Xxh3;

use crate::applied::Applied;
use crate::state::State;
use crate::store::{Reader, StoreError, TableId};
use crate::types::{DecodeError, Input};

/// Bytes of a row in front of key and value.
const ROW_HEAD_BYTES: usize = 9;
/// Bytes of a chunk when only a hash is made of it.
const HASH_CHUNK_BYTES: usize = 1 << 20;

/// A frozen state.
pub(crate) struct View {
    pub(crate) reader: Arc<Reader>,
    pub(crate) state: State,
    pub(crate) applied: Applied,
}

impl View {
    /// xxh3-128 of all rows. Reads everything: not for async threads.
    pub(crate) fn hash(self: Arc<Self>) -> Result<u128, StoreError> {
        let mut rows = RowStream::new(self);
        let mut hasher = Xxh3::new();
        while let Some(chunk) = rows.next_chunk(HASH_CHUNK_BYTES)? {
            hasher.update(&chunk);
        }
        Ok(hasher.digest128())
    }
}

/// The rows of a view, chunk by chunk.
pub(crate) struct RowStream {
    view: Arc<View>,
    small: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
    table: TableId,
    after: Option<Vec<u8>>,
    done: bool,
}

impl RowStream {
    pub(crate) fn new(view: Arc<View>) -> Self {
        let small: Vec<_> = view.state.rows().collect();
        Self { view, small: small.into_iter(), table: TableId::Small, after: None, done: false }
    }

    /// Whole rows of at least `bytes` together, fewer only at the end; `None` behind the last.
    pub(crate) fn next_chunk(&mut self, bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let mut chunk = Vec::with_capacity(bytes + KEY_BYTES_MAX + HEADERS_BYTES_MAX);
        while chunk.len() < bytes && !self.done {
            match self.table {
                TableId::Small => match self.small.next() {
                    Some((key, value)) => put_row(&mut chunk, TableId::Small, &key, &value),
                    None => self.table = TableId::Objects,
                },
                table => self.fill(table, &mut chunk, bytes)?,
            }
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    fn fill(&mut self, table: TableId, chunk: &mut Vec<u8>, bytes: usize) -> Result<(), StoreError> {
        let mut last = None;
        self.view.reader.raw_rows(table, self.after.as_deref(), |key, value| {
            put_row(chunk, table, key, value);
            let goes_on = chunk.len() < bytes;
            if !goes_on {
                last = Some(key.to_vec());
            }
            goes_on
        })?;
        match (last, table) {
            (Some(last), _) => self.after = Some(last),
            (None, TableId::Objects) => (self.table, self.after) = (TableId::Garbage, None),
            (None, _) => self.done = true,
        }
        Ok(())
    }
}

fn put_row(out: &mut Vec<u8>, table: TableId, key: &[u8], value: &[u8]) {
    out.reserve(ROW_HEAD_BYTES + key.len() + value.len());
    out.push(table as u8);
    out.extend_from_slice(&u32::try_from(key.len()).expect("keys are short").to_le_bytes());
    out.extend_from_slice(&u32::try_from(value.len()).expect("rows end at 16 MiB").to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// A row of a chunk.
pub(crate) struct Row<'a> {
    pub(crate) table: TableId,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The next row of a chunk; `None` at its end.
pub(crate) fn take_row<'a>(input: &mut Input<'a>) -> Result<Option<Row<'a>>, DecodeError> {
    if input.0.is_empty() {
        return Ok(None);
    }
    let table = match input.u8()? {
        0 => TableId::Small,
        1 => TableId::Objects,
        2 => TableId::Garbage,
        _ => return Err(DecodeError),
    };
    let (key, value) = (input.u32()? as usize, input.u32()? as usize);
    Ok(Some(Row { table, key: input.bytes(key)?, value: input.bytes(value)? }))
}
