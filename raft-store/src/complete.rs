//! Whether a volume holds all that a placement's members must hold: its list against the index, in one view.
//!
//! Apply keeps, of each placement, count, bytes and an order-free digest of its live needles and of its garbage that is not
//! doomed. What a volume lists is looked up by its key, or among the garbage; of what is found, the same figures are
//! made, and must be equal. So no index by placement is needed, and a needle that nobody names any more does no harm. What is
//! known to be missing need not be found; where it is, that is told.
//!
//! Which needles lack is not known by that, only how many. To learn it, all records are looked through for those of these
//! placements that were not listed: long work, which is done only for what nobody has.
//!
//! Owns the comparison and that search. Who lists, and when, is the caller's: of a closed placement the list may be older or newer than the
//! view, as nothing comes to it any more; of one that takes writes the view has to be taken before the list is begun.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use hayrick_protocol::command::{Named, Row};
use hayrick_protocol::limits::NAMED_BATCH_MAX;
use hayrick_protocol::messages::volume::Listed;
use hayrick_protocol::record::{Garbage, ObjectRecord};
use hayrick_protocol::{AppliedVersion, NeedleId, ObjectKey, PlacementId};

use crate::errors::ReadError;
use crate::status::Copies;
use crate::store::StoreError;
use crate::view::View;

/// Garbage rows that are read at once.
const GARBAGE_AT_ONCE: usize = 8192;
/// Needles that were thought to be missing and are told as listed, of one comparison.
pub const TURNED_UP_MAX: usize = 4096;
/// Records that are looked through at once for needles that nobody listed.
const RECORDS_AT_ONCE: usize = 65_536;

/// What some placements must hold, frozen, and what was found of it so far. All of it reads the index: not for async
/// threads.
pub struct Completeness {
    view: Arc<View>,
    /// Needles of garbage that is neither doomed nor missing, and their sizes.
    garbage: HashMap<NeedleId, (PlacementId, u32)>,
    found: BTreeMap<PlacementId, Copies>,
    /// A list may show a needle twice.
    seen: HashSet<NeedleId>,
    /// What was thought to be missing, and was listed.
    turned_up: Vec<(PlacementId, Named)>,
}

/// How far the search for what nobody listed has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchedTo {
    /// Objects are next, from this key on.
    Objects(String),
    /// Garbage above this version is next.
    Garbage(AppliedVersion),
}

impl Default for SearchedTo {
    fn default() -> Self {
        Self::Objects(String::new())
    }
}

impl Completeness {
    pub(crate) fn new(view: Arc<View>, placements: &[PlacementId]) -> Result<Self, StoreError> {
        let found: BTreeMap<_, _> = placements.iter().map(|id| (*id, Copies::default())).collect();
        let mut all =
            Self { view, garbage: HashMap::new(), found, seen: HashSet::new(), turned_up: Vec::new() };
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
            for (_, row) in rows.iter().filter(|(_, row)| must_be_held(row)) {
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
            if live.as_ref().is_some_and(|record| record.missing) {
                if self.turned_up.len() < TURNED_UP_MAX && self.seen.insert(*needle) {
                    let named = Named { needle: *needle, by: Row::Object(key.clone()) };
                    self.turned_up.push((*placement, named));
                }
                continue;
            }
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

    /// Objects that were thought to be missing, and that the volume lists: [`TURNED_UP_MAX`] of them at most. Whether it can
    /// read them is another question.
    pub fn turned_up(&self) -> &[(PlacementId, Named)] {
        &self.turned_up
    }

    /// What of these placements must be held and was not listed: a part of it, and where the next begins, if there is any.
    /// The list has to be finished.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn unlisted(
        &self,
        of: &BTreeSet<PlacementId>,
        from: SearchedTo,
    ) -> Result<(Vec<Named>, Option<SearchedTo>), ReadError> {
        let (mut unlisted, mut looked_at, mut next) = (Vec::new(), 0, None);
        let is_unlisted = |record: &ObjectRecord| {
            !record.missing && of.contains(&record.placement) && !self.seen.contains(&record.needle)
        };
        match from {
            SearchedTo::Objects(start) => {
                next = Some(SearchedTo::Garbage(AppliedVersion::default()));
                self.view.rows.objects(start.as_bytes(), |key, record| {
                    if looked_at >= RECORDS_AT_ONCE || unlisted.len() >= NAMED_BATCH_MAX {
                        next = Some(SearchedTo::Objects(key.as_str().to_owned()));
                        return false;
                    }
                    looked_at += 1;
                    if is_unlisted(&record) {
                        unlisted.push(Named { needle: record.needle, by: Row::Object(key) });
                    }
                    true
                })?;
            }
            SearchedTo::Garbage(after) => {
                for (version, row) in self.view.rows.garbage(after, NAMED_BATCH_MAX)? {
                    next = Some(SearchedTo::Garbage(version));
                    if must_be_held(&row) && is_unlisted(&row.record) {
                        unlisted.push(Named { needle: row.record.needle, by: Row::Garbage(version) });
                    }
                }
            }
        }
        Ok((unlisted, next))
    }

    /// What was found of each placement, and what it must hold.
    pub fn outcome(&self) -> impl Iterator<Item = (PlacementId, Compared)> + '_ {
        self.found.iter().map(|(id, found)| {
            let must = self.view.state.copies.get(id).copied().unwrap_or_default();
            (*id, Compared { must, found: *found })
        })
    }
}

impl View {
    /// Objects from this key on that nobody has, of so many records as are looked through at once; and where the next begin.
    /// Reads the index: not for async threads.
    pub(crate) fn missing(&self, start: &str) -> Result<(Vec<ObjectKey>, Option<String>), StoreError> {
        let (mut missing, mut looked_at, mut next) = (Vec::new(), 0, None);
        self.rows.objects(start.as_bytes(), |key, record| {
            if looked_at >= RECORDS_AT_ONCE || missing.len() >= NAMED_BATCH_MAX {
                next = Some(key.as_str().to_owned());
                return false;
            }
            looked_at += 1;
            if record.missing {
                missing.push(key);
            }
            true
        })?;
        Ok((missing, next))
    }
}

/// Whether what is garbage may come back, and somebody has it.
pub(crate) fn must_be_held(row: &Garbage) -> bool {
    !row.doomed && !row.record.missing
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
        (self.must.live, self.must.garbage) == (self.found.live, self.found.garbage)
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
    use hayrick_protocol::command::{Command, Delete, Examined, Precondition, Session};
    use hayrick_protocol::{EpochId, Generation, Seq};

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

    /// All that is not listed, in whatever steps it is found.
    async fn unlisted(machine: &Machine, page: &[Listed], of: &[u32]) -> Vec<Named> {
        let placements: Vec<_> = (1..=4).map(PlacementId).collect();
        let mut all =
            Completeness::new(machine.view().await.expect("a view"), &placements).expect("readable");
        all.add(page).expect("readable");
        let of = of.iter().copied().map(PlacementId).collect();
        let (mut found, mut from) = (Vec::new(), Some(SearchedTo::default()));
        while let Some(at) = from {
            let (some, next) = all.unlisted(&of, at).expect("readable");
            found.extend(some);
            from = next;
        }
        found
    }

    fn object(seq: u32, key: &str) -> Named {
        let by = Row::Object(ObjectKey::new(key).expect("a key"));
        Named { needle: NeedleId::new(EpochId(1), Seq(seq)), by }
    }

    #[tokio::test]
    async fn what_nobody_listed_is_found_among_objects_and_garbage_and_once_missing_it_lacks_no_more() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        let commits = [commit(1, "a"), commit(2, "b"), commit(3, "c"), commit(4, "a"), delete(5, "b")];
        feed(&mut machine, &[entry(0, &prelude()), entry(1, &commits)]).await;
        let held = [listed(4, "a"), listed(2, "b")];
        let overwritten =
            Named { needle: NeedleId::new(EpochId(1), Seq(1)), by: Row::Garbage(AppliedVersion(4)) };
        let lost = [object(3, "c"), overwritten];
        assert_eq!(unlisted(&machine, &held, &[1, 2, 3, 4]).await, lost);
        let of_c = listed(3, "c").placement.0;
        assert_eq!(unlisted(&machine, &held, &[of_c]).await[..1], lost[..1]);
        assert_eq!(unlisted(&machine, &held, &[]).await, [], "of no placement");

        assert_eq!(lacks(&machine, &[&held]).await, 2);
        feed(&mut machine, &[entry(2, &[Command::Missing(lost.to_vec())])]).await;
        assert_eq!(lacks(&machine, &[&held]).await, 0, "the rest is complete");
        assert_eq!(unlisted(&machine, &held, &[1, 2, 3, 4]).await, []);
        let missing = machine.view().await.expect("a view").missing("").expect("readable");
        assert_eq!(missing, (vec![ObjectKey::new("c").expect("a key")], None));
        let view = machine.view().await.expect("a view");
        let mut all = Completeness::new(view, &[PlacementId(of_c)]).expect("readable");
        all.add(&[listed(3, "c"), listed(3, "c"), listed(9, "c")]).expect("readable");
        assert_eq!(all.turned_up(), [(PlacementId(of_c), object(3, "c"))], "it is there after all");

        let placement = Examined { placement: PlacementId(of_c), generation: Generation(1) };
        let found = Command::Found { placement, needles: vec![object(3, "c")] };
        feed(&mut machine, &[entry(3, &[found])]).await;
        assert_eq!(lacks(&machine, &[&held]).await, 1, "and must be held again");
    }

    #[tokio::test]
    async fn however_many_needles_nobody_listed_each_is_found_once() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        let count = 3 * NAMED_BATCH_MAX as u32;
        let commits: Vec<_> = (1..=count).map(|seq| commit(seq, &format!("{seq:04}"))).collect();
        let deletes: Vec<_> = (1..=count / 2).map(|n| delete(count + n, &format!("{n:04}"))).collect();
        feed(&mut machine, &[entry(0, &prelude()), entry(1, &commits), entry(2, &deletes)]).await;
        let found = unlisted(&machine, &[], &[1, 2, 3, 4]).await;
        let needles: BTreeSet<_> = found.iter().map(|named| named.needle).collect();
        assert_eq!((found.len(), needles.len()), (count as usize, count as usize));
    }
}
