//! A group that is made of a backup: what it keeps, what it must not have again, and that several nodes are one group.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hayrick_disk::{Disk, FaultyDisk};
use hayrick_protocol::cluster_map::Master;
use hayrick_protocol::command::{Command, Refusal, Reply};
use hayrick_protocol::{AppliedVersion, EpochId, InstanceId, NodeId, ObjectKey};
use tokio::time::Instant;

use super::restore::{ID_GAP, TERM_GAP, VERSION_GAP};
use super::*;
use crate::inspect::{IndexState, inspect};
use crate::install_tests::Alone;
use crate::machine_tests::{commit, prelude};
use crate::node::Node;
use crate::options::Options;

const OBJECTS: u32 = 30;
const TAKEN_MS: u64 = 1_700_000_000_000;

fn options() -> Options {
    Options {
        election: Duration::from_millis(200)..Duration::from_millis(300),
        heartbeat: Duration::from_millis(20),
        log_file_bytes: crate::LOG_FILE_BYTES_MIN,
        index_cache_bytes: 1 << 20,
        ..Options::new(NodeId(1), "/raft")
    }
}

async fn open(disk: &FaultyDisk) -> Node {
    Node::open(options(), Arc::new(disk.clone()), Arc::new(Alone)).await.expect("the node opens")
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn alone() -> BTreeMap<NodeId, String> {
    BTreeMap::from([(NodeId(1), "here:1".to_owned())])
}

fn master(instance: u8) -> Command {
    let (client, peer) = ("c".to_owned(), "p".to_owned());
    Command::RegisterMaster(Master { id: NodeId(1), instance: InstanceId([instance; 16]), client, peer })
}

async fn propose(node: &Node, commands: Vec<Command>) -> Vec<Reply> {
    node.watch().wait_for(|progress| progress.leader == Some(NodeId(1))).await.expect("it runs");
    node.propose(commands, soon()).await.expect("applied")
}

async fn told(node: &Node) -> Vec<u8> {
    let mut backup = node.backup(TAKEN_MS).await.expect("readable").expect("formed");
    let mut bytes = Vec::new();
    while let Some(more) = backup.next_bytes().expect("readable") {
        bytes.extend(more);
    }
    bytes
}

/// A backup, and the state hash when it was taken.
async fn taken() -> (Vec<u8>, String) {
    let node = open(&FaultyDisk::new(1)).await;
    assert!(node.backup(TAKEN_MS).await.expect("readable").is_none(), "there is nothing to tell yet");
    node.initialize(alone()).await.expect("formed");
    propose(&node, prelude()).await;
    propose(&node, vec![master(7), Command::RemoveMaster(NodeId(2))]).await;
    let puts = (1..=OBJECTS).map(|seq| commit(seq, &format!("key-{seq}"))).collect();
    propose(&node, puts).await;
    let (bytes, (_, hash)) = (told(&node).await, node.state_hash().await.expect("readable"));
    node.shutdown().await;
    (bytes, hash)
}

async fn restored(bytes: &[u8], seed: u64) -> (FaultyDisk, Result<Restored, RestoreError>) {
    let disk = FaultyDisk::new(seed);
    disk.create_dir_all(Path::new("/raft")).expect("made");
    let file = std::io::Cursor::new(bytes.to_vec());
    let result = restore(Arc::new(disk.clone()), options(), file, alone()).await;
    (disk, result)
}

#[tokio::test]
async fn a_master_that_was_removed_is_none_of_the_new_group_either() {
    let (bytes, _) = taken().await;
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(6));
    disk.create_dir_all(Path::new("/raft")).expect("made");
    let masters = BTreeMap::from([(NodeId(1), "one".to_owned()), (NodeId(2), "two".to_owned())]);
    let result = restore(disk, options(), std::io::Cursor::new(bytes), masters).await;
    assert!(matches!(result, Err(RestoreError::Removed(NodeId(2)))), "{result:?}");
}

#[tokio::test]
async fn a_group_made_of_a_backup_has_its_objects_and_hands_no_id_out_again() {
    let (bytes, hash) = taken().await;
    let (disk, result) = restored(&bytes, 2).await;
    let result = result.expect("restored");
    assert_eq!(format!("{:032x}", result.sum.hash), hash, "it was verified against the state that was told");
    assert_eq!((result.objects, result.header.taken_ms), (u64::from(OBJECTS), TAKEN_MS));

    let there: Arc<dyn Disk> = Arc::new(disk.clone());
    let seen = inspect(&there, Path::new("/raft")).expect("it can be looked into");
    let IndexState::Read(index) = seen.index else { panic!("{:?}", seen.index) };
    for begin in [index.applied, seen.log.purged, seen.log.last] {
        assert!(begin.is_some_and(|id| id.is_of_backup()), "{begin:?}");
    }

    // Everything was durable.
    let disk = disk.crash(3);
    let node = open(&disk).await;
    assert!(!node.is_pristine());
    for seq in 1..=OBJECTS {
        let key = ObjectKey::new(&format!("key-{seq}")).expect("a key");
        assert!(node.get(&key).expect("readable").is_some(), "{key}");
    }
    let cluster = node.cluster();
    assert_eq!(cluster.config, Some(result.header.config), "volumes belong to this cluster");
    assert_eq!((cluster.map.volumes.len(), cluster.table.placements.len()), (3, 4));
    assert!(cluster.masters.is_empty() && cluster.epochs.is_empty());

    let replies = propose(&node, vec![commit(OBJECTS + 1, "late")]).await;
    assert_eq!(replies, [Reply::Refused(Refusal::Fenced)], "the epoch of before");
    let open_epoch = |nonce| Command::OpenEpoch { master: NodeId(1), at_start: true, nonce };
    let replies = propose(&node, vec![master(8), open_epoch(1)]).await;
    assert_eq!(replies, [Reply::Done, Reply::EpochOpened(EpochId(1 + ID_GAP + 1))]);
    let status = node.status();
    assert!(status.term > TERM_GAP);
    assert_eq!(status.counters.version, AppliedVersion(u64::from(OBJECTS) + VERSION_GAP));
    node.shutdown().await;

    // And once more, from its log.
    let node = open(&disk.crash(4)).await;
    assert_eq!(node.cluster().masters[&NodeId(1)].instance, InstanceId([8; 16]));
    assert_eq!(propose(&node, vec![master(8)]).await, [Reply::Done]);
    let again = told(&node).await;
    node.shutdown().await;
    let (_, result) = restored(&again, 5).await;
    assert_eq!(result.expect("a restored cluster can be backed up").objects, u64::from(OBJECTS));
}

#[tokio::test]
async fn a_backup_that_is_damaged_or_cut_leaves_no_node() {
    let (bytes, _) = taken().await;
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let cut = bytes[..bytes.len() - 1].to_vec();
    for (bytes, word) in [(damaged, "damaged"), (cut, "cut off"), (b"anything".to_vec(), "no backup")] {
        let (disk, result) = restored(&bytes, 6).await;
        let error = result.expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
        assert_eq!(disk.list(Path::new("/raft")).expect("listed"), Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_same_backup_gives_every_node_the_same_state_at_the_same_log_id_and_another_gives_another() {
    let (bytes, _) = taken().await;
    let (one, two) = (restored(&bytes, 7).await.0, restored(&bytes, 8).await.0);
    let look = |disk: FaultyDisk| {
        let found = inspect(&(Arc::new(disk) as Arc<dyn Disk>), Path::new("/raft")).expect("readable");
        let IndexState::Read(index) = found.index else { panic!("{:?}", found.index) };
        assert_eq!((&found.log.problem, &index.problem), (&None, &None));
        assert_eq!((found.log.last, found.log.purged), (index.applied, index.applied));
        (index, found.log.last)
    };
    let (one, two) = (look(one), look(two));
    assert_eq!(one, two);

    let node = open(&FaultyDisk::new(9)).await;
    node.initialize(alone()).await.expect("formed");
    propose(&node, prelude()).await;
    let other = told(&node).await;
    node.shutdown().await;
    let other = look(restored(&other, 10).await.0);
    assert_ne!(other.1.map(|id| id.node), one.1.map(|id| id.node));
}
