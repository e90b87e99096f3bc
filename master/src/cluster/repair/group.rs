//! One group of placements from its beginning to its end: the newcomer pulls, is shown to hold everything, and is a member.
//!
//! Owns the order: a move is begun by a commit before anything is pulled, so that the newcomer drops nothing meanwhile; what
//! it holds is compared with the index afterwards, and only what is complete is committed, in the generation that was
//! examined. Leaves which placements to `plan`. Invariant: nothing is kept here that the next leader would need: it begins
//! with the same moves, and pulls what lacks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::cluster_map::VolumeState;
use hayrick_protocol::command::{Command, Examined, Reply};
use hayrick_protocol::limits::BATCH_COMMANDS_MAX;
use hayrick_protocol::messages::moves::MoveKind;
use hayrick_protocol::messages::volume::Pulled;
use hayrick_protocol::{PlacementId, VolumeId};
use tokio::time::Instant;
use tracing::{debug, info};

use super::copying::{self, Route, Trouble};
use super::missing;
use super::plan::Group;
use super::progress::Progress;
use crate::master::Master;

/// What one commit may take.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

/// Brings the group to its end.
pub(super) async fn run(master: &Arc<Master>, group: &Group, progress: &Progress) -> Result<(), Trouble> {
    let mut left = begin(master, group).await?;
    if planted::is(Bug::RepairWithoutCount) {
        (left, _) = admit_complete(master, group, left).await?;
    }
    let (mut trouble, mut asked) = (Trouble::Changed, BTreeSet::new());
    for (turn, source) in sources(master, group).into_iter().enumerate() {
        if left.is_empty() {
            break;
        }
        let note = |pulled: &Pulled| progress.pulled(pulled, turn == 0);
        let route = Route { to: group.newcomer, from: source, in_haste: group.sources.len() == 1 };
        let goes_on = || is_wanted(master, group);
        match copying::pull(master, route, &ids(&left), goes_on, note).await {
            Ok(gave_all) => _ = gave_all.then(|| asked.insert(source)),
            // What it gave so far may be all that lacks, and another source may do better.
            Err(error @ Trouble::Source(..)) => trouble = error,
            Err(error) => return Err(error),
        }
        let (lacking, needles) = admit_complete(master, group, left).await?;
        if needles > 0 && !matches!(trouble, Trouble::Source(..)) {
            trouble = Trouble::Lacks { needles };
        }
        left = lacking;
    }
    if !left.is_empty() && missing::is_final(master, group.newcomer, &asked) {
        missing::give_up(master, group.newcomer, &ids(&left)).await?;
        (left, _) = admit_complete(master, group, left).await?;
    }
    if left.is_empty() { Ok(()) } else { Err(trouble) }
}

/// Who may have the needles, in the order in which they are asked: each newcomer begins with another member, so that no one
/// has all the work; and who is no member comes last: after a restore of the index, it may have what members lack.
fn sources(master: &Master, group: &Group) -> Vec<VolumeId> {
    let mut sources = group.sources.clone();
    let turn = group.newcomer.0 as usize % sources.len().max(1);
    sources.rotate_left(turn);
    let cluster = master.node.cluster();
    let others =
        cluster.map.volumes.values().filter(|volume| volume.state.serves_reads()).map(|volume| volume.id);
    sources.extend(others.filter(|id| *id != group.newcomer && !group.sources.contains(id)));
    sources
}

/// Begins the moves that are not begun yet; those that are.
async fn begin(master: &Arc<Master>, group: &Group) -> Result<Vec<Examined>, Trouble> {
    let (begun, new): (Vec<_>, Vec<_>) = group.placements.iter().copied().partition(|(_, begun)| *begun);
    let mut begun: Vec<Examined> = begun.into_iter().map(|(placement, _)| placement).collect();
    let new: Vec<Examined> = new.into_iter().map(|(placement, _)| placement).collect();
    let newcomer = group.newcomer;
    let commands = new.iter().map(|placement| Command::BeginMove { placement: *placement, newcomer });
    begun.extend(commit(master, &new, commands.collect()).await?);
    Ok(begun)
}

/// Makes the newcomer a member of those placements of which it holds everything; the others, and how many needles they
/// lack.
async fn admit_complete(
    master: &Arc<Master>,
    group: &Group,
    left: Vec<Examined>,
) -> Result<(Vec<Examined>, u64), Trouble> {
    let compared = copying::compare(master, group.newcomer, &ids(&left)).await?;
    let (mut complete, mut lacking, mut needles) = (Vec::new(), Vec::new(), 0);
    for (placement, compared) in compared.outcome() {
        let Some(examined) = left.iter().find(|examined| examined.placement == placement) else { continue };
        if compared.is_complete() || planted::is(Bug::RepairWithoutCount) {
            complete.push(*examined);
        } else {
            needles += compared.lacks();
            lacking.push(*examined);
        }
    }
    if !is_wanted(master, group) {
        return Err(Trouble::Changed);
    }
    let (out, newcomer) = (group.out, group.newcomer);
    let commands =
        complete.iter().map(|placement| Command::ReplaceMember { placement: *placement, out, newcomer });
    let done = commit(master, &complete, commands.collect()).await?;
    metrics::PLACEMENTS_REPAIRED.add(done.len() as u64);
    if !done.is_empty() {
        info!(placements = done.len(), volume = newcomer.0, "placements have another copy");
    }
    Ok((lacking, needles))
}

/// Ascending.
fn ids(placements: &[Examined]) -> Vec<PlacementId> {
    let mut ids: Vec<_> = placements.iter().map(|examined| examined.placement).collect();
    ids.sort_unstable();
    ids
}

/// Commits one command for each placement; those of which it was not refused.
async fn commit(
    master: &Arc<Master>,
    placements: &[Examined],
    commands: Vec<Command>,
) -> Result<Vec<Examined>, Trouble> {
    let mut done = Vec::new();
    for (placements, commands) in
        placements.chunks(BATCH_COMMANDS_MAX).zip(commands.chunks(BATCH_COMMANDS_MAX))
    {
        let replies = master.node.propose(commands.to_vec(), Instant::now() + COMMIT_PATIENCE).await;
        let replies = replies.map_err(|error| Trouble::Leader(error.to_string()))?;
        for (placement, reply) in placements.iter().zip(replies) {
            match reply {
                Reply::Done => done.push(*placement),
                refused => debug!(placement = placement.placement.0, ?refused, "a placement moved meanwhile"),
            }
        }
    }
    Ok(done)
}

/// Whether the newcomer still takes writes, and who is to go still is.
fn is_wanted(master: &Master, group: &Group) -> bool {
    let cluster = master.node.cluster();
    let state = |id: VolumeId| cluster.map.volumes.get(&id).map(|volume| volume.state);
    let of_out = group.out.and_then(state);
    let is_wanted = match group.kind {
        MoveKind::Repair => !of_out.is_some_and(VolumeState::serves_reads),
        MoveKind::Drain => of_out != Some(VolumeState::Up),
        MoveKind::Rebalance => cluster.rebalances,
    };
    is_wanted && state(group.newcomer) == Some(VolumeState::Up)
}
