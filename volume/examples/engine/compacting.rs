//! How long appends take while segments are compacted and zeroed all the time, beside the same appends in peace.
//!
//! The load has a fixed rate, and an append's time counts from the moment it was due: writers that wait for their last
//! append before the next would hide how many a stall meets. In peace there is no compaction, and the segment was zeroed
//! to its end before; half of that is measured before, half after. During compaction the options are a volume's
//! defaults, but for the size of a segment.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_volume::{Store, StoreOptions};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::KIB;
use crate::figure::{Figure, Latencies};
use crate::needles::{self, Load};

/// A moderate load: some times what a cluster on the same machine puts in.
const APPENDS_PER_TICK: u32 = 10;
const TICK: Duration = Duration::from_millis(1);
/// What comes before the time that counts.
const WARM_UP_TICKS: u32 = 1000;
/// Small enough that some are sealed, indexed, compacted and removed while it is measured; large enough that what is
/// appended in peace fits into one.
const SEGMENT_BYTES: u64 = 256 << 20;
/// So much is zeroed ahead in peace: the stream goes sixteen pieces ahead, which is all of a segment.
const PIECE_BYTES_IN_PEACE: u64 = SEGMENT_BYTES / 16;
/// Of five needles, so many are dropped: more than makes a segment worth compacting.
const DROPPED_OF_FIVE: u64 = 2;
const DROPS: usize = 4096;
/// A record at 1 KiB, roughly.
const RECORD_BYTES: u64 = 1088;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Nothing written for so many looks is peace: marks and index files are done by then.
const QUIET_LOOKS: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// The p99 of an append in milliseconds, during compaction and, as the baseline, in peace.
pub(crate) fn p99(runtime: &Runtime, dir: &Path, measured: Duration) -> Result<Figure> {
    let load = Arc::new(Load::new(KIB));
    let bytes_per_s = crate::options(dir).compact_bytes_per_s;
    // Twice what compaction gets through meanwhile, so that it is at work to the end.
    let count = (2 * bytes_per_s * measured.as_secs()).max(2 * SEGMENT_BYTES) / RECORD_BYTES;
    runtime.block_on(fill_and_drop(dir, count))?;
    let before = in_peace(runtime, dir, &load, measured / 2)?;
    let during = while_compacting(runtime, dir, &load, measured)?;
    let after = in_peace(runtime, dir, &load, measured / 2)?;
    Ok(Figure {
        value: during.percentile_ms(99),
        p50_ms: Some(during.percentile_ms(50)),
        p99_ms: Some(during.percentile_ms(99)),
        baseline: Some(before.and(after).percentile_ms(99)),
    })
}

fn options(dir: &Path) -> StoreOptions {
    StoreOptions { segment_bytes: SEGMENT_BYTES, ..crate::options(dir) }
}

fn options_in_peace(dir: &Path) -> StoreOptions {
    StoreOptions { zero_ahead_bytes: PIECE_BYTES_IN_PEACE, compact_bytes_per_s: 0, ..options(dir) }
}

async fn fill_and_drop(dir: &Path, count: u64) -> Result<()> {
    let store = crate::open_store(options_in_peace(dir))?;
    needles::fill(&store, count, KIB).await?;
    let dropped: Vec<_> = (0..count).filter(|n| n % 5 < DROPPED_OF_FIVE).map(needles::id).collect();
    for ids in dropped.chunks(DROPS) {
        store.delete(ids).await?;
    }
    Ok(())
}

fn in_peace(runtime: &Runtime, dir: &Path, load: &Arc<Load>, measured: Duration) -> Result<Latencies> {
    let store = crate::open_store(options_in_peace(dir))?;
    // The segment that was appended to last is zeroed in part; the one that is prepared behind it, all of it.
    wait_for_quiet()?;
    store.seal();
    runtime.block_on(needles::append_one(&store, load.needle()))?;
    runtime.block_on(needles::wait_for_index_files(&store, dir))?;
    wait_for_quiet()?;
    appends(runtime, &store, load, measured)
}

fn while_compacting(
    runtime: &Runtime,
    dir: &Path,
    load: &Arc<Load>,
    measured: Duration,
) -> Result<Latencies> {
    let store = crate::open_store(options(dir))?;
    let needles_worth_moving = || worth_moving(&store);
    let at_first = needles_worth_moving();
    wait_until("compaction begins", || Ok(needles_worth_moving() < at_first))?;
    let latencies = appends(runtime, &store, load, measured)?;
    ensure!(
        needles_worth_moving() > 0,
        "compaction ended before the appends did: this measured something else"
    );
    Ok(latencies)
}

/// Live needles in sealed segments that compaction has still to go through.
fn worth_moving(store: &Store) -> u64 {
    let sealed = needles::sealed(store).into_iter();
    sealed
        .filter(|segment| segment.live_bytes < segment.bytes / 100 * 70)
        .map(|segment| segment.needles)
        .sum()
}

/// Appends at the fixed rate, and how long each took.
fn appends(runtime: &Runtime, store: &Arc<Store>, load: &Arc<Load>, measured: Duration) -> Result<Latencies> {
    let ticks = WARM_UP_TICKS + u32::try_from(measured.as_millis() / TICK.as_millis())?;
    let (sender, outcomes) = mpsc::channel();
    let began = Instant::now();
    for tick in 0..ticks {
        let due = began + TICK * tick;
        pause(due.saturating_duration_since(Instant::now()));
        for _ in 0..APPENDS_PER_TICK {
            let (store, load, sender) = (Arc::clone(store), Arc::clone(load), sender.clone());
            runtime.spawn(async move {
                let outcome = needles::append_one(&store, load.needle()).await.map(|()| due.elapsed());
                // When all have answered, only who measures has the store, and closes it.
                drop(store);
                // Who measures may have given up.
                let _ = sender.send((tick, outcome));
            });
        }
    }
    drop(sender);
    let mut latencies = Vec::new();
    for (tick, outcome) in outcomes {
        let latency = outcome.context("this machine does not take the load")?;
        if tick >= WARM_UP_TICKS {
            latencies.push(latency);
        }
    }
    Ok(Latencies::new(latencies))
}

/// Waits until this process has written nothing for a while.
fn wait_for_quiet() -> Result<()> {
    let (mut before, mut looks) = (None, 0);
    wait_until("all is zeroed", || {
        let written = Some(written_bytes()?);
        looks = if written == before { looks + 1 } else { 0 };
        before = written;
        Ok(looks >= QUIET_LOOKS)
    })
}

/// Bytes that this process has given the file systems to write.
fn written_bytes() -> Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io").context("only Linux is measured")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "waited for {PATIENCE:?} until {what}");
        pause(LOOK_EVERY);
    }
    Ok(())
}

/// Keeps this thread, which is none of the runtime's, for so long.
fn pause(duration: Duration) {
    let (_keep, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(duration);
}
