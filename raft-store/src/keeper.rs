//! When the state is made durable for the log's sake, and how far the log is purged.
//!
//! openraft's own policy knows neither bytes nor snapshots on their way, so it is switched off, and this task decides:
//! after so many entries, or when the log is large, a snapshot is built (a durable checkpoint, nothing is copied) and the
//! log is purged up to some way behind it, but not beyond what the receiver of a snapshot will need next. Invariant: the
//! log is never purged beyond the last durable checkpoint. (openraft holds to the last snapshot, but takes whatever was
//! applied when it started for one: so a checkpoint goes in front of each.)

use std::collections::BTreeMap;
use std::time::Duration;

use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::NodeId;
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;

use crate::log::Log;
use crate::machine::Machine;
use crate::network::Transits;
use crate::options::Options;
use crate::types::Types;

/// The log is looked at this often even when it does not grow: a receiver may have caught up.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// And this often when it does, not at every entry.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// How long a snapshot may take to be built before it is asked for again.
const BUILD_TIMEOUT: Duration = Duration::from_secs(60);

/// The task's knowledge.
pub(crate) struct Keeper {
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) machine: Machine,
    pub(crate) log: Log,
    pub(crate) transits: Transits,
    pub(crate) options: Options,
}

impl Keeper {
    /// Runs until Raft stops.
    pub(crate) async fn run(self) {
        let mut applied = self.machine.applied();
        let mut kept_from = self.log.purged().map_or(0, |id| id.index);
        loop {
            let _ = tokio::time::timeout(LOOK_EVERY, applied.changed()).await;
            tokio::time::sleep(LOOK_PAUSE).await;
            let index = *applied.borrow_and_update();
            let due = index >= kept_from.saturating_add(self.step());
            let large = index > kept_from && self.log.status().bytes > self.options.log_bytes_max / 2;
            if !due && !large {
                continue;
            }
            let Some(snapshot) = self.snapshot(index).await else {
                if self.raft.metrics().borrow_watched().running_state.is_err() {
                    return;
                }
                continue;
            };
            // Large entries: half of those there are is kept.
            let purged = self.log.purged().map_or(0, |id| id.index);
            let keep = if large { snapshot.saturating_sub(purged) / 2 } else { u64::MAX };
            kept_from = snapshot.saturating_sub(keep.min(self.options.log_keep_entries));
            let upto = self.limit_to_transits(kept_from);
            if upto > purged && self.raft.trigger().purge_log(upto).await.is_err() {
                return;
            }
            if large {
                // It may stay large, for a receiver's sake; a checkpoint for every entry would not make it smaller.
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    fn step(&self) -> u64 {
        self.options.snapshot_after_entries.saturating_add(self.options.log_keep_entries)
    }

    /// Has a snapshot built that holds at least `index`; gives its index.
    async fn snapshot(&self, index: u64) -> Option<u64> {
        // What openraft takes for a snapshot after a start was applied anew, and none of that is durable yet.
        if !planted::is(Bug::LogPurgedEarly) {
            self.machine.checkpoint().await.ok()?;
        }
        self.raft.trigger().snapshot().await.ok()?;
        let wait = self.raft.wait(Some(BUILD_TIMEOUT));
        let built = wait.metrics(
            |metrics| metrics.snapshot.is_some_and(|id| id.index >= index) || metrics.running_state.is_err(),
            "the snapshot is built",
        );
        built.await.ok()?.snapshot.map(|id| id.index)
    }

    /// How far the log is purged when it might be purged up to `upto`.
    fn limit_to_transits(&self, upto: u64) -> u64 {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let mut transits = self.transits.lock();
        let Some(replication) = metrics.replication else {
            transits.clear();
            return upto;
        };
        let matched = |node: NodeId| Some(replication.get(&node.0)?.map_or(0, |id| id.index));
        let limit = limit_to_transits(&mut transits, matched, upto);
        if limit < upto && self.log.status().bytes > self.options.log_bytes_max {
            tracing::warn!(
                nodes = ?transits.keys().collect::<Vec<_>>(),
                "the log is too large to be kept for masters that catch up by snapshot; they will need another"
            );
            transits.clear();
            return upto;
        }
        limit
    }
}

/// How far the log may be purged for the sake of those who just get a snapshot and then need what follows on it.
///
/// `matched` tells up to where a node is known to have the log; `None` of one that is sent nothing any more. A transit is
/// forgotten once its node has both the snapshot and all that is about to go: as long as it lacks the snapshot, it matters
/// little that nothing behind it is to be purged this time.
fn limit_to_transits(
    transits: &mut BTreeMap<NodeId, u64>,
    matched: impl Fn(NodeId) -> Option<u64>,
    upto: u64,
) -> u64 {
    transits.retain(|node, snapshot| matched(*node).is_some_and(|matched| matched < upto.max(*snapshot)));
    let needed = transits.iter().filter_map(|(node, snapshot)| Some(matched(*node)?.max(*snapshot)));
    needed.min().map_or(upto, |needed| needed.min(upto))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transits() -> BTreeMap<NodeId, u64> {
        BTreeMap::from([(NodeId(2), 100)])
    }

    #[test]
    fn a_transit_is_kept_until_its_receiver_has_caught_up() {
        let mut transits = transits();
        assert_eq!(
            limit_to_transits(&mut transits, |_| Some(0), 90),
            90,
            "the snapshot is ahead of the purge"
        );
        assert_eq!(limit_to_transits(&mut transits, |_| Some(0), 300), 100, "and is still on its way");
        assert_eq!(
            limit_to_transits(&mut transits, |_| Some(250), 300),
            250,
            "it is there, and what follows comes"
        );
        assert_eq!(limit_to_transits(&mut transits, |_| Some(300), 300), 300);
        assert!(transits.is_empty(), "it has caught up");
    }

    #[test]
    fn the_slowest_of_several_receivers_counts() {
        let mut transits = BTreeMap::from([(NodeId(2), 100), (NodeId(3), 150)]);
        let matched = |node| Some(if node == NodeId(2) { 170 } else { 0 });
        assert_eq!(limit_to_transits(&mut transits, matched, 300), 150);
    }

    #[test]
    fn a_node_that_left_keeps_nothing() {
        let mut transits = transits();
        assert_eq!(limit_to_transits(&mut transits, |_| None, 300), 300);
        assert!(transits.is_empty());
    }
}
