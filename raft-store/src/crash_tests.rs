//! Log and state together, in seeded histories of all that openraft and the keeper do to them, and a crash at every step of
//! the disk, with several subsets of what was not synced: a master that starts again has what it acknowledged, and its two
//! halves fit each other.

mod cluster;
mod history;
mod model;

use std::sync::Arc;

use futures_util::stream;
use hayrick_disk::replay::{Replay, histories};
use hayrick_disk::{Disk, FaultyDisk};
use hayrick_protocol::NodeId;
use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::cluster::Cluster;
use self::history::History;
use self::model::{Contents, Model};
use crate::log::Log;
use crate::machine::Machine;
use crate::node::open_files_with;
use crate::options::Options;
use crate::types::Entry;

const DIR: &str = "/raft";
const HISTORIES: u64 = 200;
/// Each begins with what a crash or a kill of the one before left.
const LIVES: u64 = 2;

fn options(dir: &str) -> Options {
    Options {
        log_file_bytes: hayrick_disk::FILE_BYTES_MIN,
        log_cache_bytes: 4 << 10,
        index_cache_bytes: 1 << 20,
        ..Options::new(NodeId(1), dir)
    }
}

/// As a master opens them, but that the log writes when the test says so.
fn open(disk: &FaultyDisk) -> (Log, Machine) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let opened = open_files_with(&disk, &options(DIR), Log::open_by_hand);
    opened.unwrap_or_else(|error| panic!("it does not start: {error}"))
}

async fn contents(log: &mut Log) -> Contents {
    Contents {
        vote: log.read_vote().await.expect("in memory"),
        purged: log.purged(),
        entries: log.try_get_log_entries(0..u64::MAX).await.expect("readable"),
    }
}

async fn feed(machine: &mut Machine, entries: &[Entry]) -> std::io::Result<()> {
    let items: Vec<_> = entries.iter().map(|entry| Ok((entry.clone(), None))).collect();
    machine.apply(stream::iter(items)).await
}

async fn assert_state(machine: &Machine, cluster: &Cluster, index: u64) {
    let view = machine.view().await.expect("a view");
    let want = cluster.view(index);
    assert_eq!(view.applied.last, want.applied.last);
    assert_eq!(view.applied.membership, want.applied.membership, "the membership at {index}");
    assert_eq!(view.hash().expect("readable"), cluster.hash(index), "the state at {index}");
}

/// What a master found at its start.
struct Found {
    log: Log,
    machine: Machine,
    contents: Contents,
    applied: Option<u64>,
}

/// Starts a master on what a crash at this moment left, and looks at everything.
async fn start(disk: &FaultyDisk, model: &Model, cluster: &Cluster, steps: u64) -> Found {
    let (mut log, machine) = open(disk);
    let contents = contents(&mut log).await;
    model.records_of(&contents, steps);
    let applied = machine.applied_now();
    let index = applied.last.map(|id| id.index);
    model.assert_may_be_durable(index, steps);
    assert!(
        contents.purged.map(|id| id.index) <= index,
        "{:?} are purged, {index:?} applied",
        contents.purged
    );
    assert!(
        contents.last() >= applied.last || contents.last().map(|id| id.index) < index,
        "openraft refuses a log that ends at {:?} beside a state of {:?}",
        contents.last(),
        applied.last
    );
    if let Some(index) = index {
        assert_state(&machine, cluster, index).await;
        let same = contents.entries.iter().find(|entry| entry.log_id.index == index);
        assert!(same.is_none_or(|entry| Some(entry.log_id) == applied.last), "{same:?} was applied");
    }
    let committed = log.read_committed().await.expect("in memory");
    assert!(committed.is_none_or(|id| cluster.entry(id.index).is_some_and(|entry| entry.log_id == id)));
    assert!(
        committed <= contents.last().max(applied.last),
        "{committed:?} is to be applied, and is not there"
    );
    Found { log, machine, contents, applied: index }
}

/// A crash at this moment: what the log has is applied anew, and gives what it gave.
async fn crash(disk: &FaultyDisk, model: &Model, cluster: &Cluster, steps: u64) {
    let Found { contents, applied, mut machine, log: _log } = start(disk, model, cluster, steps).await;
    let next = applied.map_or(0, |index| index + 1);
    let committed = cluster.agrees_until(contents.purged, &contents.entries);
    if next < committed {
        let rest: Vec<Entry> = (next..committed).filter_map(|index| cluster.entry(index).cloned()).collect();
        feed(&mut machine, &rest).await.expect("applied");
        assert_state(&machine, cluster, committed - 1).await;
    }
}

/// Lives with a crash at every moment of each, and one on a disk that fails.
async fn run(replay: &Replay) -> u64 {
    let mut random = StdRng::seed_from_u64(replay.seed());
    let cluster = Cluster::new(&mut random).await;
    let (mut disk, mut model) = (FaultyDisk::new(replay.seed()), Model::default());
    let (mut committed, mut steps, mut crashes) = (0, 0, 0);
    for life in 0..=LIVES {
        let fails = life == LIVES;
        disk.keep_moments();
        let found = start(&disk, &model, &cluster, steps).await;
        let opened = disk.counts().steps;
        model.settle(&found.contents, found.applied, steps, opened);
        let mut history = History::new(&disk, &cluster, found, model, committed, random);
        if fails {
            replay.note(format!("life {life}, {}", history.order_fault()));
        } else {
            replay.note(format!("life {life}"));
        }
        let history = history.live().await;
        let (moments, all, end) = (replay.moments(&disk), disk.moments(), disk.counts().steps);
        disk.fail_power_after(0);
        (model, committed, random) = history.end().await;
        // What fails is looked at after the end alone: up to there it is a history like any other.
        // And an empty disk is opened in every history: a crash of that is looked at in some.
        let from = match life {
            LIVES => end,
            0 if !replay.seed().is_multiple_of(20) => opened,
            _ => 0,
        };
        for moment in moments.filter(|moment| moment.steps() >= from) {
            for seed in [0, 1, 2 + replay.seed()] {
                crash(&moment.crash(seed), &model, &cluster, moment.steps()).await;
                crashes += 1;
            }
        }
        let last = &all[random.random_range(all.len() / 2..all.len())];
        steps = last.steps();
        disk = if random.random() { last.restart() } else { last.crash(random.random()) };
    }
    crashes
}

#[test]
fn acknowledged_votes_entries_and_state_survive_a_crash_at_every_step() {
    let test = "acknowledged_votes_entries_and_state_survive_a_crash_at_every_step";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let run = |replay: Replay| runtime.block_on(run(&replay));
    let crashes: u64 = histories(env!("CARGO_PKG_NAME"), test, HISTORIES).map(run).sum();
    println!("{crashes} crashes");
}
