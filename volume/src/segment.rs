//! Needles as the records of an append stream: how `disk` tells where one ends and whether it is whole.
//!
//! The layout itself is `protocol::needle`'s, and files, batches and recovery are `disk`'s. Invariant: what verifies
//! here was sealed for this very place of this very segment; a needle as it travels, with the wire's salt, does not.

use hayrick_disk::{Format, Head};
use hayrick_protocol::limits::KEY_BYTES_MAX;
use hayrick_protocol::needle::{self, HEADER_BYTES, Header, Kind};

/// The ending of a segment file's name.
pub(crate) const EXTENSION: &str = "seg";

/// The format of segment files.
pub(crate) enum Needles {}

impl Format for Needles {
    const MAGIC: [u8; 8] = *b"hayseg\0\0";
    const VERSION: u16 = 1;
    const HEADER_LEN: usize = HEADER_BYTES;
    const PROOF_LEN_MAX: usize = HEADER_BYTES + KEY_BYTES_MAX;

    fn seal(record: &mut [u8], salt: u64, batch_start: bool) {
        needle::seal(record, salt, batch_start);
    }

    fn mark() -> Vec<u8> {
        needle::mark()
    }

    /// The header's checksum covers the key behind it too, so here the header is only plausible: `proves_head` decides.
    fn head(bytes: &[u8], _salt: u64) -> Option<Head> {
        let header = Header::peek(bytes)?;
        Some(Head {
            len: header.total_len(),
            batch_start: header.batch_start,
            mark: header.kind == Kind::Mark,
        })
    }

    fn proves_head(bytes: &[u8], salt: u64) -> bool {
        let key = Header::peek(bytes).and_then(|header| bytes.get(HEADER_BYTES..header.data_at()));
        key.is_some_and(|key| needle::header_matches(bytes, key, salt))
    }

    fn verify(record: &[u8], salt: u64) -> bool {
        needle::parse(record, salt).is_ok_and(|needle| needle.header.total_len() == record.len())
    }
}
