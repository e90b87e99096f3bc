//! The state machine by itself: entries from memory, no log, no network, all written behind and durable at the end.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use hayrick_disk::RealDisk;
use hayrick_protocol::{EpochId, NodeId};
use hayrick_raft_store::Options;
use hayrick_raft_store::bench::{self, Applier};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::figure::Figure;
use crate::keys;

/// Commands of one entry: as many as 64 committers gather.
const ENTRY_COMMANDS: u32 = 64;
/// The first one that `keys::forming` opens.
const EPOCH: EpochId = EpochId(1);

/// New keys a second in random order, from the first one to the last one's durability.
pub(crate) fn rate(runtime: &Runtime, dir: &Path, count: u32) -> Result<Figure> {
    std::fs::create_dir_all(dir)?;
    let firsts = (1..=count).step_by(ENTRY_COMMANDS as usize);
    let entry = |first: u32| {
        let last = count.min(first + ENTRY_COMMANDS - 1);
        let commits: Vec<_> = (first..=last).map(|number| keys::commit(EPOCH, number)).collect();
        bench::entry(&commits)
    };
    let entries: Vec<_> = firsts.map(entry).collect();
    let mut applier = Applier::open(Arc::new(RealDisk), &Options::new(NodeId(1), dir))?;
    runtime.block_on(async {
        applier.apply([bench::entry(&keys::forming())]).await?;
        let begun = Instant::now();
        applier.apply(entries).await?;
        let applied = begun.elapsed();
        applier.checkpoint().await?;
        let durable = begun.elapsed();
        let found = applier.counters().objects;
        ensure!(found == u64::from(count), "{found} keys of {count} were applied");
        eprintln!("applied in {applied:?}, durable in {durable:?}");
        Ok(Figure::plain(f64::from(count) / durable.as_secs_f64()))
    })
}
