//! Who is at this end of every connection, and who was found at the other.
//!
//! Owns the settable identity and cluster of this process. Invariant: a connection made under an older identity or
//! cluster serves no new call: clients replace it, servers compare the clusters again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hayrick_protocol::ClusterId;
use hayrick_protocol::messages::Identity;
use parking_lot::RwLock;

/// Who we are; cheap to clone, and all clones change together.
#[derive(Debug, Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    version: AtomicU64,
    names: RwLock<(Identity, ClusterId)>,
}

impl Local {
    /// This process; `cluster` may be [`ClusterId::UNKNOWN`] until the master formed or joined one, or the volume
    /// registered.
    pub fn new(identity: Identity, cluster: ClusterId) -> Self {
        let shared = Shared { version: AtomicU64::new(0), names: RwLock::new((identity, cluster)) };
        Self { shared: Arc::new(shared) }
    }

    /// Who we say we are.
    pub fn identity(&self) -> Identity {
        self.shared.names.read().0
    }

    /// The cluster we say we are of, or [`ClusterId::UNKNOWN`].
    pub fn cluster(&self) -> ClusterId {
        self.shared.names.read().1
    }

    /// Both, of the same moment.
    pub(crate) fn names(&self) -> (Identity, ClusterId) {
        *self.shared.names.read()
    }

    /// From now on we are `identity`: what a volume does once it got its id. Clients make new connections for the
    /// calls that follow; calls in flight finish on the old ones.
    pub fn set_identity(&self, identity: Identity) {
        self.change(|names| names.0 = identity);
    }

    /// From now on we are of `cluster`. Clients make new connections for the calls that follow; servers close those
    /// of another cluster.
    pub fn set_cluster(&self, cluster: ClusterId) {
        self.change(|names| names.1 = cluster);
    }

    fn change(&self, change: impl FnOnce(&mut (Identity, ClusterId))) {
        let mut names = self.shared.names.write();
        let before = *names;
        change(&mut names);
        if *names != before {
            self.shared.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Raised with every change.
    pub(crate) fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }
}

/// Who was found at the other end of a connection, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Who it says it is.
    pub identity: Identity,
    /// The cluster it says it is of, when the connection was made; [`ClusterId::UNKNOWN`] before it knew.
    pub cluster: ClusterId,
    /// The newest version of the messages that both ends speak.
    pub version: u16,
}
