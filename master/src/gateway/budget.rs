//! The memory that all request bodies together may take (`--body-memory`), and what a body takes of it.
//!
//! Owns the permits. A body takes them as its bytes arrive; who does not fit waits in line, and is refused after a
//! while. Invariant: bodies in memory never exceed the budget.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant, timeout_at};

/// Permits are given in units of this many bytes.
const UNIT_BYTES: usize = 1024;
/// A body that is announced as no larger than this is small.
const SMALL_BYTES: u64 = 64 * 1024;
/// The part of the memory that is kept for small bodies: one in so many bytes.
const SMALL_PART: usize = 8;

/// A budget.
pub(crate) struct Budget {
    permits: Arc<Semaphore>,
    total_units: usize,
}

/// The memory for the bodies of requests. Small ones have a part for themselves, so that no number of large ones, which
/// come slowly and wait for each other, stands in their way.
pub(crate) struct Bodies {
    small: Budget,
    large: Budget,
    patience: Duration,
}

/// One body's share; given back when dropped.
pub(crate) struct Share {
    permit: OwnedSemaphorePermit,
    bytes: usize,
}

impl Share {
    /// `bytes`, which give the share back when the last reference to them is gone.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The budget was taken until the deadline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Bodies {
    /// `total_bytes` for all bodies; `patience` for who waits.
    pub(crate) fn new(total_bytes: usize, patience: Duration) -> Self {
        let small_bytes = total_bytes / SMALL_PART;
        Self { small: Budget::new(small_bytes), large: Budget::new(total_bytes - small_bytes), patience }
    }

    /// The memory for a body of so many bytes, if that is announced.
    pub(crate) fn of(&self, announced: Option<u64>) -> &Budget {
        if announced.is_some_and(|bytes| bytes <= SMALL_BYTES) { &self.small } else { &self.large }
    }

    /// By when somebody who begins to wait now gives up.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }
}

impl Budget {
    /// A budget of `total_bytes`.
    pub(crate) fn new(total_bytes: usize) -> Self {
        let total_units = total_bytes.div_ceil(UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(total_units)), total_units }
    }

    /// Waits for `bytes`.
    pub(crate) async fn take(&self, bytes: usize, deadline: Instant) -> Result<Share, Exhausted> {
        let permit = self.wait(self.units(bytes), deadline).await?;
        Ok(Share { permit, bytes })
    }

    /// Makes `share` hold at least `bytes`.
    pub(crate) async fn grow(
        &self,
        share: &mut Share,
        bytes: usize,
        deadline: Instant,
    ) -> Result<(), Exhausted> {
        if bytes > share.bytes {
            let more = self.units(bytes) - self.units(share.bytes);
            share.permit.merge(self.wait(more, deadline).await?);
            share.bytes = bytes;
        }
        Ok(())
    }

    /// A single body larger than the whole budget takes all of it, rather than waiting for ever.
    fn units(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT_BYTES).clamp(1, self.total_units.max(1))
    }

    async fn wait(&self, units: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, Exhausted> {
        let units = u32::try_from(units).map_err(|_| Exhausted)?;
        let waiting = Arc::clone(&self.permits).acquire_many_owned(units);
        match timeout_at(deadline, waiting).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(Exhausted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_fit_waits_and_is_then_refused() {
        let budget = Budget::new(10 * 1024);
        let soon = || Instant::now() + Duration::from_secs(5);
        let first = budget.take(8 * 1024, soon()).await.expect("fits");
        assert_eq!(budget.take(4 * 1024, soon()).await.err(), Some(Exhausted));
        drop(first);
        let mut second = budget.take(1, soon()).await.expect("the first gave back");
        budget.grow(&mut second, 10 * 1024, soon()).await.expect("alone, it may have all");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_held_count_until_their_last_slice_is_gone() {
        let budget = Budget::new(1024);
        let share = budget.take(1024, Instant::now()).await.expect("nobody else is there");
        let held = share.hold(Bytes::from_static(b"a piece of an object"));
        let slice = held.slice(2..7);
        drop(held);
        assert_eq!((&*slice, budget.take(1, Instant::now()).await.err()), (&b"piece"[..], Some(Exhausted)));
        drop(slice);
        assert!(budget.take(1024, Instant::now()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_leave_room_for_small_ones() {
        let bodies = Bodies::new(1 << 20, Duration::from_secs(5));
        let large = bodies.of(None);
        let _all = large.take(1 << 20, bodies.deadline()).await.expect("alone, it may have all");
        assert!(bodies.of(Some(SMALL_BYTES + 1)).take(1, bodies.deadline()).await.is_err());
        assert!(bodies.of(Some(SMALL_BYTES)).take(64 * 1024, bodies.deadline()).await.is_ok());
    }
}
