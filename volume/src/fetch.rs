//! Fetching whole needles, for another volume that has none of them, or only damaged ones.
//!
//! Owns that they are as their gateway made them: verified whole, and sealed with the wire's salt again, as nobody else
//! knows this volume's. Who asks is the peer port's. Invariant: what is given out verifies as an append verifies it.

use bytes::Bytes;
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::limits::APPEND_BATCH_BYTES_MAX;
use hayrick_protocol::messages::volume::ReadError;
use hayrick_protocol::needle::{self, Header, WIRE_SALT};

use crate::read;
use crate::store::Store;

/// What came of the first of the needles that were asked for, and those that could be read.
#[derive(Debug, Default)]
pub struct Fetched {
    /// For each, in order.
    pub outcomes: Vec<Result<(), ReadError>>,
    /// Those that are `Ok`, in order.
    pub needles: Vec<Bytes>,
}

impl Store {
    /// Reads whole needles: the first of these, until the next would be too much for one append with those before. So at
    /// least of one something is said.
    pub fn fetch(&self, ids: &[NeedleId]) -> Fetched {
        let (mut fetched, mut bytes) = (Fetched::default(), 0);
        for id in ids {
            let is_first = fetched.needles.is_empty();
            let room = if is_first { usize::MAX } else { APPEND_BATCH_BYTES_MAX.saturating_sub(bytes) };
            match self.fetch_one(*id, room) {
                Ok(Some(needle)) => {
                    bytes += needle.len();
                    fetched.needles.push(needle);
                    fetched.outcomes.push(Ok(()));
                }
                Ok(None) => break,
                Err(error) => fetched.outcomes.push(Err(error)),
            }
        }
        fetched
    }

    /// `None`: it is longer than that.
    fn fetch_one(&self, id: NeedleId, bytes_max: usize) -> Result<Option<Bytes>, ReadError> {
        let (at, reader) = self.locate(id)?;
        if at.len as usize > bytes_max {
            return Ok(None);
        }
        let mut record = read::record(&reader, at, id).map_err(|error| self.bad(id, at, error))?;
        self.well(id, at);
        let header = Header::peek(&record).ok_or(ReadError::Damaged)?;
        needle::seal(&mut record, WIRE_SALT, false);
        // No checksum covers the padding, and what a disk made of it is none of the needle.
        record[header.end()..].fill(0);
        Ok(Some(record.into()))
    }
}
