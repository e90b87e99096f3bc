//! The index file of a segment: which needles lie where, so that a start reads this and not the data, and which
//! keys they have, so that a list reads only the rows of its placements. That of a segment which is appended to still is
//! about its beginning only, up to where a batch began: a start reads the data from there on.
//!
//! ```text
//! offset  bytes
//!      0      8  magic "hayindex"
//!      8      2  version (3)
//!     10      2  zeros
//!     12      4  crc32c of the 12 bytes before; to here the same in every later version, so that one is told from damage
//!     16     44  the first 44 bytes of the segment file: its id and its random salt are in there, so an index is
//!                never taken for another segment's, nor for that of an earlier segment of this name
//!     60      …  blocks, of some 64 KiB
//!      …   25·b  the table of blocks, in their order: kind u8 (1 places, 2 keys, 3 damage), first placement u32, first
//!                id u64, length u32, rows u32, crc32c of the block
//!      …      8  where the records end that it is about, all of which were synced: if the segment is sealed and ends
//!                elsewhere, the index file is from before
//!      …      4  blocks b
//!      …      4  crc32c of the first 60 bytes, the table, and the 12 bytes before
//! ```
//! All numbers are little-endian, but those in blocks (`block` has their layout), which are as short as they can be. A
//! segment is indexed in *parts* of up to half a million records, so that neither writing nor reading one takes much memory:
//! of each part, first all blocks of places, ascending by id, then all blocks of keys, ascending by placement and id.
//! Damage comes in between. So what a start needs, in the order in which it is quickest to take in, is apart from what a list
//! needs: together that is less than one row with everything would take, because places in the order of ids follow each
//! other on the disk, too.
//!
//! Owns these bytes only; when one is written and what a bad one leads to is `seal`'s and `recover`'s. Invariant: it says
//! nothing that the segment does not say; so it may be lost at any time. A start with one of a later version is refused
//! all the same (`later`): whoever went back by mistake is told so before anything of the later version is gone.

mod block;
mod read;
#[cfg(test)]
mod tests;
mod varint;
mod write;

use std::io;
use std::ops::ControlFlow;

use hayrick_protocol::ids::{NeedleId, PlacementId};
use thiserror::Error;

pub(crate) use crate::index_file::read::IndexFile;
pub(crate) use crate::index_file::write::Writer;

/// Whom placement, needle and key of a row are shown; it breaks off where the next is not wanted.
pub(crate) type Visit<'a> = dyn FnMut(PlacementId, NeedleId, &[u8]) -> ControlFlow<()> + 'a;

/// The ending of an index file's name.
pub(crate) const EXTENSION: &str = "idx";

/// What tells a segment from every other, and how much of it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentMark {
    /// The first bytes of its file.
    pub(crate) head: [u8; SEGMENT_HEAD_BYTES],
    /// Where the records end that are meant.
    pub(crate) end: u64,
}

/// Why an index file is of no use.
#[derive(Debug, Error)]
pub(crate) enum IndexFileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is of version {0}, and this build writes {VERSION}")]
    OtherVersion(u16),
    #[error("its checksum or lengths are off")]
    Damaged,
    #[error("it belongs to another segment, or to what this one once was")]
    OtherSegment,
    #[error("it was written before the segment was sealed")]
    Unfinished,
}

impl IndexFileError {
    /// Whether there is no index file of the whole segment, and nothing is wrong with that: it is to be made yet.
    pub(crate) fn is_missing(&self) -> bool {
        match self {
            Self::Io(error) => error.kind() == io::ErrorKind::NotFound,
            Self::Unfinished => true,
            Self::OtherVersion(_) | Self::Damaged | Self::OtherSegment => false,
        }
    }
}

const SEGMENT_HEAD_BYTES: usize = 44;

const MAGIC: [u8; 8] = *b"hayindex";
pub(crate) const VERSION: u16 = 3;
/// What all versions begin with.
pub(crate) const PREFIX_BYTES: usize = 16;
const HEADER_BYTES: usize = PREFIX_BYTES + SEGMENT_HEAD_BYTES;
const ENTRY_BYTES: usize = 25;
const TAIL_BYTES: usize = 16;

/// A block is ended once it has this many bytes: little to read for a list of one placement, and few enough blocks for
/// their table to be small.
const BLOCK_BYTES: usize = 64 << 10;

/// What a block is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Places,
    Keys,
    Damage,
}

/// What the table says of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    /// 0 but for keys.
    placement: PlacementId,
    /// 0 for damage.
    id: NeedleId,
    len: u32,
    rows: u32,
    crc: u32,
}

impl Entry {
    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0] = match self.kind {
            Kind::Places => 1,
            Kind::Keys => 2,
            Kind::Damage => 3,
        };
        bytes[1..5].copy_from_slice(&self.placement.0.to_le_bytes());
        bytes[5..13].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[13..17].copy_from_slice(&self.len.to_le_bytes());
        bytes[17..21].copy_from_slice(&self.rows.to_le_bytes());
        bytes[21..25].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Result<Self, IndexFileError> {
        let kind = match bytes[0] {
            1 => Kind::Places,
            2 => Kind::Keys,
            3 => Kind::Damage,
            _ => return Err(IndexFileError::Damaged),
        };
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let id = NeedleId(u64::from_le_bytes(bytes[5..13].try_into().expect("8 bytes")));
        Ok(Self { kind, placement: PlacementId(word(1)), id, len: word(13), rows: word(17), crc: word(21) })
    }
}

fn header(segment: &SegmentMark) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..PREFIX_BYTES].copy_from_slice(&prefix(VERSION));
    bytes[PREFIX_BYTES..].copy_from_slice(&segment.head);
    bytes
}

fn prefix(version: u16) -> [u8; PREFIX_BYTES] {
    let mut bytes = [0; PREFIX_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The version in the first bytes of an index file of whatever version; `None` if they are damaged, or those of another file.
pub(crate) fn version_of(bytes: &[u8; PREFIX_BYTES]) -> Option<u16> {
    let version = u16::from_le_bytes([bytes[8], bytes[9]]);
    (*bytes == prefix(version)).then_some(version)
}

/// The end of the file, behind the table.
fn tail(header: &[u8; HEADER_BYTES], table: &[u8], end: u64) -> [u8; TAIL_BYTES] {
    let mut bytes = [0; TAIL_BYTES];
    bytes[..8].copy_from_slice(&end.to_le_bytes());
    let blocks = u32::try_from(table.len() / ENTRY_BYTES).expect("a segment has fewer records");
    bytes[8..12].copy_from_slice(&blocks.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(header), table);
    let crc = crc32c::crc32c_append(crc, &bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}
