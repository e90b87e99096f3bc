//! What a command found, as one line of JSON.

use std::time::Duration;

use serde::Serialize;

/// One result. What the value is depends on the command; the baseline is of the same kind.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) baseline: Option<f64>,
}

impl Figure {
    /// A value alone.
    pub(crate) fn plain(value: f64) -> Self {
        Self { value, ..Self::default() }
    }
}

/// How long each of many appends took.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self::new([self.0, other.0].concat())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// A percentile, in milliseconds.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let index = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    }
}
