//! What is promised of the list of damage: it outlives the process, and nothing stays on it that is gone or well again.

mod needles;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hayrick_disk::{Disk, Fault, FaultyDisk, Moment, Op, write_atomically};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::messages::volume::{DamagedPlacements, ReadError};
use hayrick_protocol::needle::HEADER_BYTES;
use hayrick_volume::{Store, StoreOptions};
use needles::{PLACEMENT, data, needle};
use tokio::time::{sleep, timeout};

const DIR: &str = "/volume/needles";
const SIZE: usize = 5000;
/// Of each moment: all is lost, nothing is lost, and parts.
const CRASHES: u64 = 6;

fn options() -> StoreOptions {
    let mut options = StoreOptions::new(DIR, 8 << 20);
    options.segment_bytes = 256 << 10;
    options.zero_ahead_bytes = 0;
    options.threads = false;
    options
}

fn open(disk: &FaultyDisk) -> Store {
    Store::open(Arc::new(disk.clone()), options()).expect("the store opens")
}

fn append(store: &Store, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        let outcomes = store.append(vec![needle(id, SIZE)]);
        store.work();
        let outcome = outcomes.now_or_never().expect("it was written").remove(0);
        outcome.unwrap_or_else(|error| panic!("needle {id}: {error}"));
    }
}

fn delete(store: &Store, ids: impl IntoIterator<Item = u64>) {
    let dropped = store.delete(&ids.into_iter().map(NeedleId).collect::<Vec<_>>());
    store.work();
    dropped.now_or_never().expect("it was written").expect("dropped");
}

fn read(store: &Store, id: u64) -> Result<Vec<u8>, ReadError> {
    let opened = store.open_needle(NeedleId(id))?;
    Ok(store.read_blocks(&opened, 0, u32::MAX)?.to_vec())
}

fn read_err(store: &Store, id: u64) -> ReadError {
    read(store, id).expect_err("it is damaged")
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("{number:016x}.seg"))
}

fn list_file() -> PathBuf {
    Path::new(DIR).join("damage")
}

/// Flips a bit in the data of a needle in the first segment.
fn flip(disk: &FaultyDisk, id: u64) {
    let whole = disk.bytes(&segment(1)).expect("the segment is there");
    // What is at its end is the same before and after a flip at its beginning.
    let sample = &data(id, SIZE)[4000..4100];
    let at = whole.windows(sample.len()).position(|window| window == sample).expect("the needle is there");
    assert!(disk.flip(&segment(1), at as u64 - 3000, 1));
}

/// What a crash would find.
fn now(disk: &FaultyDisk) -> Moment {
    disk.moments().pop().expect("the present one is among them")
}

/// Segments and ranges of stretches, and needles.
type List = (Vec<(u64, Range<u64>)>, Vec<u64>);

fn list(store: &Store) -> List {
    let stretches = store.damaged_stretches(99).into_iter().map(|one| (one.segment.0, one.range));
    let needles = store.damaged_needles(99).into_iter().map(|id| id.0);
    let list = (stretches.collect::<Vec<_>>(), needles.collect::<Vec<_>>());
    assert_eq!(store.status().bad, (list.0.len() + list.1.len()) as u64, "the heartbeat says the same");
    list
}

/// Needles 1 to 9 in a sealed segment with its index file, and one more behind it.
fn nine() -> (FaultyDisk, Store) {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    append(&store, 1..=9);
    store.seal();
    append(&store, [10]);
    store.keep_house();
    (disk, store)
}

#[test]
fn what_was_found_is_listed_after_a_crash_and_what_was_dropped_or_replaced_since_is_not() {
    let (disk, store) = nine();
    [2, 3, 4, 5, 7].iter().for_each(|id| flip(&disk, *id));
    store.scrub(&mut |_| true);
    // This one is found by a read alone.
    flip(&disk, 9);
    assert_eq!(read(&store, 9), Err(ReadError::Damaged));
    let found = list(&store);
    // Those of 2 to 5 touch each other.
    assert_eq!((found.0.len(), &found.1), (2, &vec![2, 3, 4, 5, 7, 9]));
    store.keep_house();
    for seed in 0..CRASHES {
        assert_eq!(list(&open(&now(&disk).crash(seed))), found, "crash {seed}");
    }
    // Nobody writes down any more that one is dropped, one appended again, and one well.
    delete(&store, [3]);
    append(&store, [5]);
    assert_eq!(list(&store).1, [2, 4, 7, 9]);
    for seed in 0..CRASHES {
        let disk = now(&disk).crash(seed);
        let store = open(&disk);
        assert_eq!(list(&store), (found.0.clone(), vec![2, 4, 7, 9]), "crash {seed}");
        assert_eq!(read(&store, 5).expect("the good copy"), data(5, SIZE));
        flip(&disk, 7);
        assert_eq!(read(&store, 7).expect("it can be read again"), data(7, SIZE));
        assert_eq!(list(&store).1, [2, 4, 9], "a read that verifies takes it off the list");
        store.scrub(&mut |_| true);
        let (stretches, needles) = list(&store);
        assert_eq!(
            (stretches.len(), needles),
            (2, vec![2, 4, 9]),
            "scrub found the stretch of 9, not that of 7"
        );
        let well = list(&store);
        store.close();
        assert_eq!(list(&open(&disk.restart())), well);
    }
}

#[test]
fn a_crash_while_the_list_is_written_leaves_the_one_before_or_the_new_one() {
    let (disk, store) = nine();
    flip(&disk, 2);
    store.scrub(&mut |_| true);
    store.keep_house();
    let before = list(&store);
    flip(&disk, 6);
    assert_eq!(read(&store, 6), Err(ReadError::Damaged));
    let after = list(&store);
    disk.keep_moments();
    store.keep_house();
    let (mut old, mut new) = (0, 0);
    for moment in disk.moments() {
        for seed in 0..CRASHES {
            let found = list(&open(&moment.crash(seed)));
            assert!(found == before || found == after, "step {}, crash {seed}: {found:?}", moment.steps());
            (old, new) = (old + u64::from(found == before), new + u64::from(found == after));
        }
    }
    assert!(old > 0 && new >= CRASHES, "{old} before, {new} after");
}

#[test]
fn a_needle_that_was_read_well_and_moved_is_off_the_list() {
    let (disk, store) = nine();
    assert!(disk.make_unreadable(&segment(1), 6000..6001));
    assert!(matches!(read(&store, 1), Err(ReadError::Disk(_))));
    assert_eq!(list(&store), (vec![], vec![1]));
    assert!(disk.make_unreadable(&segment(1), 0..0));
    delete(&store, 2..=9);
    store.compact();
    assert!(disk.bytes(&segment(1)).is_none(), "it was compacted");
    assert_eq!(list(&store), (vec![], vec![]));
}

#[test]
fn a_list_that_is_damaged_or_cannot_be_read_or_written_costs_nothing_but_what_it_says() {
    let (disk, store) = nine();
    flip(&disk, 2);
    store.scrub(&mut |_| true);
    let found = list(&store);
    // The disk refuses once; the next look writes it.
    disk.fail(Op::Rename, 1);
    store.keep_house();
    assert!(disk.bytes(&list_file()).is_none());
    store.keep_house();
    assert!(disk.bytes(&list_file()).is_some());
    store.close();
    type Spoil = fn(&FaultyDisk);
    let spoils: [(&str, Spoil); 4] = [
        ("flipped", |disk| assert!(disk.flip(&list_file(), 20, 1))),
        ("cut", |disk| disk.open(&list_file()).and_then(|file| file.set_len(40)).expect("a sound disk")),
        ("missing", |disk| disk.remove(&list_file()).expect("a sound disk")),
        ("unreadable", |disk| assert!(disk.make_unreadable(&list_file(), 0..1))),
    ];
    for (what, spoil) in spoils {
        let disk = disk.restart();
        spoil(&disk);
        let store = open(&disk);
        assert_eq!(list(&store), (vec![], vec![]), "{what}");
        store.scrub(&mut |_| true);
        assert_eq!(list(&store), found, "{what}");
        store.close();
        assert_eq!(list(&open(&disk.restart())), found, "{what}");
    }
}

#[test]
fn a_list_that_is_read_wrongly_once_says_what_it_says() {
    let (disk, store) = nine();
    flip(&disk, 2);
    store.scrub(&mut |_| true);
    let found = list(&store);
    store.close();
    // It is read for its version, and for what it says.
    for nth in 1..=2 {
        for failure in Op::Read.failures() {
            let disk = disk.restart();
            disk.order(Fault::new(Op::Read.on("damage"), nth, *failure));
            assert_eq!(list(&open(&disk)), found, "read {nth}: {failure:?}");
            assert_eq!(disk.fired().len(), 1);
        }
    }
}

#[test]
fn a_list_of_a_later_version_is_refused_in_a_sentence_that_says_what_to_do() {
    let (disk, store) = nine();
    store.close();
    let text = "hayrick damage 3\nwhat else\n";
    let text = format!("{text}crc32c {:08x}\n", crc32c::crc32c(text.as_bytes()));
    write_atomically(&disk, &list_file(), text.as_bytes()).expect("a sound disk");
    let error = Store::open(Arc::new(disk.clone()), options()).expect_err("a later version");
    let words = "/volume/needles/damage has format version 3, and this build knows versions up to 2: start the newer hayrick, \
                 or remove that file, so that scrub finds anew what is damaged";
    assert_eq!(error.to_string(), words);
    assert_eq!(disk.bytes(&list_file()).expect("it is left as it is"), text.as_bytes());
}

/// The first byte of a needle's record in the first segment.
fn record_at(disk: &FaultyDisk, id: u64) -> u64 {
    let whole = disk.bytes(&segment(1)).expect("the segment is there");
    let key = format!("key/{id}");
    let start = [key.as_bytes(), &data(id, SIZE)[..50]].concat();
    let at = whole.windows(start.len()).position(|window| window == start).expect("the needle is there");
    (at - HEADER_BYTES) as u64
}

fn placements(list: &[PlacementId], others: bool) -> (Vec<PlacementId>, bool) {
    (list.to_vec(), others)
}

fn damaged_placements(store: &Store) -> (Vec<PlacementId>, bool) {
    let DamagedPlacements { placements, others, .. } = store.damaged_placements();
    (placements, others)
}

#[test]
fn the_placements_of_what_is_damaged_are_told_by_the_index_file_and_else_by_what_is_left_of_the_needle() {
    let (disk, store) = nine();
    assert_eq!(damaged_placements(&store), placements(&[], false));
    // All of the record, header and all, of a segment with its index file.
    let at = record_at(&disk, 2);
    let spoil = |offset: u64| assert!(disk.overwrite(&segment(1), at + offset, &[0xee; 16]));
    [0, 16, 2000].into_iter().for_each(spoil);
    store.scrub(&mut |_| true);
    assert_eq!(list(&store).1, [2]);
    assert_eq!(damaged_placements(&store), placements(&[PLACEMENT], false));
    // It was asked for before, and nothing is looked for again; that the index file names all is.
    let before = disk.counts();
    assert_eq!(damaged_placements(&store), placements(&[PLACEMENT], false));
    let read = disk.counts().since(&before);
    assert!(read.opens <= 2 && read.read_bytes < 5000, "{read:?}");
    append(&store, [2]);
    assert_eq!(damaged_placements(&store), placements(&[], false), "there is a good copy");
    // Without an index file the header tells, as long as it verifies.
    let index_file = segment(1).with_extension("idx");
    disk.remove(&index_file).expect("it is there");
    assert_eq!(
        damaged_placements(&store),
        placements(&[], true),
        "of the stretch it is not known what was in it"
    );
    flip(&disk, 5);
    assert_eq!(read_err(&store, 5), ReadError::Damaged);
    assert_eq!(damaged_placements(&store), placements(&[PLACEMENT], true));
    delete(&store, [5]);
    assert_eq!(damaged_placements(&store), placements(&[], true));
}

#[test]
fn where_nothing_tells_the_placement_there_may_be_others() {
    let disk = FaultyDisk::new(2);
    let store = open(&disk);
    append(&store, 1..=3);
    let at = record_at(&disk, 2);
    assert!(disk.flip(&segment(1), at + 16, 1), "the placement itself");
    assert_eq!(read_err(&store, 2), ReadError::Damaged);
    assert_eq!(list(&store), (vec![], vec![2]), "a read finds no stretch");
    assert_eq!(damaged_placements(&store), placements(&[], true));
    // A stretch of the segment that is appended to: a start would not know what was in it.
    append(&store, [2]);
    assert_eq!(damaged_placements(&store), placements(&[], false));
    store.scrub(&mut |_| true);
    assert_eq!((list(&store).0.len(), damaged_placements(&store)), (1, placements(&[], true)));
    let store = open(&disk.restart());
    assert_eq!((list(&store).0.len(), damaged_placements(&store)), (1, placements(&[], true)));
    // The index file is made without it.
    store.seal();
    append(&store, [4]);
    store.keep_house();
    assert_eq!(damaged_placements(&store), placements(&[], true));
}

#[test]
fn nothing_is_written_as_long_as_nothing_is_damaged() {
    let (disk, store) = nine();
    store.keep_house();
    store.close();
    let store = open(&disk);
    store.keep_house();
    store.close();
    assert!(disk.bytes(&list_file()).is_none());
}

#[tokio::test]
async fn it_is_written_within_seconds_by_itself() {
    let (disk, store) = nine();
    store.close();
    let store = Store::open(Arc::new(disk.clone()), StoreOptions { threads: true, ..options() });
    let store = store.expect("the store opens");
    flip(&disk, 4);
    assert_eq!(read(&store, 4), Err(ReadError::Damaged));
    let written = async {
        while disk.bytes(&list_file()).is_none() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(60), written).await.expect("in time");
    assert_eq!(list(&open(&now(&disk).crash(1))).1, [4]);
}
