//! What is known to be damaged: stretches of segments, and needles that cannot be read.
//!
//! Owns the list and its bounds. Finding damage is recovery's, the reads' and scrub's, mending it is the cluster's, which is
//! told of it by [`placements`], and that the list outlives the process is [`kept`]'s. Invariant: what is told twice counts once, also in parts or with what
//! is around it; when more is damaged than the list holds, the figures say "at least", and all is to be compared. What was
//! made up for (`made_up`) comes back neither when it is found again nor with a restart; what is damaged beside it is
//! damage as ever.

pub(crate) mod kept;
mod placements;
mod stretches;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use hayrick_disk::{FileId, Location};
use hayrick_metrics as metrics;
use hayrick_protocol::ids::NeedleId;
use parking_lot::Mutex;

use crate::damage::placements::Placements;
use crate::damage::stretches::Stretches;

/// Stretches, as many that were made up for, and as many needles, that are remembered.
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
    placements: Mutex<Placements>,
}

#[derive(Debug, Default)]
struct Known {
    /// Those that have to be kept.
    stretches: Stretches,
    /// Those that nobody needs any more. They count as damage no more, and go with their segments.
    made_up: Stretches,
    /// Where the copy lies that cannot be read.
    needles: BTreeMap<NeedleId, Location>,
    /// How often any of this changed.
    changes: u64,
    /// From a number at random on, one more whenever more is damaged: what was made up for is told by it.
    mark: u64,
    /// Of something, nobody compared whether it is here.
    is_uncompared: bool,
}

/// The whole list, as it was at one time.
#[derive(Debug)]
struct Snapshot {
    changes: u64,
    mark: u64,
    stretches: Vec<Stretch>,
    made_up: Vec<Stretch>,
    needles: Vec<(NeedleId, Location)>,
}

impl Damage {
    /// None is known yet, and nothing compared. The number is one at random, so that no other process gives the same marks.
    pub(crate) fn new(mark: u64) -> Self {
        let known = Known { mark, is_uncompared: true, ..Known::default() };
        Self { known: Mutex::new(known), ..Self::default() }
    }

    /// A stretch is damaged. Whether that is news; what was made up for is none.
    pub(crate) fn stretch(&self, segment: FileId, range: Range<u64>) -> bool {
        let mut known = self.known.lock();
        let before = known.stretches.bytes();
        for part in known.made_up.beside(segment, &range) {
            if !known.stretches.add(segment, part) {
                known.compare();
            }
        }
        let is_news = known.stretches.bytes() > before;
        known.changes += 1;
        known.is_more(is_news);
        is_news
    }

    /// A stretch was made up for before this start.
    fn was_made_up(&self, segment: FileId, range: Range<u64>) {
        let mut known = self.known.lock();
        known.stretches.cut(segment, &range);
        known.made_up.add(segment, range);
        known.changes += 1;
    }

    /// All in this range verifies: stretches that lie in it are no longer damaged. Whether there were any.
    pub(crate) fn verified(&self, segment: FileId, range: &Range<u64>) -> bool {
        if range.is_empty() {
            return false;
        }
        let mut known = self.known.lock();
        let is_mended = known.stretches.take_in(segment, range) | known.made_up.take_in(segment, range);
        known.changes += u64::from(is_mended);
        is_mended
    }

    /// A segment is gone: what lived in it was read well, and lies elsewhere.
    pub(crate) fn let_go(&self, segment: FileId) {
        let mut known = self.known.lock();
        let had_some = known.stretches.let_go(segment) | known.made_up.let_go(segment);
        known.changes += u64::from(had_some);
        let needles = known.needles.iter().filter(|(_, at)| at.file == segment);
        let needles: Vec<_> = needles.map(|(id, _)| *id).collect();
        needles.into_iter().for_each(|id| self.remove(&mut known, id));
    }

    /// What cannot be read of a segment, so far as is known, made up for or not.
    pub(crate) fn stretches_in(&self, segment: FileId) -> Vec<Range<u64>> {
        let known = self.known.lock();
        let both = known.stretches.of(segment).chain(known.made_up.of(segment));
        let mut all = Stretches::default();
        both.for_each(|range| _ = all.add(segment, range));
        all.of(segment).collect()
    }

    /// Whether any stretch cannot be read, made up for or not.
    pub(crate) fn has_stretches(&self) -> bool {
        let known = self.known.lock();
        known.stretches.len() + known.made_up.len() > 0
    }

    /// Whether more stretches may be damaged than are remembered.
    pub(crate) fn is_full(&self) -> bool {
        self.known.lock().stretches.is_full()
    }

    /// Whether any stretch of this segment has to be kept.
    pub(crate) fn has_stretches_in(&self, segment: FileId) -> bool {
        self.known.lock().stretches.of(segment).next().is_some()
    }

    /// Whether some of a segment was made up for, and all else in it is well, so that it had better go.
    pub(crate) fn is_to_go(&self, segment: FileId) -> bool {
        let known = self.known.lock();
        known.made_up.of(segment).next().is_some()
            && known.stretches.of(segment).next().is_none()
            && known.needles.values().all(|at| at.file != segment)
    }

    /// Whether all of a range was made up for.
    pub(crate) fn is_made_up(&self, segment: FileId, range: &Range<u64>) -> bool {
        self.known.lock().made_up.beside(segment, range).is_empty()
    }

    /// The needles that are damaged, if nothing more is than when this mark was given.
    pub(crate) fn at_mark(&self, mark: u64) -> Option<Vec<(NeedleId, Location)>> {
        let known = self.known.lock();
        (known.mark == mark).then(|| known.needles.iter().map(|(id, at)| (*id, *at)).collect())
    }

    /// All that is damaged is made up for, unless more is than when this mark was given. Whether it is.
    pub(crate) fn make_up(&self, mark: u64) -> bool {
        let mut known = self.known.lock();
        if known.mark != mark {
            return false;
        }
        for Stretch { segment, range } in std::mem::take(&mut known.stretches).all() {
            // One that does not fit is found again some day.
            known.made_up.add(segment, range);
        }
        known.is_uncompared = false;
        known.changes += 1;
        true
    }

    /// It is to be compared whether all is here that must be, from now on.
    pub(crate) fn compare(&self) {
        self.known.lock().compare();
    }

    /// The same, as of some damage that is listed it is not known which needles it hit.
    pub(crate) fn is_unsure(&self) {
        self.known.lock().is_uncompared = true;
    }

    /// Whether nobody compared since.
    pub(crate) fn is_uncompared(&self) -> bool {
        self.known.lock().is_uncompared
    }

    /// The copy of a needle that lies here is damaged. Whether that is news.
    pub(crate) fn needle(&self, id: NeedleId, at: Location) -> bool {
        let mut known = self.known.lock();
        if known.needles.len() >= REMEMBERED_MAX && !known.needles.contains_key(&id) {
            known.compare();
            return false;
        }
        let is_news = known.needles.insert(id, at) != Some(at);
        metrics::NEEDLES_DAMAGED.add(u64::from(is_news));
        known.changes += u64::from(is_news);
        known.is_more(is_news);
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

    /// Whether the copy of a needle that lies here is known to be damaged.
    pub(crate) fn is_bad(&self, id: NeedleId, at: Location) -> bool {
        self.has_needles.load(Ordering::Relaxed) && self.known.lock().needles.get(&id) == Some(&at)
    }

    /// How many stretches and needles, and the bytes of the stretches.
    pub(crate) fn figures(&self) -> (u64, u64) {
        let known = self.known.lock();
        ((known.stretches.len() + known.needles.len()) as u64, known.stretches.bytes())
    }

    /// The first stretches.
    pub(crate) fn stretches(&self, at_most: usize) -> Vec<Stretch> {
        self.known.lock().stretches.all().take(at_most).collect()
    }

    /// The first needles.
    pub(crate) fn needles(&self, at_most: usize) -> Vec<NeedleId> {
        self.known.lock().needles.keys().take(at_most).copied().collect()
    }

    fn snapshot(&self) -> Snapshot {
        let known = self.known.lock();
        let needles = known.needles.iter().map(|(id, at)| (*id, *at)).collect();
        let (stretches, made_up) = (known.stretches.all().collect(), known.made_up.all().collect());
        Snapshot { changes: known.changes, mark: known.mark, stretches, made_up, needles }
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
    /// More is damaged, if so.
    fn is_more(&mut self, is_more: bool) {
        self.mark = self.mark.wrapping_add(u64::from(is_more));
    }

    fn compare(&mut self) {
        self.is_uncompared = true;
        self.is_more(true);
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

    #[test]
    fn a_segment_without_a_byte_is_damaged_until_it_is_made_up_for() {
        let damage = Damage::default();
        damage.stretch(SEGMENT, 0..0);
        assert_eq!((damage.figures(), damage.has_stretches()), ((1, 0), true));
        assert!(damage.make_up(damage.snapshot().mark));
        damage.stretch(SEGMENT, 0..0);
        assert_eq!((damage.figures(), damage.has_stretches()), ((0, 0), true));
    }

    #[test]
    fn what_does_not_fit_the_list_is_to_be_compared_and_follows_every_mark() {
        let damage = Damage::default();
        const AT: Location = Location { file: SEGMENT, offset: 4096, len: 40 };
        for number in 0..REMEMBERED_MAX as u64 {
            damage.stretch(SEGMENT, 16 * number..16 * number + 8);
            damage.needle(NeedleId(number + 1), AT);
        }
        assert!(!damage.is_uncompared());
        let tells: [fn(&Damage) -> bool; 2] =
            [|damage| damage.stretch(FileId(4), 0..8), |damage| damage.needle(NeedleId(1 << 40), AT)];
        for tell in tells {
            let mark = damage.snapshot().mark;
            assert!(!tell(&damage));
            assert!(damage.is_uncompared() && !damage.make_up(mark) && damage.at_mark(mark).is_none());
            damage.known.lock().is_uncompared = false;
        }
        let mark = damage.snapshot().mark;
        damage.forget(NeedleId(1));
        assert!(damage.make_up(mark), "nothing more is damaged");
        assert!(!damage.is_full() && !damage.stretch(SEGMENT, 0..8));
    }
}
