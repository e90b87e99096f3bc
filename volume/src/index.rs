//! Where each needle lies: the one table that every read and append looks into.
//!
//! Owns the table and what it counts. Who fills it (recovery, index files, group commits) is `recover`'s; bytes are
//! `read`'s. It is a hash map of 20 bytes a row now and hides that, so that a denser table can take its place.
//!
//! Invariant: of all that is told of a needle, what lies furthest down the stream counts, in whatever order it is told.
//! So index files, scans and group commits may come as they like. A dropped needle keeps its row: its id is known to
//! be spent.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use hayrick_disk::{FileId, Location};
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::needle::ALIGN;

/// What is known of a needle id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It lies here.
    Live(Location),
    /// It was dropped.
    Dropped,
}

/// Live needles of one segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Live {
    /// How many.
    pub(crate) needles: u64,
    /// Their bytes on disk.
    pub(crate) bytes: u64,
}

/// A place in 12 bytes: offsets and lengths count in words of [`ALIGN`] bytes. Without words: the needle was dropped,
/// by the tombstone that lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    segment: u32,
    offset_words: u32,
    len_words: u32,
}

/// A place that a row cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("segment {file} at {offset} is beyond what the index can name")]
pub(crate) struct OutOfReach {
    file: FileId,
    offset: u64,
}

/// Whether a row can hold this place.
pub(crate) fn check_reach(at: Location) -> Result<(), OutOfReach> {
    Row::new(at, true).map(drop)
}

impl Row {
    fn new(at: Location, live: bool) -> Result<Self, OutOfReach> {
        let out_of_reach = || OutOfReach { file: at.file, offset: at.offset };
        let segment = u32::try_from(at.file.0).map_err(|_| out_of_reach())?;
        let offset_words = u32::try_from(at.offset / ALIGN as u64).map_err(|_| out_of_reach())?;
        let len_words = if live { at.len / ALIGN as u32 } else { 0 };
        Ok(Self { segment, offset_words, len_words })
    }

    fn is_live(self) -> bool {
        self.len_words > 0
    }

    fn bytes(self) -> u64 {
        u64::from(self.len_words) * ALIGN as u64
    }

    fn position(self) -> (u32, u32) {
        (self.segment, self.offset_words)
    }

    fn location(self) -> Location {
        Location {
            file: FileId(u64::from(self.segment)),
            offset: u64::from(self.offset_words) * ALIGN as u64,
            len: self.len_words * ALIGN as u32,
        }
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Index {
    rows: HashMap<NeedleId, Row, BuildHasherDefault<IdHasher>>,
    live: BTreeMap<u32, Live>,
    needles: u64,
}

impl Index {
    /// What is known of `id`; `None`: it never was here.
    pub(crate) fn get(&self, id: NeedleId) -> Option<Known> {
        self.rows.get(&id).map(|row| if row.is_live() { Known::Live(row.location()) } else { Known::Dropped })
    }

    /// The needle lies at `at`.
    pub(crate) fn put(&mut self, id: NeedleId, at: Location) -> Result<(), OutOfReach> {
        self.tell(id, Row::new(at, true)?);
        Ok(())
    }

    /// The needle was dropped by the tombstone at `at`.
    pub(crate) fn drop_needle(&mut self, id: NeedleId, at: Location) -> Result<(), OutOfReach> {
        self.tell(id, Row::new(at, false)?);
        Ok(())
    }

    /// Live needles in all.
    pub(crate) fn needles(&self) -> u64 {
        self.needles
    }

    /// Live needles of a segment.
    pub(crate) fn live_in(&self, file: FileId) -> Live {
        u32::try_from(file.0).ok().and_then(|segment| self.live.get(&segment).copied()).unwrap_or_default()
    }

    fn tell(&mut self, id: NeedleId, row: Row) {
        let before = match self.rows.get(&id) {
            Some(before) if before.position() >= row.position() => return,
            before => before.copied(),
        };
        if let Some(before) = before.filter(|before| before.is_live()) {
            let live = self.live.entry(before.segment).or_default();
            live.needles -= 1;
            live.bytes -= before.bytes();
            self.needles -= 1;
        }
        if row.is_live() {
            let live = self.live.entry(row.segment).or_default();
            live.needles += 1;
            live.bytes += row.bytes();
            self.needles += 1;
        }
        self.rows.insert(id, row);
    }
}

/// Spreads needle ids, which are dense within an epoch, over the table. They are handed out by masters, so nobody can
/// choose them to collide.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // Fibonacci hashing; the rotation brings the well-mixed upper bits to where the table takes its slot from.
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
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
        index.drop_needle(id, at(2, 4096)).expect("in reach");
        index.put(id, at(1, 8192)).expect("in reach");
        assert_eq!(index.get(id), Some(Known::Dropped));
        index.put(id, at(2, 8192)).expect("in reach");
        assert_eq!(index.get(id), Some(Known::Live(at(2, 8192))));
        assert_eq!(index.needles(), 1);
        assert_eq!(index.live_in(FileId(1)), Live::default());
        assert_eq!(index.live_in(FileId(2)), Live { needles: 1, bytes: 64 });
    }

    #[test]
    fn places_beyond_a_row_are_refused() {
        let mut index = Index::default();
        assert!(index.put(NeedleId(1), at(1 << 32, 0)).is_err());
        assert!(index.put(NeedleId(1), at(1, 1 << 35)).is_err());
        assert_eq!(index.needles(), 0);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_rows(steps in prop::collection::vec((1u64..20, any::<bool>(), 1u64..4, 1u64..50), 0..200)) {
            let mut index = Index::default();
            for (id, live, file, word) in steps {
                let at = at(file, word * 64);
                if live { index.put(NeedleId(id), at) } else { index.drop_needle(NeedleId(id), at) }.expect("in reach");
            }
            let live = (1..20).filter(|id| matches!(index.get(NeedleId(*id)), Some(Known::Live(_)))).count() as u64;
            prop_assert_eq!(index.needles(), live);
            let by_segment = (1..4).map(|file| index.live_in(FileId(file)).needles).sum::<u64>();
            prop_assert_eq!(by_segment, live);
        }
    }
}
