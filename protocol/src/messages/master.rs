//! What masters and volumes ask of a master, on its peer port.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cluster_map::{Master, VolumeStatus};
use crate::command::{Applied, Command, Precondition, RegisterVolume, Reply};
use crate::held::{Held, Voters};
use crate::ids::{ClusterId, InstanceId, NeedleId, NodeId, PlacementId, VolumeId};
use crate::key::ObjectKey;
use crate::messages::message;
use crate::record::Headers;

/// A Raft request; the body is `raft-store`'s own encoding, and so is the reply's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raft {
    /// Which Raft group; 0 while there is one.
    pub group: u16,
    /// Which of `raft-store`'s requests.
    pub kind: u8,
}
message!(Raft = 0x0201 -> Result<(), String>);

/// To the leader: replicate these commands in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// At most [`crate::limits::BATCH_COMMANDS_MAX`].
    pub commands: Vec<Command>,
}
message!(Propose = 0x0202 -> Result<Vec<Reply>, ProposeError>);

/// Why there are no replies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum ProposeError {
    /// Nothing was proposed: another master leads, or none.
    #[error("this master does not lead")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// Nothing was proposed: no majority of the masters answers.
    #[error("no majority of the masters answers")]
    NoQuorum,
    /// Nothing was proposed: too much waits already.
    #[error("the leader has too many commands waiting")]
    Overloaded,
    /// It may take effect, now or later, or never.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// To the leader: an index that every read which arrived before this question must have applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadIndex;
message!(ReadIndex = 0x0203 -> Result<u64, ReadIndexError>);

/// Why there is no index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum ReadIndexError {
    /// Another master leads, or none.
    #[error("this master does not lead")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// No majority confirmed that this master leads.
    #[error("no majority of the masters answers")]
    NoQuorum,
}

/// From a volume to every master, once a second or so: it is there, and how it fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Its id.
    pub volume: VolumeId,
    /// Its data directory.
    pub instance: InstanceId,
    /// This run of its process; another one under the same id at the same time is a copied directory.
    pub process: u64,
    /// How it fares.
    pub status: VolumeStatus,
}
message!(Heartbeat = 0x0204 -> HeartbeatReply);

/// What a master makes of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeartbeatReply {
    /// Known; the peer addresses of all masters, which the volume is to tell from now on.
    Known(Vec<String>),
    /// Not in the map as it says: register (again).
    Register,
    /// Never to be used again: the reason.
    Refused(String),
}

/// From a volume that starts to any master, which asks the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Who and where.
    pub volume: RegisterVolume,
    /// This run of its process.
    pub process: u64,
    /// The cluster it belongs to, if any yet.
    pub cluster: ClusterId,
}
message!(Register = 0x0205 -> Result<Registered, RegisterError>);

/// A volume's id and cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its id, for ever.
    pub volume: VolumeId,
    /// Its cluster, for ever.
    pub cluster: ClusterId,
}

/// Why a volume was not registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum RegisterError {
    /// Not now: ask again, or another master.
    #[error("{0}")]
    Later(String),
    /// Never: say so and stop.
    #[error("{0}")]
    Never(String),
}

/// To the leader: an append to this volume failed; probe it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportVolume {
    /// Which volume.
    pub volume: VolumeId,
    /// The placement that the needle was to go to.
    pub placement: PlacementId,
    /// What the gateway saw.
    pub cause: String,
}
message!(ReportVolume = 0x0206 -> Verdict);

/// What the leader found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The volume answers the leader's own probe: the trouble lies between gateway and volume.
    Works,
    /// It does not; new current placements are or will be committed.
    Avoided,
    /// This master does not lead.
    NotLeader,
}

/// Between masters, at start and once a second: who are you, is there a cluster, and is my directory as you know it?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greet {
    /// Who asks.
    pub node: NodeId,
    /// The asker's data directory.
    pub instance: InstanceId,
    /// Its peer address, as others reach it.
    pub peer: String,
    /// What its disk holds.
    pub held: Held,
    /// Whether it is starting, or what its disk holds now.
    pub stage: Stage,
}

/// How far a master has come that tells what its disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It has just opened its directory, and neither votes nor acknowledges before a majority has answered this.
    Starting,
    /// It tells the same, what it held when it started, but a majority of others has answered before.
    Started,
    /// It tells what it holds now.
    Running,
}
message!(Greet = 0x0207 -> Greeting);

/// A master about itself and its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Its data directory.
    pub instance: InstanceId,
    /// Its cluster; [`ClusterId::UNKNOWN`] while it knows of none.
    pub cluster: ClusterId,
    /// The data directory that its cluster knows under the asker's id.
    pub knows_you_as: Option<InstanceId>,
    /// Whom it takes for the leader.
    pub leader: Option<NodeId>,
    /// Its client address, as others reach it.
    pub client: String,
    /// What its cluster has to do with the asker's id.
    pub you_are: Belonging,
    /// Whose majority decides, as far as it knows.
    pub voters: Voters,
    /// What the asker's disk once held and holds no more, in words: it was rolled back, and must not vote.
    pub rolled_back: Option<String>,
}

/// What a cluster has to do with a master's id, as one of its masters has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Belonging {
    /// It is no member of the Raft group.
    Stranger,
    /// It receives the log, with or without a vote.
    Member,
    /// It was removed, and never comes back.
    Removed,
}

/// To the leader: change who the masters are, or who leads them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeMasters {
    /// Take this master in: as a learner, which gets a vote once it has caught up. Repeated, it tells how far it has come.
    Admit(Master),
    /// Take it out for good.
    Remove(NodeId),
    /// Let it lead.
    Transfer(NodeId),
}
message!(ChangeMasters = 0x0209 -> Result<MastersChanged, ChangeMastersError>);

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MastersChanged {
    /// The master receives the log and has no vote yet; entries it lacks, if it has answered at all.
    Learner(Option<u64>),
    /// The master votes.
    Voter,
    /// The master is removed.
    Removed,
    /// The master leads.
    Leads,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum ChangeMastersError {
    /// Nothing was changed: another master leads, or none.
    #[error("this master does not lead")]
    NotLeader {
        /// Who does and its peer address, if known.
        leader: Option<(NodeId, String)>,
    },
    /// Nothing was changed, and never will be: what is in the way.
    #[error("{0}")]
    Conflict(String),
    /// Nothing was changed: one change at a time.
    #[error("{0}")]
    Busy(String),
    /// Nothing was changed: there is no such master.
    #[error("{0}")]
    NotFound(String),
    /// Nothing was changed just now: ask again.
    #[error("{0}")]
    Later(String),
    /// It may take effect.
    #[error("{0}")]
    Unknown(String),
}

/// A PUT handed over whole, once, by a gateway that cannot reach a volume which the leader can. The body of the
/// request is the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// The object's key.
    pub key: ObjectKey,
    /// Headers to keep.
    pub headers: Headers,
    /// What must hold.
    pub precondition: Precondition,
    /// MD5 of the body, as the first gateway made it.
    pub md5: [u8; 16],
    /// ms that the client's deadline is away.
    pub deadline_ms: u32,
}
message!(HandOver = 0x0208 -> Result<Applied, HandOverError>);

/// Why a handed-over PUT has no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum HandOverError {
    /// No effect, now or later: the HTTP status and text for the client.
    #[error("{text}")]
    Refused {
        /// 4xx, 503 or 507.
        status: u16,
        /// One line.
        text: String,
    },
    /// It may take effect.
    #[error("{0}")]
    Unknown(String),
}

/// From a volume that a client asks for a key: what a read of that key comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolve {
    /// The key.
    pub key: ObjectKey,
    /// The fields of the client's request that bear on it: conditions.
    pub fields: Vec<(String, String)>,
    /// Whether the master may say what it knows without asking whether that is the newest.
    pub stale: bool,
}
message!(Resolve = 0x020b -> Result<Resolved, NotResolved>);

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The needle with its bytes; none where the client has them.
    pub needle: Option<NeedleId>,
    /// crc32c of its block table.
    pub crc: u32,
    /// Whether a range of it may be sent.
    pub range_counts: bool,
    /// The fields that describe the object.
    pub fields: Vec<(String, String)>,
    /// Where clients reach the master that says so.
    pub master: String,
}

/// Why nothing is to be sent: the HTTP status and text for the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{text}")]
pub struct NotResolved {
    /// 400, 404, 412 or 503.
    pub status: u16,
    /// One line.
    pub text: String,
}
