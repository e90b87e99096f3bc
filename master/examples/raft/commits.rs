//! Commits, proposed by tasks in the leader's process, as the gateway of the leader does.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use hayrick_protocol::EpochId;
use hayrick_protocol::command::{Command, Reply};
use hayrick_raft_store::Node;
use tokio::time::Instant;

use crate::WARM_UP;
use crate::figure::Figure;
use crate::keys;
use crate::node::Own;

/// A commit that takes longer is taken for lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// What fills a state: so many tasks, each with so many keys in flight.
const FILL_TASKS: usize = 16;
const FILL_KEYS: u32 = 32;

/// Commits a second by so many tasks, each of which waits for its own.
pub(crate) async fn rate(own: &Own, tasks: usize, measured: Duration) -> Result<Figure> {
    let from = Instant::now() + WARM_UP;
    let counts = from..from + measured;
    let running: Vec<_> = (0..tasks)
        .map(|_| tokio::spawn(commit(own.node.clone(), own.epoch, Arc::clone(&own.next), counts.clone())))
        .collect();
    let mut latencies = Vec::new();
    for task in running {
        latencies.extend(task.await??);
    }
    Ok(Figure::rate(latencies, measured))
}

/// How long each took that ended in the time that counts.
async fn commit(
    node: Node,
    epoch: EpochId,
    next: Arc<AtomicU32>,
    counts: Range<Instant>,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    loop {
        let command = keys::commit(epoch, next.fetch_add(1, Ordering::Relaxed));
        let begun = Instant::now();
        propose(&node, vec![command]).await?;
        let ended = Instant::now();
        if ended >= counts.end {
            return Ok(latencies);
        }
        if ended >= counts.start {
            latencies.push(ended - begun);
        }
    }
}

async fn propose(node: &Node, commands: Vec<Command>) -> Result<()> {
    let count = commands.len();
    let replies = node.propose(commands, Instant::now() + PATIENCE).await?;
    ensure!(replies.len() == count, "{} replies to {count} commands", replies.len());
    match replies.iter().find(|reply| !matches!(reply, Reply::Applied(_))) {
        Some(refused) => bail!("a commit was refused: {refused:?}"),
        None => Ok(()),
    }
}

/// Puts so many keys there, and says how many a second.
pub(crate) async fn fill(own: &Own, count: u32) -> Result<Figure> {
    let (begun, end) = (Instant::now(), own.next.load(Ordering::Relaxed) + count);
    let tasks: Vec<_> = (0..FILL_TASKS)
        .map(|_| {
            let (node, epoch, next) = (own.node.clone(), own.epoch, Arc::clone(&own.next));
            tokio::spawn(async move {
                loop {
                    let first = next.fetch_add(FILL_KEYS, Ordering::Relaxed);
                    let last = end.min(first + FILL_KEYS);
                    if first >= end {
                        return anyhow::Ok(());
                    }
                    propose(&node, (first..last).map(|number| keys::commit(epoch, number)).collect()).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    own.next.store(end, Ordering::Relaxed);
    Ok(Figure::plain(f64::from(count) / begun.elapsed().as_secs_f64()))
}
