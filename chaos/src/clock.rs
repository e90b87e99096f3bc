//! The one clock of a run.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::history::Moment;

/// Counts from when it was made. Copies are the same clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    began: SystemTime,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self { start: Instant::now(), began: SystemTime::now() }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    /// When it began, by the clock on the wall.
    pub fn began(&self) -> SystemTime {
        self.began
    }

    fn moment(&self, at: Instant) -> Moment {
        Moment(u64::try_from((at - self.start).as_nanos()).unwrap_or(u64::MAX))
    }
}

/// So many seconds as a duration, for settings that are drawn.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
