//! Changes of who is in the Raft group: a learner comes in, votes once it has caught up, and a member leaves.
//!
//! Owns the order of a change's steps, that there is one at a time, and the finishing of what a former leader left half
//! done. Leaves to `master/` which directories may come in, and to the replicated state which ids never come back.
//! Invariants: nobody votes before it has the log nearly to its end; nobody is taken out while those that stay could not
//! form a majority without it.
//!
//! A change of voters is two entries of the log: a joint membership, in which both the old and the new majority decide, and
//! the new one alone. A leader that dies between the two leaves the joint one, which works; whoever changes something next
//! ends it first ([`Membership::settle`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hayrick_protocol::NodeId;
use hayrick_protocol::held::Voters;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers, Instant as _, Raft, RaftMetrics, ServerState};
use tokio::time::Instant;

use crate::errors::ChangeError;
use crate::machine::Machine;
use crate::types::{Types, position};

/// A learner that lacks no more entries than this has caught up: a leader under load appends so many in a second or two,
/// and a voter that lags as far is none that holds up a majority for long.
const CAUGHT_UP_ENTRIES: u64 = 256;

/// Between two looks whether the others answer.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// The changes of one node's group.
#[derive(Clone)]
pub(crate) struct Membership {
    raft: Raft<Types, Machine>,
    own: NodeId,
    /// A member that answered within this is there.
    fresh: Duration,
    /// Held while a change is under way, also by one that nobody waits for any more.
    under_way: Arc<tokio::sync::Mutex<()>>,
}

impl Membership {
    pub(crate) fn new(raft: Raft<Types, Machine>, own: NodeId, fresh: Duration) -> Self {
        Self { raft, own, fresh, under_way: Arc::default() }
    }

    /// Whoever votes, while a change is under way the old and the new ones.
    pub(crate) fn voters(&self) -> Vec<NodeId> {
        self.raft.metrics().borrow_watched().membership_config.voter_ids().map(NodeId).collect()
    }

    pub(crate) fn voter_sets(&self) -> Voters {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let sets = metrics.membership_config.membership().get_joint_config();
        Voters {
            at: metrics.membership_config.log_id().as_ref().map(position),
            sets: sets.iter().map(|set| set.iter().copied().map(NodeId).collect()).collect(),
        }
    }

    pub(crate) fn learners(&self) -> Vec<NodeId> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        metrics.membership_config.membership().learner_ids().map(NodeId).collect()
    }

    pub(crate) fn has(&self, id: NodeId) -> bool {
        self.raft.metrics().borrow_watched().membership_config.get_node(&id.0).is_some()
    }

    pub(crate) async fn add_learner(
        &self,
        id: NodeId,
        address: String,
        deadline: Instant,
    ) -> Result<(), ChangeError> {
        let metrics = self.as_leader()?;
        if let Some(known) = metrics.membership_config.get_node(&id.0) {
            let known = known.addr.clone();
            let same = known == address;
            return if same { settled(&metrics) } else { Err(ChangeError::OtherAddress { id, known }) };
        }
        let nodes = BTreeMap::from([(id.0, BasicNode { addr: address })]);
        self.change(ChangeMembers::AddNodes(nodes), deadline).await
    }

    pub(crate) async fn promote(&self, id: NodeId, deadline: Instant) -> Result<(), ChangeError> {
        let metrics = self.as_leader()?;
        let membership = metrics.membership_config.membership();
        if membership.get_node(&id.0).is_none() {
            return Err(ChangeError::NotAMember(id));
        }
        if membership.get_joint_config().last().is_some_and(|voters| voters.contains(&id.0)) {
            return settled(&metrics);
        }
        match self.lag(&metrics, id) {
            Some(lag) if lag <= CAUGHT_UP_ENTRIES => {}
            lag_entries => return Err(ChangeError::Lags { id, lag_entries }),
        }
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id.0])), deadline).await
    }

    pub(crate) async fn remove(&self, id: NodeId, deadline: Instant) -> Result<(), ChangeError> {
        // A leader that was just elected has not heard of everybody yet.
        let patience = deadline.min(Instant::now() + self.fresh);
        loop {
            let metrics = self.as_leader()?;
            let config = &metrics.membership_config;
            if config.get_node(&id.0).is_none() {
                return settled(&metrics);
            }
            if !config.voter_ids().any(|voter| voter == id.0) {
                return self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id.0])), deadline).await;
            }
            let staying: Vec<NodeId> = config.voter_ids().map(NodeId).filter(|voter| *voter != id).collect();
            if staying.is_empty() {
                return Err(ChangeError::LastVoter(id));
            }
            let silent: Vec<NodeId> =
                staying.iter().copied().filter(|id| !self.answers(&metrics, *id)).collect();
            if (staying.len() - silent.len()) * 2 > staying.len() {
                return self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id.0])), deadline).await;
            }
            if Instant::now() >= patience {
                return Err(ChangeError::NoMajority { id, staying: staying.len(), silent });
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Ends a joint membership that a former leader left.
    pub(crate) async fn settle(&self, deadline: Instant) -> Result<(), ChangeError> {
        let metrics = self.as_leader()?;
        if metrics.membership_config.membership().get_joint_config().len() < 2 {
            return Ok(());
        }
        self.change(nothing(), deadline).await
    }

    /// The voter that is least behind and answers, but for this node.
    pub(crate) fn successor(&self) -> Option<NodeId> {
        let metrics = self.as_leader().ok()?;
        let voters = metrics.membership_config.voter_ids().map(NodeId).filter(|id| *id != self.own);
        let answering = voters.filter(|id| self.answers(&metrics, *id));
        answering.min_by_key(|id| self.lag(&metrics, *id).unwrap_or(u64::MAX))
    }

    /// Whether leadership may go to this voter: it has caught up and answers. Handing over stops all proposals until the
    /// other one leads, so that it must not be one that has to catch up first.
    pub(crate) fn may_succeed(&self, id: NodeId) -> bool {
        let metrics = self.raft.metrics().borrow_watched().clone();
        self.answers(&metrics, id) && self.lag(&metrics, id).is_some_and(|lag| lag <= CAUGHT_UP_ENTRIES)
    }

    fn as_leader(&self) -> Result<RaftMetrics<Types>, ChangeError> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        if let Err(error) = &metrics.running_state {
            return Err(ChangeError::Stopped(error.to_string()));
        }
        if metrics.state != ServerState::Leader {
            return Err(ChangeError::NotLeader { leader: metrics.current_leader.map(NodeId) });
        }
        Ok(metrics)
    }

    /// Entries that a member lacks, as far as this leader knows.
    fn lag(&self, metrics: &RaftMetrics<Types>, id: NodeId) -> Option<u64> {
        let matched = (*metrics.replication.as_ref()?.get(&id.0)?).as_ref()?;
        Some(metrics.last_log_index.unwrap_or(0).saturating_sub(matched.index))
    }

    fn answers(&self, metrics: &RaftMetrics<Types>, id: NodeId) -> bool {
        let heard = || metrics.heartbeat.as_ref()?.get(&id.0).copied().flatten();
        id == self.own || heard().is_some_and(|at| at.elapsed() < self.fresh)
    }

    /// Has the group changed, both steps of it. It goes on by itself when the deadline passes: half a change is none.
    async fn change(
        &self,
        changes: ChangeMembers<u64, BasicNode>,
        deadline: Instant,
    ) -> Result<(), ChangeError> {
        let held = Arc::clone(&self.under_way).try_lock_owned().map_err(|_| ChangeError::UnderWay)?;
        let raft = self.raft.clone();
        let changing = tokio::spawn(async move {
            let is_joint =
                raft.metrics().borrow_watched().membership_config.membership().get_joint_config().len() > 1;
            let changed = match is_joint {
                true => write(&raft, nothing()).await,
                false => Ok(()),
            };
            let changed = match changed {
                Ok(()) if changes != nothing() => write(&raft, changes).await,
                other => other,
            };
            drop(held);
            changed
        });
        match tokio::time::timeout_at(deadline, changing).await {
            Ok(Ok(changed)) => changed,
            Ok(Err(error)) => Err(ChangeError::Stopped(error.to_string())),
            Err(_) => Err(ChangeError::Unknown("it is under way and not decided yet".into())),
        }
    }
}

/// A change that changes nothing, but that openraft ends a joint membership for any.
fn nothing() -> ChangeMembers<u64, BasicNode> {
    ChangeMembers::AddVoterIds(BTreeSet::new())
}

/// Whether what the membership says can be relied on: it is committed.
fn settled(metrics: &RaftMetrics<Types>) -> Result<(), ChangeError> {
    let committed = metrics.local_committed.map(|id| id.index);
    let last = metrics.membership_config.log_id().map(|id| id.index);
    if committed >= last { Ok(()) } else { Err(ChangeError::UnderWay) }
}

async fn write(
    raft: &Raft<Types, Machine>,
    changes: ChangeMembers<u64, BasicNode>,
) -> Result<(), ChangeError> {
    match raft.change_membership(changes, false).await {
        Ok(_) => Ok(()),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
            Err(ChangeError::NotLeader { leader: forward.leader_id.map(NodeId) })
        }
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        ))) => Err(ChangeError::UnderWay),
        Err(RaftError::Fatal(error)) => Err(ChangeError::Stopped(error.to_string())),
        Err(error) => Err(ChangeError::Unknown(error.to_string())),
    }
}
