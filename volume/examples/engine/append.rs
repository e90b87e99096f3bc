//! Durable appends, as fast as so many writers get them acknowledged, each waiting for its own.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hayrick_volume::Store;
use tokio::time::Instant;

use crate::figure::{Figure, Latencies};
use crate::needles::{self, Load};

/// What comes before the time that counts.
const WARM_UP: Duration = Duration::from_secs(1);

/// Appends a second, of one needle each.
pub(crate) async fn rate(
    dir: &Path,
    size_bytes: usize,
    writers: usize,
    measured: Duration,
) -> Result<Figure> {
    let store = crate::open_store(crate::options(dir))?;
    let load = Arc::new(Load::new(size_bytes));
    let from = Instant::now() + WARM_UP;
    let latencies = Latencies::new(by_writers(&store, &load, writers, from..from + measured).await?);
    Ok(Figure {
        value: latencies.count() as f64 / measured.as_secs_f64(),
        p50_ms: Some(latencies.percentile_ms(50)),
        p99_ms: Some(latencies.percentile_ms(99)),
        baseline: None,
    })
}

/// So many writers, from now on: how long each append took that was acknowledged in the time that counts.
pub(crate) async fn by_writers(
    store: &Arc<Store>,
    load: &Arc<Load>,
    writers: usize,
    counts: Range<Instant>,
) -> Result<Vec<Duration>> {
    let tasks: Vec<_> = (0..writers)
        .map(|_| tokio::spawn(write(Arc::clone(store), Arc::clone(load), counts.clone())))
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(latencies)
}

/// One writer of them.
async fn write(store: Arc<Store>, load: Arc<Load>, counts: Range<Instant>) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    loop {
        let needle = load.needle();
        let begun = Instant::now();
        needles::append_one(&store, needle).await?;
        let ended = Instant::now();
        if ended >= counts.end {
            return Ok(latencies);
        }
        if ended >= counts.start {
            latencies.push(ended - begun);
        }
    }
}
