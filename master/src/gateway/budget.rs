//! The memory that all request bodies together may take (`--body-memory`).
//!
//! Owns the permits. A body takes them before its bytes are read; who does not fit waits in line, and is refused
//! after `--request-timeout`. Invariant: bodies in memory never exceed the budget.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, timeout};

/// Permits are given in units of this many bytes.
const UNIT_BYTES: usize = 1024;

/// The budget.
pub(crate) struct Budget {
    permits: Arc<Semaphore>,
    total_units: usize,
    patience: Duration,
}

/// One body's share; given back when dropped.
pub(crate) struct Share {
    permit: OwnedSemaphorePermit,
    bytes: usize,
}

/// The budget was taken for all of the patience.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    /// `total_bytes` for all bodies; `patience` for who waits.
    pub(crate) fn new(total_bytes: usize, patience: Duration) -> Self {
        let total_units = total_bytes.div_ceil(UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(total_units)), total_units, patience }
    }

    /// Waits for `bytes`.
    pub(crate) async fn take(&self, bytes: usize) -> Result<Share, Exhausted> {
        let permit = self.wait(self.units(bytes)).await?;
        Ok(Share { permit, bytes })
    }

    /// Makes `share` hold at least `bytes`, for a body whose length is not announced.
    pub(crate) async fn grow(&self, share: &mut Share, bytes: usize) -> Result<(), Exhausted> {
        if bytes > share.bytes {
            let more = self.units(bytes) - self.units(share.bytes);
            share.permit.merge(self.wait(more).await?);
            share.bytes = bytes;
        }
        Ok(())
    }

    /// A single body larger than the whole budget takes all of it, rather than waiting for ever.
    fn units(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT_BYTES).clamp(1, self.total_units.max(1))
    }

    async fn wait(&self, units: usize) -> Result<OwnedSemaphorePermit, Exhausted> {
        let units = u32::try_from(units).map_err(|_| Exhausted)?;
        let waiting = Arc::clone(&self.permits).acquire_many_owned(units);
        match timeout(self.patience, waiting).await {
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
        let budget = Budget::new(10 * 1024, Duration::from_secs(5));
        let first = budget.take(8 * 1024).await.expect("fits");
        assert_eq!(budget.take(4 * 1024).await.err(), Some(Exhausted));
        drop(first);
        let mut second = budget.take(1).await.expect("the first gave back");
        budget.grow(&mut second, 10 * 1024).await.expect("alone, it may have all");
    }
}
