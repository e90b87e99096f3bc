//! What clients saw over time: how much per bucket was acknowledged, how fast, and how much was not.

use serde::Serialize;

use crate::history::{Moment, Operation};
use crate::record::Record;
use crate::report::figures::Ending;

/// The finest bucket.
pub const BUCKET_MS: u64 = 250;

/// So many buckets can still be told apart on a page; two minutes of the finest.
pub const BUCKETS_MAX: u64 = 480;

/// A run in buckets of one width, from its beginning on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Series {
    /// How wide each is: a multiple of [`BUCKET_MS`].
    pub width_ms: u64,
    /// At most [`BUCKETS_MAX`].
    pub buckets: Vec<Bucket>,
}

/// What ended in one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// Acknowledged reads and writes.
    pub reads: Class,
    /// Acknowledged writes.
    pub writes: Class,
    /// What failed for sure.
    pub failed: u64,
    /// Of which nobody can say.
    pub unknown: u64,
    /// Answers that are never right.
    pub wrong: u64,
}

/// The acknowledged operations of one class in one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Class {
    /// How many.
    pub acknowledged: u64,
    /// What 99 of 100 of them did not exceed, in nanoseconds (nearest rank); none without any.
    pub p99_ns: Option<u64>,
}

impl Series {
    /// Of this run, over [`extent`].
    pub fn of(record: &Record) -> Self {
        let until = extent(record);
        let width_ms = width_ms(until);
        let count = (until.0 / (width_ms * 1_000_000)) as usize + 1;
        let mut buckets = vec![Bucket::default(); count];
        let mut latencies = vec![[Vec::new(), Vec::new()]; count];
        for operation in &record.history.operations {
            let at = ((operation.ended.0 / (width_ms * 1_000_000)) as usize).min(count - 1);
            match Ending::of(&operation.answer) {
                Ending::Acknowledged => {
                    latencies[at][usize::from(operation.is_write())].push(latency_ns(operation));
                }
                Ending::Failed => buckets[at].failed += 1,
                Ending::Unknown => buckets[at].unknown += 1,
                Ending::Wrong => buckets[at].wrong += 1,
            }
        }
        for (bucket, [reads, writes]) in buckets.iter_mut().zip(latencies) {
            bucket.reads = Class::of(reads);
            bucket.writes = Class::of(writes);
        }
        Self { width_ms, buckets }
    }
}

impl Class {
    fn of(mut latencies_ns: Vec<u64>) -> Self {
        Self { acknowledged: latencies_ns.len() as u64, p99_ns: p99(&mut latencies_ns) }
    }
}

/// How far the time axis goes: until all was read back, or, of a record that was cut short, to the last that is in it.
pub fn extent(record: &Record) -> Moment {
    if record.ended > Moment(0) {
        return record.ended;
    }
    let operations = record.history.operations.iter().map(|operation| operation.ended);
    let faults = record.faults.iter().map(|fault| fault.from);
    let lives = record.lives.iter().map(|life| life.at);
    operations.chain(faults).chain(lives).max().unwrap_or_default()
}

/// The narrowest width with which the buckets suffice.
fn width_ms(until: Moment) -> u64 {
    let finest = until.0 / (BUCKET_MS * 1_000_000) + 1;
    finest.div_ceil(BUCKETS_MAX) * BUCKET_MS
}

fn latency_ns(operation: &Operation) -> u64 {
    operation.ended.0.saturating_sub(operation.begun.0)
}

/// By nearest rank: the smallest of which at least 99 of 100 are no larger.
fn p99(values: &mut [u64]) -> Option<u64> {
    let rank = (values.len() * 99).div_ceil(100);
    let (_, value, _) = values.select_nth_unstable(rank.checked_sub(1)?);
    Some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::made_up::{get, put, record, unknown_put};

    #[test]
    fn p99_is_the_nearest_rank() {
        assert_eq!(p99(&mut []), None);
        assert_eq!(p99(&mut [7]), Some(7));
        assert_eq!(p99(&mut (1..=100).rev().collect::<Vec<_>>()), Some(99));
        assert_eq!(p99(&mut (1..=101).collect::<Vec<_>>()), Some(100));
    }

    #[test]
    fn an_operation_counts_where_it_ended() {
        let mut run = record();
        run.ended = Moment(1_000_000_000);
        run.history.operations = vec![put(0, 249), put(240, 250), get(499, 510), unknown_put(10, 999)];
        let series = Series::of(&run);
        assert_eq!((series.width_ms, series.buckets.len()), (250, 5));
        assert_eq!(series.buckets[0].writes, Class { acknowledged: 1, p99_ns: Some(249_000_000) });
        assert_eq!(series.buckets[1].writes, Class { acknowledged: 1, p99_ns: Some(10_000_000) });
        assert_eq!(series.buckets[2].reads, Class { acknowledged: 1, p99_ns: Some(11_000_000) });
        assert_eq!((series.buckets[3].unknown, series.buckets[3].writes.acknowledged), (1, 0));
    }

    #[test]
    fn a_long_run_gets_wider_buckets_not_more_of_them() {
        let mut run = record();
        run.ended = Moment(3_600_000_000_000);
        run.history.operations = vec![put(3_599_000, 3_700_000)];
        let series = Series::of(&run);
        assert!(series.buckets.len() as u64 <= BUCKETS_MAX, "{} buckets", series.buckets.len());
        assert_eq!(series.width_ms % BUCKET_MS, 0);
        assert_eq!(
            series.buckets.last().map(|last| last.writes.acknowledged),
            Some(1),
            "after the end is in the last"
        );
    }

    #[test]
    fn a_record_without_a_usable_end_is_still_bounded() {
        let mut run = record();
        run.ended = Moment(u64::MAX);
        assert!(Series::of(&run).buckets.len() as u64 <= BUCKETS_MAX);
        run.ended = Moment(0);
        assert_eq!(Series::of(&run).buckets.len(), 1);
    }
}
