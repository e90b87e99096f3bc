//! How one volume gets what another one holds, page by page, and how it is shown to hold all that it must.
//!
//! Owns the pages, the pace and the comparison. Leaves to `group` and `mend` what follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hayrick_protocol::messages::volume::{AppendError, List, ListPosition, Pull, PullError, Pulled};
use hayrick_protocol::{NeedleId, PlacementId, VolumeId};
use hayrick_raft_store::{Completeness, Copies};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::master::Master;

/// What one pull, or one page of a list, may take.
const PATIENCE: Duration = Duration::from_secs(12);

/// Why copies are not made.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// What was to be done is not any more.
    #[error("the cluster has changed meanwhile")]
    Changed,
    /// The leader could not commit or read.
    #[error("{0}")]
    Leader(String),
    /// Who pulls has no room.
    #[error("volume {0} is full; add a volume")]
    Full(VolumeId),
    /// Who pulls failed otherwise.
    #[error("volume {0}, which pulls them: {1}")]
    Puller(VolumeId, String),
    /// A source failed, and the others do not have all.
    #[error("volume {0}, which has them: {1}")]
    Source(VolumeId, String),
    /// What is damaged is wanted.
    #[error(
        "it keeps damaged copies of objects that nobody has whole; store those objects again, or delete them"
    )]
    Kept,
    /// All sources gave what they have.
    #[error(
        "{needles} needles are on none of the volumes that are up; start the volume that was lost, or restore it"
    )]
    Lacks {
        /// How many.
        needles: u64,
    },
}

/// Who pulls from whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// Who pulls.
    pub(super) to: VolumeId,
    /// Who is pulled from.
    pub(super) from: VolumeId,
    /// It is the last copy: as fast as can be.
    pub(super) in_haste: bool,
}

/// Pulls all that the source holds of these placements, which ascend, as long as `goes_on`; `note` is told of each page. Whether
/// the source gave all that it listed: asked for once more, as it lists no more what it found damaged meanwhile.
pub(super) async fn pull(
    master: &Arc<Master>,
    route: Route,
    placements: &[PlacementId],
    goes_on: impl Fn() -> bool,
    note: impl Fn(&Pulled),
) -> Result<bool, Trouble> {
    let all = (placements, &[][..]);
    Ok(pull_only(master, route, all, &goes_on, &note).await?
        || pull_only(master, route, all, &goes_on, &note).await?)
}

/// The same of these needles alone, which ascend; of all, where none is named.
pub(super) async fn pull_only(
    master: &Arc<Master>,
    route: Route,
    (placements, only): (&[PlacementId], &[NeedleId]),
    goes_on: &impl Fn() -> bool,
    note: &impl Fn(&Pulled),
) -> Result<bool, Trouble> {
    let pace = &master.repair.pace;
    let both = [route.from, route.to];
    let (mut from, mut gave_all) = (ListPosition::default(), true);
    loop {
        if !goes_on() {
            return Err(Trouble::Changed);
        }
        if !route.in_haste && !pace.wait(both).await {
            continue;
        }
        let cluster = master.node.cluster();
        let source = cluster.map.volumes.get(&route.from).ok_or(Trouble::Changed)?;
        let request = Pull {
            source: source.id,
            address: source.peer.clone(),
            placements: placements.to_vec(),
            from,
            bytes_max: pace.pull_bytes(),
            only: only.to_vec(),
        };
        let pulled = ask(master, route, &request).await?;
        pace.took(both, pulled.bytes, route.in_haste);
        note(&pulled);
        gave_all &= pulled.failed == 0;
        match pulled.next {
            None => return Ok(gave_all),
            Some(next) if next > from => from = next,
            Some(_) => return Err(Trouble::Source(route.from, "its list does not go on".to_owned())),
        }
    }
}

async fn ask(master: &Arc<Master>, route: Route, request: &Pull) -> Result<Pulled, Trouble> {
    let client = master.peers.volume(route.to).ok_or(Trouble::Changed)?;
    match client.call(request, Vec::new(), Instant::now() + PATIENCE).await {
        Ok((Ok(pulled), _)) => Ok(pulled),
        Ok((Err(PullError::Source(why)), _)) => Err(Trouble::Source(route.from, why)),
        Ok((Err(PullError::Append(AppendError::Full { .. })), _)) => Err(Trouble::Full(route.to)),
        Ok((Err(error @ PullError::Append(_)), _)) => Err(Trouble::Puller(route.to, error.to_string())),
        Err(error) => Err(Trouble::Puller(route.to, error.to_string())),
    }
}

/// Placements, and needles in them, that are compared together.
const TOGETHER: usize = 128;
const NEEDLES_TOGETHER: u64 = 500_000;

/// These placements in parts that can be compared, each in the order given.
pub(super) fn batches<'a>(
    mut placements: &'a [PlacementId],
    copies: &'a BTreeMap<PlacementId, Copies>,
) -> impl Iterator<Item = &'a [PlacementId]> {
    let needles = |id| copies.get(id).map_or(0, |it| it.live.count + it.garbage.count + it.missing.count);
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fit = placements.iter().take(TOGETHER).take_while(|id| {
            sum += needles(id);
            sum <= NEEDLES_TOGETHER
        });
        let (batch, rest) = placements.split_at_checked(fit.count().max(1))?;
        placements = rest;
        Some(batch)
    })
}

/// What the volume lists of these placements, which ascend, beside what it must hold. What it must hold is from before
/// the list, so that of a placement which takes writes nothing is missed.
pub(super) async fn compare(
    master: &Arc<Master>,
    volume: VolumeId,
    placements: &[PlacementId],
) -> Result<Completeness, Trouble> {
    let leader = |error: &dyn std::fmt::Display| Trouble::Leader(error.to_string());
    caught_up(master).await?;
    let compared = master.node.completeness(placements.to_vec()).await;
    let mut compared = compared.map_err(|error| leader(&error))?;
    let mut from = ListPosition::default();
    loop {
        let client = master.peers.volume(volume).ok_or(Trouble::Changed)?;
        let request = List { placements: placements.to_vec(), from, only_looks: false };
        let page = match client.call(&request, Vec::new(), Instant::now() + PATIENCE).await {
            Ok((Ok(page), _)) => page,
            Ok((Err(error), _)) => return Err(Trouble::Puller(volume, error.to_string())),
            Err(error) => return Err(Trouble::Puller(volume, error.to_string())),
        };
        let next = page.next;
        let added = spawn_blocking(move || compared.add(&page.needles).map(|()| compared)).await;
        compared = added.map_err(|error| leader(&error))?.map_err(|error| leader(&error))?;
        match next {
            None => return Ok(compared),
            Some(next) if next > from => from = next,
            Some(_) => return Err(Trouble::Puller(volume, "its list does not go on".to_owned())),
        }
    }
}

/// Waits until this leader has applied all that was acknowledged by now; fails where it leads no more.
pub(super) async fn caught_up(master: &Arc<Master>) -> Result<(), Trouble> {
    let deadline = Instant::now() + PATIENCE;
    let leader = |error: &dyn std::fmt::Display| Trouble::Leader(error.to_string());
    let index = master.node.read_index(deadline).await.map_err(|error| leader(&error))?;
    master.node.wait_applied(index, deadline).await.map_err(|error| leader(&error))
}
