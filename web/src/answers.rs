//! The memory that the bodies of all answers together may take, and what a piece of one takes of it.
//!
//! Owns the permits. A piece takes them before it is read, and gives them back when its client has it; who does not fit waits in
//! line, holding nothing. How long a client may take is the connection's matter. Invariant: what is read and not yet sent never
//! exceeds the budget.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Permits are given in units of this many bytes.
const UNIT_BYTES: usize = 1024;
/// A piece that is no larger is small.
const SMALL_BYTES: usize = 64 * 1024;
/// The part of the memory that is kept for small pieces: one in so many bytes.
const SMALL_PART: usize = 8;

/// The memory for the bodies of answers. Small ones have a part for themselves, so that no number of large ones that are taken
/// slowly stands in their way.
#[derive(Debug)]
pub struct Answers {
    small: Budget,
    large: Budget,
}

/// Its time was over before there was memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the memory for the bodies of answers is taken by readers that are slow")]
pub struct NoMemory;

impl Answers {
    /// `total_bytes` for all answers.
    pub fn new(total_bytes: usize) -> Self {
        let small = total_bytes / SMALL_PART;
        Self { small: Budget::new(small), large: Budget::new(total_bytes - small) }
    }

    /// Waits for `bytes`.
    ///
    /// # Errors
    /// When they are not free by `deadline`.
    pub async fn take(&self, bytes: usize, deadline: Instant) -> Result<Share, NoMemory> {
        let budget = if bytes <= SMALL_BYTES { &self.small } else { &self.large };
        budget.take(bytes, deadline).await
    }
}

#[derive(Debug)]
struct Budget {
    permits: Arc<Semaphore>,
    total_units: usize,
}

/// One piece's share; given back when dropped.
#[derive(Debug)]
pub struct Share {
    permit: OwnedSemaphorePermit,
    bytes: usize,
}

impl Share {
    /// Gives back what is more than `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(bytes.div_ceil(UNIT_BYTES).max(1));
        drop(self.permit.split(surplus));
        self.bytes = self.bytes.min(bytes);
    }

    /// `bytes`, which give the share back when the last reference to them is gone.
    pub fn hold(self, bytes: Bytes) -> Bytes {
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

impl Budget {
    /// A budget of `total_bytes`.
    fn new(total_bytes: usize) -> Self {
        let total_units = total_bytes.div_ceil(UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(total_units)), total_units }
    }

    /// Waits for `bytes`.
    async fn take(&self, bytes: usize, deadline: Instant) -> Result<Share, NoMemory> {
        let permit = self.wait(self.units(bytes), deadline).await?;
        Ok(Share { permit, bytes })
    }

    /// A single piece larger than the whole budget takes all of it, rather than waiting for ever.
    fn units(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT_BYTES).clamp(1, self.total_units.max(1))
    }

    async fn wait(&self, units: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, NoMemory> {
        let units = u32::try_from(units).map_err(|_| NoMemory)?;
        let waiting = Arc::clone(&self.permits).acquire_many_owned(units);
        match timeout_at(deadline, waiting).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(NoMemory),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_fit_waits_and_is_then_refused() {
        let budget = Budget::new(10 * 1024);
        let soon = || Instant::now() + Duration::from_secs(5);
        let first = budget.take(8 * 1024, soon()).await.expect("fits");
        assert_eq!(budget.take(4 * 1024, soon()).await.err(), Some(NoMemory));
        drop(first);
        let mut second = budget.take(20 * 1024, soon()).await.expect("alone, it may have all that there is");
        second.shrink(1);
        let _third = budget.take(9 * 1024, soon()).await.expect("the second gave back what it did not need");
        assert_eq!(budget.take(1, soon()).await.err(), Some(NoMemory), "and no more than that");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_held_count_until_their_last_slice_is_gone() {
        let budget = Budget::new(1024);
        let share = budget.take(1024, Instant::now()).await.expect("nobody else is there");
        let held = share.hold(Bytes::from_static(b"a piece of an object"));
        let slice = held.slice(2..7);
        drop(held);
        assert_eq!((&*slice, budget.take(1, Instant::now()).await.err()), (&b"piece"[..], Some(NoMemory)));
        drop(slice);
        assert!(budget.take(1024, Instant::now()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn large_answers_that_are_taken_slowly_leave_room_for_small_ones() {
        let answers = Answers::new(8 << 20);
        let soon = || Instant::now() + Duration::from_secs(5);
        let _large = answers.take(7 << 20, soon()).await.expect("it fits");
        assert_eq!(answers.take(SMALL_BYTES + 1, soon()).await.err(), Some(NoMemory));
        answers.take(SMALL_BYTES, soon()).await.expect("it has a part of its own");
    }
}
