//! The cluster map and the table of placements, as Raft records them.
//!
//! Owns their shape and text forms. Who is up is decided by the leader, where placements lie by `placement/`,
//! and what is true by apply.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, Generation, InstanceId, NodeId, PartitionId, PlacementId, VolumeId};

/// What is fixed when a cluster is first formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterConfig {
    /// Random name of the cluster.
    pub cluster: ClusterId,
    /// A power of two up to [`crate::limits::PARTITIONS_MAX`].
    pub partitions: u32,
    /// Copies that are aimed at.
    pub replicas: u8,
    /// Copies without which a write is refused.
    pub min_replicas: u8,
}

/// What the leader decided of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VolumeState {
    /// Takes writes and reads.
    Up,
    /// An append or probe failed; no writes until it answers again.
    Suspect,
    /// No heartbeat for `--down-after`, and a failed probe.
    Down,
    /// Refuses appends, as its reserve would be touched.
    Full,
    /// Refuses appends, as a sync failed.
    ReadOnly,
    /// Being emptied by the operator.
    Draining,
    /// Gone for good.
    Removed,
}

impl VolumeState {
    /// Whether new placements may name it.
    pub fn takes_writes(self) -> bool {
        self == Self::Up
    }

    /// Whether reads of it are likely to succeed.
    pub fn serves_reads(self) -> bool {
        matches!(self, Self::Up | Self::Full | Self::ReadOnly | Self::Draining)
    }
}

impl fmt::Display for VolumeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Draining => "draining",
            Self::Removed => "removed",
        })
    }
}

/// What the map knows of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// Its data directory.
    pub instance: InstanceId,
    /// `HOST:PORT` of its HTTP port, as others reach it.
    pub addr: String,
    /// `HOST:PORT` of its peer port, as others reach it.
    pub peer: String,
    /// Its zone, `""` when none is named.
    pub zone: String,
    /// Bytes it may hold; its weight in the ring.
    pub capacity_bytes: u64,
    /// What the leader decided last.
    pub state: VolumeState,
}

/// All volumes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClusterMap {
    /// Raised by one with every change.
    pub version: u64,
    /// By id.
    pub volumes: BTreeMap<VolumeId, Volume>,
}

/// What the state knows of a master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Master {
    /// Its id.
    pub id: NodeId,
    /// Its data directory: another one under the same id is a wiped or copied master.
    pub instance: InstanceId,
    /// `HOST:PORT` of its client port, as others reach it.
    pub client: String,
    /// `HOST:PORT` of its peer port, as others reach it.
    pub peer: String,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Its id.
    pub id: PlacementId,
    /// Whose needles it holds.
    pub partition: PartitionId,
    /// Who holds them; distinct, ascending: the order says nothing.
    pub members: Vec<VolumeId>,
    /// Raised whenever it becomes current, is closed, or has a member changed.
    pub generation: Generation,
}

/// A closed placement is about to gain a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Who pulls the placement's needles, to be a member once it holds all of them. It may not drop any meanwhile.
    pub newcomer: VolumeId,
}

/// A partition's new current members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableChange {
    /// Which partition.
    pub partition: PartitionId,
    /// Distinct, ascending; empty: the partition takes no writes for now.
    pub members: Vec<VolumeId>,
}

/// How a volume fares, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VolumeStatus {
    /// Bytes it may hold.
    pub capacity_bytes: u64,
    /// Bytes allocated to segments.
    pub used_bytes: u64,
    /// Bytes that appends may still take before they are refused.
    pub free_bytes: u64,
    /// Needles it holds, dead ones not yet compacted away aside.
    pub needles: u64,
    /// Segment files.
    pub segments: u64,
    /// Needles or stretches known to be damaged.
    pub bad: u64,
    /// Bytes of damaged stretches.
    pub bad_bytes: u64,
    /// Appends are refused, as the reserve would be touched.
    pub full: bool,
    /// Appends are refused, as a write or sync failed; why.
    pub read_only: Option<String>,
    /// How long the write or sync in progress has been going on; 0 when none is.
    pub stalled_ms: u64,
    /// What it holds was not compared with the index since it started, or since it last verified all of it, or since
    /// something was damaged of which it cannot tell what it was.
    pub uncompared: bool,
    /// Bytes of segments that hold nothing that is needed: they come back by compaction.
    pub dead_bytes: u64,
}
