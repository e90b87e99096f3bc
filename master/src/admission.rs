//! Whether this master may vote, and why it cannot go on.
//!
//! Owns what its data directory says of that, and the words for those that end. Who is admitted is told in `bootstrap`.
//! Invariants: what admits it is durable before it takes part in anything; who cannot go on takes part in nothing any more,
//! and is not let in again.

use std::sync::atomic::{AtomicBool, Ordering};

use hayrick_protocol::{ClusterId, InstanceId, NodeId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::warn;

use crate::meta::{Directory, Meta, Standing};
use crate::options::Options;

/// Whether this master may vote, and how far its data directory says it has come.
pub(crate) struct Admission {
    admitted: AtomicBool,
    file: Mutex<(Directory, Meta)>,
    failed: watch::Sender<Option<String>>,
}

impl Admission {
    /// Not admitted yet, whatever the directory says.
    pub(crate) fn new(directory: Directory, meta: Meta) -> Self {
        Self {
            admitted: AtomicBool::new(false),
            file: Mutex::new((directory, meta)),
            failed: watch::Sender::new(None),
        }
    }

    /// Whether this master may take part in Raft.
    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Acquire)
    }

    /// The first reason why this master cannot go on wins; whoever started it ends it. That takes a while, in which this
    /// master takes part in nothing any more.
    pub(crate) fn fail(&self, reason: String) {
        self.failed.send_if_modified(|failed| failed.is_none() && failed.replace(reason).is_none());
        self.admitted.store(false, Ordering::Release);
    }

    /// From here on this master may take part in Raft, unless it cannot go on.
    pub(crate) fn admit(&self) -> bool {
        self.admitted.store(true, Ordering::Release);
        // In this order, so that of a failure at the same time either this or `fail` takes it back.
        let goes_on = self.failure().is_none();
        self.admitted.fetch_and(goes_on, Ordering::AcqRel);
        goes_on
    }

    /// The reason why this master cannot go on, if there is one.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failed.borrow().clone()
    }

    /// Waits until this master cannot go on.
    pub(crate) async fn failed(&self) -> String {
        let mut failed = self.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Durable before this master takes part in anything. Written a few times in a directory's life, so that waiting
    /// for the disk right here hurts nobody.
    pub(crate) fn save(&self, standing: Standing, cluster: ClusterId) {
        let mut file = self.file.lock();
        let (directory, meta) = &mut *file;
        let changed = Meta {
            standing: meta.standing.max(standing),
            cluster: if cluster.is_known() { cluster } else { meta.cluster },
            ..*meta
        };
        if changed != *meta {
            if let Err(error) = directory.save(&changed) {
                return self.fail(error.to_string());
            }
            *meta = changed;
        }
    }

    /// This master was removed: from here on it takes part in nothing, also after a restart, and is about to end.
    pub(crate) fn remove(&self) {
        self.admitted.store(false, Ordering::Release);
        let mut file = self.file.lock();
        let (directory, meta) = &mut *file;
        *meta = Meta { standing: Standing::Removed, ..*meta };
        if let Err(error) = directory.save(meta) {
            // The others say it again at the next start.
            warn!(%error, "that this master was removed could not be written down");
        }
        self.fail(removed(meta.id));
    }

    pub(crate) fn cluster(&self) -> ClusterId {
        self.file.lock().1.cluster
    }

    pub(crate) fn standing(&self) -> Standing {
        self.file.lock().1.standing
    }
}

/// Why a master whose directory is another one than its cluster knows does not start.
pub(crate) fn replaced(id: NodeId, known: InstanceId) -> String {
    format!(
        "the cluster knows master {id} by another data directory ({known}): this one is empty or a copy, and must not \
         vote in its place; start it with its own directory. Where that is lost, replace it: `hayrick master remove {id}`, \
         then a master with an empty directory, an id that was never used, and --join"
    )
}

/// Why a master that was removed does not go on.
pub(crate) fn removed(id: NodeId) -> String {
    format!(
        "master {id} was removed from its cluster for good, and serves no more; its data directory is of no use. A new \
         master takes its place with an empty directory, an id that was never used, and --join"
    )
}

/// Why a master whose directory was set back does not go on.
pub(crate) fn rolled_back(options: &Options, witness: &str, missing: &str) -> String {
    let (id, data) = (options.id, options.data.display());
    format!(
        "the data directory {data} was rolled back: it is an older state of master {id} than {witness} has seen \
         ({missing}). It may have voted and acknowledged writes since, and must not again: put the newest state back. Where \
         that is lost, replace this master: `hayrick master remove {id}`, then a master with an empty directory, an id \
         that was never used, and --join"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn who_cannot_go_on_takes_part_in_nothing_and_is_not_let_in_again() {
        let data = tempfile::tempdir().expect("a directory");
        let directory = Directory::lock(Arc::new(hayrick_disk::RealDisk), data.path()).expect("it is free");
        let meta = directory.load_or_create(NodeId(1), InstanceId([1; 16])).expect("a new one");
        let admission = Admission::new(directory, meta);
        assert!(admission.admit() && admission.is_admitted());
        admission.fail("it was set back".to_owned());
        assert!(!admission.is_admitted(), "until it ends it would vote");
        assert!(!admission.admit() && !admission.is_admitted());
    }
}
