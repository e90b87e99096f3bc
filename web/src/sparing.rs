//! How many lines a second are written of requests: when all of them are slow, or fail, a few tell why.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// So many lines of a kind in a second, for a `static`.
#[derive(Debug)]
pub struct Sparing {
    lines_per_second: u64,
    began: OnceLock<Instant>,
    /// The second in its upper half, lines in it in the lower.
    told: AtomicU64,
}

impl Sparing {
    /// `lines_per_second`, less than 2^32.
    pub const fn new(lines_per_second: u64) -> Self {
        Self { lines_per_second, began: OnceLock::new(), told: AtomicU64::new(0) }
    }

    /// Whether another line may be written in this second, which it then counts.
    pub fn may_tell(&self) -> bool {
        let second = self.began.get_or_init(Instant::now).elapsed().as_secs() << 32;
        let told = self.told.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |told| {
            let lines = if told & !0xffff_ffff == second { told & 0xffff_ffff } else { 0 };
            (lines < self.lines_per_second).then_some(second | (lines + 1))
        });
        told.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_many_lines_some_are_written_each_second() {
        let sparing = Sparing::new(10);
        let told = |tries: usize| (0..tries).filter(|_| sparing.may_tell()).count();
        assert_eq!(told(100), 10);
        advance(Duration::from_secs(1)).await;
        assert_eq!(told(3), 3);
    }
}
