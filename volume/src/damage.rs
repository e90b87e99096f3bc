//! What is known to be damaged: stretches of segments, and needles that cannot be read.
//!
//! Owns the list and its bounds. Finding damage is recovery's, the reads' and scrub's, mending it is the cluster's.
//! Invariant: what is told twice counts once, also in parts or with what is around it; when more is damaged than the list
//! holds, the figures say "at least".

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hayrick_disk::FileId;
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
pub(crate) struct Damage(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By segment and first byte: where it ends.
    stretches: BTreeMap<(FileId, u64), u64>,
    bytes: u64,
    needles: BTreeSet<NeedleId>,
}

impl Damage {
    /// A stretch is damaged. Whether that is news.
    pub(crate) fn stretch(&self, segment: FileId, range: Range<u64>) -> bool {
        let mut known = self.0.lock();
        let before = known.bytes;
        // Becomes one with those that it overlaps or touches.
        let touched: Vec<_> =
            known.of(segment).filter(|one| one.start <= range.end && range.start <= one.end).collect();
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
        known.bytes > before
    }

    /// All in this range verifies: stretches that lie in it are no longer damaged. Whether there were any.
    pub(crate) fn verified(&self, segment: FileId, range: &Range<u64>) -> bool {
        let mut known = self.0.lock();
        let whole: Vec<_> =
            known.of(segment).filter(|one| range.start <= one.start && one.end <= range.end).collect();
        whole.iter().for_each(|one| known.take(segment, one));
        !whole.is_empty()
    }

    /// A segment is gone.
    pub(crate) fn let_go(&self, segment: FileId) {
        let mut known = self.0.lock();
        let gone: Vec<_> = known.of(segment).collect();
        gone.iter().for_each(|one| known.take(segment, one));
    }

    /// The damaged stretches of a segment.
    pub(crate) fn stretches_in(&self, segment: FileId) -> Vec<Range<u64>> {
        self.0.lock().of(segment).collect()
    }

    /// Whether any stretch is damaged.
    pub(crate) fn has_stretches(&self) -> bool {
        !self.0.lock().stretches.is_empty()
    }

    /// Whether more stretches may be damaged than are remembered.
    pub(crate) fn is_full(&self) -> bool {
        self.0.lock().stretches.len() >= REMEMBERED_MAX
    }

    /// Whether any stretch of this segment is damaged.
    pub(crate) fn has_stretches_in(&self, segment: FileId) -> bool {
        self.0.lock().of(segment).next().is_some()
    }

    /// A needle is damaged. Whether that is news.
    pub(crate) fn needle(&self, id: NeedleId) -> bool {
        let mut known = self.0.lock();
        known.needles.len() < REMEMBERED_MAX && known.needles.insert(id)
    }

    /// Whether a needle is known to be damaged.
    pub(crate) fn is_bad(&self, id: NeedleId) -> bool {
        self.0.lock().needles.contains(&id)
    }

    /// A needle was dropped, or a good copy of it was appended, or it was read well.
    pub(crate) fn forget(&self, id: NeedleId) {
        let mut known = self.0.lock();
        if !known.needles.is_empty() {
            known.needles.remove(&id);
        }
    }

    /// How many stretches and needles, and the bytes of the stretches.
    pub(crate) fn figures(&self) -> (u64, u64) {
        let known = self.0.lock();
        ((known.stretches.len() + known.needles.len()) as u64, known.bytes)
    }

    /// The first stretches.
    pub(crate) fn stretches(&self, at_most: usize) -> Vec<Stretch> {
        let known = self.0.lock();
        let stretch = |(&(segment, from), &to): (&(FileId, u64), &u64)| Stretch { segment, range: from..to };
        known.stretches.iter().take(at_most).map(stretch).collect()
    }

    /// The first needles.
    pub(crate) fn needles(&self, at_most: usize) -> Vec<NeedleId> {
        self.0.lock().needles.iter().take(at_most).copied().collect()
    }
}

impl Known {
    fn of(&self, segment: FileId) -> impl Iterator<Item = Range<u64>> {
        let stretches = self.stretches.range((segment, 0)..=(segment, u64::MAX));
        stretches.map(|((_, from), to)| *from..*to)
    }

    fn take(&mut self, segment: FileId, stretch: &Range<u64>) {
        if self.stretches.remove(&(segment, stretch.start)).is_some() {
            self.bytes -= stretch.end - stretch.start;
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
}
