//! redb's storage over a [`File`] of `disk/`, so that the index can lie on a disk that loses, tears and fails.
//!
//! It can be written in pieces with pauses, so that a large commit does not stand in the way of the log's syncs. Once sealed
//! it takes no more writes. That is how an index whose last commits were not durable is put away: redb would
//! otherwise write them out while closing, without the small state that belongs to them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hayrick_disk::File;
use parking_lot::{Condvar, Mutex};
use redb::StorageBackend;

/// Bytes that are written, and synced, between two pauses.
const PACE_BYTES: usize = 64 << 10;
/// About what that takes.
const PACE_PAUSE: Duration = Duration::from_millis(1);

/// Whether there is time to pause.
#[derive(Default)]
pub(crate) struct Pace {
    relaxed: Mutex<bool>,
    changed: Condvar,
}

impl Pace {
    /// From now on there is, or there is not: then pauses end.
    pub(crate) fn relax(&self, relaxed: bool) {
        *self.relaxed.lock() = relaxed;
        self.changed.notify_all();
    }

    /// Pauses, if there is time.
    pub(crate) fn pause(&self, time: Duration) {
        let mut relaxed = self.relaxed.lock();
        if *relaxed {
            self.changed.wait_for(&mut relaxed, time);
        }
    }
}

/// An index file as redb sees it.
#[derive(Clone)]
pub(crate) struct Backend {
    file: Arc<dyn File>,
    sealed: Arc<AtomicBool>,
    pace: Arc<Pace>,
    /// Bytes written since the last pause.
    written: Arc<AtomicUsize>,
}

impl Backend {
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        Self { file, sealed: Arc::default(), pace: Arc::default(), written: Arc::default() }
    }

    /// Refuses all writes from here on.
    pub(crate) fn seal(&self) {
        self.sealed.store(true, Ordering::SeqCst);
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        self.file.len()
    }

    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// A sync more than redb asks for does no harm: what it writes counts only with the header that it writes last.
    fn pause_after(&self, bytes: usize) -> io::Result<()> {
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes >= PACE_BYTES {
            self.written.store(0, Ordering::Relaxed);
            if *self.pace.relaxed.lock() {
                self.file.sync_data()?;
            }
            self.pace.pause(PACE_PAUSE);
        }
        Ok(())
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
        self.file.write_all_at(data, offset)?;
        self.pause_after(data.len())
    }
}
