//! The files behind the descriptors: what is kept back of each, once for all who have it open.
//!
//! Found by device and inode, as a file may change its name. Invariant: a file that has something kept back is known here,
//! open or not, until it has no name any more and nobody has it open; and while it is known its inode is not given to another.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rand::Rng;

use crate::breakable::pending::Pending;

/// Device and inode.
type Key = (u64, u64);

/// One file.
pub(super) struct Node {
    key: Key,
    /// What is kept back; without `forget` nothing is.
    pub(super) pending: Option<Mutex<Pending>>,
    /// Through which what is kept back reaches it; there once it was opened for writing.
    writable: OnceLock<fs::File>,
    /// Syncs that were made to fail; raised under the lock of `pending`.
    failures: AtomicU64,
    /// Descriptors; changed under the lock of all nodes.
    opened: AtomicU64,
}

impl Node {
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Loses what is kept back.
    pub(super) fn fail(&self) {
        let pending = self.pending.as_ref().map(Mutex::lock);
        self.failures.fetch_add(1, Ordering::AcqRel);
        pending.into_iter().for_each(|mut pending| pending.lose());
    }

    /// Brings what is kept back to the real file. Where that fails it is lost.
    pub(super) fn write_out(&self) -> io::Result<()> {
        let (Some(pending), Some(real)) = (&self.pending, self.writable.get()) else { return Ok(()) };
        let mut pending = pending.lock();
        pending.write_out(real).inspect_err(|_| {
            self.failures.fetch_add(1, Ordering::AcqRel);
        })
    }

    fn is_named(&self) -> bool {
        self.writable.get().is_some_and(|real| real.metadata().is_ok_and(|found| found.nlink() > 0))
    }

    fn has_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !pending.lock().is_empty())
    }
}

/// All files that are open, or have something kept back.
pub(super) struct Nodes {
    forget: bool,
    known: Mutex<HashMap<Key, Arc<Node>>>,
    /// How often random sectors were written out.
    scattered: AtomicU64,
}

impl Nodes {
    pub(super) fn new(forget: bool) -> Self {
        Self { forget, known: Mutex::default(), scattered: AtomicU64::new(0) }
    }

    /// The file that was just opened.
    pub(super) fn open(&self, file: &fs::File, is_writable: bool) -> io::Result<Arc<Node>> {
        let writable = if is_writable && self.forget { Some(file.try_clone()?) } else { None };
        let mut known = self.known.lock();
        let metadata = file.metadata()?;
        let key = (metadata.dev(), metadata.ino());
        let node = known.entry(key).or_insert_with(|| {
            // As long as the file is not known, nobody writes to it.
            let pending = self.forget.then(|| Mutex::new(Pending::new(metadata.len())));
            let (writable, failures, opened) = (OnceLock::new(), AtomicU64::new(0), AtomicU64::new(0));
            Arc::new(Node { key, pending, writable, failures, opened })
        });
        node.opened.fetch_add(1, Ordering::Relaxed);
        writable.into_iter().for_each(|file| drop(node.writable.set(file)));
        Ok(Arc::clone(node))
    }

    /// A descriptor was closed.
    pub(super) fn close(&self, node: &Node) {
        let mut known = self.known.lock();
        node.opened.fetch_sub(1, Ordering::Relaxed);
        forget_unless_needed(&mut known, node.key);
    }

    /// Runs what takes the name `path` from a file, if there is one.
    pub(super) fn unlinking(&self, path: &Path, run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut known = self.known.lock();
        let key = fs::metadata(path).map(|found| (found.dev(), found.ino()));
        run()?;
        key.into_iter().for_each(|key| forget_unless_needed(&mut known, key));
        Ok(())
    }

    /// Runs it while nothing reaches the real disk; with `forget` only.
    #[cfg(test)]
    pub(super) fn frozen<T>(&self, run: impl FnOnce() -> T) -> T {
        let known = self.known.lock();
        let _pending: Vec<_> = known.values().flat_map(|node| &node.pending).map(Mutex::lock).collect();
        run()
    }

    #[cfg(test)]
    pub(super) fn scattered(&self) -> u64 {
        self.scattered.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.known.lock().len()
    }

    /// Brings random sectors of all files to the disk. What goes wrong is found by the next sync.
    pub(super) fn scatter(&self, rng: &mut impl Rng) {
        self.scattered.fetch_add(1, Ordering::Relaxed);
        let mut nodes: Vec<Arc<Node>> = self.known.lock().values().cloned().collect();
        nodes.sort_unstable_by_key(|node| node.key);
        for node in nodes {
            if let (Some(pending), Some(real)) = (&node.pending, node.writable.get()) {
                let mut pending = pending.lock();
                if !pending.is_empty() && pending.scatter(real, rng).is_err() {
                    node.failures.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
    }
}

fn forget_unless_needed(known: &mut HashMap<Key, Arc<Node>>, key: Key) {
    let is_needed =
        |node: &Arc<Node>| node.opened.load(Ordering::Relaxed) > 0 || (node.has_pending() && node.is_named());
    if known.get(&key).is_some_and(|node| !is_needed(node)) {
        known.remove(&key);
    }
}
