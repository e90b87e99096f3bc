//! Each fault happens once, where and as it was ordered.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FILE, found, path, with_file};
use crate::disk::{Disk, File};
use crate::faulty::{Counts, Failure, Fault, FaultyDisk, Op, Plan};

#[test]
fn a_failed_sync_is_reported_once_by_each_descriptor_and_what_it_lost_stays_lost() {
    let mut durable = BTreeSet::new();
    for seed in 0..60 {
        let disk = FaultyDisk::new(seed);
        let file = disk.create(Path::new("file")).expect("it is made");
        disk.sync_dir(Path::new(".")).expect("it is synced");
        let other = disk.open(Path::new("file")).expect("it is there");
        disk.fail(Op::Sync, 1);
        file.write_all_at(b"x", 0).expect("it is written");
        file.sync_data().expect_err("ordered");
        let late = disk.open(Path::new("file")).expect("it is there");
        late.sync_data().expect("the failure was reported before it was opened");
        file.sync_data().expect("it was reported");
        other.sync_data().expect_err("each reports it");
        other.sync_data().expect("once");
        assert_eq!(disk.bytes(Path::new("file")), Some(b"x".to_vec()), "it can be read");
        // Not even keeping all that is pending brings it back.
        durable.extend(disk.crash(1).bytes(Path::new("file")));
    }
    assert_eq!(durable.len(), 2, "lost, or not");
}

#[test]
fn a_write_back_that_fails_unnoticed_is_reported_to_who_opens_the_file_later() {
    let (disk, file) = with_file(b"old");
    disk.order(Fault::new(Op::Write, 1, Failure::LostLater));
    file.write_all_at(b"new", 0).expect("nobody knows yet");
    disk.open(Path::new(FILE)).expect("it is there").sync_data().expect_err("it is told");
    file.sync_data().expect_err("so is this");
    disk.open(Path::new(FILE)).expect("it is there").sync_data().expect("nothing new");
    assert_eq!(found(&disk), b"new");
    assert_eq!(found(&disk.crash(1)), b"old");
}

#[test]
fn a_failed_sync_of_a_directory_loses_names_for_good() {
    let seen: BTreeSet<_> = (0..40)
        .map(|seed| {
            let disk = FaultyDisk::new(seed);
            drop(disk.create(Path::new("file")).expect("it is made"));
            disk.fail(Op::SyncDir, 1);
            disk.sync_dir(Path::new(".")).expect_err("ordered");
            disk.sync_dir(Path::new(".")).expect("says nothing of it");
            disk.crash(1).exists(Path::new("file")).expect("it can be asked")
        })
        .collect();
    assert_eq!(seen.len(), 2);
}

/// Does one operation of the kind, on a disk where all of them succeed.
fn operate(disk: &FaultyDisk, file: &dyn File, op: Op, round: u64) -> io::Result<()> {
    let fresh = PathBuf::from(format!("/dir/{op:?}-{round}"));
    let mut buf = [0; 8];
    match op {
        Op::Read => file.read_exact_at(&mut buf, 0),
        Op::Write => file.write_all_at(&[round as u8; 8], 0),
        Op::Sync => file.sync_data(),
        Op::SyncDir => disk.sync_dir(Path::new("/dir")),
        Op::Allocate => file.allocate(0, 4096),
        Op::Create => disk.create(&fresh).map(drop),
        Op::Open => disk.open(Path::new(FILE)).map(drop),
        Op::Rename => disk.rename(Path::new(FILE), Path::new(FILE)),
        Op::Remove => match disk.remove(&path(9)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        },
        Op::CreateDir => disk.create_dir_all(&fresh),
        Op::List => disk.list(Path::new("/dir")).map(drop),
    }
}

#[test]
fn each_fault_happens_once_and_where_it_was_planned() {
    for op in Op::ALL {
        for failure in op.failures() {
            for nth in 1..4 {
                let (disk, file) = with_file(b"somewhat");
                let before = disk.counts();
                let fault = Fault::new(op, nth, *failure);
                disk.order(fault.clone());
                for round in 1..6 {
                    let outcome = operate(&disk, file.as_ref(), op, round);
                    let fired = disk.fired();
                    assert_eq!(fired.len(), usize::from(round >= nth), "{fault}, round {round}");
                    let shows = matches!(failure, Failure::Broken | Failure::Full)
                        || (*failure, op) == (Failure::Short, Op::Write);
                    assert_eq!(outcome.is_err(), shows && round == nth, "{fault}, round {round}");
                }
                assert_eq!(disk.fired(), [fault]);
                // A short read is made good by another one.
                assert!(disk.counts().since(&before).of(op) >= 5);
            }
        }
    }
}

#[test]
fn a_fault_and_a_gate_meet_the_files_they_are_aimed_at() {
    let (disk, file) = with_file(b"");
    let other = disk.create(&path(2)).expect("it is made");
    disk.fail(Op::Write.on("/file"), 2);
    let gate = disk.gate(Op::Sync.on("/dir/2"));
    for _ in 0..3 {
        other.write_all_at(b"x", 0).expect("it is not meant");
    }
    file.write_all_at(b"x", 0).expect("the first is not meant");
    file.write_all_at(b"x", 0).expect_err("the second is");
    file.sync_data().expect("the gate is not for it");
    assert_eq!(gate.waiting(), 0);
}

#[test]
fn what_is_written_while_a_sync_waits_is_not_covered_by_it() {
    let (disk, file) = with_file(b"---");
    file.write_all_at(b"a", 0).expect("it is written");
    let gate = disk.gate(Op::Sync);
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| file.sync_data());
        gate.wait_for_arrival();
        assert_eq!(found(&disk.moments()[0].crash(0)), b"---", "nothing is durable before it ends");
        file.write_all_at(b"b", 1).expect("it is written");
        gate.open();
        syncing.join().expect("no panic").expect("it is synced");
    });
    assert_eq!(found(&disk.crash(0)), b"a--");
}

#[test]
fn what_waits_at_a_gate_fails_when_the_power_does() {
    let (disk, file) = with_file(b"old");
    let gate = disk.gate(Op::Write);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| file.write_all_at(b"new", 0));
        gate.wait_for_arrival();
        let crashed = disk.crash(1);
        writing.join().expect("no panic").expect_err("the power failed");
        assert_eq!(found(&crashed), b"old");
    });
}

#[test]
fn a_bad_range_fails_until_it_is_rewritten_and_outlives_a_crash() {
    let (disk, file) = with_file(&[1; 3000]);
    assert!(disk.make_unreadable(Path::new(FILE), 1000..1010));
    let mut buf = [0; 100];
    for _ in 0..3 {
        file.read_at(&mut buf, 950).expect_err("it is bad");
    }
    file.read_at(&mut buf, 900).expect("it is not touched");
    file.write_all_at(&[2; 5], 1000).expect("it is written");
    file.read_at(&mut buf[..50], 955).expect("this part is good again");
    file.read_at(&mut buf[..1], 1005).expect_err("this one is bad");
    file.write_all_at(&[2; 10], 1000).expect("it is written");
    file.read_at(&mut buf, 950).expect("all is good again");
    // The rewriting was lost.
    let crashed = disk.crash(0).open(Path::new(FILE)).expect("it is there");
    crashed.read_at(&mut buf, 950).expect_err("it is bad");
}

#[test]
fn flips_and_short_transfers_show() {
    let (disk, file) = with_file(&[0; 64]);
    let ones = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
    let mut buf = [0; 64];
    disk.order(Fault::new(Op::Read, 1, Failure::Flipped));
    file.read_at(&mut buf, 0).expect("it says nothing");
    assert_eq!((ones(&buf), ones(&found(&disk))), (1, 0), "on the way");
    disk.order(Fault::new(Op::Write, 1, Failure::Flipped));
    file.write_all_at(&[0; 64], 0).expect("it says nothing");
    file.sync_data().expect("it says nothing");
    assert_eq!((ones(&found(&disk)), ones(&found(&disk.crash(0)))), (1, 1), "for good");
    let (disk, file) = with_file(&[0; 64]);
    disk.order(Fault::new(Op::Read, 1, Failure::Short));
    assert!((1..64).contains(&file.read_at(&mut buf, 0).expect("a part of it")));
    disk.order(Fault::new(Op::Write, 1, Failure::Short));
    file.write_all_at(&[255; 64], 0).expect_err("it broke off");
    let written = found(&disk);
    let len = written.iter().take_while(|byte| **byte == 255).count();
    assert!(written[len..].iter().all(|byte| *byte == 0), "a part from the front");
}

#[test]
fn a_misdirected_write_lands_whole_sectors_away_in_the_file_or_nowhere() {
    for seed in 0..50 {
        let disk = FaultyDisk::new(seed);
        let path = Path::new("file");
        let file = disk.create(path).expect("it is made");
        disk.sync_dir(Path::new(".")).expect("it is synced");
        file.write_all_at(&[0; 4000], 0).expect("it is written");
        disk.order(Fault::new(Op::Write, 1, Failure::Misdirected));
        file.write_all_at(&[7; 600], 1030).expect("it says nothing");
        file.sync_data().expect("it says nothing");
        let now = disk.moments().pop().expect("the present one");
        let bytes = now.crash(0).bytes(path).expect("it is there");
        let landed = bytes.iter().position(|byte| *byte == 7).expect("it lands somewhere");
        assert!(landed % 512 == 1030 % 512 && landed != 1030, "seed {seed}: at {landed}");
        assert_eq!(bytes.len(), 4000);
        assert!(
            bytes.iter().enumerate().all(|(at, byte)| (*byte == 7) == (landed..landed + 600).contains(&at))
        );
        disk.order(Fault::new(Op::Write, 1, Failure::Misdirected));
        file.write_all_at(&[9; 4000], 0).expect("it says nothing");
        assert_eq!(disk.bytes(path), Some(bytes), "there is no other place for all of it");
    }
}

#[test]
fn without_power_nothing_goes_and_nothing_counts() {
    let (disk, file) = with_file(b"somewhat");
    disk.fail_power_after(0);
    let before = disk.counts();
    for op in Op::ALL {
        if op != Op::Remove {
            operate(&disk, file.as_ref(), op, 1).expect_err("there is no power");
        }
    }
    disk.remove(Path::new(FILE)).expect_err("there is no power");
    file.len().expect_err("there is no power");
    disk.lock(Path::new("/lock")).expect_err("there is no power");
    assert_eq!(disk.counts(), before);
}

#[test]
fn a_plan_is_the_same_for_the_same_seed_and_says_what_it_does() {
    let within = Counts { writes: 3, syncs: 2, steps: 5, ..Counts::default() };
    let plan = Plan::random(7, &within, 5);
    assert_eq!((plan.0.len(), &plan), (5, &Plan::random(7, &within, 5)));
    assert_eq!(Plan::random(7, &Counts::default(), 5), Plan::default(), "nothing is done that could fail");
    let fault = Fault::new(Op::Write.on(".log"), 3, Failure::Full);
    let plan = Plan(vec![fault, Fault::new(Op::Sync, 1, Failure::Broken)]);
    assert_eq!(plan.to_string(), "Write 3 on .log: Full, Sync 1: Broken");
    let (disk, file) = with_file(b"");
    disk.order_all(&plan);
    file.sync_data().expect_err("ordered");
    assert_eq!(disk.fired(), plan.0[1..]);
    // Of two that are due at once, the second has to wait for the next.
    disk.fail(Op::Sync, 1);
    disk.fail(Op::Sync, 1);
    file.sync_data().expect_err("the first");
    file.sync_data().expect_err("the second");
    file.sync_data().expect("no more");
}

#[test]
fn what_is_open_for_reading_alone_cannot_be_changed() {
    let (faulty, _file) = with_file(b"some bytes");
    let dir = tempfile::tempdir().expect("a directory for tests");
    let real = dir.path().join("file");
    std::fs::write(&real, b"some bytes").expect("it is written");
    let disks: [(Arc<dyn Disk>, &Path); 2] =
        [(Arc::new(faulty), Path::new(FILE)), (Arc::new(crate::real::RealDisk), &real)];
    for (disk, path) in disks {
        let writer = disk.open(path).expect("it is there");
        let file = disk.open_read_only(path).expect("though another has it open");
        file.write_all_at(b"x", 0).expect_err("not through this one");
        file.set_len(1).expect_err("not through this one");
        file.allocate(0, 9000).expect_err("not through this one");
        writer.write_all_at(b"more", 0).expect("through the other one");
        let mut buf = [0; 10];
        file.read_exact_at(&mut buf, 0).expect("it can be read");
        assert_eq!(&buf, b"more bytes");
        let missing = disk.open_read_only(Path::new("/nowhere/to/be/found")).err().expect("it is not there");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
