//! What compaction promises: space comes back by itself, and nothing that lives is lost on the way.

mod needles;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use hayrick_disk::{FaultyDisk, Op};
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::messages::volume::{AppendError, ReadError};
use hayrick_volume::{Store, StoreOptions};
use needles::{data, needle};
use tokio::time::{sleep, timeout};

const DIR: &str = "/volume/needles";
const DEADLINE: Duration = Duration::from_secs(60);
const SEGMENT_BYTES: u64 = 256 << 10;
/// Bytes of data of each needle: some forty fit a segment.
const SIZE: usize = 6000;

fn options() -> StoreOptions {
    let mut options = StoreOptions::new(DIR, 32 * SEGMENT_BYTES);
    options.segment_bytes = SEGMENT_BYTES;
    options.zero_ahead_bytes = 0;
    options.idle_mark_after = Duration::from_secs(3600);
    options
}

fn open(disk: &FaultyDisk) -> Store {
    Store::open(Arc::new(disk.clone()), options()).expect("the store opens")
}

async fn append(store: &Store, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        let outcomes = store.append(vec![needle(id, SIZE)]).await;
        assert!(outcomes[0].is_ok(), "needle {id}: {:?}", outcomes[0]);
    }
}

async fn delete(store: &Store, ids: impl IntoIterator<Item = u64>) {
    let ids: Vec<_> = ids.into_iter().map(NeedleId).collect();
    store.delete(&ids).await.expect("dropped");
}

fn read(store: &Store, id: u64) -> Result<Vec<u8>, ReadError> {
    let opened = store.open_needle(NeedleId(id))?;
    Ok(store.read_blocks(&opened, 0, u32::MAX)?.to_vec())
}

/// These needles are there and right, and none of the others up to `last`.
fn assert_holds(store: &Store, live: &BTreeSet<u64>, last: u64) {
    for id in 1..=last {
        if live.contains(&id) {
            assert!(read(store, id).is_ok_and(|found| found == data(id, SIZE)), "needle {id}");
        } else {
            assert_eq!(read(store, id), Err(ReadError::NotFound), "needle {id}");
        }
    }
    let status = store.status();
    assert_eq!((status.needles, status.bad), (live.len() as u64, 0));
    let segments = store.segments(usize::MAX);
    assert_eq!(segments.iter().map(|segment| segment.needles).sum::<u64>(), live.len() as u64);
    assert_eq!(
        segments.iter().map(|segment| segment.live_bytes).sum::<u64>(),
        live.iter().map(|id| needle(*id, SIZE).len() as u64).sum::<u64>(),
        "the account of live bytes is exact"
    );
}

fn segment_files(disk: &FaultyDisk) -> usize {
    (1..200).filter(|number| disk.bytes(Path::new(&format!("{DIR}/{number:016x}.seg"))).is_some()).count()
}

fn has_index_file(disk: &FaultyDisk, number: u64) -> bool {
    disk.bytes(Path::new(&format!("{DIR}/{number:016x}.idx"))).is_some()
}

#[tokio::test]
async fn what_is_dead_goes_and_what_lives_stays_also_after_a_restart() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    append(&store, 1..=400).await;
    let before = store.status();
    let live: BTreeSet<u64> = (1..=400).filter(|id| id % 3 == 0).collect();
    delete(&store, (1..=400).filter(|id| id % 3 > 0)).await;
    store.compact();
    assert_holds(&store, &live, 400);
    // What was moved filled segments, which get their index files in the background.
    let indexed = async {
        while store.segments(99).iter().any(|one| one.sealed && !has_index_file(&disk, one.id.0)) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, indexed).await.expect("all are indexed");
    let after = store.status();
    assert!(after.used_bytes * 2 < before.used_bytes, "{} of {}", after.used_bytes, before.used_bytes);
    assert!(after.free_bytes > before.free_bytes);
    assert!(store.compacted().segments > 4 && store.compacted().bytes > before.used_bytes / 2);
    store.close();
    let disk = disk.restart();
    for _ in 0..2 {
        let store = open(&disk);
        assert_eq!(store.status().used_bytes, after.used_bytes);
        assert_holds(&store, &live, 400);
        store.close();
    }
}

#[tokio::test]
async fn it_happens_by_itself() {
    let disk = FaultyDisk::new(2);
    let store = open(&disk);
    append(&store, 1..=100).await;
    delete(&store, 1..=80).await;
    let done = async {
        while store.compacted().segments < 2 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, done).await.expect("the first two segments are all dead");
    assert_holds(&store, &(81..=100).collect(), 100);
}

#[tokio::test]
async fn a_full_store_with_dead_bytes_gets_its_space_back_unaided() {
    let disk = FaultyDisk::new(3);
    let store = open(&disk);
    let mut last = 0;
    loop {
        match &store.append(vec![needle(last + 1, SIZE)]).await[0] {
            Ok(_) => last += 1,
            Err(AppendError::Full { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(store.status().full);
    let mut live: BTreeSet<u64> = (1..=last).filter(|id| id % 5 > 1).collect();
    delete(&store, (1..=last).filter(|id| id % 5 <= 1)).await;
    // As many again as were dropped, less what marks, headers and tombstones take.
    let target = last + last * 3 / 10;
    let refilled = async {
        while last < target {
            match &store.append(vec![needle(last + 1, SIZE)]).await[0] {
                Ok(_) => {
                    last += 1;
                    live.insert(last);
                }
                Err(AppendError::Full { .. }) => sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(DEADLINE, refilled).await.expect("space comes back");
    assert_holds(&store, &live, last);
    store.close();
    assert_holds(&open(&disk.restart()), &live, last);
}

#[tokio::test]
async fn a_volume_at_95_percent_full_with_40_percent_dead_gets_its_space_back_unaided() {
    let disk = FaultyDisk::new(8);
    // The reserve is two of so many segments: less than the 5 % that stay free.
    let options = StoreOptions { capacity_bytes: 64 * SEGMENT_BYTES, ..options() };
    let store = Store::open(Arc::new(disk.clone()), options.clone()).expect("the store opens");
    let percent = |bytes: u64| bytes * 100 / options.capacity_bytes;
    let mut last = 0;
    while percent(store.status().used_bytes) < 95 {
        last += 1;
        append(&store, [last]).await;
    }
    // Two of five, wherever they lie, and nobody appends or asks for anything any more.
    let live: BTreeSet<u64> = (1..=last).filter(|id| id % 5 > 1).collect();
    delete(&store, (1..=last).filter(|id| id % 5 <= 1)).await;
    let done = async {
        // 60 % of 95 live; headers, marks, index files, tombstones and the segments that are begun take some more.
        while percent(store.status().used_bytes) > 64 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = timeout(DEADLINE, done).await;
    assert!(in_time.is_ok(), "{} % are used still", percent(store.status().used_bytes));
    assert!(percent(store.status().free_bytes) > 30, "{:?}", store.status());
    assert_holds(&store, &live, last);
}

#[tokio::test]
async fn a_tombstone_outlives_its_segment_while_an_older_one_may_hold_the_needle() {
    let disk = FaultyDisk::new(4);
    let store = open(&disk);
    // A first segment that is not worth compacting, with the needle that is dropped from a later segment.
    append(&store, 1..=30).await;
    store.seal();
    append(&store, 31..=60).await;
    delete(&store, [7]).await;
    delete(&store, 31..=60).await;
    store.seal();
    append(&store, [61]).await;
    let live: BTreeSet<u64> = (1..=30).filter(|id| *id != 7).chain([61]).collect();
    store.compact();
    assert_eq!(store.compacted().segments, 1, "the second one");
    assert_holds(&store, &live, 61);
    store.close();
    for round in 0..3 {
        let store = open(&disk);
        assert_holds(&store, &live, 61);
        assert_eq!(store.append(vec![needle(7, SIZE)]).await[0], Err(AppendError::Conflict(NeedleId(7))));
        store.seal();
        append(&store, [62 + round]).await;
        delete(&store, [62 + round]).await;
        store.compact();
        store.close();
    }
}

#[tokio::test]
async fn tombstones_go_with_the_oldest_segment() {
    let disk = FaultyDisk::new(5);
    let store = open(&disk);
    append(&store, 1..=200).await;
    delete(&store, 1..=200).await;
    store.seal();
    append(&store, [201]).await;
    store.compact();
    assert_holds(&store, &[201].into(), 201);
    let bytes: u64 = store.segments(usize::MAX).iter().map(|segment| segment.bytes).sum();
    assert!(bytes < 3 * 4096 + 2 * SIZE as u64, "{bytes} bytes are left in {}", segment_files(&disk));
    store.close();
    assert_holds(&open(&disk), &[201].into(), 201);
}

#[tokio::test]
async fn a_reader_in_the_middle_keeps_its_bytes() {
    let disk = FaultyDisk::new(9);
    let store = open(&disk);
    // So large that it is read block by block, in a segment of its own; nothing of it is in memory between two of them.
    let size = 2 << 20;
    store.append(vec![needle(1, size)]).await.remove(0).expect("there is room");
    store.seal();
    append(&store, [2]).await;
    let opened = store.open_needle(NeedleId(1)).expect("it is there");
    let (half, data) = (16, data(1, size));
    let first = store.read_blocks(&opened, 0, half).expect("it is there");
    delete(&store, [1]).await;
    store.compact();
    assert_eq!(disk.bytes(Path::new(&format!("{DIR}/{:016x}.seg", 1))), None, "its segment is gone");
    let second = store.read_blocks(&opened, half, u32::MAX).expect("who has it open keeps it");
    assert!([first, second].concat() == data);
    assert_eq!(read(&store, 1), Err(ReadError::NotFound));
    assert_eq!((store.status().bad, store.status().needles), (0, 1));
}

/// A sync of the directory that failed may have lost the removal for good, and the next one says nothing of it.
#[test]
fn a_removal_that_may_be_lost_brings_no_dropped_needle_back() {
    for seed in 0..40 {
        let disk = FaultyDisk::new(seed);
        let open = |disk: &FaultyDisk| {
            let store = Store::open(Arc::new(disk.clone()), StoreOptions { threads: false, ..options() });
            store.expect("the store opens")
        };
        let store = open(&disk);
        let append = |id| {
            let outcomes = store.append(vec![needle(id, SIZE)]);
            store.work();
            outcomes.now_or_never().expect("it was written").remove(0).expect("there is room");
        };
        let delete = |ids: RangeInclusive<u64>| {
            let dropped = store.delete(&ids.map(NeedleId).collect::<Vec<_>>());
            store.work();
            dropped.now_or_never().expect("it was written").expect("dropped");
        };
        // Needles, then nothing but their tombstones, then others: what goes last may make the rest be tried again.
        (1..=30).for_each(append);
        store.seal();
        delete(1..=30);
        store.seal();
        (31..=60).for_each(append);
        store.seal();
        delete(31..=60);
        append(61);
        disk.fail(Op::SyncDir, 1);
        store.compact();
        let read_only = store.status().read_only;
        assert!(read_only.is_some_and(|why| why.starts_with(DIR)), "no sync is tried twice");
        assert_holds(&store, &[61].into(), 61);
        for crash in 0..6 {
            assert_holds(&open(&disk.crash(crash)), &[61].into(), 61);
        }
    }
}

#[tokio::test]
async fn a_segment_that_grows_does_not_wait_for_its_index_file_until_another_is_compacted() {
    let disk = FaultyDisk::new(9);
    let options = StoreOptions {
        segment_bytes: 4 * SEGMENT_BYTES,
        index_every_bytes: 0,
        // It does not end while this test does.
        compact_bytes_per_s: 1,
        ..options()
    };
    let store = Store::open(Arc::new(disk.clone()), options).expect("the store opens");
    append(&store, 1..=160).await;
    delete(&store, 1..=100).await;
    store.seal();
    let until = async |what: &str, is_so: &dyn Fn() -> bool| {
        let waiting = async {
            while !is_so() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(DEADLINE, waiting).await.expect(what);
    };
    let segment = |number: usize| store.segments(99).get(number - 1).cloned();
    let ends_at = |number: u64| {
        let index = disk.bytes(Path::new(&format!("{DIR}/{number:016x}.idx")))?;
        Some(u64::from_le_bytes(*index[index.len() - 16..].first_chunk()?))
    };
    until("it is indexed", &|| ends_at(1) == segment(1).map(|sealed| sealed.bytes)).await;
    let reads = disk.counts().reads;
    until("it is being compacted", &|| disk.counts().reads > reads).await;
    append(&store, 161..=200).await;
    until("the other one is indexed meanwhile", &|| has_index_file(&disk, 2)).await;
    assert_eq!(store.compacted().segments, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_reads_and_drops_go_on_meanwhile() {
    let disk = FaultyDisk::new(6);
    // With an index file for each eighth of the segment that is appended to.
    let options = StoreOptions { index_every_bytes: 0, ..options() };
    let store = Arc::new(Store::open(Arc::new(disk.clone()), options).expect("the store opens"));
    append(&store, 1..=300).await;
    delete(&store, (1..=300).filter(|id| id % 2 == 0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let compacting = {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                store.compact();
                std::thread::yield_now();
            }
        })
    };
    let readers: Vec<_> = (0..2)
        .map(|n| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut reads = 0;
                while !stop.load(Ordering::Relaxed) {
                    // Odd ones up to 99 are never dropped.
                    let id = (reads * 2 + 1 + n * 50) % 100;
                    if id % 2 == 1 {
                        assert!(read(&store, id).expect("it lives") == data(id, SIZE), "needle {id}");
                    }
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    let mut live: BTreeSet<u64> = (1..=300).filter(|id| id % 2 == 1).collect();
    for id in 301..=700 {
        append(&store, [id]).await;
        if id % 4 > 0 {
            delete(&store, [id, id - 200]).await;
            live.remove(&(id - 200));
        } else {
            live.insert(id);
        }
        // Said again while it moves, it is found to be there.
        append(&store, [1 + 2 * (id % 50)]).await;
    }
    stop.store(true, Ordering::Relaxed);
    compacting.join().expect("no panic");
    for reader in readers {
        assert!(reader.join().expect("no panic") > 0);
    }
    assert!(store.compacted().segments > 10, "{:?}", store.compacted());
    assert_holds(&store, &live, 700);
    Arc::into_inner(store).expect("nobody else has it").close();
    assert_holds(&open(&disk), &live, 700);
}

#[tokio::test]
async fn a_segment_with_damage_is_kept_and_reported_and_the_rest_is_compacted() {
    let disk = FaultyDisk::new(7);
    let store = open(&disk);
    append(&store, 1..=120).await;
    let whole = disk.bytes(Path::new(&format!("{DIR}/{:016x}.seg", 1))).expect("the first segment");
    let sample = &data(2, SIZE)[3000..3064];
    let at = whole.windows(sample.len()).position(|window| window == sample).expect("it lies there");
    disk.overwrite(Path::new(&format!("{DIR}/{:016x}.seg", 1)), at as u64, &[!whole[at]]);
    delete(&store, (1..=120).filter(|id| id % 2 == 1)).await;
    store.compact();
    assert!(disk.bytes(Path::new(&format!("{DIR}/{:016x}.seg", 1))).is_some(), "it is kept");
    assert!(store.compacted().segments >= 1, "others are not");
    assert_eq!(store.damaged_stretches(9).len(), 1);
    assert_eq!(store.damaged_needles(9), [NeedleId(2)]);
    for id in (1..=120).filter(|id| *id != 2) {
        let found = read(&store, id);
        assert_eq!(found.is_ok(), id % 2 == 0, "needle {id}: {found:?}");
    }
    assert_eq!(read(&store, 2), Err(ReadError::Damaged));
}
