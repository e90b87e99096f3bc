//! Why an operation of a node failed: one enum for each. (Proposals and read-index use the protocol's own.)

use std::path::PathBuf;

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
    /// The target did not take over within the deadline.
    #[error("the other master did not take over within the deadline")]
    Timeout,
    /// The node has stopped.
    #[error("the node has stopped: {0}")]
    Stopped(String),
}
