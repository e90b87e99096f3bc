//! A volume offers what it holds, and drops what of that is dead: orphans of fenced epochs, and what it kept of placements
//! that it is no member of any more, or did not become one of after all.
//!
//! Owns the pages and the order: first the volume lists, then this leader makes sure that it has applied all that was
//! acknowledged, then it looks, in one view. Which needles are dead is told in `raft-store`. Invariant: an answer is good for
//! the ticket that came with the list, and the volume forgets that as soon as anybody counts on what it holds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hayrick_metrics as metrics;
use hayrick_protocol::VolumeId;
use hayrick_protocol::cluster_map::VolumeState;
use hayrick_protocol::messages::volume::{Drop, DropError, ListPosition, Offer, Offered};
use hayrick_raft_store::{Dead, GarbageNames};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::care::Whole;
use super::copying::{Trouble, caught_up};
use crate::master::Master;

/// What one page, its answer or a read-index may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two pages with needles, so that looking them up never crowds out requests.
const PACE: Duration = Duration::from_millis(5);
/// How often a page is asked for again whose ticket was not good any more.
const ATTEMPTS: u32 = 5;

/// What a sweep came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Swept {
    /// Needles that the volume dropped.
    pub(super) needles: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Members that would have to be known as whole for more to be dropped.
    pub(super) unsure: BTreeSet<VolumeId>,
    /// Pages were passed over, as somebody was at work on the volume.
    pub(super) missed: bool,
}

/// Has the volume offer everything that it holds, of whatever placement. `whole` are those that are up and are known to hold all
/// that they must.
pub(super) async fn run(master: &Arc<Master>, volume: VolumeId, whole: &Whole) -> Result<Swept, Trouble> {
    let (mut swept, mut names) = (Swept::default(), GarbageNames::default());
    let mut from = ListPosition::default();
    master.repair.shown.lock().dead.remove(&volume);
    loop {
        let state = master.node.cluster().map.volumes.get(&volume).map(|volume| volume.state);
        if !state.is_some_and(can_drop) {
            return Err(Trouble::Changed);
        }
        match page(master, volume, whole, from, (&mut swept, &mut names)).await? {
            None => return Ok(swept),
            Some(next) if next > from => from = next,
            Some(_) => return Err(Trouble::Puller(volume, "its list does not go on".to_owned())),
        }
    }
}

/// Whether a volume in this state can drop needles, and is there to be asked.
pub(super) fn can_drop(state: VolumeState) -> bool {
    matches!(state, VolumeState::Up | VolumeState::Full | VolumeState::Draining)
}

/// One page; where the next begins.
async fn page(
    master: &Arc<Master>,
    volume: VolumeId,
    whole: &Whole,
    from: ListPosition,
    (swept, names): (&mut Swept, &mut GarbageNames),
) -> Result<Option<ListPosition>, Trouble> {
    let mut next = None;
    for _ in 0..ATTEMPTS {
        let Offered { listing, ticket } = offer(master, volume, from).await?;
        next = listing.next;
        if listing.needles.is_empty() {
            return Ok(next);
        }
        caught_up(master).await?;
        let bytes: HashMap<_, _> =
            listing.needles.iter().map(|one| (one.needle, u64::from(one.bytes))).collect();
        let dead = master.node.dead(volume, listing.needles, whole.now(master), std::mem::take(names)).await;
        let (dead, known) = dead.map_err(|error| Trouble::Leader(error.to_string()))?;
        *names = known;
        let Dead { needles: dead, unsure } = dead;
        swept.unsure.extend(unsure);
        sleep(PACE).await;
        if dead.is_empty() {
            return Ok(next);
        }
        let dropped: u64 = dead.iter().filter_map(|needle| bytes.get(needle)).sum();
        let needles = dead.len() as u64;
        let client = master.peers.volume(volume).ok_or(Trouble::Changed)?;
        let request = Drop { ticket, needles: dead };
        *master.repair.shown.lock().dead.entry(volume).or_default() += dropped;
        let answer = client.call(&request, Vec::new(), Instant::now() + PATIENCE).await;
        // Dropped, or looked at again; else they lie there until the next look.
        if matches!(answer, Ok((Ok(()) | Err(DropError::Stale), _)))
            && let Some(left) = master.repair.shown.lock().dead.get_mut(&volume)
        {
            *left = left.saturating_sub(dropped);
        }
        match answer {
            Ok((Ok(()), _)) => {
                metrics::ORPHANS_DROPPED.add(needles);
                swept.needles += needles;
                swept.bytes += dropped;
                return Ok(next);
            }
            Ok((Err(DropError::Stale), _)) => {
                debug!(volume = volume.0, "somebody counts on what it holds; asking again")
            }
            Ok((Err(error), _)) => return Err(Trouble::Puller(volume, error.to_string())),
            Err(error) => return Err(Trouble::Puller(volume, error.to_string())),
        }
    }
    swept.missed = true;
    Ok(next)
}

async fn offer(master: &Arc<Master>, volume: VolumeId, from: ListPosition) -> Result<Offered, Trouble> {
    let client = master.peers.volume(volume).ok_or(Trouble::Changed)?;
    match client.call(&Offer { from }, Vec::new(), Instant::now() + PATIENCE).await {
        Ok((Ok(offered), _)) => Ok(offered),
        Ok((Err(error), _)) => Err(Trouble::Puller(volume, error.to_string())),
        Err(error) => Err(Trouble::Puller(volume, error.to_string())),
    }
}
