//! What every part of one running master shares.
//!
//! Owns nothing but the sharing; each field's rules are in its own file.

use std::sync::Arc;

use hayrick_protocol::cluster_map;
use hayrick_raft_store::Node;
use tokio_util::sync::CancellationToken;

use crate::bootstrap::Admission;
use crate::cluster::detect::Detect;
use crate::cluster::heartbeats::Heartbeats;
use crate::cluster::members::Members;
use crate::cluster::place::Place;
use crate::gateway::Gateway;
use crate::options::Options;
use crate::peer::client::Peers;

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
    /// What volumes say of themselves.
    pub(crate) heartbeats: Heartbeats,
    /// Who is up; decided while it leads.
    pub(crate) detect: Detect,
    /// Where partitions lie; computed while it leads.
    pub(crate) place: Place,
    /// Its own part in serving clients.
    pub(crate) gateway: Gateway,
    /// Cancelled once no client's request is in flight any more and the rest is to end.
    pub(crate) stopping: CancellationToken,
}

impl Master {
    /// Whether it takes itself for the leader. Only a proposal shows whether that is still true.
    pub(crate) fn leads(&self) -> bool {
        self.node.watch().borrow().leader == Some(self.options.id)
    }
}
