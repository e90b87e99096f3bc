//! Durable appends of 1 MiB, beside a plain file that the same bytes are written to.
//!
//! The two take turns in one process, and both files grow to the end: what a write costs is for the most part a page of
//! the page cache, and where a hypervisor lends memory a page that nobody used of late costs several times more than one
//! that was just freed. So neither side may have the pages that the other let go, nor its memory from another moment.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::figure::{Figure, Latencies};
use crate::needles::Load;
use crate::{MIB, append};

/// Turns of each of the two that count; before them comes one of each that does not.
const TURNS: u32 = 6;
/// Writes of the plain file between two syncs.
const WRITES_A_SYNC: usize = 8;
/// As many as what they append is synced together in the plain file.
const WRITERS: usize = WRITES_A_SYNC;

/// Appends a second, of one needle each, beside writes a second.
pub(crate) fn rate(runtime: &Runtime, dir: &Path, measured: Duration) -> Result<Figure> {
    let store = crate::open_store(crate::options(&dir.join("store")))?;
    let load = Arc::new(Load::new(MIB));
    let mut plain = Plain::create(&dir.join("plain"))?;
    let turn = measured / TURNS;
    let (mut latencies, mut plain_writes, mut plain_time) = (Vec::new(), 0, Duration::ZERO);
    for number in 0..=TURNS {
        let from = Instant::now();
        let appended = runtime.block_on(append::by_writers(&store, &load, WRITERS, from..from + turn))?;
        let (writes, time) = plain.write_for(turn)?;
        if number > 0 {
            latencies.extend(appended);
            plain_writes += writes;
            plain_time += time;
        }
    }
    let latencies = Latencies::new(latencies);
    Ok(Figure {
        value: latencies.count() as f64 / (turn * TURNS).as_secs_f64(),
        p50_ms: Some(latencies.percentile_ms(50)),
        p99_ms: Some(latencies.percentile_ms(99)),
        baseline: Some(plain_writes as f64 / plain_time.as_secs_f64()),
    })
}

/// A file that grows by writes of 1 MiB out of one buffer.
struct Plain {
    file: File,
    bytes: Vec<u8>,
}

impl Plain {
    fn create(path: &Path) -> Result<Self> {
        Ok(Self { file: File::create(path)?, bytes: vec![0x5a; MIB] })
    }

    /// How many writes were synced, and the time they took.
    fn write_for(&mut self, time: Duration) -> Result<(usize, Duration)> {
        let (began, mut writes) = (Instant::now(), 0);
        while began.elapsed() < time {
            for _ in 0..WRITES_A_SYNC {
                self.file.write_all(&self.bytes)?;
            }
            self.file.sync_data()?;
            writes += WRITES_A_SYNC;
        }
        Ok((writes, began.elapsed()))
    }
}
