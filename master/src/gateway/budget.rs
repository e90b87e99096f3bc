//! The memory that all request bodies together may take (`--body-memory`), and what a body takes of it.
//!
//! Owns the permits. Who does not fit waits in line, for minutes if need be. Invariants: bodies in memory never exceed the
//! budget; nobody waits for what somebody holds who waits himself, so that everybody's turn comes:
//!
//! ```text
//! small body ─▶ its part, for all of it at once
//! large body ─▶ first part, for the first bytes ─▶ rest, for all of it at once; the first part is given back
//! ```

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant, timeout_at};

/// Permits are given in units of this many bytes.
const UNIT_BYTES: usize = 1024;
/// A body that is announced as no larger than this is small.
const SMALL_BYTES: u64 = 64 * 1024;
/// What a body that is not small may bring before it takes its place among the large: who brings nothing takes nothing.
pub(crate) const FIRST_BYTES: usize = 64 * 1024;
/// The parts of the memory that are kept for small bodies, and for the first bytes of others: one in so many bytes each.
const PART: usize = 8;

/// How long a body waits for memory. Whoever has it gives it back: slow ones are ended, and the others are stored.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A budget.
pub(crate) struct Budget {
    permits: Arc<Semaphore>,
    total_units: usize,
}

/// The memory for the bodies of requests. Small ones have a part for themselves, so that no number of large ones, which
/// come slowly and wait for each other, stands in their way.
pub(crate) struct Bodies {
    small: Budget,
    first: Budget,
    large: Budget,
    patience: Duration,
}

/// One body's share; given back when dropped.
pub(crate) struct Share {
    permit: OwnedSemaphorePermit,
    bytes: usize,
}

impl Share {
    /// For so many bytes it is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is more than `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(bytes.div_ceil(UNIT_BYTES).max(1));
        drop(self.permit.split(surplus));
        self.bytes = self.bytes.min(bytes);
    }

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
        let part = total_bytes / PART;
        let [small, first, large] = [part, part, total_bytes - 2 * part].map(Budget::new);
        Self { small, first, large, patience }
    }

    /// For a body whose bytes begin to come: all that it needs if it is small, else what its first bytes need.
    pub(crate) async fn begin(&self, announced: Option<u64>) -> Result<Share, Exhausted> {
        match announced.filter(|bytes| *bytes <= SMALL_BYTES) {
            Some(bytes) => self.small.take(bytes as usize, self.deadline()).await,
            None => self.first.take(FIRST_BYTES, self.deadline()).await,
        }
    }

    /// For all the `bytes` of a body at once.
    pub(crate) async fn whole(&self, bytes: usize) -> Result<Share, Exhausted> {
        let budget = if bytes as u64 <= SMALL_BYTES { &self.small } else { &self.large };
        budget.take(bytes, self.deadline()).await
    }

    /// By when somebody who begins to wait now gives up.
    fn deadline(&self) -> Instant {
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
        let mut second = budget.take(20 * 1024, soon()).await.expect("alone, it may have all that there is");
        second.shrink(1);
        let _third = budget.take(9 * 1024, soon()).await.expect("the second gave back what it did not need");
        assert_eq!(budget.take(1, soon()).await.err(), Some(Exhausted), "and no more than that");
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
        let _all = bodies.whole(1 << 20).await.expect("alone, it may have all");
        assert!(bodies.whole(SMALL_BYTES as usize + 1).await.is_err());
        assert!(bodies.begin(Some(SMALL_BYTES)).await.is_ok() && bodies.begin(None).await.is_ok());
    }
}
