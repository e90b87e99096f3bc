//! A member did not take a needle: the leader is told, looks for itself, and says what to make of it.
//!
//! Owns the question and the reading of the answer. Leaves probing and new placements to `cluster/` on the leader.

use std::sync::Arc;

use hayrick_protocol::VolumeId;
use hayrick_protocol::cluster_map::Placement;
use hayrick_protocol::messages::master::{ReportVolume, Verdict};
use hayrick_protocol::messages::volume::AppendError;
use tokio::time::{Duration, Instant, sleep, timeout_at};
use tracing::info;

use super::append::AppendFailure;
use super::target;
use crate::leader;
use crate::master::Master;

/// What the leader's answer may take: its own probe has a shorter deadline.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Pause before the next try when nobody has advice, or a queue is full.
const PAUSE: Duration = Duration::from_millis(50);

/// What to do after a failed append.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Look for the current placement again and write there.
    TryAgain,
    /// The leader can reach what this gateway cannot.
    OnlyFromHere,
    /// A volume works, but this needle does not fit into what room it has left.
    NoRoom,
}

/// Reports the members that failed, and waits until it makes sense to go on.
pub(crate) async fn report(
    master: &Arc<Master>,
    placement: &Placement,
    failed: &[(VolumeId, AppendFailure)],
    deadline: Instant,
) -> Advice {
    let mut advice = Advice::TryAgain;
    let mut avoided = false;
    for (volume, failure) in failed {
        if matches!(failure, AppendFailure::Refused(AppendError::Busy)) {
            continue;
        }
        info!(volume = volume.0, placement = placement.id.0, %failure, "an append failed; asking the leader");
        match ask(master, placement, *volume, failure, deadline).await {
            Some(Verdict::Avoided) => avoided = true,
            Some(Verdict::Works) if is_full(failure) => advice = Advice::NoRoom,
            Some(Verdict::Works) if advice == Advice::TryAgain => advice = Advice::OnlyFromHere,
            Some(Verdict::Works) => {}
            Some(Verdict::NotLeader) | None => {}
        }
    }
    if avoided {
        target::moved(master, placement, deadline).await;
        return Advice::TryAgain;
    }
    sleep(PAUSE).await;
    advice
}

fn is_full(failure: &AppendFailure) -> bool {
    matches!(failure, AppendFailure::Refused(AppendError::Full { .. }))
}

async fn ask(
    master: &Arc<Master>,
    placement: &Placement,
    volume: VolumeId,
    failure: &AppendFailure,
    deadline: Instant,
) -> Option<Verdict> {
    let cause = failure.to_string();
    let leader = leader::current(master)?;
    let deadline = deadline.min(Instant::now() + PATIENCE);
    if leader == master.options.id {
        let verdict = master.detect.report(master, volume, placement.id, &cause);
        return timeout_at(deadline, verdict).await.ok();
    }
    let request = ReportVolume { volume, placement: placement.id, cause };
    let client = master.peers.master(leader)?;
    client.call(&request, Vec::new(), deadline).await.ok().map(|(verdict, _)| verdict)
}
