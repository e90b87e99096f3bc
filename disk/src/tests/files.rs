//! Files of the chain: crossing from one to the next, large records, what a kill leaves, and space.

use std::sync::Arc;
use std::time::Duration;

use crate::append_file::HEADER_BYTES;
use crate::breakable::BreakableDisk;
use crate::disk::{Disk, write_atomically};
use crate::faulty::{FaultyDisk, Op};
use crate::format::FileId;
use crate::real::RealDisk;
use crate::replay::histories;
use crate::stream::{AppendError, Options, Stream, SubmitError};
use crate::testing::{
    Noting, Plain, append, hold_writer, open, open_with, path_of, probe, quiet_options, records, wait_for,
};

fn many(count: usize, len: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| [number.to_le_bytes().as_slice(), &vec![7; len - 8]].concat()).collect()
}

fn slices(bodies: &[Vec<u8>]) -> Vec<&[u8]> {
    bodies.iter().map(Vec::as_slice).collect()
}

#[test]
fn a_batch_that_crosses_a_file_is_whole_and_in_order() {
    let disk = FaultyDisk::new(1);
    let owner = Noting { first: Some(b"first"), ..Noting::default() };
    let stream = open(&disk, &owner);
    let bodies = many(60, 1000);
    let gate = hold_writer(&stream);
    let (sender, places) = std::sync::mpsc::channel();
    for body in &bodies {
        let sender = sender.clone();
        let tell = move |outcome: Result<_, _>| sender.send(outcome).expect("the test waits");
        stream.submit(records(&[body]), tell).expect("there is room");
    }
    let before = disk.counts();
    drop(gate);
    let places: Vec<_> =
        (0..60).map(|_| places.recv().expect("an answer").expect("it is acked")[0]).collect();
    assert!(places.is_sorted());
    assert_eq!(places.iter().map(|at| at.file).max(), Some(FileId(3)));
    // Two crossings: each syncs run, seal and the new file (header and name); then the last run.
    let after = disk.counts();
    assert_eq!((after.syncs - before.syncs, after.dir_syncs - before.dir_syncs), (2 * 3 + 1, 2));
    let notes = owner.notes.lock().clone();
    assert_eq!(notes.begun, [FileId(1), FileId(2), FileId(3)]);
    assert_eq!(notes.sealed.iter().map(|(file, _)| *file).collect::<Vec<_>>(), [FileId(1), FileId(2)]);
    assert_eq!(notes.durable.iter().map(|(at, _)| *at).collect::<Vec<_>>(), places);
    assert_eq!(notes.durable.iter().map(|(_, body)| body.clone()).collect::<Vec<_>>(), bodies);
    for (at, body) in places.iter().zip(&bodies) {
        let mut record = vec![0; at.len as usize];
        stream.read_exact_at(at.file, at.offset, &mut record).expect("it can be read");
        assert_eq!(Plain::body(&record), *body);
    }
}

#[test]
fn a_record_larger_than_a_file_gets_a_file_of_its_own() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    append(&stream, &[b"small"]).expect("it is acked");
    let large = vec![9; 100_000];
    let at = append(&stream, &[&large]).expect("it is acked")[0];
    assert_eq!(at.file, FileId(2));
    let after = append(&stream, &[b"small again"]).expect("it is acked")[0];
    let disk = disk.restart();
    drop(stream);
    let owner = Noting::default();
    let stream = open(&disk, &owner);
    assert_eq!(owner.bodies(), [b"small".to_vec(), large, b"small again".to_vec()]);
    assert!(stream.reader(at.file).is_some_and(|reader| reader.end() >= at.offset + u64::from(at.len)));
    assert!(after.file >= at.file);
}

#[test]
fn a_large_record_comes_before_the_file_that_was_prepared() {
    let disk = FaultyDisk::new(1);
    let stream = open_with(&disk, Options { zero_ahead_bytes: 4096, ..quiet_options() }, &Noting::default());
    wait_until(|| stream.status().room_bytes > 40_000);
    let large = append(&stream, &[&vec![9; 100_000]]).expect("it is acked")[0];
    let bodies = many(40, 1000);
    let small = append(&stream, &slices(&bodies[..10])).expect("it is acked");
    assert!(small[0] > large, "files are used in the order of their ids");
    for body in &bodies[10..] {
        append(&stream, &[body]).expect("it is acked");
    }
    drop(stream);
    let owner = Noting::default();
    let _stream = open(&disk, &owner);
    assert_eq!(owner.bodies()[1..], bodies);
    assert_eq!(owner.notes.lock().damaged, []);
}

fn wait_until(condition: impl Fn() -> bool) {
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    for _ in 0..20_000 {
        if condition() {
            return;
        }
        let _ = receiver.recv_timeout(Duration::from_millis(1));
    }
    panic!("it comes true in time");
}

#[test]
fn zeroing_ahead_never_touches_what_was_appended() {
    let disk = FaultyDisk::new(1);
    let options = Options {
        zero_ahead_bytes: 4096,
        file_bytes: 64 << 10,
        idle_mark_after: Duration::from_micros(100),
        ..quiet_options()
    };
    let stream = open_with(&disk, options, &Noting::default());
    let bodies = many(600, 500);
    for body in &bodies {
        append(&stream, &[body]).expect("it is acked");
    }
    let crashed = disk.crash(3);
    drop(stream);
    let owner = Noting::default();
    let _stream = open(&crashed, &owner);
    assert_eq!(owner.bodies(), bodies);
    assert_eq!(owner.notes.lock().damaged, []);
}

#[test]
fn appends_wait_neither_for_the_next_file_nor_for_its_zeros_and_use_it_once_it_is_there() {
    let disk = FaultyDisk::new(1);
    let next = path_of(FileId(2)).display().to_string();
    let options = Options { zero_ahead_bytes: 4096, ..quiet_options() };
    let fill = |stream: &Stream<Plain>| {
        for _ in 0..5 {
            append(stream, &[&[7; 4000]]).expect("it is acked");
        }
    };
    // All that is done for the next file hangs, in turn.
    let making = disk.gate(Op::Allocate.on(&next));
    let stream = open_with(&disk, options, &Noting::default());
    making.wait_for_arrival();
    fill(&stream);
    let zeroing = disk.gate(Op::Write.on(next));
    making.open();
    zeroing.wait_for_arrival();
    append(&stream, &[b"while its header is written"]).expect("it is acked");
    zeroing.open();
    wait_until(|| stream.status().room_bytes > 32 << 10);
    let header = disk.counts().creations;
    // A third file would be made only now, and is not waited for either.
    let making = disk.gate(Op::Create);
    fill(&stream);
    assert_eq!(stream.status().active, Some(FileId(2)));
    making.wait_for_arrival();
    assert_eq!(disk.counts().creations, header);
    making.open();
}

#[test]
fn leftovers_of_a_kill_are_removed_or_used() {
    let disk = FaultyDisk::new(1);
    let stream = open_with(&disk, Options { zero_ahead_bytes: 4096, ..quiet_options() }, &Noting::default());
    append(&stream, &[b"kept"]).expect("it is acked");
    wait_until(|| stream.status().room_bytes > 40_000);
    drop(stream);
    let prepared = path_of(FileId(2));
    assert!(disk.exists(&prepared).expect("it can be asked"));
    let half_made = std::path::PathBuf::from("/stream/0000000000000003.log.new");
    disk.create(&half_made).expect("it is made");
    let strange = std::path::PathBuf::from("/stream/somebody-elses.log");
    disk.create(&strange).expect("it is made");

    let owner = Noting::default();
    let stream = open(&disk, &owner);
    assert_eq!(owner.bodies(), [b"kept".to_vec()]);
    assert!(!disk.exists(&half_made).expect("it can be asked"));
    assert!(disk.exists(&strange).expect("it can be asked"), "what is not ours is left alone");
    assert_eq!(stream.status().active, Some(FileId(1)));
    stream.rotate().expect("there is room");
    let allocations = disk.counts().allocations;
    let at = append(&stream, &[b"next"]).expect("it is acked")[0];
    assert_eq!(at.file, FileId(2));
    assert_eq!(disk.counts().allocations, allocations, "the prepared file was used");
}

#[test]
fn a_sealed_file_can_be_removed_while_it_is_read() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    let at = append(&stream, &[b"soon gone"]).expect("it is acked")[0];
    let refused = stream.remove_file(at.file).expect_err("it is active");
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    stream.rotate().expect("there is room");
    append(&stream, &[b"next"]).expect("it is acked");
    let reader = stream.reader(at.file).expect("it is there");
    let allocated = stream.status().allocated_bytes;
    stream.remove_file(at.file).expect("it goes");
    assert_eq!(stream.status().allocated_bytes, allocated - (32 << 10));
    let mut record = vec![0; at.len as usize];
    reader.read_exact_at(at.offset, &mut record).expect("who has it, keeps it");
    assert_eq!(Plain::body(&record), b"soon gone");
    let gone = stream.read_exact_at(at.file, at.offset, &mut record).expect_err("it is gone");
    assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_removal_whose_sync_failed_is_never_tried_again_and_poisons() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    let at = append(&stream, &[b"in the first file"]).expect("it is acked")[0];
    stream.rotate().expect("there is room");
    append(&stream, &[b"in the next"]).expect("it is acked");
    disk.fail(Op::SyncDir, 1);
    stream.remove_file(at.file).expect_err("the sync failed");
    let steps = disk.counts().steps;
    let again = stream.remove_file(at.file).expect_err("it stays so").to_string();
    assert!(again.contains("restart to recover"), "{again}");
    assert!(matches!(append(&stream, &[b"more"]), Err(AppendError::Poisoned { .. })));
    assert_eq!(disk.counts().steps, steps);
    assert!(stream.status().files.contains(&at.file), "it may be there after a crash");
}

#[test]
fn a_file_whose_removal_was_lost_stays_gone_also_after_a_restart_before_the_crash() {
    for seed in 0..20 {
        let disk = FaultyDisk::new(seed);
        let stream = open(&disk, &Noting::default());
        let at = append(&stream, &[b"in the first file"]).expect("it is acked")[0];
        stream.rotate().expect("there is room");
        append(&stream, &[b"in the next"]).expect("it is acked");
        disk.fail(Op::SyncDir, 1);
        stream.remove_file(at.file).expect_err("the sync failed");
        let killed = disk.restart();
        drop(stream);
        // The name is gone for now, and a sync of the directory says that all is well.
        drop(open(&killed, &Noting::default()));
        for crashed in [killed.crash(seed % 4), disk.crash(0)] {
            let owner = Noting::default();
            let stream = open(&crashed, &owner);
            assert_eq!(owner.bodies(), [b"in the next".to_vec()], "seed {seed}");
            assert_eq!(owner.notes.lock().damaged, []);
            assert!(!crashed.exists(&path_of(at.file)).expect("a sound disk"));
            assert_eq!(stream.status().allocated_bytes, 32 << 10);
        }
    }
}

#[test]
fn a_full_disk_refuses_without_poison_and_recovers() {
    let disk = FaultyDisk::new(1);
    let options = Options { capacity_bytes: Some(96 << 10), reserve_bytes: 32 << 10, ..quiet_options() };
    let stream = open_with(&disk, options, &Noting::default());
    let bodies = many(100, 1000);
    let mut acked = 0;
    let full = loop {
        match append(&stream, &[&bodies[acked]]) {
            Ok(_) => acked += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(full, AppendError::Full { used_bytes: 65_536, reserve_bytes: 32_768, .. }),
        "two files are used, the third is the reserve: {full}"
    );
    assert_eq!(stream.status().poisoned, None);
    let writes = disk.counts().writes;
    assert!(append(&stream, &[&bodies[acked]]).is_err());
    assert_eq!(disk.counts().writes, writes, "nothing is written");
    for _ in 0..1000 {
        append(&stream, &[&bodies[acked]]).expect_err("it is still full");
    }

    // Who makes room may use the reserve; others still may not, though there is room in that file.
    let reserved = wait_for(|tell| {
        stream.submit_from_reserve(records(&[&bodies[0]]), tell).expect("the queue has room");
    });
    assert_eq!(reserved.expect("it is acked")[0].file, FileId(3), "no id was used up by what was refused");
    assert!(matches!(append(&stream, &[&bodies[acked]]), Err(AppendError::Full { .. })));
    stream.remove_file(FileId(1)).expect("it goes");
    assert!(append(&stream, &[&bodies[acked]]).is_ok(), "appends go on by themselves");
}

/// A full stream in whose reserve one record was put.
fn in_reserve(disk: &FaultyDisk, options: &Options) -> Stream<Plain> {
    let stream = open_with(disk, options.clone(), &Noting::default());
    while append(&stream, &[&[7; 1000]]).is_ok() {}
    let reserved = wait_for(|tell| {
        stream.submit_from_reserve(records(&[&[7; 1000]]), tell).expect("the queue has room");
    });
    reserved.expect("the reserve takes it");
    stream
}

fn small_with_reserve() -> Options {
    let capacity_bytes = Some(96 << 10);
    Options { capacity_bytes, reserve_bytes: 32 << 10, keeps_reserve: true, ..quiet_options() }
}

#[test]
fn the_reserve_is_kept_across_a_restart_and_shows_as_no_room() {
    let disk = FaultyDisk::new(1);
    let options = small_with_reserve();
    drop(in_reserve(&disk, &options));
    for _ in 0..2 {
        let stream = open_with(&disk, options.clone(), &Noting::default());
        assert_eq!(stream.status().room_bytes, 0);
        assert!(matches!(append(&stream, &[b"more"]), Err(AppendError::Full { .. })));
        let reserved = wait_for(|tell| {
            stream.submit_from_reserve(records(&[b"makes room"]), tell).expect("the queue has room");
        });
        assert!(reserved.expect("the reserve takes it")[0].file > FileId(2));
    }
    let stream = open_with(&disk, options, &Noting::default());
    stream.remove_file(FileId(1)).expect("it goes");
    assert!(stream.status().room_bytes > 20_000, "room shows before anybody appends");
    append(&stream, &[b"more"]).expect("the reserve is whole again");
}

#[test]
fn a_stream_that_never_takes_of_its_reserve_goes_on_in_its_last_file() {
    let disk = FaultyDisk::new(1);
    let options = small_with_reserve();
    drop(in_reserve(&disk, &options));
    let stream = open_with(&disk, Options { keeps_reserve: false, ..options }, &Noting::default());
    append(&stream, &[b"more"]).expect("there is room in the file");
}

#[test]
fn probes_of_a_full_stream_work_and_take_nothing_of_the_reserve() {
    let disk = FaultyDisk::new(1);
    let stream = in_reserve(&disk, &small_with_reserve());
    probe(&stream).expect("it leaves the one mark that is due");
    let end = stream.status().end;
    for _ in 0..2000 {
        let syncs = disk.counts().syncs;
        probe(&stream).expect("the write path works");
        assert!(disk.counts().syncs > syncs);
    }
    assert_eq!(stream.status().end, end);
    disk.fail(Op::Sync, 1);
    assert!(matches!(probe(&stream), Err(AppendError::Poisoned { .. })), "a broken one shows");
}

#[test]
fn no_space_for_a_file_is_full_and_no_poison() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    append(&stream, &[&[1; 20_000]]).expect("it is acked");
    disk.fill(Op::Allocate, 1);
    assert!(matches!(append(&stream, &[&[2; 20_000]]), Err(AppendError::Full { .. })));
    assert!(append(&stream, &[b"small"]).is_ok(), "what fits still goes in");
    assert!(append(&stream, &[&[2; 20_000]]).is_ok(), "and space came back");
    assert_eq!(stream.status().poisoned, None);
}

#[test]
fn a_next_file_that_cannot_be_made_is_no_poison() {
    let faults: [&dyn Fn(&FaultyDisk); 4] = [
        &|disk| disk.fail(Op::Create, 1),
        &|disk| disk.fail(Op::Write, 1),
        &|disk| disk.fail(Op::Sync, 1),
        &|disk| disk.fail(Op::SyncDir, 1),
    ];
    for (number, order) in faults.iter().enumerate() {
        let disk = FaultyDisk::new(1);
        let options = Options { records_stand_alone: true, ..quiet_options() };
        let stream = open_with(&disk, options, &Noting::default());
        append(&stream, &[&[1; 20_000]]).expect("it is acked");
        order(&disk);
        let refused = append(&stream, &[&[2; 20_000]]);
        assert!(matches!(refused, Err(AppendError::NoNextFile { .. })), "fault {number}: {refused:?}");
        append(&stream, &[b"small"]).expect("what fits still goes in");
        append(&stream, &[&[2; 20_000]]).expect("and the next try succeeds");
        let crashed = disk.crash(1);
        drop(stream);
        let owner = Noting::default();
        let _stream = open(&crashed, &owner);
        assert_eq!(owner.bodies(), [vec![1; 20_000], b"small".to_vec(), vec![2; 20_000]], "fault {number}");
    }
}

#[test]
fn a_next_file_that_cannot_be_made_leaves_no_gap_in_records_that_build_on_each_other() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    append(&stream, &[&[1; 20_000]]).expect("it is acked");
    disk.fail(Op::Create, 1);
    assert!(matches!(append(&stream, &[&[2; 20_000]]), Err(AppendError::Poisoned { .. })));
    assert!(append(&stream, &[b"behind the gap"]).is_err());
}

#[test]
fn a_stream_without_room_for_a_file_opens_for_reading() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    let at = append(&stream, &[b"old"]).expect("it is acked")[0];
    stream.rotate().expect("there is room");
    append(&stream, &[]).expect("a barrier");
    drop(stream);
    disk.set_free_bytes(0);
    let owner = Noting::default();
    let stream = open(&disk, &owner);
    assert_eq!(owner.bodies(), [b"old".to_vec()]);
    assert!(matches!(append(&stream, &[b"new"]), Err(AppendError::Full { .. })));
    stream.remove_file(at.file).expect("it goes");
    assert!(append(&stream, &[b"new"]).is_ok());
}

#[test]
fn emptiness_behind_the_records_is_read_once() {
    let disk = FaultyDisk::new(1);
    let options = Options { file_bytes: 8 << 20, ..quiet_options() };
    let stream = open_with(&disk, options.clone(), &Noting::default());
    append(&stream, &[b"little"]).expect("it is acked");
    drop(stream);
    let before = disk.counts().read_bytes;
    let _stream = open_with(&disk, options, &Noting::default());
    let read_bytes = disk.counts().read_bytes - before;
    assert!(read_bytes < 9 << 20, "{read_bytes} bytes were read of a file of 8 MiB");
}

#[test]
fn submissions_out_of_bounds_are_refused() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    let short = stream.submit(vec![vec![1; 8].into()], drop);
    assert!(matches!(short, Err(SubmitError::RecordSize { bytes: 8, .. })));
    let bodies = many(20, 1000);
    let long = stream.submit(records(&slices(&bodies)), drop);
    assert!(matches!(long, Err(SubmitError::SubmissionSize { .. })));
}

#[test]
fn an_owner_with_an_index_is_spared_the_sealed_files() {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    append(&stream, &[b"sealed"]).expect("it is acked");
    stream.rotate().expect("there is room");
    append(&stream, &[b"active"]).expect("it is acked");
    drop(stream);
    let owner = Noting { known: [(FileId(1), u64::MAX)].into(), ..Noting::default() };
    let stream = open(&disk, &owner);
    assert_eq!(owner.bodies(), [b"active".to_vec()]);
    assert_eq!(stream.status().files, [FileId(1), FileId(2)]);
    assert!(stream.reader(FileId(1)).is_some_and(|file| file.is_sealed() && file.end() > HEADER_BYTES));
}

#[test]
fn two_holders_of_one_lock_refuse_each_other() {
    let dir = tempfile::tempdir().expect("a directory for tests");
    let disks: [(Arc<dyn Disk>, std::path::PathBuf); 2] =
        [(Arc::new(FaultyDisk::new(1)), "/lock".into()), (Arc::new(RealDisk), dir.path().join("lock"))];
    for (disk, path) in disks {
        let held = disk.lock(&path).expect("nobody has it");
        let refused = disk.lock(&path).expect_err("somebody has it");
        assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
        drop(held);
        disk.lock(&path).expect("nobody has it any more");
    }
}

#[test]
fn the_real_disk_keeps_a_stream() {
    keeps_a_stream(&(Arc::new(RealDisk) as Arc<dyn Disk>));
}

#[test]
fn a_disk_that_forgets_keeps_a_stream_that_nobody_kills() {
    let dir = tempfile::tempdir().expect("a directory for tests");
    let orders = dir.path().join("orders");
    for start in ["", "forget = true", "forget = true\ntorn = true"] {
        std::fs::write(&orders, start).expect("written");
        keeps_a_stream(&(Arc::new(BreakableDisk::new(orders.clone()).expect("it watches")) as Arc<dyn Disk>));
    }
}

fn keeps_a_stream(disk: &Arc<dyn Disk>) {
    let dir = tempfile::tempdir().expect("a directory for tests");
    let options = Options {
        file_bytes: 64 << 10,
        zero_ahead_bytes: 16 << 10,
        reserve_bytes: 0,
        ..Options::new(dir.path().join("a/b"), "log")
    };
    let bodies = many(300, 1000);
    let stream =
        Stream::<Plain>::open(Arc::clone(disk), options.clone(), Noting::default()).expect("it opens");
    for chunk in bodies.chunks(20) {
        append(&stream, &slices(chunk)).expect("it is acked");
    }
    drop(stream);
    let owner = Noting::default();
    let stream = Stream::<Plain>::open(Arc::clone(disk), options, owner.clone()).expect("it opens");
    assert_eq!(owner.bodies(), bodies);
    assert_eq!(owner.notes.lock().damaged, []);
    drop(stream);
}

#[test]
fn an_atomic_write_is_old_or_new_at_every_crash() {
    let path = std::path::Path::new("/dir/file");
    let disk = FaultyDisk::new(1);
    disk.create_dir_all(std::path::Path::new("/dir")).expect("it is made");
    write_atomically(&disk, path, b"the old bytes").expect("it is written");
    disk.keep_moments();
    write_atomically(&disk, path, b"and the new ones").expect("it is written");
    let written = disk.counts().steps;
    for replay in histories(env!("CARGO_PKG_NAME"), "an_atomic_write_is_old_or_new_at_every_crash", 20) {
        for moment in replay.moments(&disk) {
            let found = moment.crash(replay.seed()).bytes(path).expect("one of them is there");
            let is_written = moment.steps() == written;
            assert!(found == b"and the new ones" || (!is_written && found == b"the old bytes"));
        }
    }
}

#[test]
fn what_was_never_written_is_told_from_what_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = RealDisk.create(&dir.path().join("file")).expect("it is made");
    let capacity = 8 << 20;
    file.allocate(0, capacity).expect("there is room");
    // Not synced: what is on its way to the disk counts too.
    let at = 5 << 20;
    file.write_all_at(&[7], at).expect("written");
    let mut from = 0;
    while from <= at {
        let next = file.next_data(from).expect("it can be asked");
        assert!((from..=at).contains(&next), "{next} from {from}: what was written is never passed over");
        from = next.max(from) + 4096;
    }
    assert!(file.next_data(at + 4096).expect("it can be asked") <= capacity);
    file.write_all_at(&[7], 3).expect("written");
    assert_eq!(file.next_data(0).expect("it can be asked"), 0);
}
