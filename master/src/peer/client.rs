//! The way to other masters and to volumes: one connection to each, at the address that is known last, and another one
//! for the probes of a volume.
//!
//! Owns the cache of connections and the address book of the masters. Leaves connecting, queues and deadlines to
//! `rpc`. Invariant: at the other end is whom the caller meant, or the connection is not used.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use hayrick_protocol::messages::Identity;
use hayrick_protocol::{NodeId, VolumeId};
use hayrick_raft_store::{Cluster, Node};
use hayrick_rpc::{Client, Local};
use parking_lot::RwLock;

/// Connections by who is at the other end.
pub(crate) struct Peers {
    local: Local,
    /// Set once, right after the node was opened with a transport that uses these connections.
    node: OnceLock<Node>,
    clients: RwLock<HashMap<(Identity, Line), Client>>,
    book: RwLock<Book>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Line {
    Requests,
    /// Small questions with a short deadline, which must not wait behind large frames.
    Probes,
}

/// Where masters are. The command line is newer than the replicated state at start; what registers later, or greets, is
/// newer than the command line.
struct Book {
    address: BTreeMap<NodeId, String>,
    registered: BTreeMap<NodeId, String>,
}

impl Peers {
    /// No connections yet; `masters` are the addresses from the command line.
    pub(crate) fn new(local: Local, masters: BTreeMap<NodeId, String>) -> Self {
        let book = Book { address: masters, registered: BTreeMap::new() };
        Self { local, node: OnceLock::new(), clients: RwLock::default(), book: RwLock::new(book) }
    }

    /// From now on volumes are found in the node's cluster map.
    pub(crate) fn set_node(&self, node: Node) {
        let now = registered(&node.cluster());
        let mut book = self.book.write();
        book.registered.clone_from(&now);
        book.learn(now);
        drop(book);
        // Set once, by whoever opened the node.
        let _ = self.node.set(node);
    }

    /// This process, as it introduces itself.
    pub(crate) fn local(&self) -> &Local {
        &self.local
    }

    /// Takes over the addresses of masters that registered anew.
    pub(crate) fn learn(&self, cluster: &Cluster) {
        let now = registered(cluster);
        let mut book = self.book.write();
        if book.registered != now {
            book.learn(now);
        }
    }

    /// A master said itself where it is.
    pub(crate) fn found(&self, id: NodeId, address: String) {
        if self.address(id).as_ref() != Some(&address) {
            self.book.write().address.insert(id, address);
        }
    }

    /// The masters whose addresses are known.
    pub(crate) fn masters(&self) -> Vec<NodeId> {
        self.book.read().address.keys().copied().collect()
    }

    /// A connection to a master; `None` when its address is not known.
    pub(crate) fn master(&self, id: NodeId) -> Option<Client> {
        let address = self.address(id)?;
        Some(self.client(Identity::Master(id), Line::Requests, &address))
    }

    /// The same, at `address` when no other is known.
    pub(crate) fn master_or_at(&self, id: NodeId, address: &str) -> Client {
        self.master(id).unwrap_or_else(|| self.client(Identity::Master(id), Line::Requests, address))
    }

    /// A master's peer address, as it is known last.
    pub(crate) fn address(&self, id: NodeId) -> Option<String> {
        self.book.read().address.get(&id).cloned()
    }

    /// A connection to a volume; `None` when the map does not know it.
    pub(crate) fn volume(&self, id: VolumeId) -> Option<Client> {
        self.volume_by(id, Line::Requests)
    }

    /// A connection to a volume that carries nothing but probes: a probe that waited behind the bytes of appends would
    /// take a slow volume for a dead one.
    pub(crate) fn probe(&self, id: VolumeId) -> Option<Client> {
        self.volume_by(id, Line::Probes)
    }

    fn volume_by(&self, id: VolumeId, line: Line) -> Option<Client> {
        let cluster = self.node.get()?.cluster();
        let volume = cluster.map.volumes.get(&id)?;
        Some(self.client(Identity::Volume(id), line, &volume.peer))
    }

    fn client(&self, identity: Identity, line: Line, address: &str) -> Client {
        if let Some(client) = self.clients.read().get(&(identity, line))
            && client.address() == address
        {
            return client.clone();
        }
        let client = Client::new(self.local.clone(), address.to_owned(), Some(identity));
        let mut clients = self.clients.write();
        match clients.get(&(identity, line)) {
            Some(other) if other.address() == address => other.clone(),
            _ => {
                // The former connection closes when the last call on it is over.
                clients.insert((identity, line), client.clone());
                client
            }
        }
    }
}

impl Book {
    fn learn(&mut self, now: BTreeMap<NodeId, String>) {
        for (id, address) in &now {
            if self.registered.get(id) != Some(address) || !self.address.contains_key(id) {
                self.address.insert(*id, address.clone());
            }
        }
        self.registered = now;
    }
}

fn registered(cluster: &Cluster) -> BTreeMap<NodeId, String> {
    cluster.masters.iter().map(|(id, master)| (*id, master.peer.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(entries: &[(u64, &str)]) -> BTreeMap<NodeId, String> {
        entries.iter().map(|(id, address)| (NodeId(*id), (*address).to_owned())).collect()
    }

    #[test]
    fn the_command_line_wins_at_start_and_a_new_registration_wins_later() {
        let registered = book(&[(1, "old:1"), (2, "old:2")]);
        let mut known = Book { address: book(&[(1, "new:1"), (2, "new:2")]), registered: registered.clone() };
        known.learn(registered);
        assert_eq!(known.address, book(&[(1, "new:1"), (2, "new:2")]));
        known.learn(book(&[(1, "old:1"), (2, "moved:2"), (4, "joined:4")]));
        assert_eq!(known.address, book(&[(1, "new:1"), (2, "moved:2"), (4, "joined:4")]));
    }
}
