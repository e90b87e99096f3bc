//! What is known of the requests of one kind: how long those took that were answered, and how the others failed.
//!
//! Invariant: what was sent in the warm-up is in none of the figures but the rate, which counts what is answered while it
//! is measured.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::failure::{Failed, Failures};

/// The longest time that is told apart. A request is given up long before.
const LATENCY_US_MAX: u64 = 3_600_000_000;
/// Latencies are known to a thousandth.
const DIGITS: u8 = 3;

/// Requests of one kind.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    latencies_us: Histogram<u64>,
    failures: Failures,
    /// Answered within the time of which the rate is told.
    answered_in_time: u64,
}

impl Default for Tally {
    fn default() -> Self {
        let latencies_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS)
            .expect("the bounds are constants that work");
        Self { latencies_us, failures: Failures::default(), answered_in_time: 0 }
    }
}

impl Tally {
    /// A request that was sent in the measured time has ended.
    pub(super) fn add(&mut self, took: Duration, outcome: Result<(), Failed>) {
        match outcome {
            Ok(()) => {
                self.latencies_us.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            Err(failed) => self.failures.add(failed),
        }
    }

    /// A request was answered in the measured time, whenever it was sent.
    pub(super) fn add_in_time(&mut self) {
        self.answered_in_time += 1;
    }

    /// How many were sent in the measured time and answered.
    pub(super) fn done(&self) -> u64 {
        self.latencies_us.len()
    }

    pub(super) fn failures(&self) -> &Failures {
        &self.failures
    }

    pub(super) fn latencies_us(&self) -> &Histogram<u64> {
        &self.latencies_us
    }

    /// The time in which this part, 0 to 1, of all was answered.
    pub(super) fn quantile_us(&self, part: f64) -> u64 {
        self.latencies_us.value_at_quantile(part)
    }

    pub(super) fn per_second(&self, elapsed: Duration) -> f64 {
        rate(self.answered_in_time, elapsed)
    }
}

/// So many in this time; none, where there was no time.
fn rate(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}

/// How much `part` is of `whole`, in percent.
pub(super) fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part * 100.0 / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::failure::Failure;

    #[test]
    fn percentiles_are_of_what_was_answered_and_failures_are_apart() {
        let mut tally = Tally::default();
        for ms in 1..=1000 {
            tally.add(Duration::from_millis(ms), Ok(()));
        }
        tally.add(Duration::from_secs(10), Err(Failed { failure: Failure::Unknown, words: String::new() }));
        assert_eq!((tally.done(), tally.failures().total()), (1000, 1));
        for (part, ms) in [(0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1000)] {
            let off = tally.quantile_us(part).abs_diff(ms * 1000);
            assert!(off <= ms, "{part} is off by {off} us");
        }
        assert_eq!(Tally::default().quantile_us(0.99), 0);
    }

    #[test]
    fn the_rate_is_of_what_was_answered_in_time() {
        let mut tally = Tally::default();
        for _ in 0..30 {
            tally.add_in_time();
        }
        tally.add(Duration::from_secs(1), Ok(()));
        assert!((tally.per_second(Duration::from_secs(10)) - 3.0).abs() < 1e-9);
        assert!(tally.per_second(Duration::ZERO).abs() < 1e-9);
        assert!((percent(1.0, 4.0) - 25.0).abs() < 1e-9 && percent(1.0, 0.0).abs() < 1e-9);
    }
}
