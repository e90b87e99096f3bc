//! What every part of one running master shares.
//!
//! Owns nothing but the sharing; each field's rules are in its own file.

use std::sync::Arc;

use hayrick_protocol::NodeId;
use hayrick_protocol::cluster_map;
use hayrick_raft_store::{Cluster, Node};
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::cluster::detect::Detect;
use crate::cluster::heartbeats::Heartbeats;
use crate::cluster::members::Members;
use crate::cluster::place::Place;
use crate::cluster::repair::Repair;
use crate::cluster::seen::Sightings;
use crate::gateway::Gateway;
use crate::options::Options;
use crate::peer::client::Peers;
use crate::status::Heard;

/// One running master.
pub(crate) struct Master {
    pub(crate) options: Options,
    /// What it registers as: id, data directory, addresses as others reach them.
    pub(crate) own: cluster_map::Master,
    /// Its client address as others reach it.
    pub(crate) client_address: String,
    /// Its part in the Raft group.
    pub(crate) node: Node,
    /// The way to other masters and to volumes.
    pub(crate) peers: Arc<Peers>,
    /// Whether it may vote, and what its data directory says of it.
    pub(crate) admission: Admission,
    /// When it last heard of the other masters.
    pub(crate) members: Members,
    /// What it saw their disks hold.
    pub(crate) seen: Sightings,
    /// What volumes say of themselves.
    pub(crate) heartbeats: Heartbeats,
    /// Who is up; decided while it leads.
    pub(crate) detect: Detect,
    /// Where partitions lie; computed while it leads.
    pub(crate) place: Place,
    /// What is copied anew; while it leads.
    pub(crate) repair: Repair,
    /// What the leader said last of what is moved; while another one leads.
    pub(crate) heard: Heard,
    /// Its own part in serving clients.
    pub(crate) gateway: Gateway,
    /// Cancelled once no client's request is in flight any more and the rest is to end.
    pub(crate) stopping: CancellationToken,
}

impl Master {
    /// Whether it takes itself for the leader. Only a proposal shows whether that is still true.
    pub(crate) fn leads(&self) -> bool {
        crate::leader::current(self) == Some(self.options.id)
    }

    /// Bytes a second that each volume gives or takes at most when copies are made or moved: the cluster's rate, or else
    /// this master's own, as long as it leads.
    pub(crate) fn move_bytes_per_s(&self) -> u64 {
        self.node.cluster().move_rate.unwrap_or(self.options.move_bytes_per_s)
    }

    /// Whoever votes; those of the command line before it has a log.
    pub(crate) fn voters(&self) -> Vec<NodeId> {
        let voters = self.node.voters();
        if voters.is_empty() { self.options.masters.keys().copied().collect() } else { voters }
    }

    /// Whether the state that it has applied says that it was removed.
    pub(crate) fn is_removed(&self) -> bool {
        self.node.cluster().removed.contains(&self.options.id)
    }

    /// Whether the state that it has applied names its data directory. Before that the others could not tell it from
    /// one whose directory was wiped, so that it serves nobody yet.
    pub(crate) fn is_registered(&self) -> bool {
        names(&self.node.cluster(), &self.own)
    }
}

fn names(cluster: &Cluster, own: &cluster_map::Master) -> bool {
    cluster.masters.get(&own.id).is_some_and(|known| known.instance == own.instance)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hayrick_protocol::InstanceId;

    use super::*;

    #[test]
    fn a_master_is_registered_once_the_state_names_its_own_directory() {
        let directory = |id, byte| cluster_map::Master {
            id: NodeId(id),
            instance: InstanceId([byte; 16]),
            client: "127.0.0.1:9090".to_owned(),
            peer: "127.0.0.1:9092".to_owned(),
        };
        let of = |known: cluster_map::Master| Cluster {
            masters: Arc::new([(known.id, known)].into()),
            ..Cluster::default()
        };
        let own = directory(1, 7);
        assert!(!names(&Cluster::default(), &own), "the cluster was formed a moment ago");
        assert!(!names(&of(directory(2, 7)), &own) && !names(&of(directory(1, 8)), &own));
        let elsewhere = cluster_map::Master { peer: "10.0.0.1:9092".to_owned(), ..own.clone() };
        assert!(names(&of(own.clone()), &own) && names(&of(elsewhere), &own));
    }
}
