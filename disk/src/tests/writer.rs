//! The writer: one sync for many, poison for good, and nobody left waiting.

use std::sync::mpsc;

use crate::faulty::{FaultyDisk, Op};
use crate::stream::{AppendError, Options, SubmitError};
use crate::testing::{
    DEADLINE, Noting, append, hold_writer, open, open_with, probe, quiet_options, records, wait_for,
};

#[test]
fn many_submissions_share_one_write_and_one_sync() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    let gate = hold_writer(&stream);
    let (sender, outcomes) = mpsc::channel();
    for number in 0..100_u32 {
        let sender = sender.clone();
        stream
            .submit(records(&[&number.to_le_bytes()]), move |outcome| {
                sender.send((number, outcome.is_ok())).expect("the test waits");
            })
            .expect("there is room");
    }
    let before = disk.counts();
    drop(gate);
    for number in 0..100 {
        assert_eq!(outcomes.recv_timeout(DEADLINE), Ok((number, true)), "callbacks run in order");
    }
    let after = disk.counts();
    assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (1, 1));
}

#[test]
fn a_failed_sync_poisons_for_good_and_is_never_retried() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    let at = append(&stream, &[b"safe"]).expect("it is acked")[0];
    disk.fail(Op::Sync, 1);
    let failed = append(&stream, &[b"lost"]).expect_err("the sync failed");
    let before = disk.counts();
    assert_eq!(append(&stream, &[b"too late"]), Err(failed));
    assert!(matches!(probe(&stream), Err(AppendError::Poisoned { .. })));
    stream.rotate().expect("there is room");
    assert!(stream.status().poisoned.is_some_and(|cause| cause.contains("ordered by a test")));
    let mut record = vec![0; at.len as usize];
    stream.read_exact_at(at.file, at.offset, &mut record).expect("reads go on");
    drop(stream);
    let after = disk.counts();
    assert_eq!((after.writes, after.syncs), (before.writes, before.syncs), "nothing is tried again");
}

#[test]
fn what_is_queued_behind_a_failed_write_fails_with_it() {
    // Also for want of space: what was allocated is there to be written.
    for fault in [|disk: &FaultyDisk| disk.fail(Op::Write, 1), |disk: &FaultyDisk| disk.fill(Op::Write, 1)] {
        let disk = FaultyDisk::new(1);
        let owner = Noting::default();
        let stream = open(&disk, &owner);
        fault(&disk);
        let gate = hold_writer(&stream);
        let (sender, outcomes) = mpsc::channel();
        for _ in 0..5 {
            let sender = sender.clone();
            let tell = move |outcome: Result<_, _>| sender.send(outcome).expect("the test waits");
            stream.submit(records(&[b"never"]), tell).expect("there is room");
        }
        drop(gate);
        for _ in 0..5 {
            let outcome = outcomes.recv_timeout(DEADLINE).expect("an answer comes");
            assert!(matches!(outcome, Err(AppendError::Poisoned { .. })));
        }
        assert!(owner.notes.lock().durable.is_empty());
    }
}

#[test]
fn the_queue_is_bounded_and_takes_any_size_when_empty() {
    let disk = FaultyDisk::new(1);
    let options = Options { queue_bytes_max: 1000, queue_records_max: 3, ..quiet_options() };
    let stream = open_with(&disk, options, &Noting::default());
    append(&stream, &[&[1; 5000]]).expect("an empty queue takes it");
    let gate = hold_writer(&stream);
    stream.submit(records(&[&[1; 800]]), drop).expect("there is room");
    let refused = stream.submit(records(&[&[1; 800]]), drop);
    assert!(matches!(refused, Err(SubmitError::QueueFull { records: 1, .. })));
    stream.submit(records(&[&[1; 8]]), drop).expect("there is room for a little one");
    stream.submit(records(&[&[1; 8]]), drop).expect("and one more");
    assert!(matches!(stream.rotate(), Err(SubmitError::QueueFull { records: 3, .. })));
    stream.probe(drop).expect("a probe goes before all that");
    drop(gate);
    wait_for(|tell| while_full(|tell| stream.submit(Vec::new(), tell), tell)).expect("a barrier");
}

#[test]
fn a_probe_goes_before_all_that_waits_and_is_bounded_too() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    let gate = hold_writer(&stream);
    let (sender, told) = mpsc::channel();
    for number in 0..20 {
        let sender = sender.clone();
        let tell = move |_| sender.send(number).expect("the test waits");
        // More than one batch.
        stream.submit(records(&[&vec![1; 1 << 20]]), tell).expect("there is room");
    }
    let syncs = disk.counts().syncs;
    let at_probe = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (seen, counted) = (std::sync::Arc::clone(&at_probe), disk.clone());
    let probed = move |outcome: Result<(), _>| {
        seen.store(counted.counts().syncs, std::sync::atomic::Ordering::Relaxed);
        sender.send(usize::from(outcome.is_err()) + 100).expect("the test waits");
    };
    stream.probe(probed).expect("there is room");
    while stream.probe(drop).is_ok() {}
    drop(gate);
    assert_eq!(told.recv_timeout(DEADLINE), Ok(100), "it is told first, and well");
    assert!(at_probe.load(std::sync::atomic::Ordering::Relaxed) > syncs, "after a sync");
    assert_eq!(told.iter().collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

/// Tries until the queue has room.
fn while_full<T: 'static>(
    submit: impl Fn(Box<dyn FnOnce(T) + Send>) -> Result<(), SubmitError>,
    tell: Box<dyn FnOnce(T) + Send>,
) {
    let tell = std::sync::Arc::new(parking_lot::Mutex::new(Some(tell)));
    loop {
        let once = std::sync::Arc::clone(&tell);
        let told = Box::new(move |outcome| {
            if let Some(tell) = once.lock().take() {
                tell(outcome);
            }
        });
        if submit(told).is_ok() {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_hanging_sync_shows_and_reads_go_on() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    let at = append(&stream, &[b"readable"]).expect("it is acked")[0];
    let gate = disk.gate(Op::Sync);
    let (sender, outcome) = mpsc::channel();
    let tell = move |outcome: Result<_, _>| sender.send(outcome).expect("the test waits");
    stream.submit(records(&[b"hangs"]), tell).expect("there is room");
    while stream.status().stalled_ms < 20 {
        let mut record = vec![0; at.len as usize];
        stream.read_exact_at(at.file, at.offset, &mut record).expect("reads go on");
        assert!(outcome.try_recv().is_err(), "nothing is acked before the sync");
    }
    gate.open();
    outcome.recv_timeout(DEADLINE).expect("an answer comes").expect("it is acked");
    assert_eq!(stream.status().stalled_ms, 0);
}

#[test]
fn a_probe_is_a_durable_append_even_when_nothing_else_is() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    for _ in 0..2000 {
        let before = disk.counts().syncs;
        probe(&stream).expect("it is durable");
        assert!(disk.counts().syncs > before);
    }
    let next = disk.crash(1);
    drop(stream);
    let owner = Noting::default();
    let stream = open(&next, &owner);
    assert!(owner.bodies().is_empty() && owner.notes.lock().damaged.is_empty());
    assert!(stream.status().files.len() > 1, "marks fill files like anything else");
}

#[test]
fn close_finishes_what_is_queued() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    let gate = hold_writer(&stream);
    let (sender, outcomes) = mpsc::channel();
    for _ in 0..50 {
        let sender = sender.clone();
        let tell = move |outcome: Result<Vec<_>, _>| sender.send(outcome.is_ok()).expect("the test waits");
        stream.submit(records(&[b"queued"]), tell).expect("there is room");
    }
    drop(gate);
    stream.close();
    assert_eq!(outcomes.try_iter().filter(|acked| *acked).count(), 50);
}

#[test]
fn the_last_handle_may_be_dropped_in_a_callback() {
    let disk = FaultyDisk::new(1);
    let stream = std::sync::Arc::new(open(&disk, &Noting::default()));
    let gate = hold_writer(&stream);
    let handle = std::sync::Arc::clone(&stream);
    wait_for(|tell: Box<dyn FnOnce(bool) + Send>| {
        let done = move |outcome: Result<_, _>| {
            drop(handle);
            tell(outcome.is_ok());
        };
        stream.submit(records(&[b"last"]), done).expect("there is room");
        drop(stream);
        drop(gate);
    });
}

#[test]
fn a_panic_in_a_callback_leaves_nobody_waiting() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    let gate = hold_writer(&stream);
    stream.submit(records(&[b"panics"]), |_| panic!("on purpose, in a test")).expect("there is room");
    let behind = {
        let (sender, receiver) = mpsc::channel();
        let tell = move |outcome: Result<Vec<_>, _>| sender.send(outcome.is_ok()).expect("the test waits");
        stream.submit(records(&[b"behind it"]), tell).expect("there is room");
        receiver
    };
    drop(gate);
    assert_eq!(behind.recv_timeout(DEADLINE), Ok(false), "told, though its batch was written");
    while stream.submit(Vec::new(), drop) != Err(SubmitError::Closed) {
        std::thread::yield_now();
    }
    assert!(stream.status().poisoned.is_some());
}
