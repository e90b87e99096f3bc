//! How fast three nodes in one process commit, on real files: `cargo test --release -p hayrick-raft-store --test speed
//! -- --ignored --nocapture`.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hayrick_disk::{Disk, RealDisk};
use hayrick_protocol::cluster_map::{ClusterConfig, TableChange};
use hayrick_protocol::command::{Command, Commit, Precondition, RegisterVolume, Reply, Session};
use hayrick_protocol::record::Headers;
use hayrick_protocol::{
    ClusterId, EpochId, Generation, InstanceId, NodeId, ObjectKey, PartitionId, PlacementId, Seq, VolumeId,
};
use hayrick_raft_store::{Node, Options, Role, Transport, TransportError};
use parking_lot::Mutex;
use tokio::time::Instant;

#[derive(Clone, Default)]
struct Direct(Arc<Mutex<BTreeMap<NodeId, Node>>>);

impl Transport for Direct {
    fn send(
        &self,
        to: NodeId,
        _address: String,
        kind: u8,
        body: Bytes,
        _deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let node = self.0.lock().get(&to).cloned();
        async move {
            let node = node.ok_or_else(|| TransportError::Unreachable("not yet".into()))?;
            node.handle(kind, body).await.map_err(TransportError::Refused)
        }
        .boxed()
    }
}

fn commit(epoch: EpochId, seq: u32, resolved_below: u32) -> Command {
    // Random 32-byte keys.
    let noise = u64::from(seq).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Command::Commit(Commit {
        session: Session { epoch, seq: Seq(seq), resolved_below: Seq(resolved_below) },
        key: ObjectKey::new(&format!("{noise:016x}{seq:016}")).expect("a key"),
        placement: PlacementId(1),
        generation: Generation(1),
        size: 10,
        crc: 1,
        md5: [3; 16],
        headers: Headers::default(),
        precondition: Precondition::None,
        now_ms: 1,
    })
}

async fn form(leader: &Node) -> EpochId {
    let config = ClusterConfig { cluster: ClusterId([7; 16]), partitions: 1, replicas: 1, min_replicas: 1 };
    let volume = RegisterVolume {
        instance: InstanceId([1; 16]),
        volume: None,
        addr: "a".into(),
        peer: "p".into(),
        zone: String::new(),
        capacity_bytes: 1,
    };
    let changes = vec![TableChange { partition: PartitionId(0), members: vec![VolumeId(1)] }];
    let commands = vec![
        Command::FormCluster(config),
        Command::RegisterVolume(volume),
        Command::ChangeTable { map_version: 1, table_version: 0, changes },
        Command::OpenEpoch { master: NodeId(1), at_start: true, nonce: 1 },
    ];
    let replies = leader.propose(commands, Instant::now() + Duration::from_secs(5)).await.expect("formed");
    match replies.last() {
        Some(Reply::EpochOpened(epoch)) => *epoch,
        other => panic!("{other:?}"),
    }
}

/// Commits with this many tasks for a while, and prints rate and latencies.
async fn measure(leader: &Node, epoch: EpochId, next: &Arc<AtomicU32>, tasks: usize, seconds: u64) {
    let begin = Instant::now();
    let until = begin + Duration::from_secs(seconds);
    let running = (0..tasks).map(|_| {
        let (leader, next) = (leader.clone(), Arc::clone(next));
        tokio::spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < until {
                let seq = next.fetch_add(1, Ordering::SeqCst);
                let command = commit(epoch, seq, seq.saturating_sub(1000));
                let start = Instant::now();
                let replies = leader.propose(vec![command], start + Duration::from_secs(5)).await;
                assert!(matches!(replies.expect("committed")[..], [Reply::Applied(_)]));
                took.push(start.elapsed());
            }
            took
        })
    });
    let mut took = Vec::new();
    for task in running.collect::<Vec<_>>() {
        took.extend(task.await.expect("it does not panic"));
    }
    took.sort();
    let rate = took.len() as f64 / begin.elapsed().as_secs_f64();
    let at = |share: f64| took[(took.len() as f64 * share) as usize];
    println!("{tasks:3} committers: {rate:8.0}/s, p50 {:?}, p99 {:?}", at(0.5), at(0.99));
}

fn one_stream_of_syncs(dir: &Path) {
    let file = RealDisk.create(&dir.join("baseline")).expect("created");
    file.write_all_at(&vec![0; 8 << 20], 0).expect("written");
    file.sync_all().expect("synced");
    let begin = Instant::now();
    let mut count = 0u64;
    while begin.elapsed() < Duration::from_secs(2) {
        file.write_all_at(&[1; 4096], count % 2048 * 4096).expect("written");
        file.sync_data().expect("synced");
        count += 1;
    }
    println!("baseline: {:.0} pwrite + fdatasync a second", count as f64 / begin.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a while and wants a release build"]
async fn commits_reads_and_restart() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    one_stream_of_syncs(dir.path());
    let wires = Direct::default();
    let open = |id: u64| {
        let options = Options::new(NodeId(id), dir.path().join(id.to_string()));
        let (disk, wires) = (Arc::new(RealDisk), wires.clone());
        async move { Node::open(options, disk, Arc::new(wires)).await.expect("opened") }
    };
    for id in 1..=3 {
        let node = open(id).await;
        wires.0.lock().insert(NodeId(id), node);
    }
    let first = wires.0.lock()[&NodeId(1)].clone();
    let masters = (1..=3).map(|id| (NodeId(id), format!("m{id}"))).collect();
    first.initialize(masters).await.expect("formed");
    first.watch().wait_for(|progress| progress.leader.is_some()).await.expect("a leader");
    let id = first.watch().borrow().leader.expect("a leader");
    let leader = wires.0.lock()[&id].clone();
    leader.watch().wait_for(|progress| progress.role == Role::Leader).await.expect("it leads");
    let epoch = form(&leader).await;
    let next = Arc::new(AtomicU32::new(1));
    for tasks in [1, 64, 64, 256] {
        measure(&leader, epoch, &next, tasks, 5).await;
    }
    let begin = Instant::now();
    let mut reads = 0u64;
    while begin.elapsed() < Duration::from_secs(2) {
        let Command::Commit(commit) = commit(epoch, 1 + (reads % 1000) as u32, 1) else { unreachable!() };
        assert!(leader.get(&commit.key).expect("readable").is_some());
        reads += 1;
    }
    println!("gets: {:?} each", begin.elapsed() / reads as u32);
    let begin = Instant::now();
    let (index, hash) = leader.state_hash().await.expect("readable");
    println!("state hash at {index} of {:?}: {hash} in {:?}", leader.status().counters, begin.elapsed());
    println!("log {:?}", leader.status().log);
    drop((first, leader));
    let nodes = std::mem::take(&mut *wires.0.lock());
    for (_, node) in nodes {
        node.shutdown().await;
    }
    let begin = Instant::now();
    let node = open(1).await;
    println!("reopened in {:?}: {:?}", begin.elapsed(), node.status().log);
    node.shutdown().await;
}
