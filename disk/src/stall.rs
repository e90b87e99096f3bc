//! How long the disk operation in progress takes so far. The one place of this crate that reads a clock, and only to
//! report: nothing is decided by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hayrick_metrics as metrics;

/// Milliseconds since a base, plus one; 0 while nothing is in progress.
#[derive(Debug)]
pub(crate) struct Stall {
    base: Instant,
    began: AtomicU64,
}

#[expect(clippy::disallowed_methods, reason = "a metric: it must show real time while the disk hangs")]
fn now() -> Instant {
    Instant::now()
}

/// A sync, of which it is noted how long it took.
pub(crate) fn timed_sync<T>(sync: impl FnOnce() -> T) -> T {
    let began = now();
    let synced = sync();
    metrics::FSYNC_SECONDS.observe(began.elapsed());
    synced
}

impl Stall {
    pub(crate) fn new() -> Self {
        Self { base: now(), began: AtomicU64::new(0) }
    }

    /// Runs a disk operation that may hang.
    pub(crate) fn watch<T>(&self, operation: impl FnOnce() -> T) -> T {
        self.began.store(self.elapsed_ms() + 1, Ordering::Relaxed);
        let result = operation();
        self.began.store(0, Ordering::Relaxed);
        result
    }

    /// Milliseconds that the operation in progress takes so far; 0 if there is none.
    pub(crate) fn stalled_ms(&self) -> u64 {
        match self.began.load(Ordering::Relaxed) {
            0 => 0,
            began => (self.elapsed_ms() + 1).saturating_sub(began),
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}
