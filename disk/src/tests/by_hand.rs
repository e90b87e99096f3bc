//! A stream without threads does the same to the disk each time, zeroing and marks included; so a history is run once, and
//! a crash at each of its moments is tried with several subsets of what was not synced.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::faulty::{Counts, FaultyDisk};
use crate::format::FileId;
use crate::replay::histories;
use crate::stream::{Options, Stream};
use crate::testing::{Noting, Plain, open_with, path_of, quiet_options, records};

const HISTORIES: u64 = 200;
const CRASHES_PER_MOMENT: u64 = 4;

fn options() -> Options {
    Options { threads: false, zero_ahead_bytes: 4096, file_bytes: 48 << 10, ..quiet_options() }
}

/// What was submitted, and after which step it was acknowledged.
type Acks = Vec<(Vec<u8>, Option<u64>)>;

struct Submitter {
    disk: FaultyDisk,
    stream: Arc<Stream<Plain>>,
    acks: Arc<Mutex<Acks>>,
}

impl Submitter {
    fn submit(&self, len: usize) {
        let (disk, acks) = (self.disk.clone(), Arc::clone(&self.acks));
        let number = acks.lock().len();
        let mut body = (number as u64).to_le_bytes().to_vec();
        body.resize(len, number as u8);
        acks.lock().push((body.clone(), None));
        let tell = move |outcome: Result<_, _>| {
            outcome.expect("nothing fails");
            acks.lock()[number].1 = Some(disk.counts().steps);
        };
        self.stream.submit(records(&[&body]), tell).expect("there is room");
    }
}

/// One life. It ends with what is synced and what is not as chance has it.
fn live(seed: u64) -> (FaultyDisk, Acks) {
    let mut random = SmallRng::seed_from_u64(seed);
    let disk = FaultyDisk::new(seed);
    disk.keep_moments();
    let stream = Arc::new(open_with(&disk, options(), &Noting::default()));
    let submitter = Submitter { disk: disk.clone(), stream: Arc::clone(&stream), acks: Arc::default() };
    for _ in 0..12 {
        let len = if random.random_bool(0.1) { 20_000 } else { random.random_range(8..3000) };
        match random.random_range(0..10) {
            0 => stream.idle(),
            1..4 => drop(stream.prepare()),
            4 => stream.rotate().expect("there is room"),
            5 => [len, 300, 8].into_iter().for_each(|len| submitter.submit(len)),
            _ => submitter.submit(len),
        }
        stream.work();
    }
    let acks = submitter.acks.lock().clone();
    (disk, acks)
}

/// What can be told of a disk.
fn traces(disk: &FaultyDisk) -> (Counts, Vec<Option<Vec<u8>>>) {
    (disk.counts(), (1..9).map(|file| disk.bytes(&path_of(FileId(file)))).collect())
}

#[test]
fn the_same_history_does_the_same_to_the_disk() {
    for replay in histories(env!("CARGO_PKG_NAME"), "the_same_history_does_the_same_to_the_disk", 20) {
        let ((one, acks), (two, again)) = (live(replay.seed()), live(replay.seed()));
        assert_eq!(acks, again);
        assert!(traces(&one) == traces(&two), "the disks differ");
        for (one, two) in one.moments().iter().zip(two.moments()) {
            assert!(
                traces(&one.crash(replay.seed())) == traces(&two.crash(replay.seed())),
                "the crashes differ"
            );
        }
    }
}

#[test]
fn acked_records_survive_a_crash_at_every_moment_of_a_stream_without_threads() {
    let test = "acked_records_survive_a_crash_at_every_moment_of_a_stream_without_threads";
    let mut crashes = 0;
    for replay in histories(env!("CARGO_PKG_NAME"), test, HISTORIES) {
        let (disk, acks) = live(replay.seed());
        for moment in replay.moments(&disk) {
            let acked = acks.iter().filter(|(_, at)| at.is_some_and(|at| at <= moment.steps())).count();
            for seed in 0..CRASHES_PER_MOMENT {
                replay.note(format!("crash {seed}"));
                let owner = Noting::default();
                let stream = open_with(&moment.crash(seed), options(), &owner);
                let found = owner.bodies();
                assert!(found.len() >= acked, "{} of {acked} acknowledged records", found.len());
                assert!(
                    found.iter().zip(&acks).all(|(found, (body, _))| found == body),
                    "not what was submitted"
                );
                assert!(found.len() <= acks.len() && owner.notes.lock().damaged.is_empty());
                stream
                    .submit(records(&[b"it goes on"]), |outcome| drop(outcome.expect("acked")))
                    .expect("room");
                stream.work();
                crashes += 1;
            }
        }
    }
    println!("{crashes} crashes");
}

#[test]
fn nothing_is_written_but_when_it_is_asked_for() {
    let disk = FaultyDisk::new(1);
    let stream = open_with(&disk, options(), &Noting::default());
    let before = disk.counts();
    stream.submit(records(&[b"one"]), drop).expect("there is room");
    assert_eq!(disk.counts(), before);
    stream.work();
    let before = disk.counts();
    assert!(stream.prepare(), "the next file");
    assert!(stream.prepare(), "and a piece of zeros");
    let after = disk.counts();
    assert_eq!((after.creations - before.creations, after.renames - before.renames), (1, 1));
    while stream.prepare() {}
    let before = disk.counts();
    stream.idle();
    stream.idle();
    assert_eq!(disk.counts().since(&before).writes, 1, "one mark is enough");
    assert!(!stream.prepare());
    let killed = disk.restart();
    drop(stream);
    // A stream that has threads takes no hand.
    let stream = open_with(&killed, Options { zero_ahead_bytes: 0, ..quiet_options() }, &Noting::default());
    let before = killed.counts();
    stream.work();
    stream.idle();
    assert!(!stream.prepare() && killed.counts() == before);
}

#[test]
fn closing_finishes_and_marks_as_threads_do() {
    let disk = FaultyDisk::new(1);
    let stream = open_with(&disk, options(), &Noting::default());
    stream.submit(records(&[b"the last one"]), drop).expect("there is room");
    let writes = disk.counts().writes;
    stream.close();
    assert!(disk.counts().writes >= writes + 2, "the record, and a mark");
}

#[test]
fn what_is_zeroed_ahead_is_synced_little_by_little() {
    let disk = FaultyDisk::new(1);
    let options = Options { zero_ahead_bytes: 1 << 20, file_bytes: 4 << 20, ..options() };
    let stream = open_with(&disk, options, &Noting::default());
    assert!(stream.prepare(), "the next file");
    let before = disk.counts();
    assert!(stream.prepare(), "a piece of zeros");
    let done = disk.counts().since(&before);
    assert_eq!((done.writes, done.syncs), (4, 4), "an append waits for no more than was just written");
}
