//! What would be if a volume died: where its partitions' writes would go, and who would get the copies it held.
//!
//! Owns the cluster as it would be then. What becomes of it is told by the functions that decide it when it happens:
//! `placement::table` and `plan`. So what is foreseen is what comes, as long as nothing else changes first. Pure; what repair
//! has learned of its own failures is left out of account.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hayrick_protocol::cluster_map::{ClusterConfig, Placement, VolumeState};
use hayrick_protocol::{Generation, PartitionId, PlacementId, VolumeId};
use hayrick_raft_store::{Cluster, Copies, Table};

use super::plan::{self, Known};
use crate::cluster::place::{candidates, current_members};

/// The cluster as it would be, once its leader has done what follows.
pub(crate) struct Foreseen {
    cluster: Cluster,
    config: ClusterConfig,
    copies: BTreeMap<PlacementId, Copies>,
    free_bytes: BTreeMap<VolumeId, u64>,
    gone: BTreeSet<VolumeId>,
}

/// What would become of a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has all the copies that it should.
    Stays,
    /// This volume gets one.
    Newcomer(VolumeId),
    /// None can, in words, with what to do.
    Waits(String),
}

impl Foreseen {
    /// `copies` is what the placements hold, `free_bytes` what volumes may still take. Computes a table: not for threads that
    /// serve requests.
    pub(crate) fn without(
        lost: VolumeId,
        mut cluster: Cluster,
        config: ClusterConfig,
        copies: BTreeMap<PlacementId, Copies>,
        free_bytes: BTreeMap<VolumeId, u64>,
    ) -> Self {
        if let Some(volume) = Arc::make_mut(&mut cluster.map).volumes.get_mut(&lost)
            && volume.state != VolumeState::Removed
        {
            volume.state = VolumeState::Down;
        }
        let table = Arc::make_mut(&mut cluster.table);
        // They would be abandoned, and others chosen.
        table.moves.retain(|_, begun| begun.newcomer != lost);
        let candidates = candidates(&cluster.map);
        if candidates.len() >= usize::from(config.min_replicas) {
            let current = current_members(table, &config);
            let wanted = hayrick_placement::table(&candidates, config.partitions, config.replicas, &current);
            for change in hayrick_placement::changes(&current, &wanted) {
                make_current(table, change.partition, change.members);
            }
        }
        let is_gone = |state| matches!(state, VolumeState::Down | VolumeState::Removed);
        let gone = cluster.map.volumes.values().filter(|volume| is_gone(volume.state));
        let gone = gone.map(|volume| volume.id).collect();
        Self { cluster, config, copies, free_bytes, gone }
    }

    /// Who would take the partition's writes; `None`: nobody, in words, with what to do.
    pub(crate) fn writes(&self, partition: PartitionId) -> Result<&Placement, String> {
        let up = candidates(&self.cluster.map).len();
        let needed = self.config.min_replicas;
        if up < usize::from(needed) {
            return Err(format!(
                "writes would be refused: {up} volumes would take any, and each needs {needed} copies (--min-replicas); start \
                 another volume"
            ));
        }
        let current = self.cluster.table.current(partition);
        current.ok_or_else(|| "no placement would take the partition's writes".to_owned())
    }

    /// What would become of the placement, once the volume is not waited for any more.
    pub(crate) fn fate(&self, placement: PlacementId) -> Fate {
        // The others take room, too.
        let all = self.plan(&self.copies);
        let is_in = |group: &&plan::Group| group.placements.iter().any(|(of, _)| of.placement == placement);
        if let Some(group) = all.groups.iter().find(is_in) {
            return Fate::Newcomer(group.newcomer);
        }
        let Some(held) = self.copies.get(&placement) else { return Fate::Stays };
        let alone = self.plan(&[(placement, *held)].into());
        match (alone.waiting.keys().next(), alone.groups.is_empty()) {
            (Some(reason), _) => Fate::Waits(reason.text(1)),
            (None, true) => Fate::Stays,
            (None, false) => Fate::Waits(
                "repair of all that the volume holds would take more room than there is; add a volume"
                    .to_owned(),
            ),
        }
    }

    fn plan(&self, copies: &BTreeMap<PlacementId, Copies>) -> plan::Plan {
        let (avoided, free_bytes) = (BTreeSet::new(), &self.free_bytes);
        let known = Known { gone: &self.gone, avoided: &avoided, free_bytes };
        plan::plan(&self.cluster, copies, self.config.replicas, &known)
    }
}

/// As apply does it: a former placement with just these members is current again, else there is a new one.
fn make_current(table: &mut Table, partition: PartitionId, members: Vec<VolumeId>) {
    let of_partition = table.placements.values().rev().filter(|row| row.partition == partition);
    let former = of_partition.into_iter().find(|row| row.members == members).map(|row| row.id);
    let id = former.unwrap_or_else(|| {
        let last = table.placements.last_key_value().map_or(0, |(id, _)| id.0);
        let id = PlacementId(last.saturating_add(1));
        table.placements.insert(id, Placement { id, partition, members, generation: Generation(1) });
        id
    });
    if let Some(current) = table.current.get_mut(usize::from(partition.0)) {
        *current = Some(id);
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::cluster_map::{ClusterMap, Move, Volume};
    use hayrick_protocol::digest::SetDigest;
    use hayrick_protocol::{ClusterId, InstanceId};

    use super::*;

    const CONFIG: ClusterConfig =
        ClusterConfig { cluster: ClusterId::UNKNOWN, partitions: 8, replicas: 3, min_replicas: 2 };
    const FREE: u64 = 1 << 30;

    /// So many volumes, of which none is down, and the table that is theirs.
    fn cluster(volumes: u32) -> Cluster {
        let volume = |id| Volume {
            id: VolumeId(id),
            instance: InstanceId::UNKNOWN,
            addr: String::new(),
            peer: String::new(),
            zone: String::new(),
            capacity_bytes: 1 << 30,
            state: VolumeState::Up,
        };
        let volumes = (1..=volumes).map(|id| (VolumeId(id), volume(id))).collect();
        let map = ClusterMap { version: 1, volumes };
        let mut table = Table { current: vec![None; 8], ..Table::default() };
        let wanted = hayrick_placement::table(&candidates(&map), 8, 3, &[]);
        for (partition, members) in (0..).map(PartitionId).zip(wanted) {
            make_current(&mut table, partition, members);
        }
        Cluster { config: Some(CONFIG), map: Arc::new(map), table: Arc::new(table), ..Cluster::default() }
    }

    /// Each placement holds ten needles.
    fn foreseen(lost: u32, cluster: &Cluster, free_bytes: u64) -> Foreseen {
        let held = Copies { live: SetDigest { count: 10, bytes: 1000, sum: 7 }, ..Copies::default() };
        let copies = cluster.table.placements.keys().map(|id| (*id, held)).collect();
        let free = cluster.map.volumes.keys().map(|id| (*id, free_bytes)).collect();
        Foreseen::without(VolumeId(lost), cluster.clone(), CONFIG, copies, free)
    }

    #[test]
    fn what_a_volume_held_goes_to_another_and_writes_go_where_it_is_not() {
        let cluster = cluster(5);
        let foreseen = foreseen(1, &cluster, FREE);
        let mut moved = 0;
        for placement in cluster.table.placements.values() {
            let writes = foreseen.writes(placement.partition).expect("four are enough");
            assert!(!writes.members.contains(&VolumeId(1)) && writes.members.len() == 3);
            if !placement.members.contains(&VolumeId(1)) {
                assert_eq!((writes, foreseen.fate(placement.id)), (placement, Fate::Stays));
                continue;
            }
            moved += 1;
            let Fate::Newcomer(newcomer) = foreseen.fate(placement.id) else { panic!("there is room") };
            assert!(!placement.members.contains(&newcomer) && writes.members.contains(&newcomer));
        }
        assert!(moved > 0);
    }

    #[test]
    fn where_none_can_take_a_copy_it_says_why() {
        let three = cluster(3);
        let few = foreseen(1, &three, FREE);
        let writes = few.writes(PartitionId(0)).expect("two are enough");
        assert_eq!(writes.members, [VolumeId(2), VolumeId(3)]);
        let Fate::Waits(why) = few.fate(PlacementId(1)) else { panic!("there is no other") };
        assert!(why.contains("start another one, or volume 1 again"), "{why}");
        let two = cluster(2);
        let refused = foreseen(1, &two, FREE);
        assert!(refused.writes(PartitionId(0)).expect_err("one is too few").contains("--min-replicas"));
        let five = cluster(5);
        let full = foreseen(1, &five, 1000);
        let held = five.table.placements.values().find(|row| row.members.contains(&VolumeId(1)));
        let Fate::Waits(why) = full.fate(held.expect("it holds some").id) else { panic!("there is no room") };
        assert!(why.contains("add a volume"), "{why}");
        // For one of them there is room, and not for all.
        let room = (1 << 30) / 32 + 1000 + 10 * 128;
        let tight = foreseen(1, &five, room);
        let lost = five.table.placements.values().filter(|row| row.members.contains(&VolumeId(1)));
        let fates: Vec<Fate> = lost.map(|row| tight.fate(row.id)).collect();
        assert!(fates.iter().any(|fate| matches!(fate, Fate::Newcomer(_))), "{fates:?}");
        assert!(fates.iter().any(|fate| matches!(fate, Fate::Waits(_))), "{fates:?}");
    }

    #[test]
    fn a_former_placement_takes_writes_again_and_a_lost_newcomer_is_replaced() {
        let mut cluster = cluster(5);
        let lost = cluster.table.placements.values().find(|row| row.members.contains(&VolumeId(1)));
        let lost = lost.expect("it holds some").clone();
        let later = foreseen(1, &cluster, FREE).writes(lost.partition).expect("enough").clone();
        let table = Arc::make_mut(&mut cluster.table);
        let former = PlacementId(99);
        table.placements.insert(former, Placement { id: former, ..later });
        assert_eq!(foreseen(1, &cluster, FREE).writes(lost.partition).map(|row| row.id), Ok(former));
        // The closed one is about to go to a volume that dies, too.
        let mut without = cluster.clone();
        let table = Arc::make_mut(&mut without.table);
        table.current[usize::from(lost.partition.0)] = Some(former);
        let volumes = &mut Arc::make_mut(&mut without.map).volumes;
        volumes.get_mut(&VolumeId(1)).expect("it is there").state = VolumeState::Down;
        let others = (2..=5).map(VolumeId).filter(|id| !lost.members.contains(id));
        for newcomer in others {
            let mut moving = without.clone();
            Arc::make_mut(&mut moving.table).moves.insert(lost.id, Move { newcomer });
            assert_eq!(foreseen(1, &moving, FREE).fate(lost.id), Fate::Newcomer(newcomer));
            let fate = foreseen(newcomer.0, &moving, FREE).fate(lost.id);
            assert!(matches!(fate, Fate::Newcomer(other) if other != newcomer), "{fate:?}");
        }
    }
}
