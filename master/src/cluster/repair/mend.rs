//! A volume that is there and lacks something, or holds it damaged, pulls it again from the other members.
//!
//! Owns what is compared: the placements of which a volume says that it holds damaged needles, and all of them when it does
//! not know, has just started, or has verified all it holds. What is lacking is pulled from one member after the other,
//! until nothing is; what nobody has is given up (`missing`). Leaves when to `care`. Invariant: a volume is told that its damage is made up for only after everything
//! that its damage may have hit was found on it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hayrick_protocol::cluster_map::VolumeState;
use hayrick_protocol::messages::volume::{Damaged, DamagedPlacements, MadeUp};
use hayrick_protocol::{PlacementId, VolumeId};
use hayrick_raft_store::Cluster;
use tokio::time::Instant;
use tracing::info;

use super::copying::{self, Route, Trouble};
use super::missing;
use crate::master::Master;

/// What asking for damage may take: index files are read for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Brings the volume to hold everything that it must.
pub(super) async fn run(master: &Arc<Master>, volume: VolumeId, uncompared: bool) -> Result<(), Trouble> {
    let client = master.peers.volume(volume).ok_or(Trouble::Changed)?;
    let failed = |error: &dyn std::fmt::Display| Trouble::Puller(volume, error.to_string());
    let answer = client.call(&Damaged, Vec::new(), Instant::now() + PATIENCE).await;
    let (damaged, _) = answer.map_err(|error| failed(&error))?;
    let all = uncompared || damaged.others;
    let mut held = held_by(&master.node.cluster(), volume);
    if !all {
        let named: BTreeSet<PlacementId> = damaged.placements.iter().copied().collect();
        held.retain(|placement| named.contains(placement));
    }
    let copies = master.node.copies().await.map_err(|error| Trouble::Leader(error.to_string()))?;
    let mut lacks = 0;
    for placements in copying::batches(&held, &copies) {
        lacks += make_up(master, volume, placements).await?;
    }
    if lacks > 0 {
        return Err(Trouble::Lacks { needles: lacks });
    }
    if keeps(master, &damaged).await? {
        return Err(Trouble::Kept);
    }
    let told = client.call(&MadeUp { mark: damaged.mark }, Vec::new(), Instant::now() + PATIENCE).await;
    told.map_err(|error| failed(&error))?;
    Ok(())
}

/// Whether some of what is damaged here may be a copy of what nobody has whole: that is kept, as somebody may want what is left
/// of it.
async fn keeps(master: &Master, damaged: &DamagedPlacements) -> Result<bool, Trouble> {
    if !damaged.any || master.node.status().counters.missing == 0 {
        return Ok(false);
    }
    let copies = master.node.copies().await.map_err(|error| Trouble::Leader(error.to_string()))?;
    let some_miss = |id| copies.get(id).is_some_and(|copies| copies.missing.count > 0);
    Ok(if damaged.others { copies.keys().any(some_miss) } else { damaged.placements.iter().any(some_miss) })
}

/// Pulls what the volume lacks of these placements; how many needles it lacks still, as nobody else has them.
async fn make_up(master: &Arc<Master>, volume: VolumeId, placements: &[PlacementId]) -> Result<u64, Trouble> {
    let (mut lacking, mut needles) = compare(master, volume, placements).await?;
    if needles > 0 {
        info!(
            volume = volume.0,
            needles,
            placements = lacking.len(),
            "a volume lacks needles; it pulls them"
        );
    }
    let mut asked = BTreeSet::new();
    for source in others(&master.node.cluster(), volume, &lacking) {
        if lacking.is_empty() {
            break;
        }
        let route = Route { to: volume, from: source, in_haste: false };
        let goes_on = || takes_writes(&master.node.cluster(), volume);
        match copying::pull(master, route, &lacking, goes_on, |_| ()).await {
            Ok(gave_all) => _ = gave_all.then(|| asked.insert(source)),
            Err(Trouble::Source(..)) => {}
            Err(error) => return Err(error),
        }
        (lacking, needles) = compare(master, volume, &lacking).await?;
    }
    if !lacking.is_empty() && missing::is_final(master, volume, &asked) {
        missing::give_up(master, volume, &lacking).await?;
        (_, needles) = compare(master, volume, &lacking).await?;
    }
    Ok(needles)
}

/// Of which of these placements the volume lacks something, and how many needles.
async fn compare(
    master: &Arc<Master>,
    volume: VolumeId,
    placements: &[PlacementId],
) -> Result<(Vec<PlacementId>, u64), Trouble> {
    if placements.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let compared = copying::compare(master, volume, placements).await?;
    // Who is a member no more meanwhile lacks nothing.
    let held: BTreeSet<PlacementId> = held_by(&master.node.cluster(), volume).into_iter().collect();
    let lacking = compared.outcome().filter(|(id, compared)| !compared.is_complete() && held.contains(id));
    let (ids, needles): (Vec<_>, Vec<_>) = lacking.map(|(id, compared)| (id, compared.lacks())).unzip();
    Ok((ids, needles.into_iter().sum()))
}

/// The placements that the volume is a member of, ascending.
fn held_by(cluster: &Cluster, volume: VolumeId) -> Vec<PlacementId> {
    let placements = cluster.table.placements.values();
    placements.filter(|row| row.members.contains(&volume)).map(|row| row.id).collect()
}

/// Who can be pulled from: members of these placements first; then whoever else is there, as after a restore of the index
/// others may have what members lack.
fn others(cluster: &Cluster, volume: VolumeId, placements: &[PlacementId]) -> Vec<VolumeId> {
    let rows = placements.iter().filter_map(|id| cluster.table.placement(*id));
    let members: BTreeSet<VolumeId> = rows.flat_map(|row| row.members.iter().copied()).collect();
    let readable =
        cluster.map.volumes.values().filter(|other| other.id != volume && other.state.serves_reads());
    let (mut sources, strangers): (Vec<_>, Vec<_>) =
        readable.map(|other| other.id).partition(|id| members.contains(id));
    sources.extend(strangers);
    sources
}

/// Whether the volume can pull.
fn takes_writes(cluster: &Cluster, volume: VolumeId) -> bool {
    cluster.map.volumes.get(&volume).is_some_and(|volume| volume.state == VolumeState::Up)
}
