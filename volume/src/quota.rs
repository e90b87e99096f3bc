//! The disk as a store sees it: with no more room than the store's capacity leaves.
//!
//! Owns the sum of what the files in one directory take, whoever makes them: segments, index files, scrub's place and the
//! list of damage. Everything else is the disk's. A file counts from when it gets its name until it is removed; an index file that is
//! being written does not count yet, but there is never more than one, and the reserve holds it. Invariant: a file that
//! has its name never grows.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hayrick_disk::{Disk, File, Lock};
use parking_lot::Mutex;

use crate::damage::kept;
use crate::scrub::place;
use crate::{index_file, segment};

/// A disk on which one directory has a capacity.
pub(crate) struct Quota {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    capacity_bytes: u64,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    files: HashMap<PathBuf, u64>,
    bytes: u64,
}

impl Quota {
    /// Counts what is there.
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, capacity_bytes: u64) -> io::Result<Self> {
        let quota = Self { disk, dir: dir.to_owned(), capacity_bytes, taken: Mutex::default() };
        if quota.disk.exists(dir)? {
            for name in quota.disk.list(dir)? {
                let path = dir.join(name);
                quota.count(&path, quota.bytes_of(&path, &path)?);
            }
        }
        Ok(quota)
    }

    /// Bytes that all files in the directory take.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.taken.lock().bytes
    }

    /// Bytes that index files take.
    pub(crate) fn index_file_bytes(&self) -> u64 {
        let is_one =
            |path: &Path| path.extension().is_some_and(|extension| extension == index_file::EXTENSION);
        self.taken.lock().files.iter().filter(|(path, _)| is_one(path)).map(|(_, bytes)| bytes).sum()
    }

    /// Bytes of a file, if it counts under this name.
    fn bytes_of(&self, path: &Path, name: &Path) -> io::Result<Option<u64>> {
        let extension = name.extension().and_then(|extension| extension.to_str());
        let counts = matches!(extension, Some(segment::EXTENSION | index_file::EXTENSION | "new"))
            || name.file_name().is_some_and(|name| name == place::FILE_NAME || name == kept::FILE_NAME);
        if counts && name.parent() == Some(&self.dir) {
            self.disk.open(path)?.len().map(Some)
        } else {
            Ok(None)
        }
    }

    fn count(&self, path: &Path, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            let mut taken = self.taken.lock();
            let before = taken.files.insert(path.to_owned(), bytes).unwrap_or(0);
            taken.bytes = taken.bytes + bytes - before;
        }
    }

    fn forget(&self, path: &Path) {
        let mut taken = self.taken.lock();
        taken.bytes -= taken.files.remove(path).unwrap_or(0);
    }
}

impl Disk for Quota {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.disk.open(path)
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.disk.open_read_only(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = self.bytes_of(from, to)?;
        self.disk.rename(from, to)?;
        self.forget(from);
        self.count(to, bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.disk.remove(path);
        if removed.as_ref().map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true) {
            self.forget(path);
        }
        removed
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        Ok(self.disk.free_bytes(dir)?.min(self.capacity_bytes.saturating_sub(self.taken_bytes())))
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.disk.lock(path)
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.disk.is_locked(path)
    }

    fn random(&self) -> u64 {
        self.disk.random()
    }
}
