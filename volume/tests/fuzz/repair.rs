//! Making the checksums of ruined files right again, so that what is behind them is decoded. The layouts are docs/format.md's.

use hayrick_disk::salt_at;
use hayrick_protocol::needle::{self, Header};

const SEAL_AT: usize = 2048;

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_le_bytes(*word))
}

/// Header, seal, and the headers of the records that began at these places.
pub(crate) fn segment(bytes: &mut [u8], records: &[usize]) {
    let salt = word(bytes, 24);
    if let Some(header) = bytes.get_mut(..44) {
        let crc = crc32c::crc32c(&header[..40]);
        header[40..].copy_from_slice(&crc.to_le_bytes());
    }
    if let Some(seal) = bytes.get_mut(SEAL_AT..SEAL_AT + 28).filter(|seal| seal.iter().any(|byte| *byte != 0))
    {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&seal[..24]), &salt.to_le_bytes());
        seal[24..].copy_from_slice(&crc.to_le_bytes());
    }
    for at in records {
        let Some(record) = bytes.get_mut(*at..) else { continue };
        if let Some(header) = Header::peek(record).filter(|header| header.data_at() <= record.len()) {
            needle::seal(record, salt_at(salt, *at as u64), header.batch_start);
        }
    }
}

const PREFIX_BYTES: usize = 16;
const HEADER_BYTES: usize = 60;
const ENTRY_BYTES: usize = 25;
const TAIL_BYTES: usize = 16;

/// The first bytes, each block that the table names, and the checksum over that.
pub(crate) fn index(bytes: &mut [u8]) {
    if let Some(prefix) = bytes.get_mut(..PREFIX_BYTES) {
        let crc = crc32c::crc32c(&prefix[..12]);
        prefix[12..].copy_from_slice(&crc.to_le_bytes());
    }
    let Some(tail_at) = bytes.len().checked_sub(TAIL_BYTES) else { return };
    let blocks = (word(bytes, tail_at + 8) as u32) as usize;
    let table_at = blocks.checked_mul(ENTRY_BYTES).and_then(|table| tail_at.checked_sub(table));
    let Some(table_at) = table_at.filter(|at| *at >= HEADER_BYTES) else { return };
    let mut block_at = HEADER_BYTES;
    for entry_at in (table_at..tail_at).step_by(ENTRY_BYTES) {
        let len = (word(bytes, entry_at + 13) as u32) as usize;
        if let Some(block) = bytes.get(block_at..block_at.saturating_add(len)) {
            let crc = crc32c::crc32c(block).to_le_bytes();
            bytes[entry_at + 21..entry_at + 25].copy_from_slice(&crc);
        }
        block_at = block_at.saturating_add(len);
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..HEADER_BYTES]), &bytes[table_at..tail_at + 12]);
    bytes[tail_at + 12..].copy_from_slice(&crc.to_le_bytes());
}
