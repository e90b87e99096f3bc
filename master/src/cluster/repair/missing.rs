//! Needles that nobody has: they are given up, so that the rest of their placements can be repaired, and taken back when a copy
//! turns up.
//!
//! Owns when that is. A needle is given up by a commit only after everyone who could have it was asked: a volume has pulled from
//! all others, and those that were not asked are gone for good, as far as this leader waits for them. It is taken back once a
//! volume was seen to read it, and all members of its placement have pulled it. Invariants: both are told of needle and row,
//! so that apply passes over what has changed meanwhile; what is taken back counts for the members that were asked, and no
//! others; and what is given up is dropped by nobody, so nothing is lost by a mistake here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hayrick_metrics as metrics;
use hayrick_protocol::cluster_map::VolumeState;
use hayrick_protocol::command::{Command, Examined, Named, Row};
use hayrick_protocol::limits::NAMED_BATCH_MAX;
use hayrick_protocol::{NeedleId, PlacementId, VolumeId};
use hayrick_raft_store::{SearchedTo, TURNED_UP_MAX};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::copying::{self, Route, Trouble};
use crate::gateway::copies;
use crate::master::Master;

/// What one commit, or reading one needle, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks whether anything is missing.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A volume that was searched is left alone for so many times what that took, and for this long at least.
const SEARCH_PAUSES: u32 = 19;
const SEARCH_PAUSE_MIN: Duration = Duration::from_secs(60);

/// Whether nobody is left that could have what this volume lacks: all others gave it what they have, or are gone.
pub(super) fn is_final(master: &Master, volume: VolumeId, asked: &BTreeSet<VolumeId>) -> bool {
    let gone = master.repair.gone.lock();
    let cluster = master.node.cluster();
    cluster.map.volumes.keys().all(|id| *id == volume || asked.contains(id) || gone.contains(id))
}

/// Gives up what this volume lacks of these placements, which ascend; how many needles that is. Looks through all records.
pub(super) async fn give_up(
    master: &Arc<Master>,
    volume: VolumeId,
    placements: &[PlacementId],
) -> Result<u64, Trouble> {
    // All records are looked through: by one at a time.
    let _turn = master.repair.giving_up.lock().await;
    let compared = Arc::new(copying::compare(master, volume, placements).await?);
    let lacking = compared.outcome().filter(|(_, compared)| !compared.is_complete()).map(|(id, _)| id);
    let lacking: Arc<BTreeSet<PlacementId>> = Arc::new(lacking.collect());
    let (mut needles, mut from) = (0, Some(SearchedTo::default()));
    while let Some(at) = from {
        let (searched, of) = (Arc::clone(&compared), Arc::clone(&lacking));
        let found = spawn_blocking(move || searched.unlisted(&of, at)).await;
        let found = found.map_err(|error| Trouble::Leader(error.to_string()))?;
        let (unlisted, next) = found.map_err(|error| Trouble::Leader(error.to_string()))?;
        needles += unlisted.len() as u64;
        for named in unlisted.chunks(NAMED_BATCH_MAX) {
            commit(master, Command::Missing(named.to_vec())).await?;
            metrics::NEEDLES_MISSING.add(named.len() as u64);
        }
        from = next;
    }
    if needles > 0 {
        warn!(
            needles,
            "no volume that is up has these needles: they are missing, and the rest of their placements is repaired; start \
             the volumes that had them"
        );
    }
    Ok(needles)
}

/// Looks on all volumes for what is missing, for as long as this master leads: at once on one that has come, and on all of them
/// now and then.
pub(super) async fn search(master: &Arc<Master>) {
    let mut searched = BTreeMap::<VolumeId, (u64, Instant)>::new();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if master.node.status().counters.missing == 0 {
            searched.clear();
            continue;
        }
        let cluster = master.node.cluster();
        for volume in cluster.map.volumes.values().filter(|volume| volume.state.serves_reads()) {
            let Some(process) = master.heartbeats.seen(volume.id).map(|seen| seen.process) else { continue };
            let began = Instant::now();
            if searched.get(&volume.id).is_some_and(|(of, rests)| *of == process && began < *rests) {
                continue;
            }
            if let Err(trouble) = search_on(master, volume.id).await {
                debug!(volume = volume.id.0, %trouble, "looking for what is missing goes on later");
            }
            let rests = Instant::now() + (began.elapsed() * SEARCH_PAUSES).max(SEARCH_PAUSE_MIN);
            searched.insert(volume.id, (process, rests));
        }
    }
}

async fn search_on(master: &Arc<Master>, volume: VolumeId) -> Result<(), Trouble> {
    let copies = master.node.copies().await.map_err(|error| Trouble::Leader(error.to_string()))?;
    let missing = copies.iter().filter(|(_, copies)| copies.missing.count > 0);
    let placements: Vec<PlacementId> = missing.map(|(id, _)| *id).collect();
    for placements in copying::batches(&placements, &copies) {
        loop {
            let compared = copying::compare(master, volume, placements).await?;
            let mut by_placement = BTreeMap::<PlacementId, Vec<Named>>::new();
            for (placement, named) in compared.turned_up() {
                by_placement.entry(*placement).or_default().push(named.clone());
            }
            let mut found = 0;
            for (placement, needles) in by_placement {
                for needles in needles.chunks(NAMED_BATCH_MAX) {
                    found += take_back(master, volume, placement, needles).await?;
                }
            }
            // There may be more, as not all are told at once.
            if found == 0 || compared.turned_up().len() < TURNED_UP_MAX {
                break;
            }
        }
    }
    Ok(())
}

/// Takes back those of these needles, which this volume lists, that it can read and that all members of their placement hold
/// once they have pulled them; how many. None where a member cannot pull now: what counts again is held by all members, and
/// until then nobody drops it.
async fn take_back(
    master: &Arc<Master>,
    holder: VolumeId,
    placement: PlacementId,
    needles: &[Named],
) -> Result<usize, Trouble> {
    let cluster = master.node.cluster();
    let Some(row) = cluster.table.placement(placement) else { return Ok(0) };
    let examined = Examined { placement, generation: row.generation };
    let state = |id: &VolumeId| cluster.map.volumes.get(id).map(|volume| volume.state);
    let others = || row.members.iter().copied().filter(|id| *id != holder);
    if row.members.is_empty() || others().any(|id| state(&id) != Some(VolumeState::Up)) {
        return Ok(0);
    }
    let mut found = Vec::new();
    for named in needles {
        if reads(master, holder, named).await {
            found.push(named.clone());
        }
    }
    for member in others() {
        let mut only: Vec<NeedleId> = found.iter().map(|named| named.needle).collect();
        if only.is_empty() {
            return Ok(0);
        }
        only.sort_unstable();
        let route = Route { to: member, from: holder, in_haste: false };
        copying::pull_only(master, route, (&[placement], &only), &|| true, &|_| ()).await?;
        let held = copying::compare(master, member, &[placement]).await?;
        let held: BTreeSet<NeedleId> = held.turned_up().iter().map(|(_, named)| named.needle).collect();
        found.retain(|named| held.contains(&named.needle));
    }
    if found.is_empty() {
        return Ok(0);
    }
    let count = found.len();
    commit(master, Command::Found { placement: examined, needles: found }).await?;
    metrics::NEEDLES_FOUND.add(count as u64);
    info!(
        needles = count,
        volume = holder.0,
        placement = placement.0,
        "needles that were missing are there again"
    );
    Ok(count)
}

/// Whether the volume has an object's bytes, whole, as the index has them.
async fn reads(master: &Arc<Master>, volume: VolumeId, named: &Named) -> bool {
    let Row::Object(key) = &named.by else { return false };
    let Ok(Some(record)) = master.node.get(key) else { return false };
    record.needle == named.needle
        && copies::read_whole(master, &record, volume, Instant::now() + PATIENCE).await.is_ok()
}

async fn commit(master: &Arc<Master>, command: Command) -> Result<(), Trouble> {
    let committed = master.node.propose(vec![command], Instant::now() + PATIENCE).await;
    committed.map(drop).map_err(|error| Trouble::Leader(error.to_string()))
}
