//! A member did not take a needle: the leader is told, looks for itself, and says what to make of it.
//!
//! Owns the question and the reading of the answer. Leaves probing and new placements to `cluster/` on the leader.

use std::sync::Arc;

use futures_util::future::join_all;
use hayrick_protocol::VolumeId;
use hayrick_protocol::cluster_map::Placement;
use hayrick_protocol::messages::master::{ReportVolume, Verdict};
use hayrick_protocol::messages::volume::AppendError;
use hayrick_web::Sparing;
use tokio::time::{Duration, Instant, sleep_until, timeout_at};
use tracing::info;

use super::append::AppendFailure;
use super::target;
use crate::leader;
use crate::master::Master;

static FAILURES: Sparing = Sparing::new(10);

/// What the leader's answer may take: its own probe has a shorter deadline.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Pause before the next try when nobody has advice, or a queue is full; it doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_millis(400);

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

/// The pauses of one request.
pub(crate) struct Pauses {
    next: Duration,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        Self { next: PAUSE_FIRST }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (2 * pause).min(PAUSE_MAX);
        pause
    }
}

/// Reports the members that failed, and waits until it makes sense to go on.
pub(crate) async fn report(
    master: &Arc<Master>,
    placement: &Placement,
    failed: &[(VolumeId, AppendFailure)],
    pauses: &mut Pauses,
    deadline: Instant,
) -> Advice {
    // A full queue says nothing of the volume.
    let told =
        failed.iter().filter(|(_, failure)| !matches!(failure, AppendFailure::Refused(AppendError::Busy)));
    let verdicts = join_all(told.map(|(volume, failure)| async move {
        if FAILURES.may_tell() {
            info!(volume = volume.0, placement = placement.id.0, %failure, "an append failed; asking the leader");
        }
        (failure, ask(master, placement, *volume, failure, deadline).await)
    }));
    let mut advice = Advice::TryAgain;
    let mut avoided = false;
    for (failure, verdict) in verdicts.await {
        match verdict {
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
    sleep_until(deadline.min(Instant::now() + pauses.next())).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut pauses = Pauses::new();
        let ms: Vec<u128> = (0..6).map(|_| pauses.next().as_millis()).collect();
        assert_eq!(ms, [50, 100, 200, 400, 400, 400]);
    }
}
