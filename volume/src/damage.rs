//! What is known to be damaged: stretches of segments, and needles that a read found wrong.
//!
//! Owns the list and its bounds. Finding damage is recovery's and the reads', mending it is the cluster's. Invariant:
//! what is told twice counts once; when more is damaged than the list holds, the figures say "at least".

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
        let place = (segment, range.start);
        if known.stretches.contains_key(&place) || known.stretches.len() >= REMEMBERED_MAX {
            return false;
        }
        known.stretches.insert(place, range.end);
        known.bytes += range.end - range.start;
        true
    }

    /// Whether any stretch is damaged.
    pub(crate) fn has_stretches(&self) -> bool {
        !self.0.lock().stretches.is_empty()
    }

    /// Whether any stretch of this segment is damaged.
    pub(crate) fn has_stretches_in(&self, segment: FileId) -> bool {
        let known = self.0.lock();
        known.stretches.range((segment, 0)..=(segment, u64::MAX)).next().is_some()
    }

    /// A needle is damaged. Whether that is news.
    pub(crate) fn needle(&self, id: NeedleId) -> bool {
        let mut known = self.0.lock();
        known.needles.len() < REMEMBERED_MAX && known.needles.insert(id)
    }

    /// A needle was dropped, or a good copy of it was appended.
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
