//! A crash loses nothing that was synced, may lose each thing that was not, and invents nothing.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::{FILE, disk, found, path, with_file};
use crate::disk::Disk;
use crate::faulty::{FaultyDisk, Op};

#[derive(Clone, Debug)]
enum Act {
    Write { at: u64, len: u64 },
    SetLen(u64),
    Sync,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0_u64..6000, 1_u64..3000).prop_map(|(at, len)| Act::Write { at, len }),
        1 => (0_u64..8000).prop_map(Act::SetLen),
        2 => Just(Act::Sync),
    ];
    prop::collection::vec(act, 0..24)
}

proptest! {
    /// Each byte is one that it had when it was last synced, or has had since. Each write writes bytes of its own.
    #[test]
    fn a_crash_keeps_what_was_synced_and_invents_nothing(acts in acts(), seeds in prop::collection::vec(any::<u64>(), 1..6)) {
        let (disk, file) = with_file(b"");
        // For each byte what it may be; and the lengths that the file may have.
        let mut may_be: Vec<BTreeSet<u8>> = vec![BTreeSet::from([0]); 10_000];
        let mut lens = BTreeSet::from([0]);
        for (act, mark) in acts.iter().zip(1_u8..) {
            match act {
                Act::Write { at, len } => {
                    file.write_all_at(&vec![mark; *len as usize], *at).expect("it is written");
                    may_be[*at as usize..(at + len) as usize].iter_mut().for_each(|byte| { byte.insert(mark); });
                    // Of a torn write, any sector may be the last.
                    lens.extend(*at..=at + len);
                }
                Act::SetLen(len) => {
                    file.set_len(*len).expect("it is set");
                    may_be[*len as usize..].iter_mut().for_each(|byte| { byte.insert(0); });
                    lens.insert(*len);
                }
                Act::Sync => {
                    file.sync_data().expect("it is synced");
                    let live = found(&disk);
                    lens = BTreeSet::from([live.len() as u64]);
                    for (byte, may_be) in live.iter().chain(std::iter::repeat(&0)).zip(&mut may_be) {
                        *may_be = BTreeSet::from([*byte]);
                    }
                }
            }
        }
        for seed in seeds.into_iter().chain([0, 1]) {
            let crashed = disk.crash(seed);
            let after = found(&crashed);
            prop_assert!(lens.contains(&(after.len() as u64)), "length {} of {lens:?}", after.len());
            for (at, byte) in after.iter().enumerate() {
                // What lies behind a length that was lost and a later write reads as zeros.
                prop_assert!(may_be[at].contains(byte) || *byte == 0 && lens.len() > 1, "byte {at} is {byte}");
            }
            // What a crash left is durable.
            prop_assert_eq!(found(&crashed.crash(seed ^ 1)), after);
            // And the same crash leaves the same.
            prop_assert_eq!(found(&disk.crash(seed)), found(&crashed));
        }
        prop_assert_eq!(found(&disk.crash(1)), found(&disk), "seed 1 loses nothing");
    }
}

/// What may be done to a few names.
#[derive(Clone, Debug)]
enum Naming {
    Create(u8),
    Rename(u8, u8),
    Remove(u8),
    Sync,
}

proptest! {
    #[test]
    fn a_synced_name_is_there_and_each_unsynced_change_may_or_may_not_be(
        namings in prop::collection::vec(prop_oneof![
            3 => (0..6_u8).prop_map(Naming::Create),
            2 => (0..6_u8, 0..6_u8).prop_map(|(from, to)| Naming::Rename(from, to)),
            2 => (0..6_u8).prop_map(Naming::Remove),
            1 => Just(Naming::Sync),
        ], 0..20),
        seed: u64,
    ) {
        let disk = disk();
        // For each name what it may stand for: the number of a file, or none.
        let mut may_be: Vec<BTreeSet<Option<u8>>> = vec![BTreeSet::from([None]); 6];
        let mut now: Vec<Option<u8>> = vec![None; 6];
        for (naming, number) in namings.iter().zip(0_u8..) {
            match naming {
                Naming::Create(name) if now[*name as usize].is_none() => {
                    let file = disk.create(&path(*name)).expect("it is made");
                    file.write_all_at(&[number], 0).expect("it is written");
                    file.sync_all().expect("it is synced");
                    now[*name as usize] = Some(number);
                }
                Naming::Rename(from, to) if from != to && now[*from as usize].is_some() => {
                    disk.rename(&path(*from), &path(*to)).expect("it is there");
                    now[*to as usize] = now[*from as usize].take();
                }
                Naming::Remove(name) if now[*name as usize].is_some() => {
                    disk.remove(&path(*name)).expect("it is there");
                    now[*name as usize] = None;
                }
                Naming::Sync => {
                    disk.sync_dir(Path::new("/dir")).expect("it is synced");
                    may_be = now.iter().map(|file| BTreeSet::from([*file])).collect();
                }
                _ => {}
            }
            for (may_be, now) in may_be.iter_mut().zip(&now) {
                may_be.insert(*now);
            }
        }
        for seed in [0, 1, seed] {
            let crashed = disk.crash(seed);
            for (name, may_be) in (0_u8..).zip(&may_be) {
                let file = crashed.bytes(&path(name)).map(|bytes| bytes[0]);
                prop_assert!(may_be.contains(&file), "{name} is {file:?} of {may_be:?}");
            }
        }
        let all_kept = disk.crash(1);
        for (name, file) in (0_u8..).zip(now) {
            prop_assert_eq!(all_kept.bytes(&path(name)).map(|bytes| bytes[0]), file, "seed 1 loses nothing");
        }
    }
}

#[test]
fn names_are_lost_independently_of_each_other_and_of_bytes() {
    let mut seen = BTreeSet::new();
    let disk = disk();
    for name in 0..3 {
        let file = disk.create(&path(name)).expect("it is made");
        file.write_all_at(b"never synced", 0).expect("it is written");
    }
    for seed in 0..400 {
        let crashed = disk.crash(seed);
        seen.insert([0, 1, 2].map(|name| crashed.bytes(&path(name)).map(|bytes| bytes.len())));
    }
    for there in 0..8 {
        let of = |name: usize| there & 1 << name != 0;
        let as_wanted = |names: &&[Option<usize>; 3]| (0..3).all(|name| names[name].is_some() == of(name));
        let lens: BTreeSet<_> = seen.iter().filter(as_wanted).flatten().flatten().collect();
        assert!(there == 0 || lens.len() == 2, "names {there:03b}: with bytes and without");
        assert!(seen.iter().any(|names| as_wanted(&names)), "names {there:03b}");
    }
}

#[test]
fn a_write_is_torn_at_any_sector_and_nowhere_else() {
    let (disk, file) = with_file(&[1; 4096]);
    file.write_all_at(&[2; 2048], 700).expect("it is written");
    let mut boundaries = BTreeSet::new();
    for seed in 0..500 {
        let after = found(&disk.crash(seed));
        let changes = (1..4096).filter(|at| after[*at] != after[at - 1]);
        boundaries.extend(changes);
    }
    assert_eq!(boundaries.into_iter().collect::<Vec<_>>(), [700, 1024, 1536, 2048, 2560, 2748]);
}

#[test]
fn later_writes_may_be_there_without_earlier_ones() {
    let (disk, file) = with_file(b"--");
    file.write_all_at(b"a", 0).expect("it is written");
    file.write_all_at(b"b", 1).expect("it is written");
    let all: BTreeSet<_> = (0..100).map(|seed| found(&disk.crash(seed))).collect();
    let wanted = [b"--", b"a-", b"-b", b"ab"].map(|bytes| bytes.to_vec());
    assert_eq!(all, BTreeSet::from(wanted));
}

#[test]
fn a_directory_that_was_not_synced_takes_its_files_along() {
    let disk = FaultyDisk::new(1);
    // The third step is the directory inside, the fourth its sync.
    disk.fail_power_after(3);
    disk.create_dir_all(Path::new("/out/in")).expect_err("the power fails");
    let both: BTreeSet<_> = (0..40)
        .map(|seed| {
            let crashed = disk.crash(seed);
            assert!(crashed.exists(Path::new("/out")).expect("it can be asked"), "it was synced");
            crashed.exists(Path::new("/out/in")).expect("it can be asked")
        })
        .collect();
    assert_eq!(both.len(), 2);
    disk.crash(0).create(Path::new("/out/in/file")).map(drop).expect_err("there is no such directory");
}

#[test]
fn a_file_is_lost_with_the_directory_it_was_synced_in() {
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let disk = FaultyDisk::new(seed);
        disk.fail(Op::SyncDir, 1);
        disk.create_dir_all(Path::new("/dir")).expect_err("ordered");
        // A careless user goes on.
        drop(disk.create(Path::new(FILE)).expect("it is seen"));
        disk.sync_dir(Path::new("/dir")).expect("it is seen");
        let crashed = disk.crash(1);
        let there = crashed.exists(Path::new("/dir")).expect("it can be asked");
        assert_eq!(crashed.bytes(Path::new(FILE)).is_some(), there, "seed {seed}");
        seen.insert(there);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_rename_between_directories_needs_both_synced() {
    let disk = disk();
    disk.create_dir_all(Path::new("/other")).expect("it is made");
    drop(disk.create(Path::new(FILE)).expect("it is made"));
    disk.sync_dir(Path::new("/dir")).expect("it is synced");
    disk.rename(Path::new(FILE), Path::new("/other/file")).expect("it is there");
    disk.sync_dir(Path::new("/other")).expect("it is synced");
    let crashed = disk.crash(0);
    assert!(crashed.bytes(Path::new(FILE)).is_some() && crashed.bytes(Path::new("/other/file")).is_some());
    // Of two names, one is as good as both.
    crashed.remove(Path::new(FILE)).expect("it is there");
    assert!(crashed.bytes(Path::new("/other/file")).is_some());
}

#[test]
fn free_space_is_exact_before_and_after_a_crash() {
    let (disk, file) = with_file(&[1; 5000]);
    disk.set_free_bytes(16 << 10);
    let free = |disk: &FaultyDisk| disk.free_bytes(Path::new("/dir")).expect("it can be asked");
    file.allocate(0, 16 << 10).expect("there is room");
    assert_eq!(free(&disk), 8 << 10);
    file.write_all_at(&[1; 3000], 10_000).expect("it needs no room");
    assert_eq!(free(&disk), 8 << 10);
    let other = disk.create(&path(2)).expect("it is made");
    let full = other.write_all_at(&[1; 10_000], 0).expect_err("it does not fit");
    assert_eq!(
        (full.kind(), other.len().expect("known"), free(&disk)),
        (io::ErrorKind::StorageFull, 8192, 0)
    );
    other.allocate(8192, 1).expect_err("there is no room");
    disk.remove(&path(2)).expect("it is there");
    assert_eq!(free(&disk), 0, "somebody has it open");
    for seed in 0..30 {
        // All that can have become durable of the file, and of the other one, which has no name any more or has one.
        let crashed = disk.crash(seed);
        let (one, two) = (crashed.bytes(Path::new(FILE)), crashed.bytes(&path(2)));
        let taken =
            |bytes: Option<Vec<u8>>| bytes.map_or(0, |bytes| (bytes.len() as u64).next_multiple_of(4096));
        let at_most = taken(one) + taken(two);
        assert!((24 << 10) - free(&crashed) <= at_most && free(&crashed) <= 16 << 10, "seed {seed}");
        for name in crashed.list(Path::new("/dir")).expect("it can be listed") {
            crashed.remove(&Path::new("/dir").join(name)).expect("it is there");
        }
        assert_eq!(free(&crashed), 24 << 10);
    }
    assert_eq!(free(&disk.crash(0)), 16 << 10, "two pages were durable");
    let (disk, _file) = with_file(&[1; 5000]);
    disk.set_free_bytes(4096);
    let nameless = disk.create(&path(3)).expect("it is made");
    nameless.write_all_at(&[1; 9], 0).expect("there is room");
    nameless.sync_all().expect("it is synced");
    assert_eq!((free(&disk), free(&disk.restart())), (0, 0));
    assert_eq!(free(&disk.crash(0)), 4096, "what lost its name takes no space");
}

#[test]
fn a_removed_file_gives_its_space_back_when_the_last_descriptor_is_closed() {
    let (disk, file) = with_file(&[1; 5000]);
    disk.set_free_bytes(0);
    disk.remove(Path::new(FILE)).expect("it is there");
    let free = || disk.free_bytes(Path::new("/dir")).expect("it can be asked");
    assert_eq!(free(), 0);
    drop(file);
    assert_eq!(free(), 8192);
}

/// A few operations, and as many as wanted in a thread of their own on other files.
fn little_history(disk: &FaultyDisk, noise: u64) -> io::Result<()> {
    disk.create_dir_all(Path::new("/dir"))?;
    disk.create_dir_all(Path::new("/noise"))?;
    let make_noise = || {
        for number in 0..noise {
            let file = disk.create(Path::new(&format!("/noise/{number}"))).expect("it is made");
            file.write_all_at(&[1; 700], number).expect("it is written");
            file.sync_data().expect("it is synced");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(make_noise);
        for name in 0..4 {
            let file = disk.create(&path(name))?;
            file.write_all_at(&[name; 9000], 0)?;
            let _ = file.sync_data();
            file.write_all_at(&[name + 10; 9000], 100)?;
        }
        disk.rename(&path(0), &path(5))
    })
}

#[test]
fn threads_at_work_on_other_files_change_nothing_for_a_file() {
    for seed in 0..20 {
        let outcome = |noise| {
            let disk = FaultyDisk::new(seed);
            disk.fail(Op::Sync.on("/dir/2"), 1);
            little_history(&disk, noise).expect("the failed sync alone is let pass");
            let crashed = disk.crash(seed);
            (0..6).map(|name| crashed.bytes(&path(name))).collect::<Vec<_>>()
        };
        assert_eq!(outcome(0), outcome(30), "seed {seed}");
    }
}

#[test]
fn a_moment_is_as_good_as_stopping_there() {
    let watched = FaultyDisk::new(1);
    watched.keep_moments();
    little_history(&watched, 0).expect("nothing fails");
    let moments = watched.moments();
    assert_eq!(moments.len() as u64, watched.counts().steps + 1);
    for (step, moment) in (0..).zip(moments) {
        assert_eq!(moment.steps(), step);
        let stopped = FaultyDisk::new(1);
        stopped.fail_power_after(step);
        let outcome = little_history(&stopped, 0);
        assert_eq!(outcome.is_ok(), step == watched.counts().steps);
        for seed in 0..3 {
            let (one, two) = (moment.crash(seed), stopped.crash(seed));
            for name in 0..6 {
                assert_eq!(one.bytes(&path(name)), two.bytes(&path(name)), "step {step}, seed {seed}");
            }
        }
    }
}
