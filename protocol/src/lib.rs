//! Ids, limits, records, messages, codec and checksums that every Hayrick process agrees on.
//!
//! Owns what travels between processes or lies on their disks, and the rules to read it back. It leaves files,
//! sockets and decisions to others and looks at no other crate. Invariant: decoding never panics and never
//! allocates what a length field merely claims.

pub mod answers;
pub mod cluster_map;
pub mod codec;
pub mod command;
pub mod digest;
pub mod held;
pub mod ids;
pub mod key;
pub mod limits;
pub mod messages;
pub mod needle;
pub mod record;
pub mod size;

pub use ids::{
    AppliedVersion, ClusterId, EpochId, Generation, InstanceId, NeedleId, NodeId, PartitionId, PlacementId,
    Seq, VolumeId,
};
pub use key::ObjectKey;
