//! Whether this process ran all the time.
//!
//! One that was stopped, or whose machine slept, took no note of anything meanwhile and timed its faults wrongly: what it saw
//! before and after says nothing of a service that was away. Owns a thread that looks at a clock which goes on in sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A look that is so late is no matter of a busy machine: a service is to be back in this time.
pub(crate) const STILL_MAX: Duration = Duration::from_secs(5);

/// Looks as long as it lives.
#[derive(Debug)]
pub(crate) struct Steady {
    longest_ms: Arc<AtomicU64>,
    /// The thread ends with it.
    _until: Sender<()>,
}

impl Steady {
    pub(crate) fn start() -> Self {
        Self::by(now)
    }

    fn by(now: impl Fn() -> Duration + Send + 'static) -> Self {
        let longest_ms = Arc::new(AtomicU64::new(0));
        let (until, ended) = mpsc::channel::<()>();
        let longest = Arc::clone(&longest_ms);
        thread::spawn(move || {
            let mut last = now();
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let this = now();
                let still_ms = u64::try_from(this.saturating_sub(last).as_millis()).unwrap_or(u64::MAX);
                longest.fetch_max(still_ms, Ordering::Relaxed);
                last = this;
            }
        });
        Self { longest_ms, _until: until }
    }

    /// For how long this process stood still, if that was so long that what it saw says nothing.
    pub(crate) fn stood_still(&self) -> Option<Duration> {
        let longest = Duration::from_millis(self.longest_ms.load(Ordering::Relaxed));
        (longest > STILL_MAX).then_some(longest)
    }
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32};

    use super::*;

    /// What two looks take on a busy machine.
    const LOOKS_TIMEOUT: Duration = Duration::from_secs(60);

    #[test]
    fn a_clock_that_jumped_is_told() {
        let (sleeps, ticks) = (Arc::new(AtomicBool::new(false)), AtomicU32::new(0));
        let of_clock = Arc::clone(&sleeps);
        let (looked, looks) = mpsc::channel();
        let steady = Steady::by(move || {
            let ticks = ticks.fetch_add(1, Ordering::SeqCst);
            let slept = if of_clock.load(Ordering::SeqCst) { STILL_MAX } else { Duration::ZERO };
            // At the end of the test nobody waits for it any more.
            let _ = looked.send(());
            LOOK_EVERY * ticks + slept
        });
        // Two, as the first is judged by when the second begins.
        let look = || {
            looks.try_iter().for_each(drop);
            for _ in 0..2 {
                looks.recv_timeout(LOOKS_TIMEOUT).expect("it looks");
            }
        };
        look();
        assert_eq!(steady.stood_still(), None);
        sleeps.store(true, Ordering::SeqCst);
        look();
        assert_eq!(steady.stood_still(), Some(STILL_MAX + LOOK_EVERY));
    }
}
