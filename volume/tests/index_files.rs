//! What is promised of index files while a store runs: whoever comes upon a bad one gets what the data says, and it is made
//! anew; and scrub comes upon each within a round.

mod needles;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hayrick_disk::{Disk, FaultyDisk, Op};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::messages::volume::ListPosition;
use hayrick_protocol::needle::Body;
use hayrick_volume::{Scrubbed, Store, StoreOptions};
use needles::{PLACEMENT, needle};

const DIR: &str = "/volume/needles";
/// Bytes that scrub reads between two waits.
const PIECE_BYTES: u64 = 1 << 20;

fn options() -> StoreOptions {
    let mut options = StoreOptions::new(DIR, 64 << 20);
    options.segment_bytes = 64 << 10;
    options.zero_ahead_bytes = 0;
    options.threads = false;
    options
}

fn open(disk: &FaultyDisk, options: StoreOptions) -> Store {
    Store::open(Arc::new(disk.clone()), options).expect("the store opens")
}

fn append(store: &Store, needle: bytes::Bytes) {
    let outcomes = store.append(vec![needle]);
    store.work();
    outcomes.now_or_never().expect("it was written").remove(0).expect("appended");
}

fn index_file() -> PathBuf {
    Path::new(DIR).join(format!("{:016x}.idx", 1))
}

/// Some needles in a sealed segment with its index file, one behind it.
fn indexed() -> (FaultyDisk, Store) {
    let disk = FaultyDisk::new(1);
    let store = open(&disk, options());
    (1..=12).for_each(|id| append(&store, needle(id, 500)));
    let dropped = store.delete(&[NeedleId(3)]);
    store.work();
    dropped.now_or_never().expect("it was written").expect("dropped");
    store.seal();
    append(&store, needle(13, 10));
    store.keep_house();
    (disk, store)
}

/// A round, and what it says when it is over.
fn scrub(store: &Store) -> Scrubbed {
    let round = store.scrubbed().round;
    store.scrub(&mut |_| true);
    assert_eq!(store.scrubbed().round, round + 1, "the round ends");
    store.scrubbed()
}

/// Each needle once: one may be shown twice.
fn list(store: &Store) -> Vec<u64> {
    let (mut listed, mut from) = (Vec::new(), Some(ListPosition::default()));
    while let Some(position) = from {
        let page = store.list_page(&[PLACEMENT], position, 1000).expect("a list");
        for row in page.needles {
            let id = row.needle;
            assert_eq!((row.placement, row.key.as_str()), (PLACEMENT, &*format!("key/{id}")));
            listed.push(id.0);
        }
        from = page.next;
    }
    listed.sort_unstable();
    listed.dedup();
    listed
}

#[test]
fn scrub_finds_flipped_bits_anywhere_in_an_index_file_and_has_it_made_anew() {
    let (disk, store) = indexed();
    let good = disk.bytes(&index_file()).expect("it is there");
    assert_eq!(scrub(&store).last_round_bad_index_files, 0);
    // A round waits ten thousand times, so not for each bit; that each is seen is told by the tests of the file itself.
    for at in (0..good.len() as u64).step_by(3) {
        let bits = 1 << (at % 8);
        assert!(disk.flip(&index_file(), at, bits));
        let scrubbed = scrub(&store);
        assert_eq!((scrubbed.last_round_bad_index_files, scrubbed.bad_index_files), (1, 0), "byte {at}");
        assert_eq!((scrubbed.last_round_found_bad, store.status().bad), (0, 0), "no needle is lost with it");
        store.keep_house();
        assert_eq!(disk.bytes(&index_file()).as_ref(), Some(&good), "byte {at}");
    }
    assert_eq!(scrub(&store).last_round_bad_index_files, 0);
    // The count outlives the process, as the rest of scrub's figures does.
    assert!(disk.flip(&index_file(), 60, 1));
    scrub(&store);
    store.close();
    assert_eq!(open(&disk, options()).scrubbed().last_round_bad_index_files, 1);
}

/// The segment that is appended to is this large here; its index file is made anew with each eighth.
const LARGE_BYTES: u64 = 4 << 20;

fn large() -> StoreOptions {
    StoreOptions { segment_bytes: LARGE_BYTES, index_every_bytes: 0, ..options() }
}

/// Segments of that size, and one active that is nearly full, of which needle 3 is dropped.
fn nearly_full() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    let store = open(&disk, large());
    for id in 1..=70 {
        append(&store, needle(id, 50_000));
        store.keep_house();
    }
    let dropped = store.delete(&[NeedleId(3)]);
    store.work();
    dropped.now_or_never().expect("it was written").expect("dropped");
    append(&store, needle(71, 50_000));
    assert_eq!(store.status().segments, 1, "nothing is sealed");
    disk.restart()
}

/// Opens, and all is there. Bytes that the start read.
fn read_by_start(disk: &FaultyDisk) -> u64 {
    let before = disk.counts();
    let store = open(disk, large());
    let read = disk.counts().since(&before).read_bytes;
    let there: Vec<u64> = (1..=71).filter(|id| *id != 3).collect();
    assert_eq!(list(&store), there);
    for id in &there {
        let opened = store.open_needle(NeedleId(*id)).expect("it is there");
        store.read_blocks(&opened, 0, u32::MAX).expect("it is whole");
    }
    assert!(store.open_needle(NeedleId(3)).is_err(), "it stays dropped");
    assert_eq!((store.status().needles, store.status().bad), (70, 0));
    read
}

#[test]
fn a_start_reads_the_tail_of_the_segment_that_is_appended_to_and_all_of_it_without_a_good_index_file() {
    let disk = nearly_full();
    let tail_max = LARGE_BYTES / 8 + 100_000;
    let unused = LARGE_BYTES - 71 * 50_000;
    let index = disk.bytes(&index_file()).expect("it is there");
    let read = read_by_start(&disk.restart());
    assert!(read < tail_max + unused + index.len() as u64, "{read} bytes");
    // Keys are not looked at by a start, and nobody else reads this file.
    let ruined = (0..index.len() as u64).step_by(5).chain([index.len() as u64 - 1]).filter(|at| {
        let ruined = disk.restart();
        assert!(ruined.flip(&index_file(), *at, 1 << (at % 8)));
        read_by_start(&ruined) > 71 * 50_000
    });
    let ruined: Vec<u64> = ruined.collect();
    let last = index.len() as u64 - 1;
    assert!(ruined.len() > 40 && [0, last].iter().all(|at| ruined.contains(at)), "{ruined:?} of {last}");
    let without = disk.restart();
    without.remove(&index_file()).expect("it is there");
    assert!(read_by_start(&without) > 71 * 50_000);
    // It is made anew once the segment grows, and then little is read again.
    let store = open(&without, large());
    append(&store, needle(72, 10));
    store.keep_house();
    let dropped = store.delete(&[NeedleId(72)]);
    store.work();
    dropped.now_or_never().expect("it was written").expect("dropped");
    assert!(read_by_start(&without.restart()) < tail_max + unused + index.len() as u64);
}

#[test]
fn a_segment_that_was_sealed_and_has_an_index_file_of_its_beginning_only_gets_one_of_all_and_nobody_calls_that_bad()
 {
    let disk = nearly_full();
    let store = open(&disk, large());
    let beginning = disk.bytes(&index_file()).expect("it is there");
    store.seal();
    append(&store, needle(100, 10));
    assert_eq!(list(&store).len(), 71);
    assert_eq!(scrub(&store).last_round_bad_index_files, 0);
    assert_eq!(disk.bytes(&index_file()).as_ref(), Some(&beginning));
    let killed = disk.restart();
    let before = killed.counts();
    let again = open(&killed, large());
    let read = killed.counts().since(&before).read_bytes;
    // A whole segment that is not used lies behind.
    assert!(read < LARGE_BYTES + LARGE_BYTES / 4, "{read} bytes");
    again.keep_house();
    assert_eq!((list(&again).len(), scrub(&again).last_round_bad_index_files), (71, 0));
    assert_ne!(killed.bytes(&index_file()), Some(beginning), "it was made anew");
}

#[test]
fn an_index_file_of_a_beginning_never_hides_damage_that_was_there_before_it() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk, large());
    (1..=30).for_each(|id| append(&store, needle(id, 50_000)));
    let segment = Path::new(DIR).join(format!("{:016x}.seg", 1));
    assert!(disk.flip(&segment, 600_000, 1));
    store.keep_house();
    assert_eq!(store.status().bad, 2, "the stretch and the needle in it");
    let index = disk.bytes(&index_file()).expect("it is there");
    let end = u64::from_le_bytes(*index[index.len() - 16..].first_chunk().expect("16 bytes"));
    assert!((LARGE_BYTES / 8..600_000).contains(&end), "it ends at {end}, before the damage");
    let killed = disk.restart();
    let store = open(&killed, large());
    assert_eq!(store.damaged_stretches(9).len(), 1);
    assert_eq!(store.status().needles, 29);
    // It is read well again: nothing was concluded for good.
    assert!(disk.flip(&segment, 600_000, 1));
    let store = open(&disk.restart(), large());
    assert_eq!(store.status().needles, 30);
}

#[test]
fn a_list_never_shows_less_nor_other_rows_whatever_bit_of_an_index_file_flips() {
    let (disk, store) = indexed();
    let good = disk.bytes(&index_file()).expect("it is there");
    let expected: Vec<u64> = (1..=13).filter(|id| *id != 3).collect();
    let mut remade = 0;
    for at in 0..good.len() as u64 {
        for bits in [1, 0x80] {
            assert!(disk.flip(&index_file(), at, bits));
            assert_eq!(list(&store), expected, "byte {at}");
            store.keep_house();
            if disk.bytes(&index_file()).as_ref() == Some(&good) {
                remade += 1;
            } else {
                // It reads the blocks that it needs, and no others.
                assert!(disk.flip(&index_file(), at, bits));
            }
        }
    }
    assert!(remade > good.len(), "{remade} of {}", 2 * good.len());
}

#[test]
fn an_index_file_that_many_lists_found_bad_is_made_anew_once() {
    let (disk, store) = indexed();
    let good = disk.bytes(&index_file()).expect("it is there");
    let keys_at = good.windows(4).position(|bytes| bytes == b"key/").expect("keys are there") as u64;
    assert!(disk.flip(&index_file(), keys_at, 1));
    (0..5).for_each(|_| assert_eq!(list(&store).len(), 12));
    let before = disk.counts();
    store.keep_house();
    assert_eq!(disk.bytes(&index_file()), Some(good));
    assert_eq!(disk.counts().since(&before).creations, 1);
}

#[test]
fn an_index_file_that_fails_once_is_left_alone_and_one_that_is_missing_is_made() {
    let (disk, store) = indexed();
    assert!(disk.make_unreadable(&index_file(), 60..61));
    // Were it made anew, that would fail.
    disk.fail(Op::Create.on(".idx"), 1);
    let mut waits = 0;
    store.scrub(&mut |_| {
        waits += 1;
        // The first wait is the one behind the index file.
        assert!(disk.make_unreadable(&index_file(), 0..0));
        true
    });
    store.keep_house();
    assert_eq!((store.scrubbed().last_round_bad_index_files, waits > 1), (0, true));
    assert_eq!(disk.fired(), [], "it is not made anew");

    let good = disk.bytes(&index_file()).expect("it is there");
    disk.remove(&index_file()).expect("a sound disk");
    assert_eq!(scrub(&store).last_round_bad_index_files, 0, "one that is missing is not damaged");
    store.keep_house();
    assert_eq!((disk.fired().len(), disk.bytes(&index_file())), (1, None), "the disk refuses");
    scrub(&store);
    store.keep_house();
    assert_eq!(disk.bytes(&index_file()).as_ref(), Some(&good), "the next round does it");

    assert!(disk.make_unreadable(&index_file(), 60..61));
    assert_eq!(scrub(&store).last_round_bad_index_files, 1);
    store.keep_house();
    assert_eq!(disk.bytes(&index_file()).as_ref(), Some(&good), "another file, on other sectors");
    assert_eq!(scrub(&store).last_round_bad_index_files, 0);
}

#[test]
fn a_large_index_file_is_read_in_pieces_at_the_rate() {
    let disk = FaultyDisk::new(2);
    let options = StoreOptions { segment_bytes: 8 << 20, scrub_bytes_per_s_max: 1, ..options() };
    let store = open(&disk, options);
    for id in 1..=3000 {
        let key = format!("{id:08x}").chars().cycle().take(1000).collect::<String>();
        let body = Body::new(key.clone().into_bytes(), key.len());
        append(&store, body.with_header(NeedleId(id), PlacementId(id as u32), 0).concat().into());
    }
    store.seal();
    append(&store, needle(9999, 10));
    store.keep_house();
    let index_bytes = disk.bytes(&index_file()).expect("it is there").len() as u64;
    assert!(index_bytes > 2 * PIECE_BYTES, "{index_bytes} bytes");
    let (mut waited, mut most, mut reads) = (Duration::ZERO, 0, disk.counts().read_bytes);
    let of_segments = store.scrubbed().total_bytes;
    store.scrub(&mut |wait| {
        waited += wait;
        most = most.max(disk.counts().read_bytes - reads);
        reads = disk.counts().read_bytes;
        true
    });
    let off = waited.as_secs_f64() / (of_segments + index_bytes) as f64;
    assert!(
        (0.999..1.001).contains(&off),
        "{waited:?} for {of_segments} + {index_bytes} bytes at one a second"
    );
    assert!(most < PIECE_BYTES + (100 << 10), "{most} bytes between two waits");
    assert_eq!(store.scrubbed().last_round_bad_index_files, 0);
    // Also behind the first piece.
    assert!(disk.flip(&index_file(), index_bytes - 20_000, 1));
    assert_eq!(scrub(&store).last_round_bad_index_files, 1);
}
