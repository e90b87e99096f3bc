//! redb's storage over a [`File`] of `disk/`, so that the index can lie on a disk that loses, tears and fails.
//!
//! Once sealed it takes no more writes. That is how an index whose last commits were not durable is put away: redb would
//! otherwise write them out while closing, without the small state that belongs to them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hayrick_disk::File;
use redb::StorageBackend;

/// An index file as redb sees it.
#[derive(Clone)]
pub(crate) struct Backend {
    file: Arc<dyn File>,
    sealed: Arc<AtomicBool>,
}

impl Backend {
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        Self { file, sealed: Arc::default() }
    }

    /// Refuses all writes from here on.
    pub(crate) fn seal(&self) {
        self.sealed.store(true, Ordering::SeqCst);
    }

    fn writable(&self) -> io::Result<()> {
        if self.sealed.load(Ordering::SeqCst) {
            return Err(io::Error::other("the index was put away"));
        }
        Ok(())
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.writable()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writable()?;
        self.file.write_all_at(data, offset)
    }
}
