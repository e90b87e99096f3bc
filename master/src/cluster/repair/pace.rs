//! How fast volumes give and take what is moved: so many bytes a second each, all moves of a volume together.
//!
//! Owns the waiting. Invariant: over any stretch of time a volume gives and takes no more than the rate allows and one pull
//! more, but for what is moved in haste. A new rate holds at once, for waits that have begun, too.

use std::collections::BTreeMap;
use std::time::Duration;

use hayrick_protocol::VolumeId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Pulls in a second at the full rate: small enough that clients hardly notice one.
const PULLS_PER_SECOND: u64 = 16;
const PULL_BYTES_MIN: u64 = 64 << 10;
const PULL_BYTES_MAX: u64 = 4 << 20;

/// The longest that a volume is left alone for what was moved in haste, or all else would wait for it.
const HASTE_DEBT_MAX: Duration = Duration::from_secs(1);
/// The longest that is waited in one piece: a large needle at a low rate takes minutes, in which what it is waited for may
/// not be wanted any more.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The budget of every volume.
pub(super) struct Pace {
    budget: Mutex<Budget>,
    changed: Notify,
}

struct Budget {
    bytes_per_s: u64,
    /// When each may be asked again.
    free_at: BTreeMap<VolumeId, Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_s: u64) -> Self {
        let budget = Budget { bytes_per_s: bytes_per_s.max(1), free_at: BTreeMap::new() };
        Self { budget: Mutex::new(budget), changed: Notify::new() }
    }

    /// From now on it is this many bytes a second, and what was moved already is paid for at that rate.
    pub(super) fn set(&self, bytes_per_s: u64) {
        let (now, bytes_per_s) = (Instant::now(), bytes_per_s.max(1));
        let mut budget = self.budget.lock();
        let former = std::mem::replace(&mut budget.bytes_per_s, bytes_per_s);
        if former == bytes_per_s {
            return;
        }
        budget.free_at.retain(|_, at| *at > now);
        for at in budget.free_at.values_mut() {
            let owed = bytes_in(at.duration_since(now), former);
            *at = now + time_of(owed, bytes_per_s);
        }
        drop(budget);
        self.changed.notify_waiters();
    }

    /// Bytes of one pull.
    pub(super) fn pull_bytes(&self) -> u64 {
        (self.budget.lock().bytes_per_s / PULLS_PER_SECOND).clamp(PULL_BYTES_MIN, PULL_BYTES_MAX)
    }

    /// Waits until all of these volumes have paid for what they gave and took, for a second at most; whether they have.
    pub(super) async fn wait(&self, volumes: [VolumeId; 2]) -> bool {
        let until = Instant::now() + WAIT_MAX;
        loop {
            // Before the look, so that no change between the two is missed.
            let changed = self.changed.notified();
            let latest = {
                let budget = self.budget.lock();
                volumes.iter().filter_map(|volume| budget.free_at.get(volume)).max().copied()
            };
            let now = Instant::now();
            match latest.filter(|at| *at > now) {
                None => return true,
                Some(_) if now >= until => return false,
                // Either end is a reason to look again.
                Some(at) => drop(timeout_at(at.min(until), changed).await),
            }
        }
    }

    /// These volumes gave and took so many bytes.
    pub(super) fn took(&self, volumes: [VolumeId; 2], bytes: u64, in_haste: bool) {
        let now = Instant::now();
        let mut budget = self.budget.lock();
        let time = time_of(bytes, budget.bytes_per_s);
        for volume in volumes {
            let at = budget.free_at.entry(volume).or_insert(now);
            let owed_until = (*at).max(now);
            *at = match in_haste {
                false => owed_until + time,
                true => (owed_until + time).min((now + HASTE_DEBT_MAX).max(owed_until)),
            };
        }
    }
}

fn time_of(bytes: u64, bytes_per_s: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_s)
}

fn bytes_in(time: Duration, bytes_per_s: u64) -> u64 {
    let bytes = time.as_micros() * u128::from(bytes_per_s) / 1_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SOURCE: VolumeId = VolumeId(1);
    const ONE: VolumeId = VolumeId(2);
    const OTHER: VolumeId = VolumeId(3);

    #[tokio::test(start_paused = true)]
    async fn a_volume_of_two_moves_gives_no_more_than_one_of_a_single_move() {
        let pace = Pace::new(1 << 20);
        let began = Instant::now();
        for _ in 0..8 {
            for newcomer in [ONE, OTHER] {
                while !pace.wait([SOURCE, newcomer]).await {}
                pace.took([SOURCE, newcomer], pace.pull_bytes(), false);
            }
        }
        let bytes = 16 * pace.pull_bytes();
        let least = Duration::from_secs_f64((bytes - pace.pull_bytes()) as f64 / (1 << 20) as f64);
        assert!(began.elapsed() >= least, "{bytes} bytes in {:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_needle_is_paid_for_to_the_end_and_what_was_in_haste_is_not() {
        let pace = Pace::new(1 << 20);
        let began = Instant::now();
        pace.took([SOURCE, ONE], 64 << 20, true);
        while !pace.wait([SOURCE, ONE]).await {}
        assert_eq!(began.elapsed(), HASTE_DEBT_MAX);
        pace.took([SOURCE, ONE], 64 << 20, false);
        assert!(!pace.wait([SOURCE, ONE]).await, "after a second it is time to look around");
        pace.took([SOURCE, OTHER], 64 << 20, true);
        while !pace.wait([SOURCE, ONE]).await {}
        assert_eq!(began.elapsed(), HASTE_DEBT_MAX + Duration::from_secs(64));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_rate_holds_at_once_and_for_waits_that_have_begun() {
        let pace = Arc::new(Pace::new(1 << 20));
        let began = Instant::now();
        pace.took([SOURCE, ONE], 1 << 20, false);
        let waits = tokio::spawn({
            let pace = Arc::clone(&pace);
            async move { pace.wait([SOURCE, ONE]).await }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        pace.set(5 << 20);
        assert!(waits.await.expect("it waits"));
        assert_eq!(began.elapsed(), Duration::from_millis(600), "what was left is a fifth of it");
        pace.took([SOURCE, ONE], 5 << 20, false);
        pace.set(1 << 20);
        while !pace.wait([SOURCE, ONE]).await {}
        assert_eq!(began.elapsed(), Duration::from_millis(5600));
        assert_eq!(pace.pull_bytes(), 64 << 10);
    }
}
