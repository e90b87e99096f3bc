//! What each needle that volumes hold is, by the index: for who checks volumes against it.
//!
//! Owns the classes, which are told from one view: of some placements, what all volumes list of them is looked up in the same
//! state, taken before the first of them lists. Owns no verdict: what is dead and may go is told in [`crate::dead`], which has
//! to be sure; this is for people to look at. Invariant: every needle is in just one class, and is counted once however often
//! it is listed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use hayrick_protocol::messages::volume::Listed;
use hayrick_protocol::needle::Header;
use hayrick_protocol::{AppliedVersion, NeedleId, PlacementId, VolumeId};

use crate::cluster::Cluster;
use crate::complete::{Compared, must_be_held};
use crate::dead::is_fenced;
use crate::errors::ReadError;
use crate::status::Copies;
use crate::store::StoreError;
use crate::view::View;

/// Garbage rows that are read at once.
const GARBAGE_AT_ONCE: usize = 8192;

/// What a needle on a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A record names it, and the volume is a member of its placement.
    Live,
    /// A record or garbage names it, and the volume is about to become a member.
    Moving,
    /// An overwrite or delete made it dead; it is reaped in time.
    Garbage,
    /// It is named, and the volume has nothing to do with its placement any more.
    LeftOver,
    /// Nothing names it, and nothing ever will.
    Orphan,
    /// Nothing names it, and its gateway may commit it yet.
    Unaccounted,
}

/// What was found of one needle in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identified {
    /// What it is.
    pub class: Class,
    /// The checksum that it must have, where a record or garbage names it.
    pub crc: Option<u32>,
    /// Whether it is as long as the index has it; true of one that nothing names.
    pub fits: bool,
}

/// Some placements in one view. All of it reads the index: not for async threads.
pub struct Audit {
    view: Arc<View>,
    placements: Vec<PlacementId>,
    garbage: HashMap<NeedleId, Row>,
}

/// What a row of the index says of a needle.
#[derive(Clone, Copy)]
struct Row {
    placement: PlacementId,
    size: u32,
    crc: u32,
    /// Whether it counts among what a placement must hold.
    counts: bool,
}

impl Audit {
    pub(crate) fn new(view: Arc<View>, placements: Vec<PlacementId>) -> Result<Self, StoreError> {
        let mut all = Self { view, placements, garbage: HashMap::new() };
        all.read_garbage()?;
        Ok(all)
    }

    fn read_garbage(&mut self) -> Result<(), StoreError> {
        let wanted: HashSet<PlacementId> = self.placements.iter().copied().collect();
        let mut after = AppliedVersion::default();
        loop {
            let rows = self.view.rows.garbage(after, GARBAGE_AT_ONCE)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = *last;
            for (_, row) in rows.iter().filter(|(_, row)| wanted.contains(&row.record.placement)) {
                let record = &row.record;
                let (placement, size, crc) = (record.placement, record.size, record.crc);
                self.garbage.insert(record.needle, Row { placement, size, crc, counts: must_be_held(row) });
            }
        }
    }

    /// The placements, ascending.
    pub fn placements(&self) -> &[PlacementId] {
        &self.placements
    }

    /// The cluster as it was then.
    pub fn cluster(&self) -> &Cluster {
        &self.view.state.cluster
    }

    /// What the members of a placement must hold.
    pub fn must_hold(&self, placement: PlacementId) -> Copies {
        self.view.state.copies.get(&placement).copied().unwrap_or_default()
    }

    /// What a volume holds of them: nothing yet.
    pub fn of(self: &Arc<Self>, volume: VolumeId) -> Holding {
        Holding {
            audit: Arc::clone(self),
            volume,
            found: BTreeMap::new(),
            seen: HashSet::new(),
            sums: BTreeMap::new(),
        }
    }
}

/// What one volume was seen to hold.
pub struct Holding {
    audit: Arc<Audit>,
    volume: VolumeId,
    found: BTreeMap<PlacementId, Copies>,
    /// A list may show a needle twice.
    seen: HashSet<NeedleId>,
    sums: BTreeMap<Class, (u64, u64)>,
}

impl Holding {
    /// The volume holds these, too: what each of them is. Of other placements than the audit's nothing is said.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn add(&mut self, listed: &[Listed]) -> Result<Vec<Identified>, ReadError> {
        listed.iter().map(|one| self.add_one(one)).collect()
    }

    fn add_one(&mut self, one: &Listed) -> Result<Identified, ReadError> {
        let (view, garbage) = (&self.audit.view, &self.audit.garbage);
        let record = view.rows.object(&one.key)?;
        let record = record.filter(|record| record.needle == one.needle && record.placement == one.placement);
        let live = record.map(|record| Row {
            placement: record.placement,
            size: record.size,
            crc: record.crc,
            counts: !record.missing,
        });
        let dead = garbage.get(&one.needle).filter(|row| row.placement == one.placement).copied();
        let class = self.class(one, live.is_some(), dead.is_some());
        let named = live.or(dead);
        if self.seen.insert(one.needle) {
            let sum = self.sums.entry(class).or_default();
            (sum.0, sum.1) = (sum.0 + 1, sum.1 + u64::from(one.bytes));
            if let Some(row) = named.filter(|row| row.counts) {
                let found = self.found.entry(row.placement).or_default();
                let set = if live.is_some() { &mut found.live } else { &mut found.garbage };
                set.add(one.needle, row.size);
            }
        }
        let fits = named.is_none_or(|row| is_as_long(one, row.size));
        Ok(Identified { class, crc: named.map(|row| row.crc), fits })
    }

    fn class(&self, one: &Listed, is_live: bool, is_garbage: bool) -> Class {
        let table = &self.audit.cluster().table;
        let is_member = table.placement(one.placement).is_some_and(|row| row.members.contains(&self.volume));
        let is_newcomer = table.moves.get(&one.placement).is_some_and(|begun| begun.newcomer == self.volume);
        match (is_live || is_garbage, is_member, is_newcomer) {
            (true, true, _) if is_live => Class::Live,
            (true, true, _) => Class::Garbage,
            (true, false, true) => Class::Moving,
            (true, false, false) => Class::LeftOver,
            (false, ..) if is_fenced(&self.audit.view, one.needle) => Class::Orphan,
            (false, ..) => Class::Unaccounted,
        }
    }

    /// Whose it is.
    pub fn volume(&self) -> VolumeId {
        self.volume
    }

    /// Needles of each class, and the bytes that they take on the volume.
    pub fn sums(&self) -> impl Iterator<Item = (Class, u64, u64)> + '_ {
        self.sums.iter().map(|(class, (needles, bytes))| (*class, *needles, *bytes))
    }

    /// Whether the volume listed this needle.
    pub fn has(&self, needle: NeedleId) -> bool {
        self.seen.contains(&needle)
    }

    /// Of each placement that the volume is a member of, what it must hold and what of that it listed.
    pub fn outcome(&self) -> impl Iterator<Item = (PlacementId, Compared)> + '_ {
        let table = &self.audit.cluster().table;
        let is_member =
            |id: &&PlacementId| table.placement(**id).is_some_and(|row| row.members.contains(&self.volume));
        self.audit.placements.iter().filter(is_member).map(|id| {
            let found = self.found.get(id).copied().unwrap_or_default();
            (*id, Compared { must: self.audit.must_hold(*id), found })
        })
    }
}

/// Whether a needle of `size` data bytes under this key takes what was listed.
fn is_as_long(one: &Listed, size: u32) -> bool {
    let key_len = u16::try_from(one.key.as_str().len()).unwrap_or(u16::MAX);
    Header::total_len_of(key_len, size) == one.bytes as usize
}

#[cfg(test)]
mod tests {
    use hayrick_disk::FaultyDisk;
    use hayrick_protocol::command::{Command, Delete, Examined, Precondition, Session};
    use hayrick_protocol::{EpochId, Generation, NodeId, ObjectKey, Seq};

    use super::*;
    use crate::machine::Machine;
    use crate::machine_tests::{commit, entry, feed, open, prelude, table};

    const MEMBER: VolumeId = VolumeId(1);
    const STRANGER: VolumeId = VolumeId(3);

    fn listed(epoch: u32, seq: u32, key: &str) -> Listed {
        let key = ObjectKey::new(key).expect("a key");
        let placement = PlacementId(u32::from(key.partition(4).0) + 1);
        let needle = NeedleId::new(EpochId(epoch), Seq(seq));
        Listed { segment: 1, placement, needle, bytes: 64, key }
    }

    fn delete(seq: u32, key: &str) -> Command {
        let session = Session { epoch: EpochId(1), seq: Seq(seq), resolved_below: Seq(seq) };
        let key = ObjectKey::new(key).expect("a key");
        Command::Delete(Delete { session, key, precondition: Precondition::None })
    }

    async fn audit(machine: &Machine) -> Arc<Audit> {
        let view = machine.view().await.expect("a view");
        Arc::new(Audit::new(view, (1..=8).map(PlacementId).collect()).expect("readable"))
    }

    async fn classes(machine: &Machine, volume: VolumeId, held: &[Listed]) -> Vec<Class> {
        let mut holding = audit(machine).await.of(volume);
        holding.add(held).expect("readable").into_iter().map(|one| one.class).collect()
    }

    /// Overwritten, deleted, alive; never committed; of an epoch that is still open.
    fn held() -> [Listed; 5] {
        [listed(1, 1, "a"), listed(1, 2, "b"), listed(1, 3, "a"), listed(1, 8, "c"), listed(9, 9, "c")]
    }

    #[tokio::test]
    async fn every_needle_is_what_the_index_says_of_it() {
        use Class::{Garbage, LeftOver, Live, Orphan, Unaccounted};
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        let commits = [commit(1, "a"), commit(2, "b"), commit(3, "a"), delete(4, "b")];
        feed(&mut machine, &[entry(0, &prelude()), entry(1, &commits)]).await;
        let of = async |machine: &Machine, volume| classes(machine, volume, &held()).await;
        assert_eq!(of(&machine, MEMBER).await, [Garbage, Garbage, Live, Unaccounted, Unaccounted]);
        let nobodys = [LeftOver, LeftOver, LeftOver, Unaccounted, Unaccounted];
        assert_eq!(of(&machine, STRANGER).await, nobodys);
        feed(&mut machine, &[entry(2, &[Command::FenceEpoch(EpochId(1))])]).await;
        assert_eq!(of(&machine, MEMBER).await, [Garbage, Garbage, Live, Orphan, Unaccounted]);
        feed(&mut machine, &[entry(3, &[Command::Doom(vec![AppliedVersion(3), AppliedVersion(4)])])]).await;
        assert_eq!(of(&machine, MEMBER).await, [Garbage, Garbage, Live, Orphan, Unaccounted], "doomed, too");
        feed(&mut machine, &[entry(4, &[Command::Reaped(vec![AppliedVersion(3), AppliedVersion(4)])])]).await;
        assert_eq!(of(&machine, MEMBER).await, [Orphan, Orphan, Live, Orphan, Unaccounted]);
    }

    #[tokio::test]
    async fn who_is_about_to_become_a_member_has_what_moves() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        let open_more = Command::OpenEpoch { master: NodeId(2), at_start: true, nonce: 2 };
        let commits = [commit(1, "a"), commit(2, "a")];
        feed(&mut machine, &[entry(0, &prelude()), entry(1, &commits), entry(2, &[open_more])]).await;
        let one = listed(1, 2, "a");
        let partition = one.key.partition(4).0;
        // Other members take the writes, so that the placement is closed.
        let placement = Examined { placement: one.placement, generation: Generation(2) };
        let begin = Command::BeginMove { placement, newcomer: STRANGER };
        feed(&mut machine, &[entry(3, &[table(3, 4, partition, vec![2, 3]), begin])]).await;
        assert_eq!(
            classes(&machine, STRANGER, &[one, listed(1, 1, "a")]).await,
            [Class::Moving, Class::Moving]
        );
    }

    #[tokio::test]
    async fn what_is_listed_twice_counts_once_and_what_lacks_is_told() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        let commits = [commit(1, "a"), commit(2, "b"), commit(3, "c")];
        feed(&mut machine, &[entry(0, &prelude()), entry(1, &commits)]).await;
        let audit = audit(&machine).await;
        let all = [listed(1, 1, "a"), listed(1, 2, "b"), listed(1, 3, "c")];
        let lacks = |holding: &Holding| holding.outcome().map(|(_, compared)| compared.lacks()).sum::<u64>();
        let mut holding = audit.of(MEMBER);
        assert_eq!(lacks(&holding), 3);
        for _ in 0..2 {
            holding.add(&all[..2]).expect("readable");
        }
        assert_eq!(holding.sums().collect::<Vec<_>>(), [(Class::Live, 2, 128)]);
        assert_eq!(lacks(&holding), 1);
        assert!(holding.has(all[0].needle) && !holding.has(all[2].needle));
        let identified = holding.add(&all[2..]).expect("readable");
        assert_eq!(lacks(&holding), 0);
        assert!(holding.outcome().all(|(_, compared)| compared.is_complete()));
        assert_eq!((identified[0].crc, identified[0].fits), (Some(1), false), "it is shorter, by the index");
        let as_long = Listed { bytes: Header::total_len_of(1, 1) as u32, ..all[2].clone() };
        assert!(holding.add(&[as_long]).expect("readable")[0].fits);
        assert_eq!(holding.sums().map(|(_, needles, _)| needles).sum::<u64>(), 3, "it was counted before");
        assert_eq!(audit.of(STRANGER).outcome().count(), 0, "it is a member of none");
    }
}
