//! What Raft replicates: commands, and apply's replies to them.
//!
//! Owns their shape. What each does to the state is told in `raft-store`'s apply; who sends which, in `master`.
//! Invariant: a command carries everything its outcome depends on, the time included, so apply needs no clock.

use serde::{Deserialize, Serialize};

use crate::cluster_map::{ClusterConfig, TableChange, VolumeState};
use crate::ids::{
    AppliedVersion, ClusterId, EpochId, Generation, InstanceId, NeedleId, NodeId, PlacementId, Seq, VolumeId,
};
use crate::key::ObjectKey;
use crate::record::Headers;

/// Which sending of which gateway's command this is; looked at before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The gateway's epoch.
    pub epoch: EpochId,
    /// This command's number in it; a repeated sending carries the same.
    pub seq: Seq,
    /// Every seq below was answered to its client: its remembered answer can go.
    pub resolved_below: Seq,
}

/// What must hold of a key when its command is applied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// `If-None-Match: *`: there is no such object.
    Absent,
    /// `If-Match: *`: there is one.
    Present,
    /// `If-Match: "…"`: there is one, and its ETag is one of these.
    Matches(Vec<[u8; 16]>),
}

/// An object's bytes are durable on every member of its placement: make its key name them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Also names the needle: `NeedleId::new(epoch, seq)`.
    pub session: Session,
    /// The object's key.
    pub key: ObjectKey,
    /// Where the needle was appended.
    pub placement: PlacementId,
    /// The placement's generation when it was.
    pub generation: Generation,
    /// Bytes of the object.
    pub size: u32,
    /// crc32c of its block table.
    pub crc: u32,
    /// Its MD5.
    pub md5: [u8; 16],
    /// Headers to keep.
    pub headers: Headers,
    /// What must hold.
    pub precondition: Precondition,
    /// ms since 1970 by the gateway's clock.
    pub now_ms: u64,
}

impl Commit {
    /// The needle that holds the bytes.
    pub fn needle(&self) -> NeedleId {
        NeedleId::new(self.session.epoch, self.session.seq)
    }
}

/// Take the key away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// Which sending.
    pub session: Session,
    /// The object's key.
    pub key: ObjectKey,
    /// What must hold.
    pub precondition: Precondition,
}

/// Bring back what a delete took away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelete {
    /// Which sending.
    pub session: Session,
    /// The object's key.
    pub key: ObjectKey,
    /// The garbage row of that delete, by the version that the delete had.
    pub garbage: AppliedVersion,
}

/// A decision about a volume, as it was when the decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange {
    /// Which volume.
    pub volume: VolumeId,
    /// The state that was decided upon.
    pub from: VolumeState,
    /// The state it is to have.
    pub to: VolumeState,
}

/// A placement, as it was when something was found out about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Examined {
    /// Which.
    pub placement: PlacementId,
    /// Its generation then: in another one nothing of it need be true any more.
    pub generation: Generation,
}

/// A volume that starts says who and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterVolume {
    /// Its data directory.
    pub instance: InstanceId,
    /// Its id, if it has one already.
    pub volume: Option<VolumeId>,
    /// `HOST:PORT` of its HTTP port, as others reach it.
    pub addr: String,
    /// `HOST:PORT` of its peer port, as others reach it.
    pub peer: String,
    /// Its zone or `""`.
    pub zone: String,
    /// Bytes it may hold.
    pub capacity_bytes: u64,
}

/// Everything that changes the replicated state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Once, by the first leader. Repeated: answered with the cluster that was formed.
    FormCluster(ClusterConfig),
    /// A master says who and where it is; refused if the id belongs to another data directory.
    RegisterMaster(crate::cluster_map::Master),
    /// A gateway wants an epoch. The same `nonce` again gets the same epoch.
    OpenEpoch {
        /// Which master.
        master: NodeId,
        /// It just started: fence every epoch it had before. Repeated with the same nonce it fences nothing more.
        at_start: bool,
        /// Random, new for each epoch.
        nonce: u64,
    },
    /// Accept no command of this epoch any more.
    FenceEpoch(EpochId),
    /// Step 4 of the write.
    Commit(Commit),
    /// The delete.
    Delete(Delete),
    /// A volume's (re-)registration.
    RegisterVolume(RegisterVolume),
    /// What the leader decided of volumes; a volume whose state is another one by then is left as it is.
    SetVolumeStates(Vec<StateChange>),
    /// New current members, computed from these versions of map and table; refused if either moved.
    ChangeTable {
        /// Version of the map.
        map_version: u64,
        /// Version of the table.
        table_version: u64,
        /// What changes.
        changes: Vec<TableChange>,
    },
    /// These garbage rows (by the version that made each) are about to be reaped.
    Doom(Vec<AppliedVersion>),
    /// These doomed rows' needles are gone from every member that is not down.
    Reaped(Vec<AppliedVersion>),
    /// This master is out of the Raft group for good: fence its epochs, and take no master under its id any more.
    RemoveMaster(NodeId),
    /// This closed placement is to gain a member, which pulls its needles first.
    BeginMove {
        /// Which placement, as it was examined.
        placement: Examined,
        /// Who is to be a member.
        newcomer: VolumeId,
    },
    /// The newcomer was shown to hold all that the placement's members must hold.
    ReplaceMember {
        /// Which placement, as it was examined.
        placement: Examined,
        /// Who is a member no more; nobody, where one was missing.
        out: Option<VolumeId>,
        /// The newcomer of a move that was begun.
        newcomer: VolumeId,
    },
    /// The placement gains no member after all.
    AbandonMove {
        /// Which placement, as it was examined.
        placement: Examined,
        /// Who was to be a member.
        newcomer: VolumeId,
    },
    /// Closed placements are to move to where their partitions lie now, until there is nothing left to move; or no more.
    Rebalance(bool),
    /// The undelete.
    Undelete(Undelete),
    /// Bytes a second that each volume gives or takes at most when copies are made or moved, whoever leads; none: what
    /// each master was started with. Between [`crate::limits::MOVE_BYTES_PER_S_MIN`] and
    /// [`crate::limits::MOVE_BYTES_PER_S_MAX`].
    SetMoveRate(Option<u64>),
    /// These closed placements hold nothing any more: their rows go for good. Those of which that is not true stay.
    Forget(Vec<Examined>),
    /// No volume that is up has any of these needles: they count for nothing that must be held.
    Missing(Vec<Named>),
    /// All members of this placement hold these, which nobody had: they must be held again.
    Found {
        /// Which placement, as it was when its members were asked.
        placement: Examined,
        /// Its needles.
        needles: Vec<Named>,
    },
}

/// A needle, and the row that names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Which needle: if the row names another one by then, it is not meant.
    pub needle: NeedleId,
    /// The row.
    pub by: Row,
}

/// A row that names a needle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// The object with this key.
    Object(ObjectKey),
    /// The garbage that this change made.
    Garbage(AppliedVersion),
}

impl Command {
    /// Its session, if it is one that a client's request caused.
    pub fn session(&self) -> Option<Session> {
        match self {
            Self::Commit(commit) => Some(commit.session),
            Self::Delete(delete) => Some(delete.session),
            Self::Undelete(undelete) => Some(undelete.session),
            _ => None,
        }
    }

    /// The same, for who sends it again and has more of its epoch resolved by then.
    pub fn session_mut(&mut self) -> Option<&mut Session> {
        match self {
            Self::Commit(commit) => Some(&mut commit.session),
            Self::Delete(delete) => Some(&mut delete.session),
            Self::Undelete(undelete) => Some(&mut undelete.session),
            _ => None,
        }
    }
}

/// A change of the index was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The change's number.
    pub version: AppliedVersion,
    /// The key was there before.
    pub replaced: bool,
}

/// Apply's answer to one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done, and there is nothing to tell.
    Done,
    /// A commit, delete or undelete took effect.
    Applied(Applied),
    /// The cluster's name, new or old.
    ClusterFormed(ClusterId),
    /// The gateway's epoch.
    EpochOpened(EpochId),
    /// The volume's id.
    VolumeRegistered(VolumeId),
    /// Nothing was changed.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The placement is not its partition's current one in that generation.
    #[error("the placement was closed or changed meanwhile")]
    StalePlacement,
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("the condition does not hold")]
    PreconditionFailed,
    /// There is no such object.
    #[error("the key does not exist")]
    NotFound,
    /// The epoch is closed or never was.
    #[error("the gateway's epoch is fenced")]
    Fenced,
    /// The seq is below the epoch's `resolved_below`: it was answered before, and the answer is forgotten.
    #[error("the command was resolved before")]
    AlreadyResolved,
    /// The seq is [`crate::limits::SESSION_WINDOW`] or more above `resolved_below`.
    #[error("the gateway has too many commands unresolved")]
    WindowFull,
    /// Map or table moved since the change was computed.
    #[error("the map or the table moved since this change was computed")]
    StaleTable,
    /// A change names a partition or volume that does not exist, or is malformed otherwise.
    #[error("the command does not fit the state: {0}")]
    Invalid(String),
    /// The id belongs to another data directory.
    #[error("this id belongs to another data directory ({0})")]
    OtherInstance(InstanceId),
    /// No cluster was formed yet.
    #[error("no cluster was formed yet")]
    NotFormed,
    /// The master's id was removed from the cluster.
    #[error("this master was removed from the cluster for good")]
    MasterRemoved,
}
