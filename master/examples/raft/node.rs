//! One node as a process: it serves its peer port, and does what it is told on standard input, a line at a time.
//!
//! ```text
//! form ADDRESS ADDRESS ADDRESS    form the group of nodes 1, 2 and 3 with this one as its leader
//! commit TASKS SECONDS            commits of new keys by so many tasks, each of which waits for its own
//! fill KEYS                       new keys, as fast as they go
//! read TASKS SECONDS              linearizable gets of keys that are there
//! serve                           the first linearizable get
//! first                           the first entry of the log
//! peak                            the most memory that it had resident since this was asked last
//! ```
//! Each answer is a line with a [`Figure`]. The process ends when its input does.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hayrick_disk::RealDisk;
use hayrick_protocol::{EpochId, NodeId};
use hayrick_raft_store::{Node, Options, Role};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, timeout};

use crate::figure::Figure;
use crate::peers::{self, Server};
use crate::reads::Rounds;
use crate::{commits, keys, number, reads};

/// What forming a group may take.
const PATIENCE: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(5);

/// The node, and what it has learnt.
pub(crate) struct Own {
    pub(crate) node: Node,
    reads: Arc<Rounds>,
    /// Of the leader: what its commits belong to, and the number of the next.
    pub(crate) epoch: EpochId,
    pub(crate) next: Arc<AtomicU32>,
}

/// Runs node `id` at `address` until standard input ends.
pub(crate) fn run(
    runtime: &Runtime,
    id: u64,
    dir: &Path,
    address: &str,
    log_keep: Option<u64>,
) -> Result<()> {
    let mut options = Options::new(NodeId(id), dir);
    if let Some(entries) = log_keep {
        (options.log_keep_entries, options.snapshot_after_entries) = (entries, entries);
    }
    let (own, address) = runtime.block_on(open(options, address))?;
    say(&address);
    let mut own = own;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let figure =
            runtime.block_on(obey(&mut own, &words)).with_context(|| format!("node {id}: {line}"))?;
        say(&serde_json::to_string(&figure)?);
    }
    // Whoever asked is gone, and its directory may be, too.
    std::process::abort()
}

fn say(line: &str) {
    println!("{line}");
}

async fn open(options: Options, address: &str) -> Result<(Own, String)> {
    let id = options.node;
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?.to_string();
    let (local, peers) = peers::of(id);
    let node = Node::open(options, Arc::new(RealDisk), Arc::clone(&peers) as Arc<_>).await?;
    let reads = Rounds::start(id, node.clone(), peers);
    let server = Arc::new(Server { node: node.clone(), reads: Arc::clone(&reads) });
    tokio::spawn(hayrick_rpc::serve(listener, local, server, std::future::pending()));
    let next = Arc::new(AtomicU32::new(1));
    Ok((Own { node, reads, epoch: EpochId(0), next }, address))
}

async fn obey(own: &mut Own, words: &[&str]) -> Result<Figure> {
    let seconds = |text| Ok::<_, anyhow::Error>(Duration::from_secs(number(text)?));
    match words {
        ["form", addresses @ ..] => {
            own.epoch = timeout(PATIENCE, form(own, addresses)).await.context("it takes too long")??;
            Ok(Figure::default())
        }
        ["commit", tasks, time] => commits::rate(own, number(tasks)? as usize, seconds(time)?).await,
        ["fill", count] => commits::fill(own, u32::try_from(number(count)?)?).await,
        ["read", tasks, time] => reads::rate(&own.reads, number(tasks)? as usize, seconds(time)?).await,
        ["serve"] => {
            while own.reads.get(&keys::key(1)).await.is_err() {
                sleep(RETRY).await;
            }
            Ok(Figure::plain(own.node.status().counters.objects as f64))
        }
        ["first"] => Ok(Figure::plain(own.node.status().log.first as f64)),
        ["peak"] => Ok(Figure::plain(peak_bytes()? as f64)),
        _ => bail!("it does not know how to {}", words.join(" ")),
    }
}

/// Forms the group, and a cluster of one volume; gives the epoch of the commits.
async fn form(own: &Own, addresses: &[&str]) -> Result<EpochId> {
    let masters: BTreeMap<NodeId, String> =
        (1..).map(NodeId).zip(addresses.iter().map(|address| (*address).to_owned())).collect();
    own.node.initialize(masters).await?;
    own.node.watch().wait_for(|progress| progress.role == Role::Leader).await?;
    loop {
        match own.node.propose(keys::forming(), Instant::now() + PATIENCE).await {
            Ok(replies) => return keys::epoch(&replies),
            // The others are not there yet.
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// The most bytes that were resident since this was asked last.
fn peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib = number(line.trim().trim_end_matches(" kB"))?;
    // See proc_pid_clear_refs(5): from now on it is counted anew.
    std::fs::write("/proc/self/clear_refs", "5")?;
    Ok(kib * 1024)
}
