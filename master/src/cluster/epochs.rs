//! The epochs of masters that are gone.
//!
//! Owns fencing them, so that their needles without a commit can be told for orphans. Leaves a living master's
//! epochs to its own gateway. Invariant: fencing is always safe; a master that was only slow opens another.

use std::time::Duration;

use hayrick_metrics as metrics;
use hayrick_protocol::command::Command;
use hayrick_protocol::{EpochId, NodeId};
use hayrick_raft_store::Cluster;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info};

use crate::master::Master;

/// Between two looks, unless `--fence-after` is shorter.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What fencing may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Fences the epochs of masters that are gone, for as long as this master leads.
pub(crate) async fn run(master: &Master) {
    let since = Instant::now();
    let fence_after = master.options.fence_after;
    let mut ticks = interval(LOOK_EVERY.min(fence_after / 4));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let silent = |id: NodeId| {
            let heard = master.members.last_heard(id).map_or(since, |at| at.max(since));
            if id == master.options.id { Duration::ZERO } else { now.duration_since(heard) }
        };
        let abandoned = abandoned(&master.node.cluster(), silent, fence_after);
        if abandoned.is_empty() {
            continue;
        }
        let ids = abandoned.iter().map(EpochId::to_string).collect::<Vec<_>>().join(", ");
        info!(epochs = ids, "fencing the epochs of a master that is gone");
        let count = abandoned.len() as u64;
        let commands = abandoned.into_iter().map(Command::FenceEpoch).collect();
        match master.node.propose(commands, now + PATIENCE).await {
            Ok(_) => metrics::EPOCHS_FENCED.add(count),
            Err(error) => debug!(%error, "they are not fenced yet"),
        }
    }
}

fn abandoned(cluster: &Cluster, silent: impl Fn(NodeId) -> Duration, fence_after: Duration) -> Vec<EpochId> {
    let gone = cluster.epochs.iter().filter(|(_, epoch)| silent(epoch.master) >= fence_after);
    gone.map(|(id, _)| *id).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hayrick_raft_store::OpenEpoch;

    use super::*;

    #[test]
    fn only_epochs_of_masters_silent_for_so_long_are_abandoned() {
        const GONE: Duration = Duration::from_secs(60);
        let epoch = |id, master| (EpochId(id), OpenEpoch { master: NodeId(master), nonce: 0 });
        let epochs = Arc::new([epoch(1, 1), epoch(2, 2), epoch(3, 3), epoch(4, 2)].into());
        let cluster = Cluster { epochs, ..Cluster::default() };
        let silent = |id: NodeId| Duration::from_secs([0, 59, 60][usize::try_from(id.0).expect("small") - 1]);
        assert_eq!(abandoned(&cluster, silent, GONE), [EpochId(3)]);
        assert_eq!(abandoned(&cluster, |_| GONE, GONE).len(), 4);
    }
}
