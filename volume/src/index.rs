//! Where each needle lies: the one table that every read and append looks into.
//!
//! Owns what a row says, and what is counted. How rows are kept small is `table`'s; who tells of needles (recovery, index
//! files, group commits) is `recover`'s; bytes are `read`'s.
//!
//! Neither key nor placement is kept here, because nobody needs them quickly: an append or a read of a needle compares
//! what lies on the disk, a drop names the id alone, and lists go through the index files.
//!
//! Invariant: of all that is told of a needle, what lies furthest down the stream counts, in whatever order it is told.
//! So index files, scans and group commits may come as they like. A dropped needle keeps its row: its id is known to
//! be spent.

use std::collections::BTreeMap;
use std::ops::Range;

use hayrick_disk::{FileId, Location};
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::needle::ALIGN;

use crate::table::Table;

/// A segment with a higher number is none of ours: no volume ever made so many.
const FILE_MAX: FileId = FileId(u32::MAX as u64);

/// Leaves of the table that are looked at in one go: less than a millisecond.
const WALKED_LEAVES: usize = 16;

/// What is known of a needle id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It lies here.
    Live(Location),
    /// It was dropped.
    Dropped,
}

/// Where a needle lies, or its tombstone: that has no length.
pub(crate) type Place = (NeedleId, Location);

/// What rows name in one segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Live needles.
    pub(crate) needles: u64,
    /// Their bytes on disk.
    pub(crate) needle_bytes: u64,
    /// Tombstones of dropped needles.
    pub(crate) tombstones: u64,
}

/// A place that a row cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("segment {file} at {offset} is beyond what the index can name")]
pub(crate) struct OutOfReach {
    file: FileId,
    offset: u64,
}

/// The index.
#[derive(Debug, Default)]
pub(crate) struct Index {
    rows: Table,
    segments: Segments,
}

/// What rows refer to, and what is counted of them.
#[derive(Debug, Default)]
struct Segments {
    slots: Vec<Slot>,
    /// Slots of segments that are gone.
    free_slots: Vec<u16>,
    by_file: BTreeMap<FileId, u16>,
    /// The lengths, in words, of the needles too long for a row.
    long: Table,
    needles: u64,
}

/// A segment that rows name.
#[derive(Debug)]
struct Slot {
    file: FileId,
    held: Held,
}

impl Index {
    /// What is known of `id`; `None`: it never was here.
    pub(crate) fn get(&self, id: NeedleId) -> Option<Known> {
        let row = Row(self.rows.get(id.0)?);
        if !row.is_live() {
            return Some(Known::Dropped);
        }
        let (file, offset_words) = self.segments.position(row);
        let len = self.segments.len_words(id.0, row) * ALIGN as u32;
        Some(Known::Live(Location { file, offset: bytes(offset_words), len }))
    }

    /// The needle lies at `at`; or, if that has no length, it was dropped by the tombstone that lies there.
    pub(crate) fn put(&mut self, id: NeedleId, at: Location) -> Result<(), OutOfReach> {
        let (row, len_words) = (self.segments.row(at)?, len_words(at));
        let segments = &mut self.segments;
        self.rows.put(id.0, |before| segments.later(id.0, before, row, len_words));
        Ok(())
    }

    /// Needles and tombstones, ascending by id. Many of them cost a tenth of what
    /// each would cost alone.
    pub(crate) fn put_all(&mut self, told: &[Place]) -> Result<(), OutOfReach> {
        let mut rows = Vec::with_capacity(told.len());
        for (id, at) in told {
            let row = self.segments.row(*at)?;
            if row.is_long() {
                self.put(*id, *at)?;
            } else {
                rows.push((id.0, row.0));
            }
        }
        let segments = &mut self.segments;
        self.rows.merge(&rows, |id, before, row| {
            let row = Row(row);
            segments.later(id, before, row, row.len_words())
        });
        Ok(())
    }

    /// Whether what lies at `at`, and was told of, could be told.
    pub(crate) fn reaches(&self, at: Location) -> Result<(), OutOfReach> {
        let known = self.segments.by_file.contains_key(&at.file) && offset_words(at).is_some();
        if known { Ok(()) } else { Err(OutOfReach { file: at.file, offset: at.offset }) }
    }

    /// Live needles in all.
    pub(crate) fn needles(&self) -> u64 {
        self.segments.needles
    }

    /// What rows name in a segment.
    pub(crate) fn held_by(&self, file: FileId) -> Held {
        let slot = self.segments.by_file.get(&file);
        slot.map_or(Held::default(), |slot| self.segments.slots[usize::from(*slot)].held)
    }

    /// Whether the row of `id` names what lies at this place, be it needle or tombstone.
    pub(crate) fn names(&self, id: NeedleId, at: Location) -> bool {
        let Some(row) = self.rows.get(id.0).map(Row) else { return false };
        offset_words(at).is_some_and(|offset_words| self.segments.position(row) == (at.file, offset_words))
    }

    /// The live needles, and the tombstones, that lie in these ranges of a segment, among some thousands of ids from `from`
    /// on; and the id to go on from. So nobody waits for a look at all of them.
    pub(crate) fn named_in(
        &self,
        file: FileId,
        ranges: &[Range<u64>],
        from: NeedleId,
    ) -> (Vec<Place>, Option<NeedleId>) {
        let mut found = Vec::new();
        let Some(slot) = self.segments.by_file.get(&file) else { return (found, None) };
        let next = self.rows.walk(from.0, WALKED_LEAVES, |id, row| {
            let row = Row(row);
            let is_in = |range: &Range<u64>| range.contains(&bytes(row.offset_words()));
            if row.slot() == usize::from(*slot) && ranges.iter().any(is_in) {
                let len = self.segments.len_words(id, row) * ALIGN as u32;
                found.push((NeedleId(id), Location { file, offset: bytes(row.offset_words()), len }));
            }
        });
        (found, next.map(NeedleId))
    }

    /// Forgets that a needle was dropped by the tombstone that lies here: nothing of it is left that would have to be
    /// told from a live one.
    pub(crate) fn forget(&mut self, id: NeedleId, tombstone: Location) {
        if self.names(id, tombstone)
            && let Some(row) = self.rows.get(id.0).map(Row).filter(|row| !row.is_live())
        {
            self.segments.uncount(id.0, row);
            self.rows.remove(id.0);
        }
    }

    /// A segment is gone, of which no row names anything any more.
    pub(crate) fn let_go(&mut self, file: FileId) {
        debug_assert_eq!(
            self.held_by(file),
            Held::default(),
            "what lies in a segment that goes is named elsewhere"
        );
        if self.held_by(file) == Held::default()
            && let Some(slot) = self.segments.by_file.remove(&file)
        {
            self.segments.free_slots.push(slot);
        }
    }
}

impl Segments {
    /// The row that names this place.
    fn row(&mut self, at: Location) -> Result<Row, OutOfReach> {
        let out_of_reach = OutOfReach { file: at.file, offset: at.offset };
        let offset_words = offset_words(at).ok_or(out_of_reach)?;
        if at.file > FILE_MAX {
            return Err(out_of_reach);
        }
        let slot = match self.by_file.get(&at.file) {
            Some(slot) => *slot,
            None => {
                let empty = Slot { file: at.file, held: Held::default() };
                let slot = match self.free_slots.pop() {
                    Some(slot) => {
                        self.slots[usize::from(slot)] = empty;
                        slot
                    }
                    None => {
                        let slot = u16::try_from(self.slots.len()).map_err(|_| out_of_reach)?;
                        self.slots.push(empty);
                        slot
                    }
                };
                self.by_file.insert(at.file, slot);
                slot
            }
        };
        Ok(Row::new(slot, offset_words, len_words(at)))
    }

    /// Which of two rows of a needle counts; what is counted follows it.
    fn later(&mut self, id: u64, before: Option<u64>, row: Row, len_words: u32) -> u64 {
        if let Some(before) = before.map(Row) {
            if self.position(before) >= self.position(row) {
                return before.0;
            }
            self.uncount(id, before);
        }
        self.count(id, row, len_words);
        row.0
    }

    fn position(&self, row: Row) -> (FileId, u32) {
        (self.slots[row.slot()].file, row.offset_words())
    }

    /// Words of the record of a needle.
    fn len_words(&self, id: u64, row: Row) -> u32 {
        let long = || self.long.get(id).and_then(|words| u32::try_from(words).ok());
        if row.is_long() { long().unwrap_or(LONG) } else { row.len_words() }
    }

    fn count(&mut self, id: u64, row: Row, len_words: u32) {
        if row.is_long() {
            self.long.put(id, |_| u64::from(len_words));
        }
        let held = &mut self.slots[row.slot()].held;
        if row.is_live() {
            held.needles += 1;
            held.needle_bytes += bytes(len_words);
            self.needles += 1;
        } else {
            held.tombstones += 1;
        }
    }

    fn uncount(&mut self, id: u64, row: Row) {
        let len_words = self.len_words(id, row);
        let held = &mut self.slots[row.slot()].held;
        if row.is_live() {
            held.needles -= 1;
            held.needle_bytes -= bytes(len_words);
            self.needles -= 1;
        } else {
            held.tombstones -= 1;
        }
        if row.is_long() {
            self.long.remove(id);
        }
    }
}

/// A place in 8 bytes: slot of the segment (16 bits), offset (31) and length (17), both in words of [`ALIGN`] bytes.
/// Without words: the needle was dropped, by the tombstone that lies there. With [`LONG`]: the length is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row(u64);

const LEN_BITS: u32 = 17;
const OFFSET_BITS: u32 = 31;

/// Stands for all lengths from here on: 1 MiB less a word.
const LONG: u32 = (1 << LEN_BITS) - 1;

impl Row {
    fn new(slot: u16, offset_words: u32, len_words: u32) -> Self {
        let place = u64::from(slot) << OFFSET_BITS | u64::from(offset_words);
        Self(place << LEN_BITS | u64::from(len_words.min(LONG)))
    }

    fn slot(self) -> usize {
        (self.0 >> (OFFSET_BITS + LEN_BITS)) as usize
    }

    fn offset_words(self) -> u32 {
        (self.0 >> LEN_BITS) as u32 & ((1 << OFFSET_BITS) - 1)
    }

    fn len_words(self) -> u32 {
        self.0 as u32 & LONG
    }

    fn is_live(self) -> bool {
        self.len_words() > 0
    }

    fn is_long(self) -> bool {
        self.len_words() == LONG
    }
}

fn offset_words(at: Location) -> Option<u32> {
    u32::try_from(at.offset / ALIGN as u64).ok().filter(|words| words >> OFFSET_BITS == 0)
}

fn len_words(at: Location) -> u32 {
    at.len / ALIGN as u32
}

fn bytes(words: u32) -> u64 {
    u64::from(words) * ALIGN as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(file: u64, offset: u64) -> Location {
        Location { file: FileId(file), offset, len: 64 }
    }

    #[test]
    fn the_last_word_in_the_stream_counts_in_whatever_order_it_is_told() {
        let id = NeedleId(7);
        let mut index = Index::default();
        index.put(id, Location { len: 0, ..at(2, 4096) }).expect("in reach");
        index.put(id, at(1, 8192)).expect("in reach");
        assert_eq!(index.get(id), Some(Known::Dropped));
        index.put(id, at(2, 8192)).expect("in reach");
        assert_eq!(index.get(id), Some(Known::Live(at(2, 8192))));
        assert_eq!(index.needles(), 1);
        assert_eq!(index.held_by(FileId(1)), Held::default());
        assert_eq!(index.held_by(FileId(2)), Held { needles: 1, needle_bytes: 64, tombstones: 0 });
    }

    #[test]
    fn what_lies_in_a_range_is_found_among_all_others() {
        let mut index = Index::default();
        for id in 1..=50_000 {
            index.put(NeedleId(id), at(1 + id % 2, id * 64)).expect("in reach");
        }
        index.put(NeedleId(20_000), Location { len: 0, ..at(3, 0) }).expect("in reach");
        index.put(NeedleId(19_998), Location { len: 0, ..at(1, 19_999 * 64) }).expect("in reach");
        let ranges = [64 * 10..64 * 14, 64 * 19_996..64 * 20_003];
        let (mut all, mut from) = (Vec::new(), Some(NeedleId(0)));
        while let Some(id) = from {
            let (found, next) = index.named_in(FileId(1), &ranges, id);
            all.extend(found);
            from = next;
        }
        let live = |id: u64| (NeedleId(id), at(1, id * 64));
        let dropped = (NeedleId(19_998), Location { len: 0, ..at(1, 19_999 * 64) });
        assert_eq!(all, [live(10), live(12), live(19_996), dropped, live(20_002)]);
        assert_eq!(index.named_in(FileId(9), &ranges, NeedleId(0)), (vec![], None));
    }

    #[test]
    fn places_beyond_a_row_are_refused() {
        let mut index = Index::default();
        assert!(index.put(NeedleId(1), at(1 << 32, 0)).is_err());
        assert!(index.put(NeedleId(1), at(1, 16 << 30)).is_err());
        assert!(index.reaches(at(1, 16 << 30)).is_err());
        for file in 1..=1 << 16 {
            index.put(NeedleId(file), at(file * 3, (16 << 30) - 8)).expect("as many as there are slots");
        }
        let last = at(3 << 16, (16 << 30) - 8);
        assert_eq!(index.get(NeedleId(1 << 16)), Some(Known::Live(last)));
        index.reaches(last).expect("it was told");
        assert!(index.put(NeedleId(1), at(1, 0)).is_err(), "no slot is left");
        assert!(index.reaches(at(1, 0)).is_err());
        assert_eq!(index.needles(), 1 << 16);
        index.put(NeedleId(5), Location { len: 0, ..last }).expect("in reach");
        assert_eq!(index.held_by(FileId(15)), Held::default());
        index.let_go(FileId(15));
        index.put(NeedleId(5), at((3 << 16) + 1, 8)).expect("a segment that went left its slot");
    }

    /// Around the length from which on it does not fit a row.
    fn len(word: u64) -> u32 {
        [64, (1 << 20) - 16, (1 << 20) - 8, 1 << 20, 300 << 20][word as usize % 5]
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_rows(
            steps in prop::collection::vec((1u64..20, 1u64..4, 1u64..50), 0..200),
            at_once in 1usize..20,
        ) {
            let (mut index, mut one_by_one) = (Index::default(), Index::default());
            for steps in steps.chunks(at_once) {
                let mut told = Vec::new();
                for &(id, file, word) in steps {
                    // Only one record lies at a place.
                    let live = (id + file + word) % 3 > 0;
                    let at = Location { len: if live { len(word) } else { 0 }, ..at(file, word * 64) };
                    one_by_one.put(NeedleId(id), at).expect("in reach");
                    told.push((NeedleId(id), at));
                }
                told.sort_by_key(|(id, _)| *id);
                index.put_all(&told).expect("in reach");
            }
            let mut held = BTreeMap::<_, Held>::new();
            for id in (1..20).map(NeedleId) {
                prop_assert_eq!(index.get(id), one_by_one.get(id));
                let Some(known) = index.get(id) else { continue };
                let (file, offset_words) = index.segments.position(Row(index.rows.get(id.0).expect("a row")));
                let held = held.entry(file.0).or_default();
                if let Known::Live(at) = known {
                    prop_assert_eq!(at.len, len(at.offset / 64));
                    held.needles += 1;
                    held.needle_bytes += u64::from(at.len);
                } else {
                    held.tombstones += 1;
                }
                let place = Location { file, offset: bytes(offset_words), len: 0 };
                prop_assert!(index.names(id, place));
                let beside = Location { offset: place.offset + 64, ..place };
                prop_assert!(!index.names(id, beside));
            }
            for index in [&index, &one_by_one] {
                prop_assert_eq!(index.needles(), held.values().map(|held| held.needles).sum::<u64>());
                for file in 1..4 {
                    prop_assert_eq!(index.held_by(FileId(file)), held.get(&file).copied().unwrap_or_default());
                }
            }
            // What is dropped is forgotten only at its place, and frees the segment that nothing else is in.
            for id in (1..20).map(NeedleId).filter(|id| index.get(*id) == Some(Known::Dropped)).collect::<Vec<_>>() {
                let (file, offset_words) = index.segments.position(Row(index.rows.get(id.0).expect("a row")));
                let place = Location { file, offset: bytes(offset_words), len: 0 };
                index.forget(id, Location { offset: place.offset + 64, ..place });
                prop_assert_eq!(index.get(id), Some(Known::Dropped));
                index.forget(id, place);
                prop_assert_eq!(index.get(id), None);
                if index.held_by(file) == Held::default() {
                    index.let_go(file);
                    prop_assert!(index.reaches(place).is_err());
                }
            }
        }
    }
}
