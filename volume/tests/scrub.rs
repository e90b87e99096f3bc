//! What scrub promises: whatever is damaged is found in one round and named, and nothing is that can be read.

mod needles;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hayrick_disk::{Disk, FaultyDisk};
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::messages::volume::ReadError;
use hayrick_protocol::needle::Header;
use hayrick_volume::{Store, StoreOptions};
use needles::{data, needle};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{sleep, timeout};

const DIR: &str = "/volume/needles";
const DEADLINE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const SEGMENT_BYTES: u64 = 256 << 10;
/// Bytes of the header block of a segment.
const HEADER_BLOCK: u64 = 4096;

fn options() -> StoreOptions {
    let mut options = StoreOptions::new(DIR, 32 * SEGMENT_BYTES);
    options.segment_bytes = SEGMENT_BYTES;
    options.zero_ahead_bytes = 0;
    options.compact_bytes_per_s = 0;
    // Rounds are run by the tests.
    options.scrub_bytes_per_s_max = 0;
    options.idle_mark_after = Duration::from_secs(3600);
    options
}

fn open(disk: &FaultyDisk) -> Store {
    open_with(disk, options())
}

fn open_with(disk: &FaultyDisk, options: StoreOptions) -> Store {
    Store::open(Arc::new(disk.clone()), options).expect("the store opens")
}

async fn append(store: &Store, ids: impl IntoIterator<Item = u64>, size: usize) {
    for id in ids {
        let outcomes = store.append(vec![needle(id, size)]).await;
        assert!(outcomes[0].is_ok(), "needle {id}: {:?}", outcomes[0]);
    }
}

async fn delete(store: &Store, ids: &[u64]) {
    let ids: Vec<_> = ids.iter().copied().map(NeedleId).collect();
    store.delete(&ids).await.expect("dropped");
}

fn read(store: &Store, id: u64) -> Result<Vec<u8>, ReadError> {
    let opened = store.open_needle(NeedleId(id))?;
    Ok(store.read_blocks(&opened, 0, u32::MAX)?.to_vec())
}

/// A whole round, without waiting.
fn scrub(store: &Store) {
    let round = store.scrubbed().round;
    store.scrub(&mut |_| true);
    assert_eq!(store.scrubbed().round, round + 1, "the round ends");
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}, in time"));
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("{number:016x}.seg"))
}

fn has_index_file(disk: &FaultyDisk, number: u64) -> bool {
    disk.bytes(&Path::new(DIR).join(format!("{number:016x}.idx"))).is_some()
}

/// The records of a segment, marks among them, also one behind the seal's end: where each begins and ends, its padding not
/// counted, and where the next may begin.
fn records(disk: &FaultyDisk, number: u64) -> Vec<(Range<u64>, u64, Header)> {
    let whole = disk.bytes(&segment(number)).expect("the segment is there");
    let mut at = HEADER_BLOCK;
    let mut records = Vec::new();
    while let Some(header) = whole.get(at as usize..).and_then(Header::peek) {
        let next = at + header.total_len() as u64;
        records.push((at..at + header.end() as u64, next, header));
        at = next;
    }
    records
}

fn bad(store: &Store) -> (Vec<(u64, Range<u64>)>, Vec<NeedleId>) {
    let stretches = store.damaged_stretches(99).into_iter();
    (stretches.map(|one| (one.segment.0, one.range)).collect(), store.damaged_needles(99))
}

#[tokio::test]
async fn every_flipped_byte_is_found_in_one_round_and_the_needle_named() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    append(&store, 1..=4, 500).await;
    append(&store, [5], 70_000).await;
    delete(&store, &[2]).await;
    store.seal();
    append(&store, 6..=7, 300).await;
    until("the first segment has its index file", || has_index_file(&disk, 1)).await;
    scrub(&store);
    assert_eq!(bad(&store), (vec![], vec![]));
    let seed = 7;
    let mut random = StdRng::seed_from_u64(seed);
    for number in [1, 2] {
        // A seal proves what is before it, as the mark does that may lie behind it: nobody needs that one.
        let end = store.segments(9)[number as usize - 1].bytes;
        for (range, next, header) in records(&disk, number).into_iter().filter(|one| one.1 <= end) {
            // All of the header and key, and the last bytes, which are block tables; of the data here and there.
            let table = range.end.saturating_sub(9).max(range.start)..range.end;
            let mut at: BTreeSet<u64> = (range.start..range.end.min(range.start + 40)).chain(table).collect();
            at.extend((0..10).map(|_| random.random_range(range.clone())));
            for at in at {
                let bits = 1 << random.random_range(0..8);
                let context = format!("segment {number}, byte {at} of {header:?}, bits {bits}, seed {seed}");
                assert!(disk.flip(&segment(number), at, bits));
                scrub(&store);
                assert!(store.scrubbed().last_round_found_bad > 0, "{context}: {:?}", store.segments(9));
                let is_live = ![0, 2].contains(&header.id.0);
                let named = if is_live { vec![header.id] } else { vec![] };
                assert_eq!(bad(&store), (vec![(number, range.start..next)], named), "{context}");
                assert_eq!(store.status().bad, 1 + u64::from(is_live), "{context}");
                assert!(disk.flip(&segment(number), at, bits));
                scrub(&store);
                assert_eq!(bad(&store), (vec![], vec![]), "{context}: it is whole again");
            }
            for padding in range.end..next {
                assert!(disk.flip(&segment(number), padding, 1));
                scrub(&store);
                assert_eq!(bad(&store), (vec![], vec![]), "nothing is read from padding");
            }
        }
        for at in (0..44).chain(if number == 1 { 2048..2076 } else { 0..0 }) {
            assert!(disk.flip(&segment(number), at, 0x40));
            scrub(&store);
            let block = vec![(number, 0..HEADER_BLOCK)];
            assert_eq!(bad(&store), (block, vec![]), "byte {at} of the header block of segment {number}");
            assert!(disk.flip(&segment(number), at, 0x40));
            scrub(&store);
            assert_eq!(bad(&store), (vec![], vec![]));
        }
    }
    for id in [1, 3, 4, 6, 7] {
        assert_eq!(read(&store, id).expect("it lives").len(), if id < 6 { 500 } else { 300 });
    }
}

#[tokio::test]
async fn needles_are_named_also_when_the_index_file_was_made_behind_the_damage() {
    let disk = FaultyDisk::new(2);
    let store = open(&disk);
    append(&store, 1..=9, 5000).await;
    let (range, ..) = records(&disk, 1)[3].clone();
    assert!(disk.flip(&segment(1), range.start + 1000, 1));
    store.seal();
    append(&store, [10], 10).await;
    until("the segment has its index file", || has_index_file(&disk, 1)).await;
    let named = (vec![(1, range.start..range.end.next_multiple_of(8))], vec![NeedleId(4)]);
    assert_eq!(bad(&store), named, "who makes the index file reports it");
    // A good copy takes it off the list; the stretch stays, and is found again.
    append(&store, [4], 5000).await;
    assert_eq!(bad(&store), (named.0.clone(), vec![]));
    scrub(&store);
    assert_eq!(bad(&store), (named.0, vec![]));
    assert_eq!(store.scrubbed().last_round_found_bad, 1);
    assert_eq!(read(&store, 4).expect("the good copy"), data(4, 5000));
}

#[tokio::test]
async fn a_read_error_that_goes_away_is_not_reported_for_ever() {
    let disk = FaultyDisk::new(3);
    let store = open(&disk);
    append(&store, 1..=60, 6000).await;
    let (range, next, header) = records(&disk, 1)[5].clone();
    let unreadable = |is_so: bool| {
        let range = if is_so { range.start + 100..range.start + 101 } else { 0..0 };
        assert!(disk.make_unreadable(&segment(1), range));
    };
    // It goes away before it is read again.
    unreadable(true);
    store.scrub(&mut |_| {
        unreadable(false);
        true
    });
    assert_eq!(bad(&store), (vec![], vec![]));
    assert_eq!(store.scrubbed().last_round_found_bad, 0);
    // It lasts for a round: a sector takes others with it.
    unreadable(true);
    scrub(&store);
    let (stretches, needles) = bad(&store);
    assert!(stretches.len() == 1 && stretches[0].1.contains(&range.start) && stretches[0].1.end >= next);
    assert!(needles.contains(&header.id) && needles.len() <= 2, "{needles:?}");
    assert_eq!(store.scrubbed().last_round_found_bad, 1 + needles.len() as u64);
    assert!(read(&store, header.id.0).is_err());
    unreadable(false);
    scrub(&store);
    assert_eq!(bad(&store), (vec![], vec![]));
    assert_eq!(read(&store, header.id.0).expect("it can be read again"), data(header.id.0, 6000));
    // What only a read came upon goes the same way.
    unreadable(true);
    assert!(read(&store, header.id.0).is_err());
    assert_eq!(bad(&store), (vec![], vec![header.id]));
    unreadable(false);
    scrub(&store);
    assert_eq!(bad(&store), (vec![], vec![]));
}

#[tokio::test]
async fn what_recovery_could_not_read_is_served_again_once_it_verifies() {
    let disk = FaultyDisk::new(4);
    let store = open(&disk);
    append(&store, 1..=9, 5000).await;
    delete(&store, &[3]).await;
    store.close();
    let disk = disk.restart();
    let places = records(&disk, 1);
    let flips = [places[1].0.start + 600, places[6].0.start + 600];
    flips.iter().for_each(|at| assert!(disk.flip(&segment(1), *at, 4)));
    let store = open(&disk);
    assert_eq!(bad(&store).0.len(), 2);
    assert_eq!(read(&store, 2), Err(ReadError::NotFound));
    // A needle that nothing is known of gets a tombstone as long as it may be hidden.
    delete(&store, &[7]).await;
    scrub(&store);
    assert_eq!(bad(&store).0.len(), 2, "it is still damaged");
    store.seal();
    append(&store, [10], 10).await;
    until("the segment has its index file", || has_index_file(&disk, 1)).await;
    let index_file = || disk.bytes(&Path::new(DIR).join(format!("{:016x}.idx", 1)));
    let of_damaged = index_file();
    flips.iter().for_each(|at| assert!(disk.flip(&segment(1), *at, 4)));
    scrub(&store);
    until("the index file is made anew", || index_file() != of_damaged).await;
    for restarted in [false, true] {
        let again = restarted.then(|| open(&disk.restart()));
        let store = again.as_ref().unwrap_or(&store);
        assert_eq!(bad(store), (vec![], vec![]));
        for id in 1..=10 {
            match id {
                3 | 7 => assert_eq!(read(store, id), Err(ReadError::NotFound), "{id} was dropped"),
                10 => assert_eq!(read(store, id).expect("it lives"), data(10, 10)),
                _ => assert_eq!(read(store, id).expect("it lives"), data(id, 5000), "{id}"),
            }
        }
    }
}

#[tokio::test]
async fn it_keeps_its_place_across_a_restart() {
    let mut disk = FaultyDisk::new(5);
    let mut store = open(&disk);
    append(&store, 1..=150, 6000).await;
    until("the first segment has its index file", || has_index_file(&disk, 1)).await;
    store.close();
    disk = disk.restart();
    let damaged = records(&disk, 1)[2].0.clone();
    assert!(disk.flip(&segment(1), damaged.start, 1));
    let total_bytes = {
        let store = open(&disk);
        scrub(&store);
        assert_eq!(store.scrubbed().last_round_found_bad, 2);
        store.scrubbed().total_bytes
    };
    let ended_ms = open(&disk).scrubbed().last_round_ended_ms;
    assert!(ended_ms.is_some());
    for step in 0..99 {
        store = open(&disk);
        let before = store.scrubbed();
        assert_eq!(before.total_bytes, total_bytes, "step {step}");
        if before.round == 3 {
            // A segment at a time, here.
            assert!(step > 2, "{step} steps");
            let ended = (before.done_bytes, before.found_bad, before.last_round_found_bad);
            assert_eq!(ended, (0, 0, 2));
            assert!(before.last_round_ended_ms >= ended_ms);
            return;
        }
        assert_eq!(before.last_round_ended_ms, ended_ms);
        let reads = disk.counts().read_bytes;
        // In the wait behind the second piece the store is closed.
        let mut pieces = BTreeSet::new();
        store.scrub(&mut |_| {
            pieces.insert(store.scrubbed().done_bytes);
            pieces.len() < 2
        });
        let after = store.scrubbed();
        if after.round == 2 {
            assert!(after.done_bytes > before.done_bytes && after.found_bad == 2);
            let read_bytes = disk.counts().read_bytes - reads;
            assert!(read_bytes < 4 * SEGMENT_BYTES, "{read_bytes} bytes");
        }
        store.close();
        disk = disk.restart();
    }
    panic!("the round never ends");
}

#[tokio::test]
async fn a_bad_place_begins_anew() {
    let disk = FaultyDisk::new(6);
    let place = Path::new(DIR).join("scrub");
    let store = open(&disk);
    append(&store, 1..=50, 6000).await;
    scrub(&store);
    store.close();
    assert!(disk.flip(&place, 20, 1));
    let store = open(&disk);
    assert_eq!((store.scrubbed().round, store.scrubbed().last_round_ended_ms), (1, None));
    scrub(&store);
    store.close();
    assert_eq!(open(&disk).scrubbed().round, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn compaction_and_appends_at_the_same_time_are_no_damage() {
    let disk = FaultyDisk::new(7);
    let store = Arc::new(open(&disk));
    append(&store, 1..=200, 6000).await;
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|thread| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if thread == 0 {
                        store.compact()
                    } else {
                        store.scrub(&mut |_| true)
                    }
                    std::thread::yield_now();
                }
            })
        })
        .collect();
    let mut live: BTreeSet<u64> = (1..=200).collect();
    for id in 201..=600 {
        append(&store, [id], 6000).await;
        live.insert(id);
        if id % 4 > 0 {
            delete(&store, &[id - 200]).await;
            live.remove(&(id - 200));
        }
    }
    let rounds = store.scrubbed().round;
    until("a round after all that", || store.scrubbed().round > rounds + 1).await;
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert!(store.compacted().segments > 5, "{:?}", store.compacted());
    assert_eq!(bad(&store), (vec![], vec![]));
    assert_eq!(store.scrubbed().last_round_found_bad, 0);
    assert_eq!((store.scrubbed().bad_index_files, store.scrubbed().last_round_bad_index_files), (0, 0));
    for id in live {
        assert_eq!(read(&store, id).expect("it lives"), data(id, 6000));
    }
}

#[tokio::test]
async fn a_segment_that_goes_in_the_middle_is_no_damage() {
    let disk = FaultyDisk::new(8);
    let store = open(&disk);
    append(&store, 1..=100, 6000).await;
    delete(&store, &(1..=70).collect::<Vec<_>>()).await;
    let mut waits = 0;
    assert!(disk.make_unreadable(&segment(1), 50_000..60_000));
    store.scrub(&mut |_| {
        waits += 1;
        if waits == 1 {
            // What could not be read goes before it is read again.
            assert!(disk.make_unreadable(&segment(1), 0..0));
            store.compact();
        }
        true
    });
    assert!(disk.bytes(&segment(1)).is_none(), "it is gone");
    assert_eq!(bad(&store), (vec![], vec![]));
    assert_eq!(store.scrubbed().last_round_found_bad, 0);
}

/// Waits until all segments but the last two, one that is appended to and one made ahead, and so all that were sealed for
/// sure, have index files, and nothing is added any more; the bytes of these.
async fn all_have_index_files(disk: &FaultyDisk) -> u64 {
    let bytes_of = |extension: &str| {
        let names = disk.list(Path::new(DIR)).expect("a sound disk").into_iter();
        let names = names.filter(|name| name.ends_with(extension));
        names
            .filter_map(|name| disk.bytes(&Path::new(DIR).join(name)))
            .map(|bytes| bytes.len() as u64)
            .collect::<Vec<_>>()
    };
    until("all sealed segments have index files", || {
        bytes_of(".idx").len() + 2 >= bytes_of(".seg").len() && bytes_of(".new").is_empty()
    })
    .await;
    bytes_of(".idx").iter().sum()
}

#[tokio::test]
async fn a_round_takes_a_week_or_as_long_as_the_rate_says() {
    let disk = FaultyDisk::new(9);
    let store = open(&disk);
    append(&store, 1..=300, 6000).await;
    store.close();
    for (rate, is_bound) in [(50 << 20, false), (2, true), (1, true)] {
        let mut options = options();
        options.scrub_bytes_per_s_max = rate;
        let store = open_with(&disk, options);
        // Index files are read too, at the same rate.
        let index_bytes = all_have_index_files(&disk).await;
        let of_rate = Duration::from_secs((store.scrubbed().total_bytes + index_bytes) / rate);
        assert_eq!(of_rate > WEEK, is_bound);
        let expected = WEEK.max(of_rate);
        let (mut waited, mut longest, mut most) = (Duration::ZERO, Duration::ZERO, 0);
        let mut reads = disk.counts().read_bytes;
        store.scrub(&mut |wait| {
            waited += wait;
            longest = longest.max(wait);
            most = most.max(disk.counts().read_bytes - reads);
            reads = disk.counts().read_bytes;
            true
        });
        let off = waited.as_secs_f64() / expected.as_secs_f64();
        assert!((0.999..1.001).contains(&off), "{waited:?} and not {expected:?} at {rate} a second");
        assert!(longest <= Duration::from_secs(60), "{longest:?} in one go");
        assert!(most <= (1 << 20) + 20_000, "{most} bytes between two waits");
    }
}

#[tokio::test]
async fn a_wait_of_days_ends_with_the_store() {
    let disk = FaultyDisk::new(10);
    let store = open_with(&disk, StoreOptions { scrub_bytes_per_s_max: 50 << 20, ..options() });
    append(&store, 1..=10, 100).await;
    // Its thread waits for a week now; were that not ended, this test would never be done.
    store.close();
}
