//! Volumes whose place another one has taken: a disk was lost, and what was started at its address is a new volume. Once nothing
//! names the old one any more, its id is removed without anybody having to say so.
//!
//! Owns which those are. Leaves to `mod` how long a volume is waited for. Invariant: nothing that a placement holds is counted
//! on a volume that goes this way; and one that nobody has taken the place of stays, as it may come back with its disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hayrick_protocol::cluster_map::{Placement, Volume, VolumeState};
use hayrick_protocol::command::{Command, StateChange};
use hayrick_protocol::{PlacementId, VolumeId};
use hayrick_raft_store::{Cluster, Copies};
use tokio::time::Instant;
use tracing::{debug, info};

use super::COMMIT_PATIENCE;
use crate::master::Master;

/// Removes the volumes of `gone` that were replaced and that nothing names any more.
pub(super) async fn remove(master: &Arc<Master>, cluster: &Cluster, gone: &BTreeSet<VolumeId>) {
    let mut replaced = replaced(cluster, gone);
    // What nobody has may be on a disk that is thought to be lost, and a volume that is removed is let in no more.
    if replaced.is_empty() || master.node.status().counters.missing > 0 {
        return;
    }
    let Ok(copies) = master.node.copies().await else { return };
    unnamed(cluster, &copies, &mut replaced);
    if replaced.is_empty() {
        return;
    }
    let change =
        |id: &VolumeId| StateChange { volume: *id, from: VolumeState::Down, to: VolumeState::Removed };
    let command = Command::SetVolumeStates(replaced.keys().map(change).collect());
    match master.node.propose(vec![command], Instant::now() + COMMIT_PATIENCE).await {
        Ok(_) => replaced.iter().for_each(|(id, by)| {
            info!(
                volume = id.0,
                by = by.0,
                "a volume is removed: another one has its address, and nothing names it"
            );
        }),
        Err(error) => debug!(%error, "volumes that were replaced are not removed yet"),
    }
}

/// Those that are down, and the newer volume that registered at the same address since.
fn replaced(cluster: &Cluster, gone: &BTreeSet<VolumeId>) -> BTreeMap<VolumeId, VolumeId> {
    let volumes = &cluster.map.volumes;
    let is_there = |volume: &&Volume| volume.state != VolumeState::Removed;
    let newest: BTreeMap<&str, VolumeId> =
        volumes.values().filter(is_there).map(|volume| (volume.peer.as_str(), volume.id)).collect();
    let down =
        volumes.values().filter(|volume| volume.state == VolumeState::Down && gone.contains(&volume.id));
    let by = |volume: &Volume| newest.get(volume.peer.as_str()).copied().filter(|newer| *newer > volume.id);
    down.filter_map(|volume| Some((volume.id, by(volume)?))).collect()
}

/// Leaves those that are member of no placement that takes writes or holds something, and newcomer of none. A closed placement
/// that holds nothing never will: who takes writes again is chosen among those that are up.
fn unnamed(
    cluster: &Cluster,
    copies: &BTreeMap<PlacementId, Copies>,
    volumes: &mut BTreeMap<VolumeId, VolumeId>,
) {
    let table = &cluster.table;
    let counts = |row: &&Placement| copies.contains_key(&row.id) || table.is_current(row.id);
    let members = table.placements.values().filter(counts).flat_map(|row| &row.members);
    let newcomers = table.moves.values().map(|begun| &begun.newcomer);
    let named: BTreeSet<VolumeId> = members.chain(newcomers).copied().collect();
    volumes.retain(|id, _| !named.contains(id));
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::cluster_map::{ClusterMap, Move};
    use hayrick_protocol::{Generation, InstanceId, PartitionId};
    use hayrick_raft_store::Table;

    use super::VolumeState::{Down, Removed, Up};
    use super::*;

    /// Volumes from 1 on, at these addresses.
    fn cluster(volumes: &[(&str, VolumeState)]) -> Cluster {
        let volume = |(id, (peer, state)): (u32, &(&str, VolumeState))| Volume {
            id: VolumeId(id),
            instance: InstanceId([1; 16]),
            addr: String::new(),
            peer: (*peer).to_owned(),
            zone: String::new(),
            capacity_bytes: 1,
            state: *state,
        };
        let volumes = (1..).zip(volumes).map(volume).map(|volume| (volume.id, volume)).collect();
        Cluster { map: Arc::new(ClusterMap { version: 1, volumes }), ..Cluster::default() }
    }

    fn ids(found: &BTreeMap<VolumeId, VolumeId>) -> Vec<(u32, u32)> {
        found.iter().map(|(id, by)| (id.0, by.0)).collect()
    }

    #[test]
    fn only_a_newer_volume_at_the_same_address_takes_the_place_of_one_that_is_given_up() {
        let of = |cluster: &Cluster, gone: &[u32]| {
            ids(&replaced(cluster, &gone.iter().copied().map(VolumeId).collect()))
        };
        let wiped = cluster(&[("a", Down), ("b", Up), ("a", Up)]);
        assert_eq!(of(&wiped, &[1]), [(1, 3)]);
        assert_eq!(of(&wiped, &[]), [], "it may come back");
        assert_eq!(of(&cluster(&[("a", Down), ("b", Up)]), &[1]), [], "nobody is in its place");
        assert_eq!(of(&cluster(&[("a", Up), ("a", Down)]), &[2]), [], "the older one is there");
        assert_eq!(of(&cluster(&[("a", Down), ("a", Removed)]), &[1]), []);
        let twice = cluster(&[("a", Down), ("a", Down), ("a", Up)]);
        assert_eq!(of(&twice, &[1, 2]), [(1, 3), (2, 3)]);
    }

    #[test]
    fn what_anything_is_counted_on_stays() {
        let row = |id, members: &[u32]| Placement {
            id: PlacementId(id),
            partition: PartitionId(0),
            members: members.iter().copied().map(VolumeId).collect(),
            generation: Generation(1),
        };
        // 1 takes writes, 2 holds something, 3 is about to gain volume 7, 4 is closed and empty.
        let rows = [row(1, &[1]), row(2, &[2]), row(3, &[3]), row(4, &[4])];
        let table = Table {
            current: vec![Some(PlacementId(1))],
            placements: rows.map(|row| (row.id, row)).into(),
            moves: [(PlacementId(3), Move { newcomer: VolumeId(7) })].into(),
            ..Table::default()
        };
        let cluster = Cluster { table: Arc::new(table), ..Cluster::default() };
        let copies = [(PlacementId(2), Copies::default())].into();
        let mut all = [1, 2, 3, 4, 7].map(|id| (VolumeId(id), VolumeId(9))).into();
        unnamed(&cluster, &copies, &mut all);
        assert_eq!(ids(&all), [(3, 9), (4, 9)]);
    }
}
