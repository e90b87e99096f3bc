//! A point in time after which waiting ends.
//!
//! The launcher drives real processes, which live in real time: this is the one place of the crate that reads the
//! clock.

use std::time::{Duration, Instant};

/// A point in time after which waiting ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    allowed: Duration,
}

impl Deadline {
    /// A deadline `allowed` from now.
    #[expect(clippy::disallowed_methods, reason = "real processes live in real time")]
    pub fn after(allowed: Duration) -> Self {
        Self { started: Instant::now(), allowed }
    }

    /// What is left of it; `None` once it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        self.allowed.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero())
    }

    /// The time since it was set.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The whole time that was allowed.
    pub fn allowed(&self) -> Duration {
        self.allowed
    }
}
