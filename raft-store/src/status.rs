//! What a node tells about itself.

use hayrick_protocol::digest::SetDigest;
use hayrick_protocol::record::ObjectRecord;
use hayrick_protocol::{AppliedVersion, NodeId};
use serde::{Deserialize, Serialize};

/// What a node is in its Raft group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Leads.
    Leader,
    /// Votes, and follows a leader or waits for one.
    #[default]
    Follower,
    /// Stands for election.
    Candidate,
    /// Receives the log without a vote.
    Learner,
    /// Stopped, for good or because its disk failed.
    Stopped,
}

/// What changes often and is worth waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// How often what [`crate::Node::cluster`] gives has changed since the node was opened.
    pub cluster_changes: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// What this node is.
    pub role: Role,
    /// The current term.
    pub term: u64,
}

/// One node, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The current term.
    pub term: u64,
    /// What this node is.
    pub role: Role,
    /// Index of the last entry known to be committed.
    pub committed: u64,
    /// Index of the last entry applied here.
    pub applied: u64,
    /// On the leader: a majority answered within the last election timeout. Elsewhere: a leader is known.
    pub has_quorum: bool,
    /// Who votes.
    pub voters: Vec<Member>,
    /// Who receives the log without a vote.
    pub learners: Vec<Member>,
    /// On the leader: how the others fare. Empty elsewhere.
    pub followers: Vec<Follower>,
    /// What the applied state holds.
    pub counters: Counters,
    /// The log.
    pub log: LogStatus,
    /// Why the node stopped, if it did of itself.
    pub stopped: Option<String>,
}

/// A member of the Raft group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// `HOST:PORT` of its peer port.
    pub address: String,
}

/// How a follower fares, as the leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// Its id.
    pub node: NodeId,
    /// Entries it lacks; `None` while the leader does not know yet.
    pub lag_entries: Option<u64>,
    /// Milliseconds since it acknowledged something that was sent then; `None` if it never did.
    pub last_heard_ms: Option<u64>,
}

/// What the applied state holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// The last change of the index.
    pub version: AppliedVersion,
    /// Live objects.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Needles that were overwritten or deleted and are not reaped yet.
    pub garbage_needles: u64,
    /// Their bytes.
    pub garbage_bytes: u64,
    /// Of the objects, those whose needle nobody has.
    pub missing: u64,
}

impl Counters {
    /// The object is garbage. `None` when that cannot be.
    pub(crate) fn discard(&mut self, record: &ObjectRecord) -> Option<()> {
        self.objects = self.objects.checked_sub(1)?;
        self.object_bytes = self.object_bytes.checked_sub(record.size.into())?;
        self.missing = self.missing.checked_sub(record.missing.into())?;
        self.garbage_needles += 1;
        self.garbage_bytes += u64::from(record.size);
        Some(())
    }

    /// The garbage is an object again.
    pub(crate) fn reclaim(&mut self, record: &ObjectRecord) -> Option<()> {
        self.reap(record)?;
        self.objects += 1;
        self.object_bytes += u64::from(record.size);
        self.missing += u64::from(record.missing);
        Some(())
    }

    /// The garbage is gone.
    pub(crate) fn reap(&mut self, record: &ObjectRecord) -> Option<()> {
        self.garbage_needles = self.garbage_needles.checked_sub(1)?;
        self.garbage_bytes = self.garbage_bytes.checked_sub(record.size.into())?;
        Some(())
    }
}

/// The log on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogStatus {
    /// Index of the first entry kept; 0 if there is none.
    pub first: u64,
    /// Index of the last entry; 0 if there is none.
    pub last: u64,
    /// Files.
    pub files: u64,
    /// Bytes allocated to them.
    pub bytes: u64,
}

/// What a placement's members must hold between them, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Copies {
    /// Needles that records name.
    pub live: SetDigest,
    /// Needles of garbage that must be held, as it may come back.
    pub garbage: SetDigest,
    /// Needles that records name and nobody has: they need not be held, and are wanted.
    pub missing: SetDigest,
    /// Garbage that need not be held: it is doomed, or nobody has it.
    pub unheld: u64,
}

impl Copies {
    /// Whether there is nothing that has to be held.
    pub fn is_nothing(&self) -> bool {
        self.live.count + self.garbage.count == 0
    }
}
