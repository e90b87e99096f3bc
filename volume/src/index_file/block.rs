//! The blocks of an index file: rows, each told as what differs from the one before.
//!
//! ```text
//! places   of each: id less the one before; words of the record, 0 for a tombstone; word at which it begins, less the
//!          one behind the end of the row before (signed)
//! keys     of each: id less the one before, or 0 and then placement less the one before and the id; a byte with how
//!          many bytes of the key are as in the row before (upper half) and how many more follow (lower half), 15 in
//!          either: 15 more than the number behind; what follows
//! damage   of each: first byte, less where the one before ended; bytes
//! ```
//! Words are of 8 bytes. Before the first row stand the first placement and id of the block, which are its own (so its
//! id less that is 0, and of a key nothing of it is written), offset 0, and an empty key. A row of a place takes 3 to 5
//! bytes, one of a key 3 and what it does not share with the key before.
//!
//! Owns these rows. Invariant: a decoder takes any bytes: it allocates no more than a few times their length, and what it
//! gives out lies within the segment.

use std::ops::{ControlFlow, Range};

use hayrick_disk::{FileId, Location};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::limits::KEY_BYTES_MAX;
use hayrick_protocol::needle::ALIGN;

use crate::index::Place;
use crate::index_file::varint::{self, Cursor};
use crate::index_file::{BLOCK_BYTES, Entry, IndexFileError, Kind, SegmentMark, Visit};

/// A block that is being made.
pub(super) struct Block {
    kind: Kind,
    bytes: Vec<u8>,
    rows: u32,
    first: (PlacementId, NeedleId),
    last: (PlacementId, NeedleId),
    /// Where the row before ended.
    end: u64,
    key: Vec<u8>,
}

impl Block {
    pub(super) fn new(kind: Kind) -> Self {
        let none = (PlacementId(0), NeedleId(0));
        let bytes = Vec::with_capacity(BLOCK_BYTES + 2 * KEY_BYTES_MAX);
        Self { kind, bytes, rows: 0, first: none, last: none, end: 0, key: Vec::new() }
    }

    /// As [`Self::take`], once it is long enough.
    pub(super) fn take_full(&mut self) -> Option<(Vec<u8>, Entry)> {
        if self.bytes.len() < BLOCK_BYTES { None } else { self.take() }
    }

    /// Adds a record; ids ascend. One without length is a tombstone.
    pub(super) fn add_place(&mut self, id: NeedleId, offset_words: u32, len_words: u32) {
        self.begin_row(PlacementId(0), id);
        varint::put(&mut self.bytes, id.0 - self.last.1.0);
        varint::put(&mut self.bytes, u64::from(len_words));
        varint::put_signed(&mut self.bytes, i64::from(offset_words) - self.end as i64);
        self.end = u64::from(offset_words) + u64::from(len_words);
        self.last.1 = id;
    }

    /// Adds a key; placements ascend, and ids within each.
    pub(super) fn add_key(&mut self, placement: PlacementId, id: NeedleId, key: &[u8]) {
        if self.rows > 0 {
            let (last_placement, last_id) = self.last;
            if placement == last_placement {
                varint::put(&mut self.bytes, id.0 - last_id.0);
            } else {
                varint::put(&mut self.bytes, 0);
                varint::put(&mut self.bytes, u64::from(placement.0 - last_placement.0));
                varint::put(&mut self.bytes, id.0);
            }
        }
        self.begin_row(placement, id);
        let shared = self.key.iter().zip(key).take_while(|(one, other)| one == other).count();
        let more = key.len() - shared;
        self.bytes.push((shared.min(LEN_ESCAPE) << 4 | more.min(LEN_ESCAPE)) as u8);
        for len in [shared, more] {
            if len >= LEN_ESCAPE {
                varint::put(&mut self.bytes, (len - LEN_ESCAPE) as u64);
            }
        }
        self.bytes.extend_from_slice(&key[shared..]);
        self.key.truncate(shared);
        self.key.extend_from_slice(&key[shared..]);
        self.last = (placement, id);
    }

    /// Adds a damaged stretch, which lies behind the one before.
    pub(super) fn add_damage(&mut self, range: &Range<u64>) {
        self.begin_row(PlacementId(0), NeedleId(0));
        varint::put(&mut self.bytes, range.start - self.end);
        varint::put(&mut self.bytes, range.end - range.start);
        self.end = range.end;
    }

    /// The block, and what the table says of it; then it is empty again. `None`: it was.
    pub(super) fn take(&mut self) -> Option<(Vec<u8>, Entry)> {
        let Self { kind, bytes, rows, first: (placement, id), .. } =
            std::mem::replace(self, Self::new(self.kind));
        let len = u32::try_from(bytes.len()).expect("a block is ended before");
        (rows > 0).then(|| {
            let crc = crc32c::crc32c(&bytes);
            (bytes, Entry { kind, placement, id, len, rows, crc })
        })
    }

    fn begin_row(&mut self, placement: PlacementId, id: NeedleId) {
        if self.rows == 0 {
            (self.first, self.last) = ((placement, id), (placement, id));
        }
        self.rows += 1;
    }
}

/// A length in half a byte; from this on, the rest is in a number of its own.
const LEN_ESCAPE: usize = 15;

/// Appends the rows of a block of places to `rows`.
pub(super) fn places(
    block: &[u8],
    entry: &Entry,
    file: FileId,
    segment: &SegmentMark,
    rows: &mut Vec<Place>,
) -> Result<(), IndexFileError> {
    let mut cursor = Cursor(block);
    let (mut id, mut end) = (entry.id.0, 0_u64);
    let segment_words = segment.end / ALIGN as u64;
    for _ in 0..entry.rows {
        id = id.checked_add(cursor.number()?).ok_or(IndexFileError::Damaged)?;
        let words = cursor.number()?;
        let at = end.checked_add_signed(cursor.signed()?).ok_or(IndexFileError::Damaged)?;
        end = at.checked_add(words).filter(|end| *end <= segment_words).ok_or(IndexFileError::Damaged)?;
        let len = words.checked_mul(ALIGN as u64).and_then(|len| u32::try_from(len).ok());
        let len = len.ok_or(IndexFileError::Damaged)?;
        rows.push((NeedleId(id), Location { file, offset: at * ALIGN as u64, len }));
    }
    if cursor.0.is_empty() { Ok(()) } else { Err(IndexFileError::Damaged) }
}

/// Shows the rows of a block of keys, as long as the next is wanted.
pub(super) fn keys(
    block: &[u8],
    entry: &Entry,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, IndexFileError> {
    let mut cursor = Cursor(block);
    let (mut placement, mut id) = (entry.placement.0, entry.id.0);
    let mut key = Vec::new();
    for row in 0..entry.rows {
        if row > 0 {
            match cursor.number()? {
                0 => {
                    let further = u32::try_from(cursor.number()?).ok();
                    placement = further
                        .and_then(|further| placement.checked_add(further))
                        .ok_or(IndexFileError::Damaged)?;
                    id = cursor.number()?;
                }
                further => id = id.checked_add(further).ok_or(IndexFileError::Damaged)?,
            }
        }
        let lens = cursor.byte()?;
        let shared = key_len(lens >> 4, &mut cursor)?;
        let more = key_len(lens & 0x0f, &mut cursor)?;
        if shared > key.len() || shared + more > KEY_BYTES_MAX {
            return Err(IndexFileError::Damaged);
        }
        key.truncate(shared);
        key.extend_from_slice(cursor.bytes(more)?);
        if visit(PlacementId(placement), NeedleId(id), &key).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if cursor.0.is_empty() { Ok(ControlFlow::Continue(())) } else { Err(IndexFileError::Damaged) }
}

fn key_len(half: u8, cursor: &mut Cursor<'_>) -> Result<usize, IndexFileError> {
    if usize::from(half) < LEN_ESCAPE {
        return Ok(usize::from(half));
    }
    let rest = usize::try_from(cursor.number()?).ok().filter(|rest| *rest <= KEY_BYTES_MAX);
    rest.map(|rest| LEN_ESCAPE + rest).ok_or(IndexFileError::Damaged)
}

/// The stretches of a block of damage.
pub(super) fn damage(
    block: &[u8],
    entry: &Entry,
    segment: &SegmentMark,
) -> Result<Vec<Range<u64>>, IndexFileError> {
    let mut cursor = Cursor(block);
    let mut stretches: Vec<Range<u64>> = Vec::new();
    let mut end = 0_u64;
    for _ in 0..entry.rows {
        let start = end.checked_add(cursor.number()?).ok_or(IndexFileError::Damaged)?;
        end = start
            .checked_add(cursor.number()?)
            .filter(|end| *end <= segment.end)
            .ok_or(IndexFileError::Damaged)?;
        stretches.push(start..end);
    }
    if cursor.0.is_empty() { Ok(stretches) } else { Err(IndexFileError::Damaged) }
}
