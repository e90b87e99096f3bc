//! Why an operation of a node failed: one enum for each. (Proposals and read-index use the protocol's own.)

use std::path::PathBuf;

use hayrick_protocol::NodeId;
use thiserror::Error;

/// Why a node did not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The disk refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// What was opened, read or written.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The bytes on disk are not what was once written.
    #[error(
        "{path} is damaged ({what}): this master can no longer vouch for what it promised. Take it out of the cluster \
         with `hayrick master remove`, then start it with an empty directory and a new id",
        path = path.display()
    )]
    Damaged {
        /// Which file or directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The settings do not fit together.
    #[error("the settings do not fit together: {0}")]
    Options(String),
    /// Raft itself did not start.
    #[error("Raft did not start: {0}")]
    Raft(String),
}

/// Why a cluster was not formed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InitializeError {
    /// This node is not among the masters named.
    #[error("this master is not among those named")]
    NotAMember,
    /// The node has stopped.
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

/// Why the applied state was not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The index file failed.
    #[error("the index cannot be read: {0}")]
    Index(String),
    /// More was to be read than could be by the deadline.
    #[error("there was more to read than time for it")]
    Late,
}

/// The index was not applied within the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this master lags: it has not applied what the leader had, within the deadline")]
pub struct Timeout;

/// Why leadership was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransferError {
    /// This node does not lead.
    #[error("this master does not lead")]
    NotLeader,
    /// The target is not a voter.
    #[error("the target is not a voter")]
    NotAVoter,
    /// The target has to catch up first, or does not answer.
    #[error("the other master does not answer, or lacks too much of the log yet")]
    Lags,
    /// The target did not take over within the deadline.
    #[error("the other master did not take over within the deadline")]
    Timeout,
    /// The node has stopped.
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

/// Why the membership was not changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// Nothing was changed: another node leads, or none. A leader that was to be removed has handed leadership over.
    #[error("this master does not lead")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// Nothing was changed: one change at a time.
    #[error("another change is under way; try again when it is done")]
    UnderWay,
    /// Nothing was changed: the id is a member's at another address.
    #[error("master {id} is a member at {known}; a new master needs an id that was never used")]
    OtherAddress {
        /// Whose id.
        id: NodeId,
        /// Where it is.
        known: String,
    },
    /// Nothing was changed: only a member can become a voter.
    #[error("master {0} is no member; add it first")]
    NotAMember(NodeId),
    /// Nothing was changed: a voter must have the log first.
    #[error("master {id} has to catch up first")]
    Lags {
        /// Who.
        id: NodeId,
        /// Entries it lacks; `None` while it has not answered at all.
        lag_entries: Option<u64>,
    },
    /// Nothing was changed: a group without voters can do nothing, not even take one in.
    #[error("master {0} is the last one that votes; add another first")]
    LastVoter(NodeId),
    /// Nothing was changed: those that stay could not decide anything.
    #[error(
        "without master {id} there would be {staying} masters, of which {} do not answer (master {}): no majority; start \
         them, or remove one of them first", silent.len(), list(silent)
    )]
    NoMajority {
        /// Who was to go.
        id: NodeId,
        /// How many would stay.
        staying: usize,
        /// Which of those do not answer.
        silent: Vec<NodeId>,
    },
    /// It may take effect, now or later, or never.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The node has stopped.
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

fn list(ids: &[NodeId]) -> String {
    ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}
