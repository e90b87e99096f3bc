//! How fast volumes give and take what is moved: so many bytes a second each, all moves of a volume together.
//!
//! Owns the waiting. Invariant: over any stretch of time a volume gives and takes no more than the rate allows and one pull
//! more.

use std::collections::BTreeMap;
use std::time::Duration;

use hayrick_protocol::VolumeId;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Pulls in a second at the full rate: small enough that clients hardly notice one.
const PULLS_PER_SECOND: u64 = 16;
const PULL_BYTES_MIN: u64 = 64 << 10;
const PULL_BYTES_MAX: u64 = 4 << 20;

/// The longest that a volume is left alone.
const DEBT_MAX: Duration = Duration::from_secs(1);

/// The budget of every volume.
pub(super) struct Pace {
    bytes_per_s: u64,
    /// When each may be asked again.
    free_at: Mutex<BTreeMap<VolumeId, Instant>>,
}

impl Pace {
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s, free_at: Mutex::default() }
    }

    /// Bytes of one pull.
    pub(super) fn pull_bytes(&self) -> u64 {
        (self.bytes_per_s / PULLS_PER_SECOND).clamp(PULL_BYTES_MIN, PULL_BYTES_MAX)
    }

    /// Waits until all of these volumes have paid for what they gave and took.
    pub(super) async fn wait(&self, volumes: [VolumeId; 2]) {
        loop {
            let latest = {
                let free_at = self.free_at.lock();
                volumes.iter().filter_map(|volume| free_at.get(volume)).max().copied()
            };
            match latest.filter(|at| *at > Instant::now()) {
                Some(at) => sleep_until(at).await,
                None => return,
            }
        }
    }

    /// These volumes gave and took so many bytes.
    pub(super) fn took(&self, volumes: [VolumeId; 2], bytes: u64) {
        let micros = bytes.saturating_mul(1_000_000) / self.bytes_per_s.max(1);
        let now = Instant::now();
        let mut free_at = self.free_at.lock();
        for volume in volumes {
            let at = free_at.entry(volume).or_insert(now);
            // What was moved in haste is not paid for to the end, or all else would wait for it.
            *at = ((*at).max(now) + Duration::from_micros(micros)).min(now + DEBT_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_volume_of_two_moves_gives_no_more_than_one_of_a_single_move() {
        let (source, one, other) = (VolumeId(1), VolumeId(2), VolumeId(3));
        let pace = Pace::new(1 << 20);
        let began = Instant::now();
        for _ in 0..8 {
            for newcomer in [one, other] {
                pace.wait([source, newcomer]).await;
                pace.took([source, newcomer], pace.pull_bytes());
            }
        }
        let bytes = 16 * pace.pull_bytes();
        let least = Duration::from_secs_f64((bytes - pace.pull_bytes()) as f64 / (1 << 20) as f64);
        assert!(began.elapsed() >= least, "{bytes} bytes in {:?}", began.elapsed());
    }
}
