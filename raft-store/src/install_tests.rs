//! A node that gets a snapshot, and loses power at any moment of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};
use hayrick_disk::replay::histories;
use hayrick_disk::{Disk, FaultyDisk};
use hayrick_protocol::NodeId;
use openraft::raft::AppendEntriesRequest;
use openraft::storage::RaftStateMachine;
use openraft::{BasicNode, EntryPayload};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::applied::Applied;
use crate::machine::Machine;
use crate::machine_tests::prelude;
use crate::node::Node;
use crate::options::Options;
use crate::snapshot::Chunk;
use crate::transport::{Transport, TransportError};
use crate::types::{Commands, Entry, LeaderId, LogId, Membership, Vote};
use crate::view::{RowStream, View};
use crate::wire::{self, ChunkReply, Kind};

/// The snapshot holds what is up to here.
const SNAPSHOT_INDEX: u64 = 8;

/// Nobody else is there: the test itself speaks for the leaders.
pub(crate) struct Alone;

impl Transport for Alone {
    fn send(
        &self,
        _: NodeId,
        _: String,
        _: u8,
        _: Bytes,
        _: Instant,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        async { Err(TransportError::Unreachable("it is alone".into())) }.boxed()
    }
}

fn options(dir: &str) -> Options {
    Options {
        election: Duration::from_secs(60)..Duration::from_secs(90),
        log_file_bytes: crate::LOG_FILE_BYTES_MIN,
        index_cache_bytes: 1 << 20,
        ..Options::new(NodeId(1), dir)
    }
}

async fn open(disk: &FaultyDisk) -> Node {
    Node::open(options("/node"), Arc::new(disk.clone()), Arc::new(Alone)).await.expect("the node opens")
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = match index {
        0 => EntryPayload::Membership(masters()),
        1 => {
            let framed = Commands::frame(&prelude());
            EntryPayload::Normal(Commands::join([(prelude().len(), &framed)].into_iter()))
        }
        _ => EntryPayload::Blank,
    };
    Entry { log_id: LogId::new(LeaderId { term, node_id: term }, index), payload }
}

fn masters() -> Membership {
    let nodes: BTreeMap<u64, BasicNode> = (1..=3).map(|id| (id, BasicNode::default())).collect();
    Membership::new(vec![BTreeSet::from([1, 2, 3])], nodes).expect("three masters")
}

/// What the leader of term 3 has: entries 0 to 2 of term 2, and its own behind them.
async fn source() -> Arc<View> {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
    disk.create_dir_all(Path::new("/source")).expect("a directory");
    let mut machine = Machine::open(disk, &options("/source")).expect("the index opens");
    let entries = (0..=SNAPSHOT_INDEX).map(|index| Ok((entry(if index < 3 { 2 } else { 3 }, index), None)));
    machine.apply(stream::iter(entries)).await.expect("applied");
    machine.view().await.expect("a view")
}

/// The leader of term 2 sent entries 0 to 9, of which 0 to 2 are committed. What follows contradicts the snapshot.
async fn follow_the_deposed(node: &Node) {
    let request = AppendEntriesRequest {
        vote: Vote::new_committed(2, 2),
        prev_log_id: None,
        entries: (0..10).map(|index| entry(2, index)).collect(),
        leader_commit: Some(entry(2, 2).log_id),
    };
    node.handle(Kind::Append as u8, wire::append(&request)).await.expect("appended");
    node.wait_applied(2, Instant::now() + Duration::from_secs(10)).await.expect("applied");
}

/// The leader of term 3 sends its snapshot; whether it was installed.
async fn send(node: &Node, view: &Arc<View>, transfer: u64) -> bool {
    let applied: Bytes =
        Applied { last: view.applied.last, membership: view.applied.membership.clone() }.encode().into();
    let (mut rows, mut hasher) = (RowStream::new(Arc::clone(view)), Xxh3::new());
    for number in 0.. {
        let rows = rows.next_chunk(256).expect("readable");
        hasher.update(rows.as_deref().unwrap_or_default());
        let end = rows.is_none().then(|| hasher.digest128());
        let rows = rows.unwrap_or_default().into();
        let vote = Vote::new_committed(3, 3);
        let chunk = Chunk { vote, transfer, number, end, applied: applied.clone(), rows };
        match node.handle(Kind::Chunk as u8, chunk.encode()).await.map(|reply| ChunkReply::decode(&reply)) {
            Ok(Ok(ChunkReply::Next(next))) if next == number + 1 => {}
            Ok(Ok(ChunkReply::Installed(installed))) => return installed == vote,
            _ => return false,
        }
    }
    false
}

/// The purge follows on the answer.
async fn purged(node: &Node) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while node.status().log.last != SNAPSHOT_INDEX || node.status().log.first != 0 {
        assert!(Instant::now() < deadline, "{:?}", node.status().log);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_failure_at_any_step_of_an_install_leaves_a_node_that_starts_and_installs_it() {
    let view = source().await;
    let want = Arc::clone(&view).hash().expect("readable");
    let disk = FaultyDisk::new(1);
    let node = open(&disk).await;
    follow_the_deposed(&node).await;
    let before = disk.counts().steps;
    assert!(send(&node, &view, 1).await);
    purged(&node).await;
    let steps = disk.counts().steps - before;
    node.shutdown().await;
    assert!(steps > 10, "it writes, renames and purges");
    let test = "a_power_failure_at_any_step_of_an_install_leaves_a_node_that_starts_and_installs_it";
    let replay = histories(env!("CARGO_PKG_NAME"), test, 1).next().expect("it is at least one");
    for step in replay.steps(0..=steps) {
        let disk = FaultyDisk::new(step);
        let node = open(&disk).await;
        follow_the_deposed(&node).await;
        disk.fail_power_after(step);
        if send(&node, &view, 1).await {
            // What comes behind the answer meets the failure too.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let disk = disk.crash(step);
        node.shutdown().await;
        let node = open(&disk).await;
        assert!(send(&node, &view, 2).await, "step {step}");
        node.wait_applied(SNAPSHOT_INDEX, Instant::now() + Duration::from_secs(10)).await.expect("installed");
        let hash = node.state_hash().await.expect("readable");
        assert_eq!(hash, (SNAPSHOT_INDEX, format!("{want:032x}")), "step {step}");
        node.shutdown().await;
    }
}
