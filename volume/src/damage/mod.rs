//! What is known to be damaged: stretches of segments, and needles that cannot be read.
//!
//! Owns the list and its bounds. Finding damage is recovery's, the reads' and scrub's, mending it is the cluster's, and
//! that the list outlives the process is [`kept`]'s. Invariant: what is told twice counts once, also in parts or with what
//! is around it; when more is damaged than the list holds, the figures say "at least".

pub(crate) mod kept;

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, Ordering};

use hayrick_disk::{FileId, Location};
use hayrick_protocol::ids::NeedleId;
use parking_lot::Mutex;

/// Stretches, and as many needles, that are remembered.
const REMEMBERED_MAX: usize = 65_536;

/// A stretch of a segment that is no record, though it once was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Which segment.
    pub segment: FileId,
    /// Its bytes.
    pub range: Range<u64>,
}

/// Everything known to be damaged.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    known: Mutex<Known>,
    /// Whether any needle is damaged, for the many that read and append where none is. It is set under the lock, and who
    /// reports a needle looks into the index afterwards: so who told the index before looks here in time.
    has_needles: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    /// By segment and first byte: where it ends.
    stretches: BTreeMap<(FileId, u64), u64>,
    bytes: u64,
    /// Where the copy lies that cannot be read.
    needles: BTreeMap<NeedleId, Location>,
    /// How often any of this changed.
    changes: u64,
}

/// The whole list, as it was at one time.
#[derive(Debug)]
struct Snapshot {
    changes: u64,
    stretches: Vec<Stretch>,
    needles: Vec<(NeedleId, Location)>,
}

impl Damage {
    /// A stretch is damaged. Whether that is news.
    pub(crate) fn stretch(&self, segment: FileId, range: Range<u64>) -> bool {
        let mut known = self.known.lock();
        let before = known.bytes;
        // Becomes one with those that it overlaps or touches: the last ones that begin before its end.
        let before_end = known.between(segment, 0..=range.end).rev();
        let touched: Vec<_> = before_end.take_while(|one| range.start <= one.end).collect();
        if touched.is_empty() && known.stretches.len() >= REMEMBERED_MAX {
            return false;
        }
        let mut joined = range;
        for one in touched {
            joined = joined.start.min(one.start)..joined.end.max(one.end);
            known.take(segment, &one);
        }
        known.bytes += joined.end - joined.start;
        known.stretches.insert((segment, joined.start), joined.end);
        known.changes += 1;
        known.bytes > before
    }

    /// All in this range verifies: stretches that lie in it are no longer damaged. Whether there were any.
    pub(crate) fn verified(&self, segment: FileId, range: &Range<u64>) -> bool {
        if range.is_empty() {
            return false;
        }
        let mut known = self.known.lock();
        let begin_in_it = known.between(segment, range.start..=range.end);
        let whole: Vec<_> = begin_in_it.filter(|one| one.end <= range.end).collect();
        whole.iter().for_each(|one| known.take(segment, one));
        !whole.is_empty()
    }

    /// A segment is gone: what lived in it was read well, and lies elsewhere.
    pub(crate) fn let_go(&self, segment: FileId) {
        let mut known = self.known.lock();
        let gone: Vec<_> = known.of(segment).collect();
        gone.iter().for_each(|one| known.take(segment, one));
        let needles = known.needles.iter().filter(|(_, at)| at.file == segment);
        let needles: Vec<_> = needles.map(|(id, _)| *id).collect();
        needles.into_iter().for_each(|id| self.remove(&mut known, id));
    }

    /// The damaged stretches of a segment.
    pub(crate) fn stretches_in(&self, segment: FileId) -> Vec<Range<u64>> {
        self.known.lock().of(segment).collect()
    }

    /// Whether any stretch is damaged.
    pub(crate) fn has_stretches(&self) -> bool {
        !self.known.lock().stretches.is_empty()
    }

    /// Whether more stretches may be damaged than are remembered.
    pub(crate) fn is_full(&self) -> bool {
        self.known.lock().stretches.len() >= REMEMBERED_MAX
    }

    /// Whether any stretch of this segment is damaged.
    pub(crate) fn has_stretches_in(&self, segment: FileId) -> bool {
        self.known.lock().of(segment).next().is_some()
    }

    /// The copy of a needle that lies here is damaged. Whether that is news.
    pub(crate) fn needle(&self, id: NeedleId, at: Location) -> bool {
        let mut known = self.known.lock();
        if known.needles.len() >= REMEMBERED_MAX && !known.needles.contains_key(&id) {
            return false;
        }
        let is_news = known.needles.insert(id, at) != Some(at);
        known.changes += u64::from(is_news);
        self.has_needles.store(true, Ordering::Relaxed);
        is_news
    }

    /// A needle was dropped, or a good copy of it was appended.
    pub(crate) fn forget(&self, id: NeedleId) {
        if self.has_needles.load(Ordering::Relaxed) {
            self.remove(&mut self.known.lock(), id);
        }
    }

    /// The copy of a needle that lies here was read well, or nobody looks for it any more. Whether it was thought damaged.
    pub(crate) fn is_well(&self, id: NeedleId, at: Location) -> bool {
        if !self.has_needles.load(Ordering::Relaxed) {
            return false;
        }
        let mut known = self.known.lock();
        let was_bad = known.needles.get(&id) == Some(&at);
        if was_bad {
            self.remove(&mut known, id);
        }
        was_bad
    }

    /// How many stretches and needles, and the bytes of the stretches.
    pub(crate) fn figures(&self) -> (u64, u64) {
        let known = self.known.lock();
        ((known.stretches.len() + known.needles.len()) as u64, known.bytes)
    }

    /// The first stretches.
    pub(crate) fn stretches(&self, at_most: usize) -> Vec<Stretch> {
        self.known.lock().all().take(at_most).collect()
    }

    /// The first needles.
    pub(crate) fn needles(&self, at_most: usize) -> Vec<NeedleId> {
        self.known.lock().needles.keys().take(at_most).copied().collect()
    }

    fn snapshot(&self) -> Snapshot {
        let known = self.known.lock();
        let needles = known.needles.iter().map(|(id, at)| (*id, *at)).collect();
        Snapshot { changes: known.changes, stretches: known.all().collect(), needles }
    }

    fn changes(&self) -> u64 {
        self.known.lock().changes
    }

    fn remove(&self, known: &mut Known, id: NeedleId) {
        known.changes += u64::from(known.needles.remove(&id).is_some());
        self.has_needles.store(!known.needles.is_empty(), Ordering::Relaxed);
    }
}

impl Known {
    fn all(&self) -> impl Iterator<Item = Stretch> {
        self.stretches.iter().map(|(&(segment, from), &to)| Stretch { segment, range: from..to })
    }

    fn of(&self, segment: FileId) -> impl Iterator<Item = Range<u64>> {
        self.between(segment, 0..=u64::MAX)
    }

    /// Those that begin there, ascending: by their ends too, as none touches another.
    fn between(
        &self,
        segment: FileId,
        starts: RangeInclusive<u64>,
    ) -> impl DoubleEndedIterator<Item = Range<u64>> {
        let starts = (segment, *starts.start())..=(segment, *starts.end());
        self.stretches.range(starts).map(|((_, from), to)| *from..*to)
    }

    fn take(&mut self, segment: FileId, stretch: &Range<u64>) {
        if self.stretches.remove(&(segment, stretch.start)).is_some() {
            self.bytes -= stretch.end - stretch.start;
            self.changes += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: FileId = FileId(3);

    #[test]
    fn what_is_told_twice_or_in_parts_counts_once() {
        let damage = Damage::default();
        assert!(damage.stretch(SEGMENT, 100..200));
        assert!(!damage.stretch(SEGMENT, 100..200));
        assert!(!damage.stretch(SEGMENT, 120..150));
        assert!(damage.stretch(SEGMENT, 200..300), "it goes on");
        assert!(damage.stretch(SEGMENT, 400..500));
        assert!(damage.stretch(FileId(4), 300..400));
        assert_eq!(damage.figures(), (3, 400));
        assert!(damage.stretch(SEGMENT, 250..450), "what was two is one");
        assert_eq!(damage.stretches_in(SEGMENT).first(), Some(&(100..500)));
        assert_eq!(damage.figures(), (2, 500));
    }

    #[test]
    fn a_stretch_goes_only_when_all_of_it_verifies_or_its_segment_goes() {
        let damage = Damage::default();
        damage.stretch(SEGMENT, 100..200);
        damage.stretch(SEGMENT, 300..400);
        damage.stretch(FileId(4), 100..200);
        assert!(!damage.verified(SEGMENT, &(0..199)));
        assert!(!damage.verified(SEGMENT, &(101..350)));
        assert!(damage.verified(SEGMENT, &(0..300)));
        assert_eq!(damage.figures(), (2, 200));
        damage.let_go(SEGMENT);
        assert_eq!(damage.figures(), (1, 100));
        assert!(damage.has_stretches_in(FileId(4)));
    }

    #[test]
    fn a_needle_goes_when_that_copy_is_well_or_its_segment_goes_and_no_other() {
        let damage = Damage::default();
        let at = |file, offset| Location { file, offset, len: 40 };
        assert!(!damage.is_well(NeedleId(1), at(SEGMENT, 4096)), "none was bad");
        for id in 1..=3 {
            assert!(damage.needle(NeedleId(id), at(FileId(id), 4096)));
            assert!(!damage.needle(NeedleId(id), at(FileId(id), 4096)), "told twice");
        }
        let changes = damage.changes();
        assert!(!damage.is_well(NeedleId(1), at(FileId(1), 8000)), "another copy");
        damage.let_go(FileId(9));
        damage.forget(NeedleId(9));
        assert_eq!(damage.changes(), changes);
        damage.let_go(FileId(1));
        assert!(damage.is_well(NeedleId(2), at(FileId(2), 4096)));
        assert_eq!(damage.needles(9), [NeedleId(3)]);
        damage.forget(NeedleId(3));
        assert_eq!((damage.figures(), damage.changes()), ((0, 0), changes + 3));
        assert!(damage.needle(NeedleId(3), at(SEGMENT, 4096)), "it is news again");
    }
}
