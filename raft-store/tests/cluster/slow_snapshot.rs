//! A snapshot that takes longer than the log is kept for, while writes go on: in the end the member has caught up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use hayrick_protocol::command::Command;
use hayrick_protocol::record::Headers;
use hayrick_protocol::{EpochId, NodeId};
use hayrick_raft_store::{Node, Options};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::nodes::{Cluster, commit, key, soon};
use crate::wires::{CHUNK, Wires};

const SNAPSHOT_AFTER: u64 = 20;
const LOG_KEEP: u64 = 10;
const LOG_FILE_BYTES: u64 = 1 << 20;
/// Of the second test; the first one stays far below it.
const LOG_BYTES_MAX: u64 = 6 << 20;
/// Keys that are written over and over.
const KEYS: u32 = 50;
/// Commands of one entry, 2 KiB each.
const COMMANDS: u32 = 16;

fn short_log(options: &mut Options) {
    options.snapshot_after_entries = SNAPSHOT_AFTER;
    options.log_keep_entries = LOG_KEEP;
    options.log_file_bytes = LOG_FILE_BYTES;
    options.snapshot_chunk_bytes = 16 << 10;
}

fn short_log_of_few_bytes(options: &mut Options) {
    short_log(options);
    options.log_bytes_max = LOG_BYTES_MAX;
}

/// The log waits for the receiver, and goes on being purged afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_slower_than_the_log_is_kept_for_is_followed_by_the_log() {
    let (cluster, away, leader) = behind_the_log(short_log).await;
    let transfers = hold_the_first_transfer(&cluster.wires, away);
    let (stop, writes) = writes(&cluster, 1000, 1);
    let catches_up = async {
        let node = cluster.open(away).await;
        transfers.begun().await;
        let begun = leader.status().log.last;
        until("far more was written than the log keeps", || {
            leader.status().log.last > begun + 5 * (SNAPSHOT_AFTER + LOG_KEEP)
        })
        .await;
        transfers.release();
        let target = leader.status().log.last;
        node.wait_applied(target, soon()).await.expect("it catches up while writes go on");
        until("what was kept for its sake is purged", || leader.status().log.first > begun).await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(writes, catches_up);
    cluster.agree().await;
    assert_eq!(transfers.count(), 1, "the log had what it needed next");
}

/// The log is too large to wait any longer: the receiver gets another snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_slower_than_the_log_may_grow_is_followed_by_another() {
    let (cluster, away, leader) = behind_the_log(short_log_of_few_bytes).await;
    let transfers = hold_the_first_transfer(&cluster.wires, away);
    let (stop, writes) = writes(&cluster, 1000, COMMANDS);
    let catches_up = async {
        let node = cluster.open(away).await;
        transfers.begun().await;
        let begun = leader.status().log.last;
        until("the log grows too large", || leader.status().log.bytes > LOG_BYTES_MAX).await;
        until("what the receiver needs next is purged", || leader.status().log.first > begun).await;
        until("the log is small again", || leader.status().log.bytes < LOG_BYTES_MAX).await;
        transfers.release();
        let target = leader.status().log.last;
        node.wait_applied(target, soon()).await.expect("it catches up while writes go on");
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(writes, catches_up);
    cluster.agree().await;
    assert!(transfers.count() > 1, "one snapshot cannot have done");
}

/// A cluster whose leader has purged what a follower that is down needs: the cluster, the follower, the leader.
async fn behind_the_log(change: fn(&mut Options)) -> (Cluster, NodeId, Node) {
    let mut cluster = Cluster::start(3, change).await;
    let epoch = cluster.form().await;
    let leader = cluster.leader().await;
    let own = leader.status().node;
    let away = (1..=3).map(NodeId).find(|id| *id != own).expect("there are three");
    cluster.kill(away, None).await;
    let before = leader.status().log.last;
    for entry in 0..3 * (SNAPSHOT_AFTER + LOG_KEEP) as u32 {
        cluster.propose(vec![long_commit(epoch, 1 + entry)]).await;
    }
    until("the logs are purged", || cluster.nodes().iter().all(|node| node.status().log.first > before + 1))
        .await;
    (cluster, away, leader)
}

/// Overwrites in entries of so many commands, from this number on, until it is told to stop.
fn writes(cluster: &Cluster, first: u32, commands: u32) -> (Arc<AtomicBool>, impl Future<Output = ()>) {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let writes = async move {
        let epoch = cluster.leader().await.cluster().epochs.keys().next().copied().expect("one is open");
        let mut seq = first;
        while !told.load(Ordering::SeqCst) {
            cluster.propose((seq..seq + commands).map(|seq| long_commit(epoch, seq)).collect()).await;
            seq += commands;
        }
    };
    (stop, writes)
}

fn long_commit(epoch: EpochId, seq: u32) -> Command {
    let mut command = commit(epoch, seq);
    if let Command::Commit(commit) = &mut command {
        commit.key = key(seq % KEYS);
        commit.headers = Headers::new(vec![("hayrick-meta-a".into(), "a".repeat(2000))]).expect("it is kept");
    }
    command
}

/// The snapshots that were sent to a node; the first one stops behind its first chunk until it is let go on.
struct Transfers {
    seen: Arc<Mutex<BTreeSet<u64>>>,
    held: watch::Receiver<bool>,
    released: watch::Sender<bool>,
}

fn hold_the_first_transfer(wires: &Wires, to: NodeId) -> Transfers {
    let seen = Arc::<Mutex<BTreeSet<u64>>>::default();
    let (holds, held) = watch::channel(false);
    let (released, release) = watch::channel(false);
    let (of_rule, first) = (Arc::clone(&seen), Mutex::new(None));
    wires.set_rule(Arc::new(move |sent| {
        if sent.kind != CHUNK || sent.to != to {
            return std::future::ready(true).boxed();
        }
        // {vote 17, transfer u64, number u64, …}, as raft-store's `snapshot` lays it out.
        let field = |at: usize| sent.body[at..at + 8].try_into().map(u64::from_le_bytes).expect("8 bytes");
        let (transfer, number) = (field(17), field(25));
        if number == 0 {
            // Nobody may listen yet.
            return std::future::ready(true).boxed();
        }
        of_rule.lock().insert(transfer);
        if *first.lock().get_or_insert(transfer) != transfer {
            return std::future::ready(true).boxed();
        }
        holds.send_replace(true);
        let mut release = release.clone();
        async move { release.wait_for(|released| *released).await.is_ok() }.boxed()
    }));
    Transfers { seen, held, released }
}

impl Transfers {
    async fn begun(&self) {
        let mut held = self.held.clone();
        let begun = tokio::time::timeout_at(soon(), held.wait_for(|held| *held));
        begun.await.expect("a snapshot is sent").expect("the rule is in force");
    }

    fn release(&self) {
        self.released.send_replace(true);
    }

    fn count(&self) -> usize {
        self.seen.lock().len()
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = soon();
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
