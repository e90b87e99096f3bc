//! What a command found, as one line of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One result. What the value is depends on the command; the baseline is of the same kind.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
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

    /// So many a second, and how long each took.
    pub(crate) fn rate(mut latencies: Vec<Duration>, measured: Duration) -> Self {
        latencies.sort_unstable();
        let percentile_ms = |percent: usize| {
            let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
            latencies.get(index).map(|latency| latency.as_secs_f64() * 1000.0)
        };
        Self {
            value: latencies.len() as f64 / measured.as_secs_f64(),
            p50_ms: percentile_ms(50),
            p99_ms: percentile_ms(99),
            baseline: None,
        }
    }
}
