//! The index file of a sealed segment: which needles lie where, so that a start reads this and not the data.
//!
//! ```text
//! offset  bytes
//!      0      8  magic "hayindex"
//!      8      2  version (1)
//!     10      2  zeros
//!     12      4  needles n
//!     16      4  tombstones t
//!     20      4  damaged stretches d
//!     24      8  bytes of keys k
//!     32     44  the first 44 bytes of the segment file: its id and its random salt are in there, so an index is
//!                never taken for another segment's, nor for that of an earlier segment of this name
//!     76      8  where the records of the segment end: an index of a segment that lost its seal, was appended to and
//!                sealed again, is void
//!     84   26·n  needles, ascending by placement, then id: placement u32, id u64, offset / 8 u32, data length u32,
//!                where its key begins u32, key length u16
//!      …   12·t  tombstones, ascending by id: id u64, offset / 8 u32
//!      …   16·d  damaged stretches, ascending: from u64, to u64
//!      …      k  keys, in the order of the needles
//!      …      4  crc32c of all before
//! ```
//! All numbers are little-endian. Owns these bytes only; when one is written and what a bad one leads to is
//! `recover`'s. Invariant: it says nothing that the segment does not say; so it may be lost at any time.

use std::ops::Range;

use hayrick_disk::{FileId, Location};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::limits::{KEY_BYTES_MAX, OBJECT_BYTES_MAX};
use hayrick_protocol::needle::{ALIGN, Header, Kind, Needle};
use thiserror::Error;

/// The ending of an index file's name.
pub(crate) const EXTENSION: &str = "idx";

/// What tells a sealed segment from every other, and from what it was when it was sealed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentMark {
    /// The first bytes of its file.
    pub(crate) head: [u8; SEGMENT_HEAD_BYTES],
    /// Where its records end.
    pub(crate) end: u64,
}

const SEGMENT_HEAD_BYTES: usize = 44;

const MAGIC: [u8; 8] = *b"hayindex";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 32 + SEGMENT_HEAD_BYTES + 8;
const NEEDLE_BYTES: usize = 26;
const TOMBSTONE_BYTES: usize = 12;
const DAMAGED_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

/// A needle's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NeedleRow {
    pub(crate) placement: PlacementId,
    pub(crate) id: NeedleId,
    pub(crate) offset: u64,
    pub(crate) data_len: u32,
    key_at: u32,
    key_len: u16,
}

impl NeedleRow {
    /// Where the needle lies in `file`.
    pub(crate) fn location(&self, file: FileId) -> Location {
        let header = Header {
            id: self.id,
            placement: self.placement,
            key_len: self.key_len,
            data_len: self.data_len,
            created_s: 0,
            batch_start: false,
            kind: Kind::Needle,
        };
        let len = u32::try_from(header.total_len()).expect("key and data are within their limits");
        Location { file, offset: self.offset, len }
    }
}

/// A tombstone's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TombstoneRow {
    pub(crate) id: NeedleId,
    pub(crate) offset: u64,
}

/// All that an index file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) needles: Vec<NeedleRow>,
    pub(crate) tombstones: Vec<TombstoneRow>,
    pub(crate) damaged: Vec<Range<u64>>,
    keys: Vec<u8>,
}

/// Why an index file is of no use, or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum IndexFileError {
    #[error("it is no index file of this version")]
    Unknown,
    #[error("its checksum or lengths are off")]
    Damaged,
    #[error("it belongs to another segment, or to what this one once was")]
    OtherSegment,
    #[error("the segment holds more than an index file can name")]
    TooLarge,
}

impl Contents {
    /// Takes in a needle found at `at`.
    pub(crate) fn add(&mut self, at: Location, needle: &Needle<'_>) -> Result<(), IndexFileError> {
        match needle.header.kind {
            Kind::Needle => self.needles.push(NeedleRow {
                placement: needle.header.placement,
                id: needle.header.id,
                offset: at.offset,
                data_len: needle.header.data_len,
                key_at: u32::try_from(self.keys.len()).map_err(|_| IndexFileError::TooLarge)?,
                key_len: needle.header.key_len,
            }),
            Kind::Tombstone => {
                self.tombstones.push(TombstoneRow { id: needle.header.id, offset: at.offset });
            }
            Kind::Mark => {}
        }
        self.keys.extend_from_slice(needle.key);
        Ok(())
    }

    /// Puts the rows into the file's order, and the keys into that of the rows.
    pub(crate) fn sort(&mut self) -> Result<(), IndexFileError> {
        self.needles.sort_by_key(|row| (row.placement, row.id, row.offset));
        self.tombstones.sort_by_key(|row| (row.id, row.offset));
        let mut keys = Vec::with_capacity(self.keys.len());
        for row in &mut self.needles {
            let from = row.key_at as usize;
            row.key_at = u32::try_from(keys.len()).map_err(|_| IndexFileError::TooLarge)?;
            keys.extend_from_slice(&self.keys[from..from + usize::from(row.key_len)]);
        }
        self.keys = keys;
        Ok(())
    }

    /// The file's bytes.
    pub(crate) fn encode(&self, segment: &SegmentMark) -> Result<Vec<u8>, IndexFileError> {
        let count = |len: usize| u32::try_from(len).map_err(|_| IndexFileError::TooLarge);
        let words = |offset: u64| u32::try_from(offset / ALIGN as u64).map_err(|_| IndexFileError::TooLarge);
        let mut bytes = Vec::with_capacity(
            HEADER_BYTES
                + NEEDLE_BYTES * self.needles.len()
                + TOMBSTONE_BYTES * self.tombstones.len()
                + DAMAGED_BYTES * self.damaged.len()
                + self.keys.len()
                + CHECKSUM_BYTES,
        );
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&count(self.needles.len())?.to_le_bytes());
        bytes.extend_from_slice(&count(self.tombstones.len())?.to_le_bytes());
        bytes.extend_from_slice(&count(self.damaged.len())?.to_le_bytes());
        bytes.extend_from_slice(&(self.keys.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&segment.head);
        bytes.extend_from_slice(&segment.end.to_le_bytes());
        for row in &self.needles {
            bytes.extend_from_slice(&row.placement.0.to_le_bytes());
            bytes.extend_from_slice(&row.id.0.to_le_bytes());
            bytes.extend_from_slice(&words(row.offset)?.to_le_bytes());
            bytes.extend_from_slice(&row.data_len.to_le_bytes());
            bytes.extend_from_slice(&row.key_at.to_le_bytes());
            bytes.extend_from_slice(&row.key_len.to_le_bytes());
        }
        for row in &self.tombstones {
            bytes.extend_from_slice(&row.id.0.to_le_bytes());
            bytes.extend_from_slice(&words(row.offset)?.to_le_bytes());
        }
        for stretch in &self.damaged {
            bytes.extend_from_slice(&stretch.start.to_le_bytes());
            bytes.extend_from_slice(&stretch.end.to_le_bytes());
        }
        bytes.extend_from_slice(&self.keys);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// Reads the index file of this segment.
    pub(crate) fn decode(bytes: &[u8], segment: &SegmentMark) -> Result<Self, IndexFileError> {
        let (all, crc) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(IndexFileError::Damaged)?;
        let mut fields = Fields(all);
        if fields.take::<8>()? != MAGIC || u16::from_le_bytes(fields.take()?) != VERSION {
            return Err(IndexFileError::Unknown);
        }
        fields.take::<2>()?;
        let needles = u32::from_le_bytes(fields.take()?) as usize;
        let tombstones = u32::from_le_bytes(fields.take()?) as usize;
        let damaged = u32::from_le_bytes(fields.take()?) as usize;
        let keys = u64::from_le_bytes(fields.take()?);
        let of_segment = SegmentMark { head: fields.take()?, end: fields.u64()? };
        // The lengths are compared with what is there before anything is allocated by them.
        let claimed = (needles as u64 * NEEDLE_BYTES as u64)
            .saturating_add(tombstones as u64 * TOMBSTONE_BYTES as u64)
            .saturating_add(damaged as u64 * DAMAGED_BYTES as u64)
            .saturating_add(keys);
        if claimed != fields.0.len() as u64 || crc32c::crc32c(all).to_le_bytes() != *crc {
            return Err(IndexFileError::Damaged);
        }
        if of_segment != *segment {
            return Err(IndexFileError::OtherSegment);
        }
        let mut contents = Self {
            needles: (0..needles).map(|_| fields.needle()).collect::<Result<_, _>>()?,
            tombstones: (0..tombstones).map(|_| fields.tombstone()).collect::<Result<_, _>>()?,
            damaged: (0..damaged).map(|_| fields.stretch()).collect::<Result<_, _>>()?,
            keys: Vec::new(),
        };
        let keys = fields.0;
        let key_is_there = |row: &NeedleRow| row.key_at as usize + usize::from(row.key_len) <= keys.len();
        if !contents.needles.iter().all(key_is_there) {
            return Err(IndexFileError::Damaged);
        }
        contents.keys = keys.to_vec();
        Ok(contents)
    }
}

/// What is left to decode.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], IndexFileError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(IndexFileError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, IndexFileError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, IndexFileError> {
        self.take().map(u64::from_le_bytes)
    }

    fn needle(&mut self) -> Result<NeedleRow, IndexFileError> {
        let row = NeedleRow {
            placement: PlacementId(self.u32()?),
            id: NeedleId(self.u64()?),
            offset: u64::from(self.u32()?) * ALIGN as u64,
            data_len: self.u32()?,
            key_at: self.u32()?,
            key_len: self.take().map(u16::from_le_bytes)?,
        };
        let fits = usize::from(row.key_len) <= KEY_BYTES_MAX && row.data_len as usize <= OBJECT_BYTES_MAX;
        fits.then_some(row).ok_or(IndexFileError::Damaged)
    }

    fn tombstone(&mut self) -> Result<TombstoneRow, IndexFileError> {
        Ok(TombstoneRow { id: NeedleId(self.u64()?), offset: u64::from(self.u32()?) * ALIGN as u64 })
    }

    fn stretch(&mut self) -> Result<Range<u64>, IndexFileError> {
        let stretch = self.u64()?..self.u64()?;
        (stretch.start <= stretch.end).then_some(stretch).ok_or(IndexFileError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::needle::{self, Body, WIRE_SALT};
    use proptest::prelude::*;

    use super::*;

    const SEGMENT: SegmentMark = SegmentMark { head: [5; _], end: 9000 };

    fn contents(needles: &[(u64, u32, &str, &[u8])]) -> Contents {
        let mut contents = Contents::default();
        let mut offset = 4096;
        for (id, placement, key, data) in needles {
            let body = Body::new([key.as_bytes(), data].concat(), key.len());
            let bytes = body.with_header(NeedleId(*id), PlacementId(*placement), 0).concat();
            let needle = needle::parse(&bytes, WIRE_SALT).expect("own needle parses");
            let at = Location { file: FileId(1), offset, len: u32::try_from(bytes.len()).expect("small") };
            contents.add(at, &needle).expect("few");
            offset += bytes.len() as u64;
        }
        contents.sort().expect("few");
        contents
    }

    #[test]
    fn golden_bytes() {
        let mut contents = contents(&[(9, 2, "b", b"meow"), (8, 1, "aa", b"")]);
        contents.tombstones.push(TombstoneRow { id: NeedleId(3), offset: 8192 });
        contents.damaged.push(16..32);
        let bytes = contents.encode(&SEGMENT).expect("small");
        assert_eq!(
            hex(&bytes),
            [
                "686179696e646578",
                "01000000",
                "02000000",
                "01000000",
                "01000000",
                "0300000000000000",
                &"05".repeat(44),
                "2823000000000000",
                "01000000",
                "0800000000000000",
                "05020000",
                "00000000",
                "00000000",
                "0200",
                "02000000",
                "0900000000000000",
                "00020000",
                "04000000",
                "02000000",
                "0100",
                "0300000000000000",
                "00040000",
                "1000000000000000",
                "2000000000000000",
                "616162",
                &hex(&crc32c::crc32c(&bytes[..bytes.len() - 4]).to_le_bytes()),
            ]
            .concat()
        );
        assert_eq!(Contents::decode(&bytes, &SEGMENT), Ok(contents));
    }

    #[test]
    fn an_index_of_another_version_is_of_no_use() {
        let mut bytes = contents(&[(9, 2, "b", b"meow")]).encode(&SEGMENT).expect("small");
        bytes[8] = 2;
        let checked = bytes.len() - CHECKSUM_BYTES;
        let crc = crc32c::crc32c(&bytes[..checked]);
        bytes[checked..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Contents::decode(&bytes, &SEGMENT), Err(IndexFileError::Unknown));
    }

    #[test]
    fn an_index_of_another_segment_is_refused() {
        let bytes = contents(&[(9, 2, "b", b"meow")]).encode(&SEGMENT).expect("small");
        for other in [SegmentMark { head: [6; _], ..SEGMENT }, SegmentMark { end: 9008, ..SEGMENT }] {
            assert_eq!(Contents::decode(&bytes, &other), Err(IndexFileError::OtherSegment));
        }
    }

    #[test]
    fn a_row_knows_how_long_its_needle_is() {
        let contents = contents(&[(1, 1, "key", &[7; 70_000]), (2, 1, "k", b"")]);
        let [first, second] = contents.needles[..] else { panic!("two rows") };
        assert_eq!(first.offset + u64::from(first.location(FileId(1)).len), second.offset);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    proptest! {
        #[test]
        fn round_trips_and_sees_every_flipped_bit(ids in prop::collection::vec((1u64.., 1u32..9), 0..40), at: prop::sample::Index, bit in 0u8..8) {
            let needles: Vec<_> = ids.iter().map(|(id, placement)| (*id, *placement, "some/key", &b"data"[..])).collect();
            let contents = contents(&needles);
            let mut bytes = contents.encode(&SEGMENT).expect("small");
            prop_assert_eq!(Contents::decode(&bytes, &SEGMENT), Ok(contents));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Contents::decode(&bytes, &SEGMENT).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), behind_magic: bool) {
            let bytes = if behind_magic { [&MAGIC[..], &[2, 0, 0, 0], &bytes].concat() } else { bytes };
            prop_assert!(Contents::decode(&bytes, &SEGMENT).is_err());
        }
    }
}
