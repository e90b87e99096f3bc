//! What is promised once all that must be here was found here: what is damaged still is nobody's, is dropped and counts no
//! more, and its space comes back; but nothing that was damaged later, and nothing that is whole.

mod needles;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use hayrick_disk::{Disk, FaultyDisk, Op};
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::messages::volume::ReadError;
use hayrick_protocol::needle::HEADER_BYTES;
use hayrick_volume::{Store, StoreOptions};
use needles::{PLACEMENT, data, needle};

const DIR: &str = "/volume/needles";
const SIZE: usize = 5000;
const CRASHES: u64 = 3;

fn open(disk: &FaultyDisk) -> Store {
    let mut options = StoreOptions::new(DIR, 8 << 20);
    options.segment_bytes = 256 << 10;
    options.zero_ahead_bytes = 0;
    options.threads = false;
    Store::open(Arc::new(disk.clone()), options).expect("the store opens")
}

fn append(store: &Store, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        let outcomes = store.append(vec![needle(id, SIZE)]);
        store.work();
        let outcome = outcomes.now_or_never().expect("it was written").remove(0);
        outcome.unwrap_or_else(|error| panic!("needle {id}: {error}"));
    }
}

fn delete(store: &Store, id: u64) {
    let dropped = store.delete(&[NeedleId(id)]);
    store.work();
    dropped.now_or_never().expect("it was written").expect("dropped");
}

fn made_up(store: &Store, mark: u64) {
    let made_up = store.made_up(mark);
    store.work();
    made_up.now_or_never().expect("it was written");
}

fn mark(store: &Store) -> u64 {
    store.damaged_placements().mark
}

/// Those of the needles that are there; all of them are whole.
fn there(store: &Store, ids: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let is_there = |id: &u64| match store.open_needle(NeedleId(*id)) {
        Ok(opened) => {
            let bytes = store.read_blocks(&opened, 0, u32::MAX).expect("it can be read");
            assert!(bytes == data(*id, SIZE), "needle {id} has other bytes");
            true
        }
        Err(ReadError::NotFound) => false,
        Err(error) => panic!("needle {id}: {error}"),
    };
    ids.into_iter().filter(is_there).collect()
}

fn read_err(store: &Store, id: u64) -> ReadError {
    store.open_needle(NeedleId(id)).map(|_| ()).expect_err("it is damaged")
}

/// Stretches and needles, bytes of stretches, whether there may be others, and whether all is to be compared.
fn figures(store: &Store) -> (u64, u64, bool, bool) {
    let others = store.damaged_placements().others;
    let status = store.status();
    (status.bad, status.bad_bytes, others, status.uncompared)
}

const WELL: (u64, u64, bool, bool) = (0, 0, false, false);

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("{number:016x}.seg"))
}

fn find(disk: &FaultyDisk, number: u64, bytes: &[u8]) -> u64 {
    let whole = disk.bytes(&segment(number)).expect("the segment is there");
    whole.windows(bytes.len()).position(|window| window == bytes).expect("it lies there") as u64
}

/// The first byte of a needle's record in the first segment.
fn record_at(disk: &FaultyDisk, id: u64) -> u64 {
    let key = format!("key/{id}");
    find(disk, 1, &[key.as_bytes(), &data(id, SIZE)[..50]].concat()) - HEADER_BYTES as u64
}

/// Flips a bit in the data of a needle in the first segment.
fn flip(disk: &FaultyDisk, id: u64) {
    assert!(disk.flip(&segment(1), record_at(disk, id) + 1000, 1));
}

/// Needles 1 to 9 in a sealed segment with its index file, and one more behind it. All was compared.
fn nine() -> (FaultyDisk, Store) {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    append(&store, 1..=9);
    store.seal();
    append(&store, [10]);
    store.keep_house();
    assert_eq!(figures(&store), (0, 0, false, true), "nobody compared since the start");
    made_up(&store, mark(&store));
    assert_eq!(figures(&store), WELL);
    (disk, store)
}

#[test]
fn all_is_to_be_compared_after_a_start_and_after_a_round_of_scrub() {
    let (disk, store) = nine();
    let before = mark(&store);
    store.scrub(&mut |_| true);
    assert_eq!(figures(&store), (0, 0, false, true));
    made_up(&store, before);
    assert!(store.status().uncompared, "he who says so does not know of the round");
    let now = mark(&store);
    made_up(&store, now);
    assert_eq!(figures(&store), WELL);
    store.close();
    let store = open(&disk.restart());
    made_up(&store, now);
    assert!(store.status().uncompared, "the mark is another process's");
    made_up(&store, mark(&store));
    assert_eq!(figures(&store), WELL);
}

#[test]
fn a_needle_that_is_damaged_still_is_dropped_and_one_that_was_mended_since_is_not() {
    let (disk, store) = nine();
    [2, 3, 4].iter().for_each(|id| flip(&disk, *id));
    [2, 3, 4].iter().for_each(|id| assert_eq!(read_err(&store, *id), ReadError::Damaged));
    let mark = mark(&store);
    // One is pulled, and one is well again.
    append(&store, [3]);
    flip(&disk, 4);
    assert_eq!(there(&store, [4]), [4]);
    made_up(&store, mark);
    assert_eq!(figures(&store), WELL);
    assert_eq!(there(&store, 1..=10), [1, 3, 4, 5, 6, 7, 8, 9, 10]);
    let store = open(&disk.restart());
    assert_eq!(there(&store, 1..=10), [1, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(store.status().bad, 0);
}

#[test]
fn a_needle_whose_good_copy_is_on_its_way_is_not_dropped() {
    let (disk, store) = nine();
    flip(&disk, 2);
    assert_eq!(read_err(&store, 2), ReadError::Damaged);
    let mark = mark(&store);
    let appending = store.append(vec![needle(2, SIZE)]);
    made_up(&store, mark);
    assert!(appending.now_or_never().expect("it was written")[0].is_ok());
    assert_eq!((there(&store, [2]), figures(&store)), (vec![2], WELL));
}

#[test]
fn nothing_follows_when_more_was_damaged_since() {
    let (disk, store) = nine();
    flip(&disk, 2);
    store.scrub(&mut |_| true);
    let early = mark(&store);
    flip(&disk, 7);
    assert_eq!(read_err(&store, 7), ReadError::Damaged);
    let before = figures(&store);
    made_up(&store, early);
    assert_eq!(figures(&store), before);
    assert_eq!(read_err(&store, 2), ReadError::Damaged);
    // It comes while the needles are dropped: then those go, and the stretch is kept.
    let late = mark(&store);
    let making = store.made_up(late);
    flip(&disk, 5);
    assert_eq!(read_err(&store, 5), ReadError::Damaged);
    store.work();
    making.now_or_never().expect("it was written");
    assert_eq!(store.damaged_needles(9), [NeedleId(5)]);
    assert_eq!((store.damaged_stretches(9).len(), store.status().uncompared), (1, true));
}

#[test]
fn a_stretch_counts_no_more_across_restarts_and_scrub_and_its_segment_goes_whatever_lives_in_it() {
    let (disk, store) = nine();
    flip(&disk, 2);
    flip(&disk, 6);
    store.scrub(&mut |_| true);
    // One is mended, one is nobody's.
    append(&store, [2]);
    store.compact();
    assert_eq!((store.status().bad, store.compacted().segments), (3, 0), "it is kept");
    made_up(&store, mark(&store));
    assert_eq!(figures(&store), WELL);
    store.close();
    let disk = disk.restart();
    let store = open(&disk);
    assert_eq!(figures(&store), (0, 0, false, true));
    store.scrub(&mut |_| true);
    assert_eq!((store.status().bad, store.scrubbed().last_round_found_bad), (0, 0), "that is no news");
    // What is damaged beside it is.
    flip(&disk, 7);
    store.scrub(&mut |_| true);
    assert_eq!(store.damaged_needles(9), [NeedleId(7)]);
    assert_eq!((store.damaged_stretches(9).len(), store.scrubbed().last_round_found_bad), (1, 2));
    store.compact();
    assert_eq!(store.compacted().segments, 0, "that one is to be kept");
    made_up(&store, mark(&store));
    // Neither was it written down, so that it is said again.
    store.compact();
    assert!(disk.bytes(&segment(1)).is_none(), "seven of nine live in it, and it goes");
    assert_eq!((figures(&store), there(&store, 1..=10)), (WELL, vec![1, 2, 3, 4, 5, 8, 9, 10]));
    store.keep_house();
    let list = disk.bytes(&Path::new(DIR).join("damage")).expect("it was written");
    assert!(!String::from_utf8_lossy(&list).contains("made-up"), "nothing is remembered of it");
    store.close();
    assert_eq!(there(&open(&disk.restart()), 1..=10), [1, 2, 3, 4, 5, 8, 9, 10]);
}

#[test]
fn a_stretch_that_cannot_be_read_at_all_goes_as_well() {
    let (disk, store) = nine();
    let at = record_at(&disk, 5);
    assert!(disk.make_unreadable(&segment(1), at + 600..at + 700));
    store.scrub(&mut |_| true);
    assert!(store.status().bad > 0);
    let lost: Vec<u64> = store.damaged_needles(9).into_iter().map(|id| id.0).collect();
    append(&store, lost);
    made_up(&store, mark(&store));
    assert_eq!(figures(&store), WELL);
    store.compact();
    assert!(disk.bytes(&segment(1)).is_none());
    assert_eq!(there(&store, 1..=10), (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_stretch_of_the_segment_that_is_appended_to_goes_once_that_is_sealed() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    append(&store, 1..=9);
    flip(&disk, 4);
    let disk = disk.restart();
    let store = open(&disk);
    append(&store, [4]);
    let (bad, _, others, uncompared) = figures(&store);
    assert_eq!((bad, others, uncompared), (1, true, true), "a start does not know what was in it");
    made_up(&store, mark(&store));
    assert_eq!(figures(&store), WELL);
    let disk = disk.restart();
    let store = open(&disk);
    assert_eq!(store.status().bad, 1, "nobody had written it down");
    made_up(&store, mark(&store));
    store.keep_house();
    let disk = disk.restart();
    let store = open(&disk);
    assert_eq!(figures(&store), (0, 0, false, true), "the start finds it, and knows it");
    made_up(&store, mark(&store));
    store.seal();
    append(&store, [10]);
    store.keep_house();
    assert_eq!(figures(&store), WELL, "also when an index file was made of what is damaged");
    store.compact();
    assert!(disk.bytes(&segment(1)).is_none());
    assert_eq!(there(&store, 1..=10), (1..=10).collect::<Vec<_>>());
}

#[test]
fn what_was_dropped_stays_dropped_when_its_tombstone_lies_in_a_stretch() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    append(&store, 1..=9);
    store.seal();
    append(&store, 10..=12);
    delete(&store, 3);
    append(&store, 13..=15);
    store.seal();
    append(&store, [16]);
    store.keep_house();
    // The tombstone of 3, whose needle lies in the first segment still, between two needles of the second.
    let end = find(&disk, 2, format!("key/{}", 13).as_bytes()) - HEADER_BYTES as u64;
    assert!(disk.overwrite(&segment(2), end - 32, &[0xee; 32]));
    store.scrub(&mut |_| true);
    assert_eq!((store.damaged_stretches(9).len(), store.damaged_needles(9)), (1, vec![]));
    made_up(&store, mark(&store));
    store.compact();
    assert!(disk.bytes(&segment(2)).is_none() && disk.bytes(&segment(1)).is_some());
    let others = || (1..=16).filter(|id| *id != 3).collect::<Vec<_>>();
    assert_eq!(there(&store, 1..=16), others());
    store.close();
    assert_eq!(there(&open(&disk.restart()), 1..=16), others());
}

#[test]
fn a_needle_that_is_thought_to_live_in_a_stretch_is_reported_and_keeps_its_segment() {
    let (disk, store) = nine();
    flip(&disk, 5);
    store.scrub(&mut |_| true);
    // It can be read again, when a client comes by, and is off the list; then no more.
    flip(&disk, 5);
    assert_eq!(there(&store, [5]), [5]);
    flip(&disk, 5);
    made_up(&store, mark(&store));
    assert_eq!(figures(&store), WELL);
    store.compact();
    assert!(disk.bytes(&segment(1)).is_some());
    assert_eq!(store.damaged_needles(9), [NeedleId(5)]);
    append(&store, [5]);
    store.close();
    let store = open(&disk);
    store.compact();
    assert!(disk.bytes(&segment(1)).is_none());
    assert_eq!(there(&store, 1..=10), (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_fails_leaves_all_as_it_was() {
    let (disk, store) = nine();
    flip(&disk, 2);
    store.scrub(&mut |_| true);
    let (before, mark) = (figures(&store), mark(&store));
    disk.fail(Op::Sync, 1);
    made_up(&store, mark);
    assert_eq!(figures(&store), before);
    assert!(store.status().read_only.is_some());
}

#[test]
fn a_crash_at_any_step_loses_nothing_that_is_whole_and_brings_back_nothing() {
    let (disk, store) = nine();
    [2, 6].iter().for_each(|id| flip(&disk, *id));
    store.scrub(&mut |_| true);
    append(&store, [2]);
    delete(&store, 8);
    store.keep_house();
    let whole = [1, 2, 3, 4, 5, 7, 9, 10];
    disk.keep_moments();
    made_up(&store, mark(&store));
    store.keep_house();
    store.compact();
    store.keep_house();
    assert!(disk.bytes(&segment(1)).is_none());
    let (mut kept, mut made, mut gone) = (0, 0, 0);
    for moment in disk.moments() {
        for seed in 0..CRASHES {
            let disk = moment.crash(seed);
            let store = open(&disk);
            let bad = store.status().bad;
            let is_there = disk.exists(&segment(1)).expect("a sound disk");
            *match (bad, is_there) {
                (0, false) => &mut gone,
                (0, true) => &mut made,
                _ => &mut kept,
            } += 1;
            // The nobody's is dropped, or damaged still.
            let mut ids = (1..=10).filter(|id| *id != 6 || bad == 0);
            assert_eq!(there(&store, ids.by_ref()), whole, "step {}, crash {seed}", moment.steps());
            // The leader says it again, and all comes to the same end.
            made_up(&store, mark(&store));
            store.compact();
            assert!(
                !disk.exists(&segment(1)).expect("a sound disk"),
                "step {}, crash {seed}",
                moment.steps()
            );
            assert_eq!((there(&store, 1..=10), store.status().bad), (whole.to_vec(), 0));
        }
    }
    assert!(kept > 0 && made > 0 && gone > 0, "{kept} kept, {made} made up for, {gone} gone");
    assert_eq!(store.list_page(&[PLACEMENT], Default::default(), 99).expect("a list").needles.len(), 8);
}
