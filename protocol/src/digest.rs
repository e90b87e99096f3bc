//! Checksums of data: a crc32c for each 64 KiB block, and one over those, which the index remembers.
//!
//! Owns how they are made and compared, and the order-free digest of a placement. The chain is: the record's
//! `crc` vouches for the block table, the table for each block, so a range is verified by what it touches.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::ids::NeedleId;
use crate::limits::BLOCK_BYTES;

/// Blocks of `data_len` bytes; an empty object has none.
pub fn block_count(data_len: usize) -> usize {
    data_len.div_ceil(BLOCK_BYTES)
}

/// Bytes of the block table of `data_len` bytes.
pub fn table_bytes(data_len: usize) -> usize {
    4 * block_count(data_len)
}

/// The block table of `data`: a little-endian crc32c for each block, in order.
pub fn block_table(data: &[u8]) -> Vec<u8> {
    data.chunks(BLOCK_BYTES).flat_map(|block| crc32c::crc32c(block).to_le_bytes()).collect()
}

/// The checksum of an object, as the index holds it: crc32c of its block table.
pub fn table_crc(table: &[u8]) -> u32 {
    crc32c::crc32c(table)
}

/// Whether `data`, which begins at block `first_block`, matches its rows of `table`.
pub fn verify_blocks(data: &[u8], first_block: usize, table: &[u8]) -> bool {
    let Some(rows) = table.get(4 * first_block..) else { return false };
    block_count(data.len()) <= rows.len() / 4
        && data
            .chunks(BLOCK_BYTES)
            .zip(rows.chunks_exact(4))
            .all(|(block, row)| crc32c::crc32c(block).to_le_bytes() == row)
}

/// Count, bytes and an order-free digest of a set of needles; adding and removing one undo each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SetDigest {
    /// Needles in the set.
    pub count: u64,
    /// Data bytes of those needles.
    pub bytes: u64,
    /// Sum, wrapping, of the xxh3-64 of each needle id in little-endian bytes.
    pub sum: u64,
}

impl SetDigest {
    /// Puts a needle in.
    pub fn add(&mut self, needle: NeedleId, size_bytes: u32) {
        self.count += 1;
        self.bytes += u64::from(size_bytes);
        self.sum = self.sum.wrapping_add(hash(needle));
    }

    /// Takes a needle out that is in. `None`, and nothing is done, when it cannot be: the caller lost count, and must not go on
    /// as if it had not.
    #[must_use]
    pub fn remove(&mut self, needle: NeedleId, size_bytes: u32) -> Option<()> {
        let (count, bytes) = (self.count.checked_sub(1)?, self.bytes.checked_sub(u64::from(size_bytes))?);
        let sum = self.sum.wrapping_sub(hash(needle));
        *self = Self { count, bytes, sum };
        Some(())
    }
}

impl AddAssign for SetDigest {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

fn hash(needle: NeedleId) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&needle.0.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_in_any_block_is_seen() {
        let mut data = vec![7; 3 * BLOCK_BYTES + 5];
        let table = block_table(&data);
        assert_eq!(table.len(), table_bytes(data.len()));
        assert!(verify_blocks(&data, 0, &table));
        assert!(verify_blocks(&data[BLOCK_BYTES..], 1, &table));
        for at in [0, BLOCK_BYTES, 3 * BLOCK_BYTES + 4] {
            data[at] ^= 1;
            assert!(!verify_blocks(&data, 0, &table));
            data[at] ^= 1;
        }
        assert!(!verify_blocks(&data, 1, &table), "a table that is too short vouches for nothing");
        assert!(!verify_blocks(&data, usize::MAX / 8, &table));
        assert!(block_table(&[]).is_empty());
    }

    #[test]
    fn set_digest_does_not_depend_on_order() {
        let ids = [NeedleId(1), NeedleId(2), NeedleId(3)];
        let mut forward = SetDigest::default();
        ids.iter().for_each(|id| forward.add(*id, 10));
        let mut backward = SetDigest::default();
        ids.iter().rev().for_each(|id| backward.add(*id, 10));
        assert_eq!(forward, backward);
        assert!(ids.iter().all(|id| forward.remove(*id, 10).is_some()));
        assert_eq!(forward, SetDigest::default());
        assert_eq!(forward.remove(ids[0], 0), None, "it is empty");
        assert_eq!(backward.remove(ids[0], 31), None, "more bytes than there are");
    }
}
