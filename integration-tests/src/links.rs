//! The network between the masters, which can be held up, or be slow, one way.
//!
//! The relays are those of `hayrick_chaos::relay`. What is held up is not lost: it comes late, once the link is well or not at
//! all. Whoever is no master is never held up.

use std::time::Duration;

use anyhow::Result;
use hayrick_chaos::relay::{self, Cause, Node, Trouble};
use hayrick_launcher::{Cluster, Role};

/// Held or slow: one trouble goes on beside the other until all are healed.
const HELD: Cause = Cause(1);
const SLOW: Cause = Cause(2);
/// Nothing is torn here, so nothing is drawn.
const SEED: u64 = 0;

/// All links between the masters of a cluster.
pub struct Links {
    masters: Vec<u32>,
    links: relay::Links,
}

impl Links {
    /// Puts a relay before each master, and has the others told of it. Before the cluster's first start.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn between(cluster: &mut Cluster) -> Result<Self> {
        let links = relay::Links::new(SEED);
        let masters: Vec<_> =
            cluster.masters().iter().map(|master| (master.number(), master.peer_addr())).collect();
        for (id, peer) in &masters {
            let node = node(*id);
            let addr = links.before(*peer, move || node).await?;
            cluster.advertise_peer(Role::Master, *id, addr);
        }
        Ok(Self { masters: masters.into_iter().map(|(id, _)| id).collect(), links })
    }

    /// From now on nothing that this master sends comes to another one.
    pub fn hold_from(&self, id: u32) {
        let held = Trouble { held: true, ..Trouble::default() };
        self.others(id).for_each(|other| self.links.trouble(HELD, node(id), other, held));
    }

    /// From now on nothing that another master sends comes to this one.
    pub fn hold_to(&self, id: u32) {
        let held = Trouble { held: true, ..Trouble::default() };
        self.others(id).for_each(|other| self.links.trouble(HELD, other, node(id), held));
    }

    /// From now on all that this master sends comes to the others so much later.
    pub fn slow_from(&self, id: u32, delay: Duration) {
        let slow = Trouble { delay, ..Trouble::default() };
        self.others(id).for_each(|other| self.links.trouble(SLOW, node(id), other, slow));
    }

    /// Everything comes through at once, also what has waited.
    pub fn heal(&self) {
        self.links.heal();
    }

    fn others(&self, id: u32) -> impl Iterator<Item = Node> {
        self.masters.iter().filter(move |other| **other != id).map(|other| node(*other))
    }
}

fn node(id: u32) -> Node {
    Node::Master(id.into())
}
