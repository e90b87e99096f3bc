//! Random histories, with the power cut at each step of the disk: what was acknowledged is found again, in order, and
//! what was shown once is never lost.
//!
//! A failing history prints the line that replays it.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::faulty::{Counts, Failure, Fault, FaultyDisk, Op};
use crate::replay::histories;
use crate::stream::{AppendError, Stream};
use crate::testing::{Noting, Plain, append, hold_writer, open, probe, quiet_options, records, wait_for};

const HISTORIES: u64 = 200;
const FIRST: &[u8] = b"first of its file";

/// What was submitted, and how much of it was acknowledged.
#[derive(Clone, Default)]
struct Oracle {
    submitted: Vec<Vec<u8>>,
    acked: usize,
    counter: u64,
}

impl Oracle {
    fn body(&mut self, random: &mut SmallRng) -> Vec<u8> {
        let len = match random.random_range(0..40) {
            0 => 40_000,
            1..4 => random.random_range(4000..14_000),
            _ => random.random_range(8..700),
        };
        self.counter += 1;
        let mut body = self.counter.to_le_bytes().to_vec();
        body.resize(len, random.random());
        body
    }

    /// What became of a submission. What was refused for want of a file was never written.
    fn learn(&mut self, bodies: &[Vec<u8>], outcome: &Result<(), AppendError>) {
        match outcome {
            Ok(()) => self.acked += bodies.len(),
            Err(AppendError::NoNextFile { .. } | AppendError::Full { .. }) => {
                self.submitted.retain(|body| !bodies.contains(body))
            }
            Err(_) => {}
        }
    }

    /// Reads what was recovered as the truth from now on; it must hold all that was acknowledged.
    fn check(&mut self, owner: &Noting, context: &str) {
        let notes = owner.notes.lock().clone();
        assert_eq!(notes.damaged, [], "{context}: damage, where there was none");
        let mut file = None;
        for (at, body) in &notes.recovered {
            if file != Some(at.file) {
                assert_eq!(body, FIRST, "{context}: a file begins with what the owner wants first");
            }
            file = Some(at.file);
        }
        let found: Vec<&Vec<u8>> =
            notes.recovered.iter().map(|(_, body)| body).filter(|body| *body != FIRST).collect();
        assert!(found.len() >= self.acked, "{context}: {} of {} acked", found.len(), self.acked);
        assert!(found.len() <= self.submitted.len(), "{context}: more than was ever submitted");
        assert!(found.iter().zip(&self.submitted).all(|(a, b)| *a == b), "{context}: not what was submitted");
        self.acked = found.len();
        self.submitted.truncate(found.len());
    }
}

fn owner() -> Noting {
    Noting { first: Some(FIRST), ..Noting::default() }
}

/// A few submissions, probes and rotations; goes on after failures, as a careless user would.
fn act(stream: &Stream<Plain>, oracle: &mut Oracle, random: &mut SmallRng) {
    for _ in 0..random.random_range(3..9) {
        match random.random_range(0..10) {
            0 => {
                let _ = probe(stream);
            }
            1 => stream.rotate().expect("the queue has room"),
            2..5 => {
                // Several submissions in one batch.
                let gate = hold_writer(stream);
                let (sender, outcomes) = std::sync::mpsc::channel();
                let submissions = random.random_range(2..6);
                for _ in 0..submissions {
                    let body = oracle.body(random);
                    oracle.submitted.push(body.clone());
                    let sender = sender.clone();
                    let submitted = records(&[&body]);
                    let tell = move |outcome: Result<_, _>| {
                        let _ = sender.send((body, outcome.map(drop)));
                    };
                    stream.submit(submitted, tell).expect("the queue has room");
                }
                drop(gate);
                for _ in 0..submissions {
                    let (body, outcome) =
                        outcomes.recv_timeout(crate::testing::DEADLINE).expect("an answer comes");
                    oracle.learn(&[body], &outcome);
                }
            }
            _ => {
                let mut bodies = vec![oracle.body(random)];
                while random.random_bool(0.5) && bodies.iter().map(Vec::len).sum::<usize>() < 3000 {
                    bodies.push(oracle.body(random));
                    bodies.retain(|body| body.len() < 3000);
                }
                oracle.submitted.extend(bodies.iter().cloned());
                let slices: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
                let outcome = append(stream, &slices).map(drop);
                oracle.learn(&bodies, &outcome);
            }
        }
    }
    // Whatever is left to do for a rotation is done before the caller counts steps.
    wait_for(|tell| stream.submit(Vec::new(), tell).expect("the queue has room")).ok();
}

/// What goes wrong in a history.
#[derive(Clone)]
enum Trouble {
    None,
    PowerFailsAfter(u64),
    Fails(Fault),
}

/// One life, a crash or kill, and what follows. Says what the first life did.
fn history(seed: u64, trouble: &Trouble) -> Counts {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut oracle = Oracle::default();
    let disk = FaultyDisk::new(seed);
    let stream = open(&disk, &owner());
    let opened = disk.counts();
    match trouble {
        Trouble::None => {}
        Trouble::PowerFailsAfter(steps) => disk.fail_power_after(*steps),
        Trouble::Fails(fault) => disk.order(fault.clone()),
    }
    act(&stream, &mut oracle, &mut random);
    let did = disk.counts().since(&opened);
    // The machine that lost its power, or its process alone; with all, nothing, or a part of what was not synced.
    let moment = disk.restart();
    let killed = seed.is_multiple_of(2);
    let mut ends = vec![(disk.crash(0), false), (disk.crash(random.random()), false)];
    ends.push(if killed { (moment, true) } else { (disk.crash(1), false) });
    drop(stream);
    for (next, killed) in ends {
        follow_up(next, killed, oracle.clone(), SmallRng::seed_from_u64(seed));
    }
    did
}

/// Two more lives, in which the power fails now and then.
fn follow_up(disk: FaultyDisk, killed: bool, mut oracle: Oracle, mut random: SmallRng) {
    let next = if killed { live_on(&disk, &mut oracle, &mut random) } else { disk };

    // The power fails again while the stream is being opened.
    next.fail_power_after(random.random_range(0..6));
    let reopened = Stream::<Plain>::open(Arc::new(next.clone()), quiet_options(), owner());
    let next = next.crash(random.random());
    drop(reopened);

    let seen = owner();
    let stream = open(&next, &seen);
    oracle.check(&seen, "after the first crash");
    act(&stream, &mut oracle, &mut random);
    let killed = next.restart();
    drop(stream);

    // What is shown after a kill is durable, although it was perhaps never synced before.
    let seen = owner();
    let stream = open(&killed, &seen);
    oracle.check(&seen, "after a kill");
    let last = killed.crash(random.random());
    drop(stream);
    let seen = owner();
    let _stream = open(&last, &seen);
    oracle.check(&seen, "after the last crash");
}

/// What a killed process left is found and appended to, before the power fails as well.
fn live_on(disk: &FaultyDisk, oracle: &mut Oracle, random: &mut SmallRng) -> FaultyDisk {
    let seen = owner();
    let stream = open(disk, &seen);
    oracle.check(&seen, "after the kill");
    act(&stream, oracle, random);
    let next = disk.crash(random.random());
    drop(stream);
    next
}

#[test]
fn acked_records_survive_a_crash_at_every_step() {
    for replay in histories(env!("CARGO_PKG_NAME"), "acked_records_survive_a_crash_at_every_step", HISTORIES)
    {
        let did = history(replay.seed(), &Trouble::None);
        for step in replay.steps(0..=did.steps) {
            history(replay.seed(), &Trouble::PowerFailsAfter(step));
        }
    }
}

#[test]
fn acked_records_survive_any_failed_operation() {
    for replay in
        histories(env!("CARGO_PKG_NAME"), "acked_records_survive_any_failed_operation", HISTORIES / 4)
    {
        let did = history(replay.seed(), &Trouble::None);
        for op in Op::ALL {
            // What was flipped, or written elsewhere, is told from what is torn, but it is lost: that is for the tests of
            // damage.
            let loses = |failure: &Failure| matches!(failure, Failure::Flipped | Failure::Misdirected);
            for failure in op.failures().iter().filter(|failure| !loses(failure)) {
                for nth in 1..=did.of(op) {
                    let fault = Fault::new(op, nth, *failure);
                    replay.note(&fault);
                    history(replay.seed(), &Trouble::Fails(fault));
                }
            }
        }
    }
}

/// Of what the disk answers at a start, one thing is wrong: a bit, or an error. Where the stream opens nevertheless, nothing
/// is missing or called damaged; and neither then nor otherwise does the wrong answer outlive that start.
#[test]
fn acked_records_survive_a_start_with_any_read_that_fails_or_lies() {
    let test = "acked_records_survive_a_start_with_any_read_that_fails_or_lies";
    for replay in histories(env!("CARGO_PKG_NAME"), test, HISTORIES / 4) {
        let (mut random, mut oracle) = (SmallRng::seed_from_u64(replay.seed()), Oracle::default());
        let disk = FaultyDisk::new(replay.seed());
        let stream = open(&disk, &owner());
        act(&stream, &mut oracle, &mut random);
        disk.keep_moments();
        let now = disk.moments().pop().expect("the present one is among them");
        // All that was synced, without a mark behind it; and a part of what came later.
        let crash_seed = [0, random.random()][replay.seed() as usize % 2];
        let crashed = || now.crash(crash_seed);
        let sound = crashed();
        drop(open(&sound, &owner()));
        let reads = sound.counts().reads;
        for failure in Op::Read.failures() {
            for nth in 1..=reads {
                replay.note(format!("read {nth} of the start: {failure:?}"));
                let (disk, seen) = (crashed(), owner());
                disk.order(Fault::new(Op::Read, nth, *failure));
                match Stream::<Plain>::open(Arc::new(disk.clone()), quiet_options(), seen.clone()) {
                    Ok(_) => oracle.clone().check(&seen, "after the start"),
                    Err(error) => assert_eq!(*failure, Failure::Broken, "{error}"),
                }
                for next in [disk.crash(0), disk.restart()] {
                    let seen = owner();
                    let _stream = open(&next, &seen);
                    oracle.clone().check(&seen, "after the next start");
                }
            }
        }
        drop(stream);
    }
}

#[test]
fn what_was_shown_after_a_kill_amid_a_sync_is_durable() {
    let test = "what_was_shown_after_a_kill_amid_a_sync_is_durable";
    for replay in histories(env!("CARGO_PKG_NAME"), test, 50) {
        let disk = FaultyDisk::new(replay.seed());
        let stream = open(&disk, &owner());
        append(&stream, &[b"synced synced"]).expect("it is acked");
        let gate = disk.gate(Op::Sync);
        stream.submit(records(&[b"written, and not synced"]), drop).expect("the queue has room");
        gate.wait_for_arrival();
        shown_stays_shown(&disk, replay.seed());
        drop(stream);
    }
}

#[test]
fn what_was_shown_after_a_failed_sync_is_durable() {
    let test = "what_was_shown_after_a_failed_sync_is_durable";
    for replay in histories(env!("CARGO_PKG_NAME"), test, 50) {
        let disk = FaultyDisk::new(replay.seed());
        let stream = open(&disk, &owner());
        append(&stream, &[b"synced synced"]).expect("it is acked");
        disk.fail(Op::Sync, 1);
        append(&stream, &[b"in the page cache, and never to be written back"]).expect_err("the sync failed");
        shown_stays_shown(&disk, replay.seed());
        drop(stream);
    }
}

/// Mark and seal are in the page cache alone when the process is killed, and the mark lies across two sectors.
#[test]
fn a_kill_amid_sealing_and_a_power_cut_later_are_not_taken_for_damage() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &owner());
    let end = append(&stream, &[&[7; 8]]).map(|at| at[0].offset + u64::from(at[0].len)).expect("it is acked");
    append(&stream, &[&vec![7; (512 - 8 - 24 - end % 512) as usize]]).expect("it is acked");
    assert_eq!(stream.status().end % 512, 504);
    let gate = disk.gate(Op::Sync);
    stream.rotate().expect("the queue has room");
    gate.wait_for_arrival();
    let killed = disk.restart();
    drop(stream);
    let stream = open(&killed, &owner());
    append(&stream, &[b"in the next file"]).expect("it is acked");
    drop(stream);
    let test = "a_kill_amid_sealing_and_a_power_cut_later_are_not_taken_for_damage";
    for replay in histories(env!("CARGO_PKG_NAME"), test, 100) {
        let seen = owner();
        let _stream = open(&killed.crash(replay.seed()), &seen);
        assert_eq!(seen.notes.lock().damaged, []);
        assert_eq!(seen.bodies().len(), 5, "two files, each with its first record");
    }
}

/// Kills, opens, and crashes before anything is appended: the second start finds what the first one showed.
fn shown_stays_shown(disk: &FaultyDisk, seed: u64) {
    let killed = disk.restart();
    let shown = owner();
    let stream = open(&killed, &shown);
    let crashed = killed.crash(seed);
    drop(stream);
    let found = owner();
    let _stream = open(&crashed, &found);
    assert!(shown.bodies().len() >= 3, "the file's first record and both appends are readable");
    assert_eq!(found.bodies(), shown.bodies());
}
