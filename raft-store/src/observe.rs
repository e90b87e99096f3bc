//! What openraft's metrics mean in this crate's words.
//!
//! Owns nothing and decides nothing: a cut-off leader stays leader in the metrics, so who wants to know whether it can do
//! anything asks [`has_quorum`].

use std::time::Duration;

use hayrick_metrics as metrics;
use hayrick_protocol::NodeId;
use hayrick_protocol::held::{self, LogPosition};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant, Raft, RaftMetrics, ServerState};
use tokio::sync::watch;

use crate::log::Log;
use crate::machine::Machine;
use crate::options::Options;
use crate::status::{Follower, Member, Progress, Role, Status};
use crate::types::{Types, ballot, position};

/// Whether a majority answered this leader within the last `within`; elsewhere, whether a leader is known.
pub(crate) fn has_quorum(raft: &Raft<Types, Machine>, within: Duration) -> bool {
    quorum(&raft.metrics().borrow_watched(), within)
}

fn quorum(metrics: &RaftMetrics<Types>, within: Duration) -> bool {
    if metrics.running_state.is_err() {
        return false;
    }
    if metrics.state != ServerState::Leader {
        return metrics.current_leader.is_some_and(|leader| leader != metrics.id);
    }
    if metrics.membership_config.voter_ids().eq([metrics.id]) {
        return true;
    }
    // Nothing acknowledged yet: it has just been elected, and openraft proposes nothing before its lease begins.
    metrics.last_quorum_acked.is_none_or(|acked| acked.elapsed() < within)
}

/// What a leader that is not a majority alone has for answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answers {
    /// The term that it leads.
    pub(crate) term: u64,
    /// How long ago it sent what a majority answered last; `None` before any did.
    pub(crate) age: Option<Duration>,
}

/// The answers to this leader; `None` where it leads nobody but itself.
pub(crate) fn answers(raft: &Raft<Types, Machine>) -> Option<Answers> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let leads = metrics.state.is_leader() && !metrics.membership_config.voter_ids().eq([metrics.id]);
    let age = metrics.last_quorum_acked.map(|acked| acked.elapsed());
    leads.then_some(Answers { term: metrics.current_term, age })
}

fn role(state: ServerState) -> Role {
    match state {
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Stopped,
    }
}

/// The progress as it is, the cluster having changed so often.
pub(crate) fn progress(raft: &Raft<Types, Machine>, cluster_changes: u64) -> Progress {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let stopped = raft.metrics().borrow_watched().running_state.is_err();
    Progress {
        cluster_changes,
        leader: metrics.current_leader.map(NodeId),
        role: if stopped { Role::Stopped } else { role(metrics.state) },
        term: metrics.vote.leader_id.term,
    }
}

/// Tells of the progress until Raft stops.
pub(crate) async fn run(raft: Raft<Types, Machine>, machine: Machine, told: watch::Sender<Progress>) {
    let mut server = raft.server_metrics();
    let mut cluster = machine.cluster_changes();
    let mut cluster_changes = 0;
    loop {
        let goes_on = tokio::select! {
            changed = server.changed() => changed.is_ok(),
            changed = cluster.changed() => {
                cluster_changes += 1;
                changed.is_ok()
            }
        };
        let now = progress(&raft, cluster_changes);
        told.send_if_modified(|before| {
            let changed = *before != now;
            match (before.role, now.role) {
                (Role::Leader, Role::Leader) => {}
                (_, Role::Leader) => metrics::ELECTIONS_WON.increment(),
                (Role::Leader, _) => metrics::LEADERSHIPS_LOST.increment(),
                _ => {}
            }
            *before = now;
            changed
        });
        if !goes_on {
            told.send_modify(|progress| progress.role = Role::Stopped);
            return;
        }
    }
}

/// What `id` has acknowledged to this leader, under its vote; openraft counts only what the other's disk has.
pub(crate) fn acknowledged_by(raft: &Raft<Types, Machine>, id: NodeId) -> Option<(held::Vote, LogPosition)> {
    let metrics = raft.metrics().borrow_watched().clone();
    let matched = metrics.replication?.get(&id.0).copied().flatten()?;
    Some((ballot(&metrics.vote), position(&matched)))
}

/// All there is to show.
pub(crate) fn status(options: &Options, raft: &Raft<Types, Machine>, machine: &Machine, log: &Log) -> Status {
    let metrics = raft.metrics().borrow_watched().clone();
    let membership = &metrics.membership_config;
    let member = |id: u64| Member {
        node: NodeId(id),
        address: membership.get_node(&id).map(|node| node.addr.clone()).unwrap_or_default(),
    };
    let stopped = machine
        .failed()
        .or_else(|| log.failed())
        .or_else(|| metrics.running_state.as_ref().err().map(ToString::to_string));
    Status {
        node: options.node,
        leader: metrics.current_leader.map(NodeId),
        term: metrics.current_term,
        role: if stopped.is_some() { Role::Stopped } else { role(metrics.state) },
        committed: metrics.local_committed.map_or(0, |id| id.index),
        applied: *machine.applied().borrow(),
        has_quorum: quorum(&metrics, options.election.end),
        voters: membership.voter_ids().map(member).collect(),
        learners: membership.membership().learner_ids().map(member).collect(),
        followers: followers(&metrics),
        counters: machine.counters(),
        log: log.status(),
        stopped,
    }
}

fn followers(metrics: &RaftMetrics<Types>) -> Vec<Follower> {
    let last = metrics.last_log_index.unwrap_or(0);
    let heard = |id: &u64| {
        let at = metrics.heartbeat.as_ref()?.get(id).copied().flatten()?;
        Some(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
    };
    let others = metrics.replication.iter().flatten().filter(|(id, _)| **id != metrics.id);
    others
        .map(|(id, matched)| Follower {
            node: NodeId(*id),
            lag_entries: matched.map(|matched| last.saturating_sub(matched.index)),
            last_heard_ms: heard(id),
        })
        .collect()
}
