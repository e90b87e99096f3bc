//! Reading an index file, block by block: all places for a start, the keys of some placements for a list.
//!
//! Owns what is verified when. Invariant: nothing is shown that does not match its checksum, and nothing is allocated
//! by a length that was not compared with the file's before.

use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use hayrick_disk::{ALIGN, File, FileId};
use hayrick_protocol::ids::{NeedleId, PlacementId};

use crate::index::Place;
use crate::index_file::{
    ENTRY_BYTES, Entry, HEADER_BYTES, IndexFileError, Kind, SegmentMark, TAIL_BYTES, VERSION, Visit, block,
    header, tail, version_of,
};
use crate::list::Wanted;

/// An index file whose header and table are good.
pub(crate) struct IndexFile {
    file: Arc<dyn File>,
    segment: SegmentMark,
    /// Where each block begins, and what it is.
    blocks: Vec<(u64, Entry)>,
}

impl IndexFile {
    /// Opens the index file of this segment, all of it: reads header, table and tail.
    pub(crate) fn open(file: Arc<dyn File>, segment: &SegmentMark) -> Result<Self, IndexFileError> {
        let found = Self::open_any(file, segment)?;
        if found.end() < segment.end { Err(IndexFileError::Unfinished) } else { Ok(found) }
    }

    /// The same, of the segment or of its beginning.
    pub(crate) fn open_any(file: Arc<dyn File>, segment: &SegmentMark) -> Result<Self, IndexFileError> {
        let bytes = file.len()?;
        let behind_header =
            bytes.checked_sub((HEADER_BYTES + TAIL_BYTES) as u64).ok_or(IndexFileError::Damaged)?;
        let mut head = [0; HEADER_BYTES];
        file.read_exact_at(&mut head, 0)?;
        match head.first_chunk().and_then(version_of) {
            Some(VERSION) => {}
            Some(other) => return Err(IndexFileError::OtherVersion(other)),
            None => return Err(IndexFileError::Damaged),
        }
        let mut end = [0; TAIL_BYTES];
        let tail_at = bytes - TAIL_BYTES as u64;
        file.read_exact_at(&mut end, tail_at)?;
        let [.., b0, b1, b2, b3, _, _, _, _] = end;
        let table_bytes = u64::from(u32::from_le_bytes([b0, b1, b2, b3])) * ENTRY_BYTES as u64;
        if table_bytes > behind_header {
            return Err(IndexFileError::Damaged);
        }
        let mut table = vec![0; usize::try_from(table_bytes).map_err(|_| IndexFileError::Damaged)?];
        file.read_exact_at(&mut table, tail_at - table_bytes)?;
        let [e0, e1, e2, e3, e4, e5, e6, e7, ..] = end;
        let of_end = u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, e7]);
        if end != tail(&head, &table, of_end) {
            return Err(IndexFileError::Damaged);
        }
        let segment_end = segment.end;
        let segment = SegmentMark { end: of_end, ..*segment };
        let is_within = (hayrick_disk::HEADER_BYTES..=segment_end).contains(&of_end)
            && of_end.is_multiple_of(ALIGN as u64);
        if head != header(&segment) || !is_within {
            return Err(IndexFileError::OtherSegment);
        }
        let mut at = HEADER_BYTES as u64;
        let mut blocks = Vec::with_capacity(table.len() / ENTRY_BYTES);
        for entry in table.as_chunks().0 {
            let entry = Entry::decode(entry)?;
            blocks.push((at, entry));
            at += u64::from(entry.len);
        }
        if at != tail_at - table_bytes {
            return Err(IndexFileError::Damaged);
        }
        Ok(Self { file, segment, blocks })
    }

    /// Where the records end that it is about.
    pub(crate) fn end(&self) -> u64 {
        self.segment.end
    }

    /// Shows each block with what the table says of it.
    pub(super) fn each_block(
        &self,
        visit: &mut dyn FnMut(Vec<u8>, Entry) -> io::Result<()>,
    ) -> Result<(), IndexFileError> {
        self.blocks.iter().try_for_each(|(at, entry)| Ok(visit(self.block(*at, entry)?, *entry)?))
    }

    /// Shows all needles and tombstones of the segment `file`, block by block, in each ascending by id.
    pub(crate) fn places(&self, file: FileId, visit: &mut dyn FnMut(&[Place])) -> Result<(), IndexFileError> {
        let mut rows = Vec::new();
        for (at, entry) in self.of(Kind::Places) {
            rows.clear();
            block::places(&self.block(*at, entry)?, entry, file, &self.segment, &mut rows)?;
            visit(&rows);
        }
        Ok(())
    }

    /// All damaged stretches.
    pub(crate) fn damaged(&self) -> Result<Vec<Range<u64>>, IndexFileError> {
        let mut all = Vec::new();
        for (at, entry) in self.of(Kind::Damage) {
            all.extend(block::damage(&self.block(*at, entry)?, entry, &self.segment)?);
        }
        Ok(all)
    }

    /// Shows needles and keys of those placements that are `wanted`, a part of the segment at a time: of
    /// each those behind a placement and id, ascending, until the visitor wants no more of that part. Reads no blocks that
    /// hold none of these.
    pub(crate) fn keys(
        &self,
        wanted: Wanted<'_>,
        behind: (PlacementId, NeedleId),
        visit: &mut Visit<'_>,
    ) -> Result<(), IndexFileError> {
        let mut is_enough = false;
        for (number, (at, entry)) in self.blocks.iter().enumerate() {
            if entry.kind != Kind::Keys {
                // Of a part, the blocks of keys follow on each other; then come places, or damage.
                is_enough = false;
                continue;
            }
            let next = self.blocks.get(number + 1).filter(|(_, next)| next.kind == Kind::Keys);
            let next = next.map(|(_, next)| (next.placement, next.id));
            let last = next.map_or(PlacementId(u32::MAX), |(placement, _)| placement);
            let from = entry.placement.max(behind.0);
            let holds_some = wanted.has_any(from, last) && next.is_none_or(|next| next > behind);
            if is_enough || !holds_some {
                continue;
            }
            let ended = block::keys(&self.block(*at, entry)?, entry, &mut |placement, id, key| {
                if (placement, id) > behind && wanted.has(placement) {
                    visit(placement, id, key)
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            is_enough = ended.is_break();
        }
        Ok(())
    }

    /// Shows the placement of every needle. Reads all blocks of keys.
    pub(crate) fn placements(
        &self,
        visit: &mut dyn FnMut(PlacementId, NeedleId),
    ) -> Result<(), IndexFileError> {
        for (at, entry) in self.of(Kind::Keys) {
            // It does not end before the last row, as nobody ends it.
            let _ = block::keys(&self.block(*at, entry)?, entry, &mut |placement, id, _| {
                visit(placement, id);
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    /// Verifies blocks, from this one on, until so many bytes were read: how many were, those around the blocks with the
    /// first of them, and which block is next; `None` behind the last.
    pub(crate) fn verify(
        &self,
        first: usize,
        bytes_max: u64,
    ) -> Result<(u64, Option<usize>), IndexFileError> {
        let around_blocks = HEADER_BYTES + self.blocks.len() * ENTRY_BYTES + TAIL_BYTES;
        let mut bytes = if first == 0 { around_blocks as u64 } else { 0 };
        for (number, (at, entry)) in self.blocks.iter().enumerate().skip(first) {
            if bytes >= bytes_max {
                return Ok((bytes, Some(number)));
            }
            self.block(*at, entry)?;
            bytes += u64::from(entry.len);
        }
        Ok((bytes, None))
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &(u64, Entry)> {
        self.blocks.iter().filter(move |(_, entry)| entry.kind == kind)
    }

    fn block(&self, at: u64, entry: &Entry) -> Result<Vec<u8>, IndexFileError> {
        let mut bytes = vec![0; entry.len as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        if crc32c::crc32c(&bytes) == entry.crc { Ok(bytes) } else { Err(IndexFileError::Damaged) }
    }
}
