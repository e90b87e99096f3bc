//! The log against openraft's own suite, and against disks that forget what was not synced.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use hayrick_disk::replay::histories;
use hayrick_disk::{Disk, FaultyDisk, Op, RealDisk};
use hayrick_protocol::NodeId;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, RaftLogReader, StorageError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::log::Log;
use crate::machine::Machine;
use crate::options::Options;
use crate::types::{Commands, Entry, LeaderId, LogId, Types, Vote};

struct OnRealFiles;

impl StoreBuilder<Types, Log, Machine, TempDir> for OnRealFiles {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = Options { log_file_bytes: 1 << 20, ..Options::new(NodeId(1), dir.path()) };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let log = Log::open(Arc::clone(&disk), &dir.path().join("log"), &options).expect("a log");
        let machine = Machine::open(disk, &options).expect("a state");
        Ok((dir, log, machine))
    }
}

/// openraft's suite runs the runtime itself.
#[test]
fn openrafts_suite_passes_on_real_files() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(Suite::test_all(OnRealFiles)).expect("the suite passes");
}

const DIR: &str = "/log";

fn options() -> Options {
    Options { log_file_bytes: 32 << 10, log_cache_bytes: 4 << 10, ..Options::new(NodeId(1), "/") }
}

fn open(disk: &FaultyDisk) -> Log {
    Log::open(Arc::new(disk.clone()), Path::new(DIR), &options()).expect("the log opens")
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let payload = EntryPayload::Normal(Commands(Bytes::from(vec![index as u8; bytes])));
    Entry { log_id: LogId::new(LeaderId { term, node_id: 1 }, index), payload }
}

async fn append(log: &mut Log, entries: Vec<Entry>) -> Result<(), std::io::Error> {
    let (done, flushed) = Types::oneshot();
    log.append(entries, IOFlushed::signal(done)).await?;
    flushed.await.expect("the callback runs")
}

async fn all(log: &mut Log) -> Vec<Entry> {
    log.try_get_log_entries(0..u64::MAX).await.expect("readable")
}

/// What was acknowledged must be there after a crash; what was not may be.
#[derive(Debug, Default)]
struct Model {
    vote: Option<Vote>,
    entries: Vec<Entry>,
    purged: Option<LogId>,
}

impl Model {
    fn end(&self) -> u64 {
        self.entries.last().map_or(self.purged.map_or(0, |id| id.index + 1), |entry| entry.log_id.index + 1)
    }

    /// Does one random thing to both; false when the disk failed.
    async fn step(&mut self, log: &mut Log, random: &mut StdRng) -> bool {
        let term = self.vote.map_or(0, |vote| vote.leader_id.term);
        match random.random_range(0..10) {
            0 => {
                let vote = Vote::new(term + 1, random.random_range(1..4));
                if log.save_vote(&vote).await.is_err() {
                    return false;
                }
                self.vote = Some(vote);
            }
            1 if !self.entries.is_empty() => {
                let keep = random.random_range(0..self.entries.len());
                let after = if keep == 0 { self.purged } else { Some(self.entries[keep - 1].log_id) };
                // If it fails, it may have happened nonetheless.
                self.entries.truncate(keep);
                if log.truncate_after(after).await.is_err() {
                    return false;
                }
            }
            2 if !self.entries.is_empty() => {
                let upto = self.entries[random.random_range(0..self.entries.len())].log_id;
                if log.purge(upto).await.is_err() {
                    return false;
                }
                self.entries.retain(|entry| entry.log_id.index > upto.index);
                self.purged = Some(upto);
            }
            3 => log.save_committed(self.entries.first().map(|entry| entry.log_id)).await.expect("in memory"),
            _ => {
                let count = random.random_range(1..6);
                let entries: Vec<Entry> =
                    (0..count).map(|n| entry(term, self.end() + n, random.random_range(0..3000))).collect();
                if append(log, entries.clone()).await.is_err() {
                    return false;
                }
                self.entries.extend(entries);
            }
        }
        true
    }

    /// The log has all of the model, and otherwise only what was on its way when the power went.
    async fn check(&self, log: &mut Log) {
        let vote = log.read_vote().await.expect("in memory");
        assert!(vote >= self.vote, "the vote went back from {:?} to {vote:?}", self.vote);
        let found = all(log).await;
        let indexes: Vec<u64> = found.iter().map(|entry| entry.log_id.index).collect();
        assert!(indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a hole in {indexes:?}");
        for entry in &self.entries {
            assert!(found.contains(entry), "entry {} is gone of {indexes:?}", entry.log_id);
        }
    }
}

/// One life after the other, each ended by a power failure at a random step.
async fn lives(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut disk = FaultyDisk::new(seed);
    let mut model = Model::default();
    for _ in 0..4 {
        let mut log = open(&disk);
        model.check(&mut log).await;
        // Truncations and purges that were not flushed may have been forgotten: from here on what is there counts.
        model.entries = all(&mut log).await;
        model.vote = log.read_vote().await.expect("in memory");
        model.purged = log.get_log_state().await.expect("in memory").last_purged_log_id;
        disk.fail_power_after(random.random_range(1..120));
        for _ in 0..60 {
            // What a truncation or purge took is gone from the model at once, but not yet from the disk.
            if !model.step(&mut log, &mut random).await {
                break;
            }
        }
        disk = disk.crash(random.random());
        drop(log);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_entry_or_vote_is_lost_to_a_power_failure() {
    let test = "no_acknowledged_entry_or_vote_is_lost_to_a_power_failure";
    for replay in histories(env!("CARGO_PKG_NAME"), test, 60) {
        lives(replay.seed()).await;
    }
}

#[tokio::test]
async fn old_entries_are_read_back_from_the_files() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk);
    let want: Vec<Entry> = (0..200).map(|index| entry(1, index, 700)).collect();
    for entry in &want {
        append(&mut log, vec![entry.clone()]).await.expect("appended");
    }
    assert_eq!(all(&mut log).await, want, "most of them are not in memory");
    let some = log.limited_get_log_entries(3, 150).await.expect("readable");
    assert_eq!(some, want[3..150]);
    drop(log);
    assert_eq!(all(&mut open(&disk.restart())).await, want);
}

#[tokio::test]
async fn purged_files_are_removed_and_the_vote_survives_them() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk);
    let vote = Vote::new_committed(7, 2);
    log.save_vote(&vote).await.expect("durable");
    for index in 0..300 {
        append(&mut log, vec![entry(7, index, 1000)]).await.expect("appended");
    }
    let before = log.status();
    let upto = LogId::new(LeaderId { term: 7, node_id: 1 }, 250);
    log.purge(upto).await.expect("queued");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while log.status().files + 4 > before.files {
        assert!(tokio::time::Instant::now() < deadline, "{:?} of {before:?}", log.status());
        tokio::task::yield_now().await;
    }
    drop(log);
    let mut log = open(&disk.restart());
    assert_eq!(log.read_vote().await.expect("in memory"), Some(vote));
    assert_eq!(log.get_log_state().await.expect("in memory").last_purged_log_id, Some(upto));
    assert_eq!(all(&mut log).await.first().map(|entry| entry.log_id.index), Some(251));
}

#[tokio::test]
async fn a_flipped_bit_or_a_missing_file_is_refused_with_the_remedy() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk);
    for index in 0..300 {
        append(&mut log, vec![entry(1, index, 1000)]).await.expect("appended");
    }
    drop(log);
    let mut files = disk.list(Path::new(DIR)).expect("listed");
    files.retain(|name| name.ends_with(".log"));
    files.sort();
    let victim = Path::new(DIR).join(&files[2]);
    let refused = |disk: &FaultyDisk| {
        let error =
            Log::open(Arc::new(disk.clone()), Path::new(DIR), &options()).err().expect("refused").to_string();
        assert!(error.contains("hayrick master remove"), "{error}");
    };
    let flipped = disk.restart();
    assert!(flipped.flip(&victim, 9000, 1));
    refused(&flipped);
    let missing = flipped.restart();
    missing.remove(&victim).expect("removed");
    refused(&missing);
}

#[tokio::test]
async fn a_failed_sync_fails_the_append_and_all_that_follow() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk);
    append(&mut log, vec![entry(1, 0, 10)]).await.expect("appended");
    let mut index = 1;
    loop {
        // The zeros that are written ahead may meet the failure first, and do without.
        disk.fail(Op::Sync, 1);
        if append(&mut log, vec![entry(1, index, 10)]).await.is_err() {
            break;
        }
        index += 1;
        assert!(index < 1000, "one of them meets it");
    }
    assert!(append(&mut log, vec![entry(1, index, 10)]).await.is_err());
    assert!(log.save_vote(&Vote::new(9, 1)).await.is_err(), "no vote is acknowledged either");
    assert!(log.failed().is_some());
}

/// The name of the file that is appended to.
fn last_written(disk: &FaultyDisk) -> String {
    let is_written = |name: &String| {
        let bytes = disk.bytes(&Path::new(DIR).join(name)).expect("it is listed");
        bytes.iter().skip(4096).any(|byte| *byte != 0)
    };
    let names = disk.list(Path::new(DIR)).expect("a sound disk");
    names.into_iter().filter(is_written).max().expect("something was appended")
}

/// The removal that the first purge brings about runs while the second is known in memory, but not yet on disk.
#[test]
fn no_file_is_removed_for_a_purge_that_is_not_durable() {
    let disk = FaultyDisk::new(1);
    let id = |index| LogId::new(LeaderId { term: 1, node_id: 1 }, index);
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
    let runtime = runtime.expect("a runtime");
    let (release, released) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        let mut log = open(&disk);
        for index in 0..300 {
            append(&mut log, vec![entry(1, index, 1000)]).await.expect("appended");
        }
        tokio::task::spawn_blocking(move || released.recv());
        log.purge(id(100)).await.expect("queued");
        log.save_vote(&Vote::new(1, 1)).await.expect("durable, and so is the purge");
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        // The files are removed by the thread that was let go; the writer hangs until the power fails.
        let gate = disk.gate(Op::Sync.on(last_written(&disk)));
        log.purge(id(250)).await.expect("queued");
        gate.wait_for_arrival();
        release.send(()).expect("it waits");
        std::mem::forget((log, gate));
    });
    drop(runtime);
    let test = "no_file_is_removed_for_a_purge_that_is_not_durable";
    for replay in histories(env!("CARGO_PKG_NAME"), test, 8) {
        let log = open(&disk.crash(replay.seed()));
        assert!(log.purged() >= Some(id(100)));
    }
}

#[tokio::test]
async fn a_truncation_is_durable_when_it_returns() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk);
    let entries: Vec<Entry> = (0..9).map(|index| entry(1, index, 10)).collect();
    append(&mut log, entries.clone()).await.expect("appended");
    let gate = disk.gate(Op::Sync);
    {
        let mut truncation = std::pin::pin!(log.truncate_after(Some(entries[3].log_id)));
        let waits = truncation.as_mut().now_or_never().is_none();
        // First: a log that is dropped waits for its writer.
        gate.open();
        assert!(waits, "it is not durable yet");
        truncation.await.expect("durable");
    }
    assert_eq!(all(&mut open(&disk.crash(1))).await, entries[..4]);
}

#[tokio::test]
async fn a_truncation_beyond_the_end_or_of_all_leaves_a_log_that_opens() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk);
    let entries: Vec<Entry> = (0..9).map(|index| entry(1, index, 10)).collect();
    append(&mut log, entries.clone()).await.expect("appended");
    let beyond = LogId::new(LeaderId { term: 1, node_id: 1 }, 20);
    log.truncate_after(Some(beyond)).await.expect("durable");
    drop(log);
    let disk = disk.restart();
    let mut log = open(&disk);
    assert_eq!(all(&mut log).await, entries);
    log.purge(entries[4].log_id).await.expect("queued");
    log.truncate_after(None).await.expect("durable");
    drop(log);
    let mut log = open(&disk.restart());
    assert_eq!(log.get_log_state().await.expect("in memory").last_log_id, Some(entries[4].log_id));
    assert_eq!(all(&mut log).await, vec![]);
}

#[tokio::test]
async fn a_missing_file_that_held_only_votes_is_noticed() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk);
    append(&mut log, vec![entry(1, 0, 10)]).await.expect("appended");
    let mut term = 1;
    while log.status().files < 3 {
        term += 1;
        log.save_vote(&Vote::new(term, 1)).await.expect("durable");
    }
    drop(log);
    let disk = disk.restart();
    let mut files = disk.list(Path::new(DIR)).expect("listed");
    files.retain(|name| name.ends_with(".log"));
    files.sort();
    disk.remove(&Path::new(DIR).join(&files[1])).expect("removed");
    let refused = Log::open(Arc::new(disk), Path::new(DIR), &options()).err().expect("refused").to_string();
    assert!(refused.contains("missing"), "{refused}");
}

#[tokio::test]
async fn an_entry_larger_than_a_file_is_taken_while_something_rides_along() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk);
    let entries = [entry(1, 0, 10), entry(1, 1, 100_000), entry(1, 2, 10)];
    for entry in &entries {
        log.save_committed(Some(entry.log_id)).await.expect("in memory");
        append(&mut log, vec![entry.clone()]).await.expect("appended");
    }
    drop(log);
    let mut log = open(&disk.restart());
    assert_eq!(all(&mut log).await, entries);
    assert_eq!(log.read_committed().await.expect("in memory"), Some(entries[2].log_id));
}

#[tokio::test]
async fn what_is_to_be_applied_is_read_in_bounded_pieces() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk);
    let want: Vec<Entry> = (0..20).map(|index| entry(1, index, 1 << 20)).collect();
    for entry in &want {
        append(&mut log, vec![entry.clone()]).await.expect("appended");
    }
    let reads_before = disk.counts().reads;
    let mut reader = log.clone();
    let mut stream = reader.entries_stream(2..19).await;
    let first = stream.next().await.expect("there are some").expect("readable");
    assert_eq!(first, want[2]);
    let reads = disk.counts().reads - reads_before;
    assert!((1..10).contains(&reads), "{reads} of 17 entries were read to have the first");
    let rest: Vec<Entry> = stream.try_collect().await.expect("readable");
    assert_eq!(rest, want[3..19]);
}
