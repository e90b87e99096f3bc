//! How long something takes, as a histogram of fixed buckets.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::On;

/// Upper bounds of the buckets, in microseconds, and how they are written: from a read out of memory to a request that is
/// given up.
const BOUNDS: [(u64, &str); 15] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
];

/// How often something took how long since the process started.
#[derive(Debug)]
pub struct Histogram {
    name: &'static str,
    help: &'static str,
    on: On,
    /// Of each bucket by itself; the last is for what is above all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

described!(Histogram);

impl Histogram {
    pub(crate) const fn new(name: &'static str, help: &'static str, on: On) -> Self {
        Self {
            name,
            help,
            on,
            counts: [const { AtomicU64::new(0) }; BOUNDS.len() + 1],
            sum_us: AtomicU64::new(0),
        }
    }

    /// It took so long once.
    #[inline]
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|(bound, _)| *bound < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn write(&self, text: &mut String) {
        let (name, help) = (self.name, self.help());
        let mut count = 0;
        let written = (|| {
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram")?;
            for ((_, bound), of_bucket) in BOUNDS.iter().zip(&self.counts) {
                count += of_bucket.load(Ordering::Relaxed);
                writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}")?;
            }
            count += self.counts[BOUNDS.len()].load(Ordering::Relaxed);
            let sum_us = self.sum_us.load(Ordering::Relaxed);
            writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}")?;
            writeln!(
                text,
                "{name}_sum {}.{:06}\n{name}_count {count}",
                sum_us / 1_000_000,
                sum_us % 1_000_000
            )
        })();
        written.expect("a string takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_counts_all_that_took_no_longer() {
        let histogram = Histogram::new("hayrick_x_seconds", " Of x. ", On::Both);
        for us in [0, 100, 101, 2_000_000, 60_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut text = String::new();
        histogram.write(&mut text);
        for line in [
            "# HELP hayrick_x_seconds Of x.",
            "# TYPE hayrick_x_seconds histogram",
            "hayrick_x_seconds_bucket{le=\"0.0001\"} 2",
            "hayrick_x_seconds_bucket{le=\"0.00025\"} 3",
            "hayrick_x_seconds_bucket{le=\"1\"} 3",
            "hayrick_x_seconds_bucket{le=\"2.5\"} 4",
            "hayrick_x_seconds_bucket{le=\"5\"} 4",
            "hayrick_x_seconds_bucket{le=\"+Inf\"} 5",
            "hayrick_x_seconds_sum 62.000201",
            "hayrick_x_seconds_count 5",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        }
    }

    #[test]
    fn bounds_rise_and_are_written_as_they_are() {
        assert!(BOUNDS.is_sorted_by(|one, other| one.0 < other.0));
        for (us, text) in BOUNDS {
            assert_eq!(text.parse::<f64>().expect("a number"), us as f64 / 1e6);
        }
    }
}
