//! Whether a volume holds all that a placement's members must hold: its list against the index, in one view.
//!
//! Apply keeps, of each placement, count, bytes and an order-free digest of its live needles and of its garbage that is not
//! doomed. What a volume lists is looked up by its key, or among the garbage; of what is found, the same figures are
//! made, and must be equal. So no index by placement is needed, and a needle that nobody names any more does no harm.
//!
//! Owns the comparison. Who lists, and when, is the caller's: of a closed placement the list may be older or newer than the
//! view, as nothing comes to it any more; of one that takes writes the view has to be taken before the list is begun.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use hayrick_protocol::messages::volume::Listed;
use hayrick_protocol::{AppliedVersion, NeedleId, PlacementId};

use crate::errors::ReadError;
use crate::status::Copies;
use crate::store::StoreError;
use crate::view::View;

/// Garbage rows that are read at once.
const GARBAGE_AT_ONCE: usize = 8192;

/// What some placements must hold, frozen, and what was found of it so far. All of it reads the index: not for async
/// threads.
pub struct Completeness {
    view: Arc<View>,
    /// Needles of garbage that is not doomed, and their sizes.
    garbage: HashMap<NeedleId, (PlacementId, u32)>,
    found: BTreeMap<PlacementId, Copies>,
    /// A list may show a needle twice.
    seen: HashSet<NeedleId>,
}

impl Completeness {
    pub(crate) fn new(view: Arc<View>, placements: &[PlacementId]) -> Result<Self, StoreError> {
        let found: BTreeMap<_, _> = placements.iter().map(|id| (*id, Copies::default())).collect();
        let mut all = Self { view, garbage: HashMap::new(), found, seen: HashSet::new() };
        all.read_garbage()?;
        Ok(all)
    }

    fn read_garbage(&mut self) -> Result<(), StoreError> {
        let copies = &self.view.state.copies;
        let has_garbage = |id| copies.get(id).is_some_and(|copies| copies.garbage.count > 0);
        if !self.found.keys().any(has_garbage) {
            return Ok(());
        }
        let mut after = AppliedVersion::default();
        loop {
            let rows = self.view.rows.garbage(after, GARBAGE_AT_ONCE)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = *last;
            for (_, row) in rows.iter().filter(|(_, row)| !row.doomed) {
                let record = &row.record;
                if self.found.contains_key(&record.placement) {
                    self.garbage.insert(record.needle, (record.placement, record.size));
                }
            }
        }
    }

    /// The volume holds these, too.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn add(&mut self, listed: &[Listed]) -> Result<(), ReadError> {
        for Listed { placement, needle, key, .. } in listed {
            let Some(found) = self.found.get_mut(placement) else { continue };
            let record = self.view.rows.object(key)?;
            let live = record.filter(|record| record.needle == *needle && record.placement == *placement);
            let garbage = self.garbage.get(needle).filter(|(of, _)| of == placement);
            if live.is_none() && garbage.is_none() || !self.seen.insert(*needle) {
                continue;
            }
            match (live, garbage) {
                (Some(record), _) => found.live.add(*needle, record.size),
                (None, Some((_, size))) => found.garbage.add(*needle, *size),
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// What was found of each placement, and what it must hold.
    pub fn outcome(&self) -> impl Iterator<Item = (PlacementId, Compared)> + '_ {
        self.found.iter().map(|(id, found)| {
            let must = self.view.state.copies.get(id).copied().unwrap_or_default();
            (*id, Compared { must, found: *found })
        })
    }
}

/// What a placement must hold, and what of that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// What records and garbage name.
    pub must: Copies,
    /// What of that the volume listed.
    pub found: Copies,
}

impl Compared {
    /// Whether all of it was found.
    pub fn is_complete(&self) -> bool {
        self.must == self.found
    }

    /// Needles that were not.
    pub fn lacks(&self) -> u64 {
        let count = |copies: &Copies| copies.live.count + copies.garbage.count;
        count(&self.must).saturating_sub(count(&self.found))
    }
}

#[cfg(test)]
mod tests {
    use hayrick_disk::FaultyDisk;
    use hayrick_protocol::command::{Command, Delete, Precondition, Session};
    use hayrick_protocol::{EpochId, ObjectKey, Seq};

    use super::*;
    use crate::machine::Machine;
    use crate::machine_tests::{commit, entry, feed, open, prelude};

    fn listed(seq: u32, key: &str) -> Listed {
        let key = ObjectKey::new(key).expect("a key");
        let placement = PlacementId(u32::from(key.partition(4).0) + 1);
        let needle = NeedleId::new(EpochId(1), Seq(seq));
        Listed { segment: 1, placement, needle, bytes: 64, key }
    }

    fn delete(seq: u32, key: &str) -> Command {
        let session = Session { epoch: EpochId(1), seq: Seq(seq), resolved_below: Seq(seq) };
        let key = ObjectKey::new(key).expect("a key");
        Command::Delete(Delete { session, key, precondition: Precondition::None })
    }

    async fn lacks(machine: &Machine, pages: &[&[Listed]]) -> u64 {
        let placements: Vec<_> = (1..=4).map(PlacementId).collect();
        let view = machine.view().await.expect("a view");
        let mut all = Completeness::new(view, &placements).expect("readable");
        pages.iter().for_each(|page| all.add(page).expect("readable"));
        let complete = all.outcome().all(|(_, compared)| compared.is_complete());
        let lacks = all.outcome().map(|(_, compared)| compared.lacks()).sum();
        assert_eq!(complete, lacks == 0);
        lacks
    }

    #[tokio::test]
    async fn whoever_lists_all_that_lives_and_all_garbage_that_may_come_back_is_complete() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        let commits = [commit(1, "a"), commit(2, "b"), commit(3, "c"), commit(4, "a"), delete(5, "b")];
        feed(&mut machine, &[entry(0, &prelude()), entry(1, &commits)]).await;
        // Needle 1 was overwritten and needle 2 deleted: both may come back yet.
        let (live, garbage) = ([listed(3, "c"), listed(4, "a")], [listed(1, "a"), listed(2, "b")]);
        assert_eq!(lacks(&machine, &[&live, &garbage]).await, 0);
        assert_eq!(
            lacks(&machine, &[&live, &live, &garbage, &live]).await,
            0,
            "what is listed twice counts once"
        );
        assert_eq!(lacks(&machine, &[]).await, 4);
        assert_eq!(lacks(&machine, &[&live]).await, 2);
        assert_eq!(lacks(&machine, &[&garbage, &live[..1]]).await, 1);
        let nobodys = [listed(9, "a"), listed(8, "never")];
        assert_eq!(lacks(&machine, &[&live, &nobodys]).await, 2, "what nobody names makes up for nothing");
        let elsewhere = live
            .each_ref()
            .map(|one| Listed { placement: PlacementId(one.placement.0 % 4 + 1), ..one.clone() });
        assert_eq!(lacks(&machine, &[&elsewhere, &garbage]).await, 2, "nor a needle of another placement");

        let doom = Command::Doom(vec![AppliedVersion(4), AppliedVersion(5)]);
        feed(&mut machine, &[entry(2, &[doom])]).await;
        assert_eq!(lacks(&machine, &[&live]).await, 0, "what is doomed need not be held");
        assert_eq!(lacks(&machine, &[&live, &garbage]).await, 0, "and may be");
    }
}
