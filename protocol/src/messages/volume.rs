//! What masters and volumes ask of a volume, on its peer port.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cluster_map::VolumeStatus;
use crate::ids::{NeedleId, PlacementId, VolumeId};
use crate::key::ObjectKey;
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

/// The needles of some placements that the volume holds and knows of no damage in, a page at a time. Every needle that
/// was durable when the first page was asked for, and is not dropped before the last one, is in one of them, or in two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Distinct, ascending; at most [`crate::limits::LIST_PLACEMENTS_MAX`].
    pub placements: Vec<PlacementId>,
    /// Where the last page ended; the default for the first.
    pub from: ListPosition,
    /// Who asks only looks, and counts on nothing of what is listed: the tickets of offers stay good.
    pub only_looks: bool,
}
message!(List = 0x0106 -> Result<Listing, ReadError>);

/// How far a list has come: all segments before this one, and of this one what is not behind placement and needle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct ListPosition {
    /// The segment.
    pub segment: u64,
    /// The last placement that was shown of it.
    pub placement: PlacementId,
    /// The last needle that was shown of that.
    pub needle: NeedleId,
}

/// A page of a list. It may hold few needles, or none, and not be the last: a page looks only into so much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// At most [`crate::limits::LIST_PAGE_NEEDLES_MAX`].
    pub needles: Vec<Listed>,
    /// Where the next page begins; `None` behind the last.
    pub next: Option<ListPosition>,
}

/// A needle in a list. They ascend by their positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The segment that it lay in: with placement and id, its [`ListPosition`].
    pub segment: u64,
    /// Its placement.
    pub placement: PlacementId,
    /// Its id.
    pub needle: NeedleId,
    /// Bytes of the whole needle.
    pub bytes: u32,
    /// The key of the object that it was written for.
    pub key: ObjectKey,
}

/// Whole needles, as their gateway made them. The reply's body holds those that could be read, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// At most [`crate::limits::APPEND_BATCH_NEEDLES_MAX`].
    pub needles: Vec<NeedleId>,
}
message!(Fetch = 0x0107 -> Fetched);

/// For each of the first needles that were asked for, in order; at least for one. The others did not fit in
/// [`crate::limits::APPEND_BATCH_BYTES_MAX`] and are to be asked for again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched(pub Vec<Result<(), ReadError>>);

/// Take in what another volume holds of some placements and this one does not, or only damaged: from one page of that
/// one's list. What was pulled is durable before the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Who has them.
    pub source: VolumeId,
    /// `HOST:PORT` of its peer port.
    pub address: String,
    /// Distinct, ascending; at most [`crate::limits::LIST_PLACEMENTS_MAX`].
    pub placements: Vec<PlacementId>,
    /// Where the last pull ended; the default for the first.
    pub from: ListPosition,
    /// Ends the page early once so many bytes were pulled.
    pub bytes_max: u64,
    /// Only these, ascending, at most [`crate::limits::LIST_PAGE_NEEDLES_MAX`]; all, where none is named.
    pub only: Vec<NeedleId>,
}
message!(Pull = 0x0108 -> Result<Pulled, PullError>);

/// What one pull came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// Where the next one begins; `None`: the source has no more.
    pub next: Option<ListPosition>,
    /// Needles that the source listed and that were looked at.
    pub listed: u64,
    /// Needles that were pulled.
    pub needles: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Needles that are not here and that the source could not give.
    pub failed: u64,
}

/// Why a pull ended early. What was pulled before is kept; the same pull can be asked for again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum PullError {
    /// The source does not answer, or not as it should.
    #[error("the source failed: {0}")]
    Source(String),
    /// This volume could not append.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Which placements have needles here that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged;
message!(Damaged = 0x0109 -> DamagedPlacements);

/// Placements with damaged needles.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DamagedPlacements {
    /// Distinct, ascending.
    pub placements: Vec<PlacementId>,
    /// There may be others: of some damage it is not known which needles it hit.
    pub others: bool,
    /// Something is damaged.
    pub any: bool,
    /// For [`MadeUp`]: what is damaged now.
    pub mark: u64,
}

/// All that this volume must hold is here, though something is damaged: whatever the damage hit was pulled anew, or is
/// nobody's. So the stretches that were damaged when `mark` was given need not be kept, and [`VolumeStatus::uncompared`]
/// ends. Ignored if more was damaged since, or another process gave the mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeUp {
    /// Of [`DamagedPlacements`].
    pub mark: u64,
}
message!(MadeUp = 0x010a -> ());

/// A page of a list, as [`List`] has it, for the question which of these needles are dead. The answer is [`Drop`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Where the last page ended; the default for the first.
    pub from: ListPosition,
}
message!(Offer = 0x010b -> Result<Offered, ReadError>);

/// What a volume offers to drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// The needles.
    pub listing: Listing,
    /// What an answer has to bring. It is good until the volume serves a [`List`] or begins a [`Pull`], or ends: from then on
    /// somebody may count on what it holds.
    pub ticket: u64,
}

/// These needles, which were offered, are dead: drop them; durable before the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// Of [`Offered`].
    pub ticket: u64,
    /// At most [`crate::limits::LIST_PAGE_NEEDLES_MAX`].
    pub needles: Vec<NeedleId>,
}
message!(Drop = 0x010c -> Result<(), DropError>);

/// Why needles were not dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum DropError {
    /// The ticket is good no more: offer again.
    #[error("the volume was asked for what it holds meanwhile")]
    Stale,
    /// The volume could not write it down.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// A page of a list, as [`List`] has it, of which each needle is read whole and verified. Nobody counts on it: tickets stay
/// good. The answer comes no sooner than the volume's `--scrub-rate` allows for what was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Distinct, ascending; at most [`crate::limits::LIST_PLACEMENTS_MAX`].
    pub placements: Vec<PlacementId>,
    /// Where the last page ended; the default for the first.
    pub from: ListPosition,
    /// Ends the page early once so many bytes were read; at most [`crate::limits::VERIFY_PAGE_BYTES_MAX`] and one needle.
    pub bytes_max: u64,
}
message!(Verify = 0x010d -> Result<Verified, ReadError>);

/// What was listed, and how it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The needles.
    pub listing: Listing,
    /// For each of them, in order: the crc32c of its block table, if all of it verified. One that was dropped meanwhile is not
    /// found.
    pub checks: Vec<Result<u32, ReadError>>,
}
