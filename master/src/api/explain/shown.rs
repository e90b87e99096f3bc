//! What an explanation says, from one state of the cluster. Pure.
//!
//! Owns the words about placements. The ring's are `placement`'s, repair's are `repair`'s.

use std::collections::BTreeMap;

use hayrick_placement::Walk;
use hayrick_protocol::answers::explanation::{
    CopyShown, Explanation, MemberShown, MoveShown, ObjectShown, PlacementShown, RingShown, StepShown,
    Without,
};
use hayrick_protocol::cluster_map::{ClusterConfig, Placement, VolumeState};
use hayrick_protocol::record::ObjectRecord;
use hayrick_protocol::{ObjectKey, PartitionId, VolumeId};
use hayrick_raft_store::Cluster;

use crate::cluster::place::{candidates, current_members};
use crate::cluster::repair::foresee::{Fate, Foreseen};

/// What is explained.
pub(super) struct Of<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) config: &'a ClusterConfig,
    pub(super) key: &'a ObjectKey,
    pub(super) record: Option<&'a ObjectRecord>,
}

/// A volume that is thought away.
pub(super) struct Lost {
    pub(super) volume: VolumeId,
    /// Copies of the object that verify and lie elsewhere; none where there is no object.
    pub(super) copies_left: Option<u32>,
}

impl<'a> Of<'a> {
    fn partition(&self) -> PartitionId {
        self.key.partition(self.config.partitions)
    }

    /// The placement that holds the object.
    pub(super) fn placement(&self) -> Option<&'a Placement> {
        self.cluster.table.placement(self.record?.placement)
    }

    /// The placement that takes the partition's writes.
    pub(super) fn current(&self) -> Option<&'a Placement> {
        self.cluster.table.current(self.partition())
    }

    fn state(&self, id: VolumeId) -> Option<VolumeState> {
        self.cluster.map.volumes.get(&id).map(|volume| volume.state)
    }

    fn zone(&self, id: VolumeId) -> String {
        self.cluster.map.volumes.get(&id).map(|volume| volume.zone.clone()).unwrap_or_default()
    }
}

/// All but what would be without a volume. Computes a table.
pub(super) fn explanation(of: &Of<'_>, copies: &BTreeMap<VolumeId, CopyShown>) -> Explanation {
    let object = of.record.map(|record| ObjectShown {
        needle: record.needle.0,
        size: record.size.into(),
        etag: hex::encode(record.md5),
        version: record.version.0,
    });
    let moving = of.placement().and_then(|row| of.cluster.table.moves.get(&row.id)).map(|begun| MoveShown {
        to: begun.newcomer.0,
        state: of.state(begun.newcomer).map(|state| state.to_string()).unwrap_or_default(),
    });
    let no_copies = BTreeMap::new();
    let is_same = of.placement().map(|row| row.id) == of.current().map(|row| row.id);
    Explanation {
        key: of.key.as_str().to_owned(),
        hash: format!("{:016x}", of.key.hash()),
        partition: of.partition().0,
        partitions: of.config.partitions,
        exists: of.record.is_some(),
        object,
        placement: of.placement().map(|row| placement(of, row, copies)),
        current: of.current().map(|row| placement(of, row, if is_same { copies } else { &no_copies })),
        moving,
        ring: ring(of),
        ..Explanation::default()
    }
}

fn placement(of: &Of<'_>, row: &Placement, copies: &BTreeMap<VolumeId, CopyShown>) -> PlacementShown {
    let member = |id: &VolumeId| {
        let volume = of.cluster.map.volumes.get(id);
        MemberShown {
            volume: id.0,
            zone: of.zone(*id),
            state: volume.map(|volume| volume.state.to_string()).unwrap_or_default(),
            addr: volume.map(|volume| volume.addr.clone()).unwrap_or_default(),
            copy: copies.get(id).cloned(),
        }
    };
    PlacementShown {
        id: row.id.0,
        generation: row.generation.0,
        is_current: of.cluster.table.is_current(row.id),
        why: why(of, row),
        members: row.members.iter().map(member).collect(),
    }
}

/// Why the placement takes writes, or does not.
fn why(of: &Of<'_>, row: &Placement) -> String {
    let partition = row.partition;
    let lists = |ids: &[VolumeId]| ids.iter().map(VolumeId::to_string).collect::<Vec<_>>().join(", ");
    let Some(current) = of.cluster.table.current(partition) else {
        return format!(
            "no placement takes the writes of partition {partition}, as too few volumes take any"
        );
    };
    if current.id == row.id {
        return format!("it takes the writes of partition {partition}");
    }
    let writes = format!("writes go to placement {} (volumes {})", current.id, lists(&current.members));
    let refuses = row.members.iter().filter_map(|id| Some((id, of.state(*id)?)));
    let refuses: Vec<String> = refuses
        .filter(|(_, state)| !state.takes_writes())
        .map(|(id, state)| format!("volume {id} is {state}"))
        .collect();
    if !refuses.is_empty() {
        return format!("{}; {writes}", refuses.join(" and "));
    }
    format!(
        "it was written before volumes came or went; {writes}, and `hayrick rebalance` moves what is here there"
    )
}

/// The walk, and behind it the volumes that take no part in it.
fn ring(of: &Of<'_>) -> RingShown {
    let current = current_members(&of.cluster.table, of.config);
    let candidates = candidates(&of.cluster.map);
    let ClusterConfig { partitions, replicas, .. } = *of.config;
    let walk = hayrick_placement::explain(&candidates, partitions, replicas, &current, of.partition());
    let Walk { point, members, steps } = walk;
    let steps = steps.into_iter().map(|step| StepShown {
        volume: step.volume.0,
        zone: of.zone(step.volume),
        distance: step.distance,
        holds: step.holds as u64,
        share: step.share as u64,
        taken: step.outcome.is_taken(),
        why: step.outcome.to_string(),
    });
    let is_out = |state: VolumeState| !state.takes_writes() && state != VolumeState::Removed;
    let outside = of.cluster.map.volumes.values().filter(|volume| is_out(volume.state));
    let outside = outside.map(|volume| StepShown {
        volume: volume.id.0,
        zone: volume.zone.clone(),
        why: format!("it is {}, and only volumes that are up take new placements", volume.state),
        ..StepShown::default()
    });
    RingShown {
        point: format!("{point:016x}"),
        members: members.iter().map(|id| id.0).collect(),
        steps: steps.chain(outside).collect(),
    }
}

/// What would be without the volume; but for whether it holds anything of this.
pub(super) fn without(of: &Of<'_>, lost: &Lost, foreseen: &Foreseen) -> Without {
    let (writes_go_to, writes) = match foreseen.writes(of.partition()) {
        Ok(row) => {
            let ids: Vec<u32> = row.members.iter().map(|id| id.0).collect();
            let text = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            (ids, format!("writes of partition {} would go to volumes {text}", of.partition()))
        }
        Err(why) => (Vec::new(), why),
    };
    let (newcomer, repair) = match of.placement().map(|row| (row.id, foreseen.fate(row.id))) {
        None => (None, "there is no object to be copied anew".to_owned()),
        Some((id, Fate::Stays)) => {
            (None, format!("placement {id} would have all its copies: nothing is to be repaired"))
        }
        Some((id, Fate::Waits(why))) => (None, format!("placement {id} could not be repaired: {why}")),
        Some((id, Fate::Newcomer(volume))) => {
            (Some(volume.0), format!("repair would copy what placement {id} holds to volume {volume}"))
        }
    };
    Without {
        volume: lost.volume.0,
        copies_left: lost.copies_left,
        writes_go_to,
        writes,
        newcomer,
        repair,
        ..Without::default()
    }
}
