//! What masters and volumes ask of a volume, on its peer port.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cluster_map::VolumeStatus;
use crate::ids::{NeedleId, PlacementId};
use crate::messages::message;

/// Append the needles that the body holds one after the other, each verified first. One fdatasync covers them all,
/// and the reply comes after it. A needle that is there already with the same bytes is acknowledged again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// Needles in the body.
    pub needles: u32,
}
message!(Append = 0x0101 -> AppendReply);

/// For each needle, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendReply(pub Vec<Result<Appended, AppendError>>);

/// A needle is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// Which.
    pub needle: NeedleId,
    /// crc32c of its block table, as the volume holds it.
    pub crc: u32,
}

/// Why a needle was not appended. Nothing of it is durable, but for `Failed`, of which nothing is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum AppendError {
    /// The bytes are no needle, or a checksum is off.
    #[error("the needle is malformed: {0}")]
    Malformed(String),
    /// There is a needle with that id and other bytes.
    #[error("needle {0} is there already with other bytes")]
    Conflict(NeedleId),
    /// The reserve would be touched.
    #[error(
        "the volume is full: {used_bytes} bytes used, {reserve_bytes} kept in reserve; add a volume, or delete objects: their space comes back by itself once they are reaped and compacted"
    )]
    Full {
        /// Bytes allocated to segments.
        used_bytes: u64,
        /// Bytes that appends never touch.
        reserve_bytes: u64,
    },
    /// More waits than the queue holds.
    #[error("the volume's append queue is full")]
    Busy,
    /// A write or sync failed, now or before: the volume is read-only.
    #[error("the volume is read-only since a write or sync failed: {0}")]
    ReadOnly(String),
    /// It is not known whether the needle is durable.
    #[error("the append failed: {0}")]
    Failed(String),
}

/// A small durable append on the write path: how the leader tells a volume that works from one that only answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe;
message!(Probe = 0x0102 -> Result<VolumeStatus, AppendError>);

/// Some blocks of a needle's data. The reply's body is those blocks, then the whole block table if asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Which needle.
    pub needle: NeedleId,
    /// First block, of [`crate::limits::BLOCK_BYTES`].
    pub first_block: u32,
    /// Blocks at most; `u32::MAX` for all that follow.
    pub blocks: u32,
    /// Whether the block table comes too.
    pub with_table: bool,
}
message!(Read = 0x0103 -> Result<ReadReply, ReadError>);

/// What the reply's body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadReply {
    /// Where the needle lies.
    pub placement: PlacementId,
    /// Bytes of the whole object.
    pub size: u32,
    /// Bytes of data in the body.
    pub data_bytes: u32,
    /// Bytes of the block table behind them.
    pub table_bytes: u32,
}

/// Why there are no bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum ReadError {
    /// The volume has no such needle.
    #[error("no such needle here")]
    NotFound,
    /// It has, but a checksum is off.
    #[error("the needle is damaged here")]
    Damaged,
    /// The disk refused.
    #[error("the disk could not be read: {0}")]
    Disk(String),
    /// The first block lies behind the end.
    #[error("the range lies behind the needle's end")]
    Range,
}

/// Drop these needles; durable before the reply. One that is not there counts as dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// At most [`crate::limits::REAP_BATCH_MAX`].
    pub needles: Vec<NeedleId>,
}
message!(Delete = 0x0104 -> Result<(), AppendError>);

/// How the volume fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status;
message!(Status = 0x0105 -> VolumeStatus);
