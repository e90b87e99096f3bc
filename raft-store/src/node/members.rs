//! Who takes part, who leads, and the changes of both.
//!
//! Owns the handing over of leadership, and that a leader hands it over before it goes itself. The change of members is
//! `membership`'s.

use hayrick_protocol::NodeId;
use hayrick_protocol::held::Voters;
use tokio::time::{Duration, Instant};

use super::Node;
use crate::errors::{ChangeError, TransferError};
use crate::status::Role;

/// Between two looks whether the other one has caught up.
const TRANSFER_PAUSE: Duration = Duration::from_millis(10);

impl Node {
    /// Who votes; nobody before there is a log. Takes microseconds.
    pub fn voters(&self) -> Vec<NodeId> {
        self.inner.membership.voters()
    }

    /// Whose majority decides, as its log says last.
    pub fn voter_sets(&self) -> Voters {
        self.inner.membership.voter_sets()
    }

    /// Who receives the log without a vote.
    pub fn learners(&self) -> Vec<NodeId> {
        self.inner.membership.learners()
    }

    /// Whether `id` receives the log, with or without a vote.
    pub fn is_member(&self, id: NodeId) -> bool {
        self.inner.membership.has(id)
    }

    /// Sends the log to `id` from now on, without a vote. Leader only. Success where it is a member already, with the same
    /// address.
    pub async fn add_learner(
        &self,
        id: NodeId,
        address: String,
        deadline: Instant,
    ) -> Result<(), ChangeError> {
        self.inner.membership.add_learner(id, address, deadline).await
    }

    /// Gives a learner that has caught up a vote. Leader only. Success where it votes already.
    pub async fn promote(&self, id: NodeId, deadline: Instant) -> Result<(), ChangeError> {
        self.inner.membership.promote(id, deadline).await
    }

    /// Takes a voter or learner out, unless those that stay could not decide anything. Leader only; a leader that is to go
    /// itself hands leadership over and is none any more, so that the new one is to be asked. Success where it is no member.
    pub async fn remove_member(&self, id: NodeId, deadline: Instant) -> Result<(), ChangeError> {
        let is_alone = self.voters() == [id];
        if id == self.inner.options.node && !is_alone {
            let leader = self.hand_over(deadline).await;
            return Err(ChangeError::NotLeader { leader: leader.ok() });
        }
        self.inner.membership.remove(id, deadline).await
    }

    /// Ends a change that a former leader left half done. Leader only; does nothing where there is none.
    pub async fn settle_membership(&self, deadline: Instant) -> Result<(), ChangeError> {
        self.inner.membership.settle(deadline).await
    }

    /// Hands leadership to the voter that is least behind, and waits until it took over.
    pub async fn hand_over(&self, deadline: Instant) -> Result<NodeId, TransferError> {
        if self.inner.progress.borrow().role != Role::Leader {
            return Err(TransferError::NotLeader);
        }
        let to = self.inner.membership.successor().ok_or(TransferError::Lags)?;
        self.transfer_leader(to, deadline).await.map(|()| to)
    }

    /// Hands leadership to a voter that has caught up, and waits until it took over.
    pub async fn transfer_leader(&self, to: NodeId, deadline: Instant) -> Result<(), TransferError> {
        if self.inner.progress.borrow().role != Role::Leader {
            return Err(TransferError::NotLeader);
        }
        if to == self.inner.options.node {
            return Ok(());
        }
        if !self.voters().contains(&to) {
            return Err(TransferError::NotAVoter);
        }
        while !self.inner.membership.may_succeed(to) {
            if Instant::now() + TRANSFER_PAUSE >= deadline {
                return Err(TransferError::Lags);
            }
            tokio::time::sleep(TRANSFER_PAUSE).await;
        }
        let stopped = |error: &dyn std::fmt::Display| TransferError::Stopped(error.to_string());
        self.inner.raft.trigger().transfer_leader(to.0).await.map_err(|error| stopped(&error))?;
        let mut progress = self.watch();
        let taken = progress.wait_for(|progress| progress.leader == Some(to));
        match tokio::time::timeout_at(deadline, taken).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(stopped(&error)),
            Err(_) => Err(TransferError::Timeout),
        }
    }
}
