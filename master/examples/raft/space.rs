//! What the index file takes: for each key, and after all keys were overwritten over and over.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use hayrick_disk::RealDisk;
use hayrick_protocol::command::Command;
use hayrick_protocol::{AppliedVersion, EpochId, NodeId};
use hayrick_raft_store::Options;
use hayrick_raft_store::bench::{self, Applier, Space};
use tokio::runtime::Runtime;

use crate::figure::Figure;
use crate::keys;

/// Commands of one entry: as many as 64 committers gather.
const ENTRY_COMMANDS: u32 = 64;
/// The first one that `keys::forming` opens.
const EPOCH: EpochId = EpochId(1);
/// Overwritten needles that are not reaped yet, as there always are some.
const GARBAGE: u64 = 20_000;
/// Between two lines about what the file takes.
const TOLD_EVERY: u32 = 100_000;

/// Bytes in use for each of so many new keys of 32 bytes that came in random order.
pub(crate) fn of_keys(runtime: &Runtime, dir: &Path, count: u32) -> Result<Figure> {
    let mut applier = open(dir)?;
    runtime.block_on(async {
        applier.apply([bench::entry(&keys::forming())]).await?;
        for first in (1..=count).step_by(ENTRY_COMMANDS as usize) {
            let last = count.min(first + ENTRY_COMMANDS - 1);
            let commits: Vec<_> = (first..=last).map(|number| keys::commit(EPOCH, number)).collect();
            applier.apply([bench::entry(&commits)]).await?;
        }
        applier.checkpoint().await?;
        tell(count, applier.space().await?);
        // What the last checkpoint replaced is free with the next one: there is always one more.
        applier.apply([bench::entry(&[keys::commit(EPOCH, count + 1)])]).await?;
        applier.checkpoint().await?;
        let space = applier.space().await?;
        tell(count + 1, space);
        Ok(Figure::plain(space.allocated_bytes as f64 / f64::from(count + 1)))
    })
}

/// Bytes of the file after so many keys were overwritten so often together, in random order and reaped some time later;
/// beside those that it had when they were new.
pub(crate) fn of_overwrites(runtime: &Runtime, dir: &Path, count: u32, overwrites: u32) -> Result<Figure> {
    let mut applier = open(dir)?;
    runtime.block_on(async {
        applier.apply([bench::entry(&keys::forming())]).await?;
        let (mut first, mut reaped) = (0, u64::from(count));
        for begin in (1..=count + overwrites).step_by(ENTRY_COMMANDS as usize) {
            let end = (count + overwrites + 1).min(begin + ENTRY_COMMANDS);
            let commits: Vec<_> = (begin..end).map(|number| overwrite(count, number)).collect();
            applier.apply([bench::entry(&commits)]).await?;
            if first == 0 && end > count {
                applier.checkpoint().await?;
                first = applier.space().await?.file_bytes;
            }
            // Commits alone are versions, and each of those behind the first `count` made garbage.
            let due = applier.counters().version.0.saturating_sub(GARBAGE);
            if due >= reaped + u64::from(ENTRY_COMMANDS) {
                let versions: Vec<_> = (reaped + 1..=due).map(AppliedVersion).collect();
                reaped = due;
                let reap = [Command::Doom(versions.clone()), Command::Reaped(versions)];
                applier.apply([bench::entry(&reap)]).await?;
            }
            if end / TOLD_EVERY > begin / TOLD_EVERY {
                tell(end, applier.space().await?);
            }
        }
        applier.checkpoint().await?;
        let (space, counters) = (applier.space().await?, applier.counters());
        tell(overwrites, space);
        ensure!(counters.objects == u64::from(count), "{} keys are there", counters.objects);
        ensure!(counters.garbage_needles < 2 * GARBAGE, "{} rows of garbage", counters.garbage_needles);
        Ok(Figure { baseline: Some(first as f64), ..Figure::plain(space.file_bytes as f64) })
    })
}

fn open(dir: &Path) -> Result<Applier> {
    std::fs::create_dir_all(dir)?;
    Ok(Applier::open(Arc::new(RealDisk), &Options::new(NodeId(1), dir))?)
}

/// Commit `number`: the first `count` are of new keys, all others of one of those.
fn overwrite(count: u32, number: u32) -> Command {
    let mut command = keys::commit(EPOCH, number);
    if let Command::Commit(commit) = &mut command
        && number > count
    {
        let of = 1 + (keys::mixed(number.into()) % u64::from(count)) as u32;
        commit.key = keys::key(of);
    }
    command
}

fn tell(commits: u32, space: Space) {
    let Space { file_bytes, allocated_bytes, tree_bytes } = space;
    eprintln!(
        "after {commits}: {tree_bytes} bytes in pages with rows, {allocated_bytes} in use, {file_bytes} in the file"
    );
}
