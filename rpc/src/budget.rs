//! Memory for large requests, shared by all connections of one listener.
//!
//! Owns who may read a large frame, and how long that may take. Leaves to the conversation to ask before the frame's
//! bytes are read, and to give the place back once the request is answered. Invariant: the places taken are never of more
//! bytes than the budget, one frame that is larger than all of it aside.

use std::sync::Arc;

use hayrick_protocol::limits::LARGE_FRAME_BYTES_PER_S;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant};

/// In what unit the budget counts.
const UNIT_BYTES: usize = 1024;
/// What every large request has besides the time that its bytes may take.
const ARRIVAL_BASE: Duration = Duration::from_secs(10);

/// The places for large requests; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    units: usize,
}

/// A large request's place, held until it is answered.
#[derive(Debug)]
pub(crate) struct Place {
    _units: OwnedSemaphorePermit,
    /// It has to be there by then.
    pub(crate) until: Instant,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let units = bytes / UNIT_BYTES;
        Self { free: Arc::new(Semaphore::new(units)), units }
    }

    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        self.free.available_permits() * UNIT_BYTES
    }

    /// Waits for a place for a frame of `bytes`.
    pub(crate) async fn place(&self, bytes: usize) -> Place {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES).min(self.units)).expect("frames are bounded");
        let free = Arc::clone(&self.free);
        let units = free.acquire_many_owned(units).await.expect("the semaphore is never closed");
        let seconds = bytes.div_ceil(LARGE_FRAME_BYTES_PER_S) as u64;
        Place { _units: units, until: Instant::now() + ARRIVAL_BASE + Duration::from_secs(seconds) }
    }
}
