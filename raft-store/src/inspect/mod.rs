//! Looking into the directory of a Raft group, offline: what its log and its index hold, and what of them is damaged.
//!
//! Owns what is told, and what may be looked at beside a process that is at work; how files are read is left to `log` and
//! `index` beside this. Invariant: nothing is written, and no lock is kept from anybody: the log is only read, and the
//! index is opened over a file that keeps in memory what redb would write.

mod index;
mod log;
mod overlaid;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hayrick_disk::Disk;
use hayrick_protocol::NodeId;
use thiserror::Error;

pub use index::{Amount, Index, IndexState};
pub use log::{FileSummary, Log, LogFile};

use crate::backup::TERM_GAP;
use crate::machine::INDEX_FILE;
use crate::types::{LogId, Membership as RaftMembership};

/// Names within a master's data directory.
const RAFT_DIR: &str = "raft";
const LOCK_FILE: &str = "lock";
/// Name of the log within a Raft directory.
const LOG_DIR: &str = "log";

/// Operators count their masters. Of the hashes that stand for a leader, one in four thousand million is below.
const MASTER_ID_SANE: u64 = u32::MAX as u64;

/// Why a directory cannot be looked into.
#[derive(Debug, Error)]
pub enum InspectError {
    /// Neither a master's directory nor a Raft directory.
    #[error("{} is neither a master's data directory nor the `raft` in one: it has no log and no index", path.display())]
    OtherKind {
        /// The directory.
        path: PathBuf,
    },
    /// The disk refused something.
    #[error("cannot read {}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What a Raft directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The Raft directory.
    pub dir: PathBuf,
    /// A process works on it, or began to meanwhile. Its log may have grown since, and the last records may look torn; its
    /// index was not looked at.
    pub in_use: bool,
    /// The log.
    pub log: Log,
    /// The index.
    pub index: IndexState,
    /// Other files: parts of snapshots that did not come to their end.
    pub leftovers: Vec<String>,
}

/// Where an entry stands in the log, and who led when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryId {
    /// The term.
    pub term: u64,
    /// Who led in it.
    pub node: u64,
    /// The place in the log.
    pub index: u64,
}

/// Who votes and who else receives the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The entry that says so.
    pub at: Option<EntryId>,
    /// Who votes; of two sets, a majority of each is needed.
    pub voters: Vec<Vec<NodeId>>,
    /// Everybody's peer address.
    pub nodes: BTreeMap<NodeId, String>,
}

impl EntryId {
    /// Whether it is where a restored backup begins: there, the hash of the backup stands in for a leader.
    pub fn is_of_backup(&self) -> bool {
        self.term >= TERM_GAP && self.node > MASTER_ID_SANE
    }

    pub(crate) fn of(id: LogId) -> Self {
        Self { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl Membership {
    fn new(at: Option<LogId>, membership: &RaftMembership) -> Self {
        let ids = |set: &std::collections::BTreeSet<u64>| set.iter().copied().map(NodeId).collect();
        Self {
            at: at.map(EntryId::of),
            voters: membership.get_joint_config().iter().map(ids).collect(),
            nodes: membership.nodes().map(|(id, node)| (NodeId(*id), node.addr.clone())).collect(),
        }
    }
}

/// Looks into a master's data directory, or the Raft directory itself. Reads all of it.
pub fn inspect(disk: &Arc<dyn Disk>, path: &Path) -> Result<Inspection, InspectError> {
    let (dir, lock) = find(disk.as_ref(), path)?;
    let is_locked = || {
        let io = |source| InspectError::Io { path: lock.clone(), source };
        disk.is_locked(&lock).map_err(io)
    };
    let mut in_use = is_locked()?;
    let log = log::read(disk.as_ref(), &dir.join(LOG_DIR))?;
    let mut index = IndexState::InUse;
    if !in_use {
        index = index::read(disk.as_ref(), &dir.join(INDEX_FILE))?;
        // Who began to work on it meanwhile changed pages that were still to be read.
        in_use = is_locked()?;
        if in_use {
            index = IndexState::InUse;
        }
    }
    let names = disk.list(&dir).map_err(|source| InspectError::Io { path: dir.clone(), source })?;
    let mut leftovers: Vec<String> = names.into_iter().filter(|name| name != INDEX_FILE).collect();
    leftovers.sort();
    Ok(Inspection { dir, in_use, log, index, leftovers })
}

/// The Raft directory that is meant, and the file whose lock guards it.
fn find(disk: &dyn Disk, path: &Path) -> Result<(PathBuf, PathBuf), InspectError> {
    let exists = |path: PathBuf| {
        let io = |source| InspectError::Io { path: path.clone(), source };
        disk.exists(&path).map_err(io)
    };
    for (dir, guarded) in [(path.join(RAFT_DIR), path.to_owned()), (path.to_owned(), path.join(".."))] {
        if exists(dir.join(LOG_DIR))? || exists(dir.join(INDEX_FILE))? {
            return Ok((dir, guarded.join(LOCK_FILE)));
        }
    }
    Err(InspectError::OtherKind { path: path.to_owned() })
}
