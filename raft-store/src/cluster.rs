//! The small replicated state that requests look at: what the cluster is, who is in it, where partitions lie.
//!
//! Apply changes it and publishes a new [`Cluster`] only when something changed; taking it costs one reference count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hayrick_protocol::cluster_map::{ClusterConfig, ClusterMap, Master, Move, Placement};
use hayrick_protocol::{ClusterId, EpochId, NodeId, PartitionId, PlacementId};
use serde::{Deserialize, Serialize};

/// One state of the cluster, frozen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// What was fixed when the cluster was formed; `None` before.
    pub config: Option<ClusterConfig>,
    /// The volumes.
    pub map: Arc<ClusterMap>,
    /// Which volumes hold what.
    pub table: Arc<Table>,
    /// The masters that registered.
    pub masters: Arc<BTreeMap<NodeId, Master>>,
    /// The masters that were removed: their ids never come back.
    pub removed: Arc<BTreeSet<NodeId>>,
    /// The epochs that are open.
    pub epochs: Arc<BTreeMap<EpochId, OpenEpoch>>,
    /// Closed placements are to move to where their partitions lie now.
    pub rebalances: bool,
    /// Bytes a second that each volume gives or takes at most when copies are made or moved; none: what each master was
    /// started with.
    pub move_rate: Option<u64>,
}

impl Cluster {
    /// The cluster's name; [`ClusterId::UNKNOWN`] before it was formed.
    pub fn id(&self) -> ClusterId {
        self.config.map_or(ClusterId::UNKNOWN, |config| config.cluster)
    }
}

/// An epoch that is not fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenEpoch {
    /// Whose it is.
    pub master: NodeId,
    /// What it was opened with.
    pub nonce: u64,
}

/// All placements, and which one takes each partition's writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Raised by one with every change of who takes writes.
    pub version: u64,
    /// By partition: its current placement. Empty before the cluster was formed.
    pub current: Vec<Option<PlacementId>>,
    /// Every placement, current or closed.
    pub placements: BTreeMap<PlacementId, Placement>,
    /// The closed ones that are about to gain a member.
    pub moves: BTreeMap<PlacementId, Move>,
}

impl Table {
    /// The placement that takes the partition's writes now.
    pub fn current(&self, partition: PartitionId) -> Option<&Placement> {
        let id = (*self.current.get(usize::from(partition.0))?)?;
        self.placements.get(&id)
    }

    /// A placement by its id.
    pub fn placement(&self, id: PlacementId) -> Option<&Placement> {
        self.placements.get(&id)
    }

    /// Whether the placement takes its partition's writes now.
    pub fn is_current(&self, id: PlacementId) -> bool {
        self.placements.get(&id).is_some_and(|placement| {
            self.current.get(usize::from(placement.partition.0)).copied().flatten() == Some(id)
        })
    }
}
