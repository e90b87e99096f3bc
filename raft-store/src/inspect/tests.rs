//! What is told of a Raft directory: one that was killed, one in use, one that is damaged; and that none of them changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hayrick_disk::{Disk, FaultyDisk, Seal};
use hayrick_protocol::NodeId;
use tokio::time::Instant;

use super::*;
use crate::install_tests::Alone;
use crate::machine_tests::{commit, prelude};
use crate::node::Node;
use crate::options::Options;

const OBJECTS: u64 = 40;

/// The disk of a master that was killed: a cluster of its own, objects in the checkpoint, and more in the log alone.
async fn killed() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    let node = open(&disk).await;
    node.initialize(BTreeMap::from([(NodeId(1), "here:1".to_owned())])).await.expect("formed");
    node.watch().wait_for(|progress| progress.leader.is_some()).await.expect("it runs");
    let soon = || Instant::now() + Duration::from_secs(20);
    node.propose(prelude(), soon()).await.expect("applied");
    let put = |seq: u64| commit(u32::try_from(seq).expect("small"), &format!("key-{seq}"));
    node.propose((1..=OBJECTS).map(put).collect(), soon()).await.expect("applied");
    node.shutdown().await;

    let node = open(&disk).await;
    node.watch().wait_for(|progress| progress.leader.is_some()).await.expect("it runs");
    node.propose(vec![put(OBJECTS + 1)], soon()).await.expect("applied");
    // What the dying process does any more, nobody sees.
    let killed = disk.restart();
    disk.fail_power_after(0);
    node.shutdown().await;
    killed
}

async fn open(disk: &FaultyDisk) -> Node {
    let options = Options {
        election: Duration::from_millis(200)..Duration::from_millis(300),
        heartbeat: Duration::from_millis(20),
        log_file_bytes: crate::LOG_FILE_BYTES_MIN,
        index_cache_bytes: 1 << 20,
        ..Options::new(NodeId(1), "/master/raft")
    };
    Node::open(options, Arc::new(disk.clone()), Arc::new(Alone)).await.expect("a sound disk")
}

fn look(disk: &FaultyDisk, path: &str) -> Inspection {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    inspect(&disk, Path::new(path)).expect("it can be looked into")
}

fn index(found: &Inspection) -> &Index {
    match &found.index {
        IndexState::Read(index) => index,
        other => panic!("{other:?}"),
    }
}

fn bytes(disk: &FaultyDisk, path: &Path) -> Vec<u8> {
    let file = disk.open_read_only(path).expect("it is there");
    let mut bytes = vec![0; file.len().expect("known") as usize];
    file.read_exact_at(&mut bytes, 0).expect("readable");
    bytes
}

fn everything(disk: &FaultyDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let dirs = ["/master/raft", "/master/raft/log"].map(Path::new);
    let names = dirs.iter().flat_map(|dir| {
        let mut names = disk.list(dir).expect("listed");
        names.sort();
        names.into_iter().map(|name| dir.join(name))
    });
    names.map(|path| (path.clone(), bytes(disk, &path))).collect()
}

fn flip(disk: &FaultyDisk, path: &str, at: u64) {
    let file = disk.open(Path::new(path)).expect("it is there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("readable");
    file.write_all_at(&[byte[0] ^ 1], at).expect("written");
}

const LOG_FILE: &str = "/master/raft/log/0000000000000001.log";
const INDEX: &str = "/master/raft/index.redb";

#[tokio::test]
async fn a_killed_masters_directory_is_told_and_stays_as_it_is() {
    let disk = killed().await;
    let before = everything(&disk);
    let found = look(&disk, "/master");
    assert_eq!(everything(&disk), before, "nothing was written");
    assert_eq!(look(&disk, "/master/raft"), found, "the Raft directory itself will do");

    assert_eq!((found.in_use, &found.log.problem), (false, &None));
    let (_, voted, elected) = found.log.vote.expect("it voted");
    assert_eq!((voted, elected), (NodeId(1), true));
    let last = found.log.last.expect("entries").index;
    assert_eq!(found.log.entries, Some((0, last, last + 1)));
    let members = found.log.membership.as_ref().expect("the first entry has it");
    assert_eq!(members.voters, [[NodeId(1)]]);
    assert_eq!(members.nodes[&NodeId(1)], "here:1");
    let file = found.log.files[0].found.as_ref().expect("sound");
    assert_eq!((file.records["entry"], file.records["start"], file.seal), (last + 1, 1, Seal::None));

    let index = index(&found);
    assert_eq!(index.problem, None);
    assert_eq!((index.objects.rows, index.counters.objects), (OBJECTS, OBJECTS));
    assert!(index.applied.expect("a checkpoint").index < last, "one object is in the log alone");
    assert_eq!((index.small["volumes"].rows, index.small["placements"].rows), (3, 4));
    assert_eq!(index.membership.as_ref().map(|found| &found.nodes), Some(&members.nodes));
}

#[tokio::test]
async fn of_a_directory_in_use_the_log_is_told_and_the_index_is_left_alone() {
    let disk = killed().await;
    let lock = disk.lock(Path::new("/master/lock")).expect("free");
    let found = look(&disk, "/master");
    assert!(found.in_use && found.log.entries.is_some());
    assert_eq!(found.index, IndexState::InUse);
    drop(lock);
    assert!(!look(&disk, "/master").in_use);
}

#[tokio::test]
async fn damage_is_told_and_all_that_can_be_read_beside_it() {
    let disk = killed().await;
    let sound = look(&disk, "/master");
    // In the first entries: the log holds others behind them.
    flip(&disk, LOG_FILE, hayrick_disk::HEADER_BYTES + 200);
    let found = look(&disk, "/master");
    let file = found.log.files[0].found.as_ref().expect("its header is good");
    assert_eq!((file.damage.0, file.damage.2.len()), (1, 1));
    assert!(found.log.problem.as_ref().expect("a start would stop").contains("0000000000000001.log, bytes"));
    let last = sound.log.last.expect("entries");
    assert_eq!(file.entries, Some((0, last.index)), "those behind it are told");
    assert!(found.log.last.expect("entries").index < last.index, "but they do not link up");
    assert_eq!((found.log.vote, &found.index), (sound.log.vote, &sound.index));

    let file = disk.open(Path::new(LOG_FILE)).expect("it is there");
    file.write_all_at(b"something else altogether", 0).expect("written");
    file.set_len(20).expect("cut");
    let found = look(&disk, "/master");
    assert!(found.log.files[0].found.is_err() && found.log.problem.is_some());

    let index = disk.open(Path::new(INDEX)).expect("it is there");
    for at in (0..index.len().expect("known")).step_by(4096) {
        index.write_all_at(&[0xff; 64], at).expect("written");
    }
    assert!(matches!(look(&disk, "/master").index, IndexState::Damaged { .. }));
    index.set_len(0).expect("cut");
    assert!(matches!(look(&disk, "/master").index, IndexState::Damaged { .. }));
    disk.remove(Path::new(INDEX)).expect("removed");
    assert_eq!(look(&disk, "/master").index, IndexState::Missing);
}

#[test]
fn what_is_no_raft_directory_is_refused() {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
    disk.create_dir_all(Path::new("/volume/needles")).expect("made");
    let refused = inspect(&disk, Path::new("/volume")).expect_err("there is no log");
    assert!(refused.to_string().contains("/volume is neither a master's data directory"), "{refused}");
}
