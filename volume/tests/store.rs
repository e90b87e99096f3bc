//! What the store promises, on a disk that can be made to fail.

mod needles;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hayrick_disk::{Disk, FaultyDisk, Op};
use hayrick_protocol::digest;
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::limits::BLOCK_BYTES;
use hayrick_protocol::messages::volume::{AppendError, ListPosition, ReadError};
use hayrick_protocol::needle;
use hayrick_volume::{Outcome, Store, StoreOptions};
use needles::{PLACEMENT, data, holding, needle};
use tokio::time::{sleep, timeout};

const DIR: &str = "/volume/needles";
const DEADLINE: Duration = Duration::from_secs(20);

fn options() -> StoreOptions {
    let mut options = StoreOptions::new(DIR, 64 << 20);
    options.segment_bytes = 1 << 20;
    options.zero_ahead_bytes = 0;
    options.compact_bytes_per_s = 0;
    // Marks come when a test wants them: at seal and close.
    options.idle_mark_after = Duration::from_secs(3600);
    options
}

fn open(disk: &FaultyDisk) -> Store {
    open_with(disk, options())
}

fn open_with(disk: &FaultyDisk, options: StoreOptions) -> Store {
    Store::open(Arc::new(disk.clone()), options).expect("the store opens")
}

async fn append_one(store: &Store, needle: Bytes) -> Outcome {
    let [outcome] = &in_time(store.append(vec![needle])).await[..] else {
        panic!("one outcome for one needle")
    };
    outcome.clone()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it ends in time")
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}, in time"));
}

fn read(store: &Store, id: u64) -> Result<Vec<u8>, ReadError> {
    let opened = store.open_needle(NeedleId(id))?;
    assert_eq!(opened.placement(), PLACEMENT);
    Ok(store.read_blocks(&opened, 0, u32::MAX)?.to_vec())
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("{number:016x}.seg"))
}

fn index_file(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("{number:016x}.idx"))
}

/// Flips a bit of the only place in a segment where these bytes are.
fn flip(disk: &FaultyDisk, number: u64, bytes: &[u8]) {
    let whole = disk.bytes(&segment(number)).expect("the segment is there");
    let at = whole.windows(bytes.len()).position(|window| window == bytes).expect("the bytes are there");
    assert!(disk.flip(&segment(number), at as u64 + 3, 0x10));
}

#[tokio::test]
async fn what_was_appended_is_read_back_whole_and_by_blocks() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let sizes = [0, 1, 1000, BLOCK_BYTES, BLOCK_BYTES + 1, 1 << 20, 3 << 20, (3 << 20) + 77];
    for (id, size) in (1..).zip(sizes) {
        let appended = append_one(&store, needle(id, size)).await.expect("a good needle");
        assert_eq!(appended.needle, NeedleId(id));
        assert_eq!(appended.crc, digest::table_crc(&digest::block_table(&data(id, size))));
    }
    let check = |store: Store| {
        for (id, size) in (1..).zip(sizes) {
            let data = data(id, size);
            assert_eq!(read(&store, id).expect("it is there"), data);
            let opened = store.open_needle(NeedleId(id)).expect("it is there");
            assert_eq!(opened.size() as usize, size);
            assert_eq!(opened.table()[..], digest::block_table(&data));
            for (block, bytes) in (0..).zip(data.chunks(BLOCK_BYTES)) {
                assert_eq!(store.read_blocks(&opened, block, 1).expect("a block of it"), bytes);
            }
            let behind = u32::try_from(digest::block_count(size).max(1)).expect("few");
            assert_eq!(store.read_blocks(&opened, behind, 1), Err(ReadError::Range));
        }
        assert_eq!(read(&store, 99), Err(ReadError::NotFound));
        assert_eq!(store.status().needles, sizes.len() as u64);
        assert_eq!(store.status().bad, 0);
    };
    check(store);
    check(open_with(&disk.restart(), options()));
}

#[tokio::test]
async fn a_needle_that_is_there_is_acked_again_and_not_written_again() {
    let disk = FaultyDisk::new(2);
    let store = open(&disk);
    let first = append_one(&store, needle(1, 500)).await;
    let bytes = store.segments(9)[0].bytes;
    assert_eq!(append_one(&store, needle(1, 500)).await, first);
    assert_eq!(store.segments(9)[0].bytes, bytes);
    assert_eq!(append_one(&store, needle(1, 501)).await, Err(AppendError::Conflict(NeedleId(1))));
    assert_eq!(append_one(&store, holding(1, &data(2, 500))).await, Err(AppendError::Conflict(NeedleId(1))));
    assert_eq!(read(&store, 1).expect("the first stays"), data(1, 500));
}

#[tokio::test]
async fn a_needle_on_its_way_is_waited_for_and_written_once() {
    let disk = FaultyDisk::new(3);
    let store = open(&disk);
    let gate = disk.gate(Op::Sync);
    let first = tokio::spawn(store.append(vec![needle(1, 500)]));
    let second = tokio::spawn(store.append(vec![needle(1, 500), needle(1, 500), needle(1, 501)]));
    until("the write hangs", || store.status().stalled_ms > 0).await;
    assert!(!first.is_finished() && !second.is_finished(), "nothing is acked before it is durable");
    assert_eq!(read(&store, 1), Err(ReadError::NotFound), "nor shown");
    gate.open();
    let first = in_time(first).await.expect("no panic");
    let second = in_time(second).await.expect("no panic");
    assert!(first[0].is_ok());
    assert_eq!(second, [first[0].clone(), first[0].clone(), Err(AppendError::Conflict(NeedleId(1)))]);
    let live = &store.segments(9)[0];
    assert_eq!(live.live_bytes + 4096, live.bytes, "written once");
}

#[tokio::test]
async fn what_is_malformed_is_refused_by_itself() {
    let disk = FaultyDisk::new(4);
    let store = open(&disk);
    let good = needle(1, 100);
    let mut flipped = needle(2, 100).to_vec();
    flipped[60] ^= 1;
    let mut padded = needle(3, 101).to_vec();
    *padded.last_mut().expect("not empty") = 1;
    let bad = [
        Bytes::new(),
        Bytes::from(flipped),
        Bytes::from(padded),
        Bytes::from(needle::mark()),
        Bytes::from(needle::tombstone(NeedleId(1), PlacementId(1))),
        Bytes::from([&needle(4, 5)[..], &[0; 8]].concat()),
        needle(5, 100).slice(..64),
    ];
    let mut outcomes = in_time(store.append([&[good][..], &bad].concat())).await;
    assert!(outcomes.remove(0).is_ok());
    for (outcome, bytes) in outcomes.into_iter().zip(&bad) {
        assert!(matches!(outcome, Err(AppendError::Malformed(_))), "{bytes:?}: {outcome:?}");
    }
    assert_eq!(store.status().needles, 1);
}

#[tokio::test]
async fn a_dropped_needle_stays_dropped() {
    let disk = FaultyDisk::new(5);
    let store = open(&disk);
    in_time(store.append((1..=6).map(|id| needle(id, 100)).collect())).await;
    store.seal();
    in_time(store.delete(&[NeedleId(2), NeedleId(77), NeedleId(4)])).await.expect("dropped");
    store.seal();
    let on_its_way = store.append(vec![needle(7, 10)]);
    in_time(store.delete(&[NeedleId(7)])).await.expect("dropped");
    assert!(in_time(on_its_way).await[0].is_ok());
    until("both are indexed", || disk.exists(&index_file(2)).expect("a sound disk")).await;
    store.close();
    for round in 0..3 {
        let store = open(&disk);
        for id in [2, 4, 7] {
            assert_eq!(read(&store, id), Err(ReadError::NotFound), "round {round}");
            assert_eq!(append_one(&store, needle(id, 100)).await, Err(AppendError::Conflict(NeedleId(id))));
        }
        for id in [1, 3, 5, 6] {
            assert_eq!(read(&store, id).expect("never dropped"), data(id, 100));
        }
        assert_eq!(store.status().needles, 4);
        // With neither index file, then without the first only: tombstones count wherever they are read from.
        if round < 2 {
            disk.remove(&index_file(2 - round)).expect("a sound disk");
        }
        store.close();
    }
}

#[tokio::test]
async fn a_damaged_copy_is_replaced_only_by_the_needle_that_its_header_names() {
    let disk = FaultyDisk::new(25);
    let store = open(&disk);
    append_one(&store, needle(1, 1000)).await.expect("a good needle");
    flip(&disk, 1, &data(1, 1000));
    let other_key = needle::Body::new([b"key/x", &data(1, 1000)[..]].concat(), 5);
    let other_key = other_key.with_header(NeedleId(1), PLACEMENT, 1_700_000_000).concat();
    let other_placement = needle::Body::new([b"key/1", &data(1, 1000)[..]].concat(), 5);
    let other_placement = other_placement.with_header(NeedleId(1), PlacementId(9), 1_700_000_000).concat();
    for other in [other_key.into(), other_placement.into(), holding(1, &data(1, 1001))] {
        assert_eq!(append_one(&store, other).await, Err(AppendError::Conflict(NeedleId(1))));
    }
    append_one(&store, needle(1, 1000)).await.expect("the good copy is taken");
    assert_eq!(read(&store, 1).expect("whole again"), data(1, 1000));
}

#[tokio::test]
async fn small_needles_of_ids_that_name_large_ones_are_refused_unread() {
    let disk = FaultyDisk::new(26);
    let store = open(&disk);
    for id in 1..=5 {
        append_one(&store, needle(id, 500_000)).await.expect("a good needle");
    }
    let reads = disk.counts().reads;
    let outcomes = in_time(store.append((1..=5).map(|id| needle(id, 10)).collect())).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(AppendError::Conflict(_)))));
    assert_eq!(disk.counts().reads, reads);
}

#[tokio::test]
async fn what_the_index_cannot_name_is_not_acknowledged() {
    let disk = FaultyDisk::new(27);
    open(&disk).close();
    disk.create(&segment(u64::from(u32::MAX))).expect("a segment without a header");
    disk.remove(&segment(1)).expect("a sound disk");
    let store = open(&disk);
    assert!(matches!(append_one(&store, needle(1, 10)).await, Err(AppendError::Failed(_))));
    assert!(matches!(in_time(store.delete(&[NeedleId(2)])).await, Err(AppendError::Failed(_))));
    assert_eq!(read(&store, 1), Err(ReadError::NotFound));
}

#[tokio::test]
async fn a_flipped_bit_in_the_padding_makes_no_other_needle() {
    let disk = FaultyDisk::new(28);
    let store = open(&disk);
    let whole = needle(1, 1001);
    let first = append_one(&store, whole.clone()).await;
    assert_eq!(whole.last(), Some(&0), "there is padding");
    assert!(disk.flip(&segment(1), 4096 + whole.len() as u64 - 1, 1));
    assert_eq!(append_one(&store, whole).await, first);
}

#[tokio::test]
async fn a_failed_rotation_makes_the_store_read_only_at_once() {
    let disk = FaultyDisk::new(29);
    let store = open(&disk);
    append_one(&store, needle(1, 100)).await.expect("a good needle");
    disk.fail(Op::Sync, 1);
    store.seal();
    until("the rotation fails", || store.status().read_only.is_some()).await;
    assert!(matches!(append_one(&store, needle(2, 100)).await, Err(AppendError::ReadOnly(_))));
    assert!(matches!(in_time(store.delete(&[NeedleId(1)])).await, Err(AppendError::ReadOnly(_))));
    assert!(matches!(in_time(store.probe()).await, Err(AppendError::ReadOnly(_))));
}

#[tokio::test]
async fn a_good_copy_of_a_damaged_needle_does_not_undo_its_drop() {
    let disk = FaultyDisk::new(23);
    let store = open(&disk);
    append_one(&store, needle(1, 1000)).await.expect("a good needle");
    flip(&disk, 1, &data(1, 1000));
    let gate = disk.gate(Op::Sync);
    let dropped = store.delete(&[NeedleId(1)]);
    let repaired = store.append(vec![needle(1, 1000)]);
    gate.open();
    in_time(dropped).await.expect("dropped");
    assert_eq!(in_time(repaired).await, [Err(AppendError::Conflict(NeedleId(1)))]);
    assert_eq!(read(&store, 1), Err(ReadError::NotFound));
}

#[tokio::test]
async fn a_drop_of_a_needle_that_could_not_be_found_holds_when_it_is_found_again() {
    let disk = FaultyDisk::new(24);
    let store = open(&disk);
    for id in 1..=3 {
        append_one(&store, needle(id, 9000)).await.expect("a good needle");
    }
    store.close();
    assert!(disk.make_unreadable(&segment(1), 4096 + 9000..4096 + 9600));
    let store = open(&disk);
    assert_eq!(read(&store, 2), Err(ReadError::NotFound));
    in_time(store.delete(&[NeedleId(2)])).await.expect("dropped");
    store.close();
    assert!(disk.make_unreadable(&segment(1), 0..0));
    let store = open(&disk);
    assert_eq!(read(&store, 2), Err(ReadError::NotFound));
    assert_eq!(read(&store, 3).expect("never dropped"), data(3, 9000));
}

#[tokio::test]
async fn a_flipped_byte_is_never_returned_and_a_good_copy_takes_its_place() {
    let disk = FaultyDisk::new(6);
    let store = open(&disk);
    for (id, size) in [(1, 1000), (2, 1000), (3, 3 << 20)] {
        append_one(&store, needle(id, size)).await.expect("a good needle");
    }
    flip(&disk, 1, &data(1, 1000));
    assert_eq!(read(&store, 1), Err(ReadError::Damaged));
    assert_eq!(read(&store, 1), Err(ReadError::Damaged));
    assert_eq!((store.status().bad, store.damaged_needles(9)), (1, vec![NeedleId(1)]));
    assert_eq!(read(&store, 2).expect("the neighbour is whole"), data(2, 1000));

    // Of a large one only the block is lost.
    flip(&disk, 2, &data(3, 3 << 20)[BLOCK_BYTES..BLOCK_BYTES + 64]);
    let opened = store.open_needle(NeedleId(3)).expect("its header is whole");
    assert_eq!(store.read_blocks(&opened, 1, 1), Err(ReadError::Damaged));
    assert_eq!(store.read_blocks(&opened, 0, 2), Err(ReadError::Damaged));
    assert_eq!(
        store.read_blocks(&opened, 2, 1).expect("whole"),
        data(3, 3 << 20)[2 * BLOCK_BYTES..3 * BLOCK_BYTES]
    );

    append_one(&store, needle(1, 1000)).await.expect("the good copy is taken");
    assert_eq!(read(&store, 1).expect("whole again"), data(1, 1000));
    assert_eq!(store.damaged_needles(9), [NeedleId(3)]);
    store.close();
    assert_eq!(read(&open(&disk), 1).expect("the good copy is found again"), data(1, 1000));
}

#[tokio::test]
async fn damage_in_the_middle_hides_nothing_behind_it_and_stops_no_start() {
    let disk = FaultyDisk::new(7);
    let store = open(&disk);
    for id in 1..=5 {
        append_one(&store, needle(id, 300)).await.expect("a good needle");
    }
    store.close();
    flip(&disk, 1, &data(3, 300));
    let store = open(&disk);
    for id in [1, 2, 4, 5] {
        assert_eq!(read(&store, id).expect("whole"), data(id, 300));
    }
    assert_eq!(read(&store, 3), Err(ReadError::NotFound));
    let status = store.status();
    assert_eq!((status.bad, status.bad_bytes, status.needles), (1, needle(3, 300).len() as u64, 4));
    assert_eq!(store.damaged_stretches(9).len(), 1);
    append_one(&store, needle(3, 300)).await.expect("what is damaged can be appended again");
    in_time(store.delete(&[NeedleId(3)])).await.expect("dropped");
    store.seal();
    until("it is indexed, damage and all", || disk.exists(&index_file(1)).expect("a sound disk")).await;
    store.close();
    let store = open(&disk);
    assert_eq!((store.status().bad, store.status().needles), (1, 4), "the index file knows of the damage");
}

#[tokio::test]
async fn a_torn_needle_full_of_forged_heads_is_read_a_few_times_at_most() {
    let disk = FaultyDisk::new(20);
    let mut options = options();
    options.segment_bytes = 4 << 20;
    let store = open_with(&disk, options.clone());
    append_one(&store, needle(1, 100)).await.expect("a good needle");
    // At every 32nd byte of the file a needle of 2 MiB seems to begin, the first of a batch.
    let mut forged = [&holding(2, &vec![0; 2 << 20])[..29], b"key"].concat();
    forged[2] |= 1;
    let lead = vec![0; (29 + "key/3".len()).next_multiple_of(8) - (29 + "key/3".len())];
    let crafted = holding(3, &[lead, forged.repeat((3 << 20) / forged.len())].concat());
    append_one(&store, crafted).await.expect("it is a needle like any other");
    let killed = disk.restart();
    drop(store);
    assert!(killed.flip(&segment(1), 4096 + needle(1, 100).len() as u64 + 4, 1), "its header is torn");
    let store = open_with(&killed, options);
    assert_eq!(read(&store, 1).expect("what lies before it"), data(1, 100));
    let read_bytes = killed.counts().read_bytes;
    assert!(read_bytes < 40 << 20, "{read_bytes} bytes were read of a segment of 4 MiB");
}

#[tokio::test]
async fn a_full_store_refuses_needles_and_still_reads_and_drops() {
    let disk = FaultyDisk::new(8);
    let mut options = options();
    options.capacity_bytes = 2 << 20;
    options.segment_bytes = 256 << 10;
    let store = open_with(&disk, options.clone());
    let mut held = 0;
    let full = loop {
        assert!(store.status().used_bytes <= options.capacity_bytes);
        match append_one(&store, needle(held + 1, 10_000)).await {
            Ok(_) => held += 1,
            Err(error) => break error,
        }
    };
    let AppendError::Full { used_bytes, reserve_bytes } = full else { panic!("{full:?}") };
    assert_eq!(reserve_bytes, 2 * options.segment_bytes);
    let usable_bytes = options.capacity_bytes - reserve_bytes;
    // The last segment was made before the one in front of it was indexed: that index file is the reserve's.
    assert!(used_bytes <= usable_bytes + 4096, "{used_bytes} of {usable_bytes}");
    assert!(
        used_bytes + options.segment_bytes > usable_bytes,
        "all but the reserve was used, by whole segments"
    );
    assert!(store.status().full);
    assert!(store.status().free_bytes < 10_100);
    for id in 1..=held {
        assert_eq!(read(&store, id).expect("reads go on"), data(id, 10_000));
    }
    while append_one(&store, needle(held + 1, 10)).await.is_ok() {
        held += 1;
    }
    let all: Vec<_> = (1..=held).map(NeedleId).collect();
    in_time(store.delete(&all)).await.expect("drops go on");
    assert_eq!(store.status().needles, 0);
    assert_eq!(store.status().read_only, None, "full is not broken");
    in_time(store.probe()).await.expect("the write path works");
    store.close();
    let store = open_with(&disk, options);
    assert!(store.status().full, "a restart does not open the reserve");
    assert!(matches!(append_one(&store, needle(held + 2, 10)).await, Err(AppendError::Full { .. })));
    in_time(store.probe()).await.expect("the write path works");
}

#[tokio::test]
async fn a_failed_sync_makes_the_store_read_only_for_good() {
    let disk = FaultyDisk::new(9);
    let store = open(&disk);
    append_one(&store, needle(1, 100)).await.expect("a good needle");
    in_time(store.probe()).await.expect("the write path works");
    disk.fail(Op::Sync, 1);
    assert!(matches!(append_one(&store, needle(2, 100)).await, Err(AppendError::Failed(_))));
    assert!(matches!(append_one(&store, needle(3, 100)).await, Err(AppendError::ReadOnly(_))));
    assert!(matches!(in_time(store.delete(&[NeedleId(1)])).await, Err(AppendError::ReadOnly(_))));
    assert!(matches!(in_time(store.probe()).await, Err(AppendError::ReadOnly(_))));
    assert!(store.status().read_only.is_some());
    assert_eq!(read(&store, 1).expect("reads go on"), data(1, 100));
    assert_eq!(read(&store, 2), Err(ReadError::NotFound), "what was not acked is not shown");
}

#[tokio::test]
async fn a_segment_that_cannot_be_made_puts_appends_off() {
    let disk = FaultyDisk::new(30);
    let store = open(&disk);
    append_one(&store, needle(1, 900_000)).await.expect("a good needle");
    disk.fail(Op::Create, 1);
    assert_eq!(append_one(&store, needle(2, 900_000)).await, Err(AppendError::Busy));
    assert_eq!(store.status().read_only, None);
    append_one(&store, needle(2, 900_000)).await.expect("the next try succeeds");
}

#[tokio::test]
async fn a_read_that_fails_is_an_error_and_counted() {
    let disk = FaultyDisk::new(10);
    let store = open(&disk);
    append_one(&store, needle(1, 100)).await.expect("a good needle");
    disk.fail(Op::Read, 1);
    assert!(matches!(read(&store, 1), Err(ReadError::Disk(_))));
    assert_eq!(store.status().bad, 1);
}

#[tokio::test]
async fn a_sealed_segment_opens_from_its_index_file_as_from_its_data() {
    let disk = FaultyDisk::new(11);
    let store = open(&disk);
    for first in (1..400).step_by(20) {
        let needles = (first..first + 20).map(|id| needle(id, (id as usize * 37) % 900)).collect();
        assert!(in_time(store.append(needles)).await.iter().all(Result::is_ok));
    }
    in_time(store.delete(&[NeedleId(10), NeedleId(11)])).await.expect("dropped");
    store.seal();
    until("it is indexed", || disk.exists(&index_file(1)).expect("a sound disk")).await;
    store.close();
    let good = disk.bytes(&index_file(1)).expect("it is there");

    let state = |store: &Store| {
        let data: Vec<_> = (1..=401).map(|id| read(store, id).ok()).collect();
        (data, store.status().needles, store.segments(9))
    };
    let with_index = open(&disk);
    let expected = state(&with_index);
    assert_eq!(expected.1, 398);
    with_index.close();

    let other = Path::new(DIR).join("other.idx");
    for spoil in ["removed", "flipped", "cut", "of another segment", "long"] {
        match spoil {
            "removed" => disk.remove(&index_file(1)).expect("a sound disk"),
            "flipped" => assert!(disk.flip(&index_file(1), 300, 4)),
            "cut" => disk.open(&index_file(1)).and_then(|file| file.set_len(200)).expect("a sound disk"),
            "long" => disk.open(&index_file(1)).and_then(|file| file.set_len(1 << 30)).expect("a sound disk"),
            _ => {
                // The same segment made again elsewhere: same name, same needles, another salt.
                let elsewhere = FaultyDisk::new(99);
                let store = open(&elsewhere);
                append_one(&store, needle(1, 5)).await.expect("a good needle");
                store.seal();
                until("it is indexed", || elsewhere.exists(&index_file(1)).expect("a sound disk")).await;
                store.close();
                let bytes = elsewhere.bytes(&index_file(1)).expect("it is there");
                hayrick_disk::write_atomically(&disk, &index_file(1), &bytes).expect("a sound disk");
            }
        }
        let store = open(&disk);
        assert_eq!(state(&store), expected, "index file {spoil}");
        until("the index file is made anew", || disk.bytes(&index_file(1)).as_ref() == Some(&good)).await;
        store.close();
    }
    assert!(!disk.exists(&other).expect("a sound disk"));
}

#[tokio::test]
async fn what_could_not_be_read_once_is_not_left_out_of_the_index_file_for_ever() {
    let disk = FaultyDisk::new(21);
    let store = open(&disk);
    for id in 1..=20 {
        append_one(&store, needle(id, 10_000)).await.expect("a good needle");
    }
    assert!(disk.make_unreadable(&segment(1), 100_000..104_096));
    store.seal();
    append_one(&store, needle(21, 10)).await.expect("a good needle");
    store.seal();
    until("the indexer is done with both", || disk.exists(&index_file(2)).expect("a sound disk")).await;
    assert_eq!((store.status().bad, store.damaged_stretches(9).len()), (3, 1));
    assert_eq!(store.damaged_needles(9), [10, 11].map(NeedleId), "what lies in what cannot be read");
    store.close();
    assert!(!disk.exists(&index_file(1)).expect("a sound disk"));
    assert!(disk.make_unreadable(&segment(1), 0..0));
    let store = open(&disk);
    for id in 1..=20 {
        assert_eq!(read(&store, id).expect("it can be read again"), data(id, 10_000));
    }
}

#[tokio::test]
async fn an_index_file_from_before_the_seal_was_lost_holds_for_what_was_there_then() {
    let disk = FaultyDisk::new(22);
    let store = open(&disk);
    append_one(&store, needle(1, 100)).await.expect("a good needle");
    store.seal();
    until("it is indexed", || disk.exists(&index_file(1)).expect("a sound disk")).await;
    let stale = disk.bytes(&index_file(1)).expect("it is there");
    store.close();
    assert!(disk.overwrite(&segment(1), 2048, &[0; 28]), "the seal is lost");
    let store = open(&disk);
    append_one(&store, needle(2, 100)).await.expect("a good needle");
    store.seal();
    until("it is made anew", || disk.bytes(&index_file(1)).as_ref() != Some(&stale)).await;
    store.close();
    // As if it had not been made anew.
    hayrick_disk::write_atomically(&disk, &index_file(1), &stale).expect("a sound disk");
    let store = open(&disk);
    for id in [1, 2] {
        assert_eq!(read(&store, id).expect("it was acknowledged"), data(id, 100));
    }
}

#[tokio::test]
async fn an_index_file_spares_the_start_the_data() {
    let disk = FaultyDisk::new(12);
    let store = open(&disk);
    for id in 1..=3 {
        append_one(&store, needle(id, 900_000)).await.expect("a good needle");
    }
    store.seal();
    until("it is indexed", || disk.exists(&index_file(3)).expect("a sound disk")).await;
    store.close();
    flip(&disk, 2, &data(2, 900_000)[..64]);
    let store = open(&disk);
    assert_eq!(store.status().bad, 0, "the data was not looked at");
    assert_eq!(read(&store, 2), Err(ReadError::Damaged), "but is when it is read");
    assert_eq!(read(&store, 3).expect("whole"), data(3, 900_000));
}

/// All that a list shows, page by page.
fn list(store: &Store, placements: &[PlacementId]) -> Vec<(PlacementId, NeedleId, String)> {
    let (mut shown, mut from) = (Vec::new(), Some(ListPosition::default()));
    while let Some(position) = from {
        let page = store.list_page(placements, position, 70).expect("it can be listed");
        let rows = page.needles.into_iter();
        shown.extend(rows.map(|row| (row.placement, row.needle, row.key.as_str().to_owned())));
        from = page.next;
    }
    shown.sort();
    shown
}

#[tokio::test]
async fn a_list_shows_the_live_needles_of_its_placements_wherever_they_lie() {
    let disk = FaultyDisk::new(31);
    let store = open(&disk);
    let key = |id: u64| format!("photos/{id:05}/{}", "x".repeat(id as usize % 300));
    let of = |id: u64| PlacementId(1 + id as u32 % 9);
    let needle = |id| {
        let body = needle::Body::new([key(id).as_bytes(), &data(id, 50)].concat(), key(id).len());
        Bytes::from(body.with_header(NeedleId(id), of(id), 0).concat())
    };
    // Two sealed segments and one that is appended to; in the last two, tombstones of what lies in those before.
    for (from, gone) in [(1, 3), (301, 20), (601, 333)] {
        assert!(
            in_time(store.append((from..from + 300).map(needle).collect())).await.iter().all(Result::is_ok)
        );
        in_time(store.delete(&[NeedleId(gone)])).await.expect("dropped");
        if from < 601 {
            store.seal();
        }
    }
    until("both are indexed", || disk.exists(&index_file(2)).expect("a sound disk")).await;
    let expected = |placements: &[PlacementId]| {
        let here = |id: &u64| ![3, 20, 333].contains(id) && placements.contains(&of(*id));
        let mut all: Vec<_> = (1..=900).filter(here).map(|id| (of(id), NeedleId(id), key(id))).collect();
        all.sort();
        all
    };
    let some = [PlacementId(4), PlacementId(2), PlacementId(77), PlacementId(2)];
    let all: Vec<_> = (1..=9).map(PlacementId).collect();
    assert_eq!(list(&store, &some), expected(&some));
    assert_eq!(list(&store, &all), expected(&all));
    assert_eq!(list(&store, &[]), []);

    // Of a sealed segment the data is not looked at.
    assert!(disk.make_unreadable(&segment(1), 4096..8192));
    assert_eq!(list(&store, &some), expected(&some));
    assert!(disk.make_unreadable(&segment(1), 0..0));

    // A damaged index file is noticed when it is needed; the data has the same, and the file is made anew of it.
    let good = disk.bytes(&index_file(1)).expect("it is there");
    let keys_at = good.windows(7).position(|bytes| bytes == b"photos/").expect("keys are there");
    assert!(disk.flip(&index_file(1), keys_at as u64, 1));
    assert_eq!(list(&store, &some), expected(&some));
    until("the index file is made anew", || disk.bytes(&index_file(1)).as_ref() == Some(&good)).await;

    // Without either, a list says that it is none.
    disk.remove(&index_file(1)).expect("a sound disk");
    assert!(disk.make_unreadable(&segment(1), 4096..8192));
    let page = store.list_page(&some, ListPosition::default(), 1);
    assert!(matches!(page, Err(ReadError::Disk(_))), "{page:?}");
}

/// Bytes of all files in the directory.
fn bytes_on_disk(disk: &FaultyDisk) -> u64 {
    let names = disk.list(Path::new(DIR)).expect("a sound disk");
    names.iter().map(|name| disk.bytes(&Path::new(DIR).join(name)).expect("it is there").len() as u64).sum()
}

#[tokio::test]
async fn index_files_count_as_used_and_never_break_into_the_reserve() {
    let disk = FaultyDisk::new(32);
    let mut options = options();
    options.capacity_bytes = 2 << 20;
    options.segment_bytes = 64 << 10;
    let reserve_bytes = 2 * options.segment_bytes;
    let store = open_with(&disk, options.clone());
    // Almost nothing but keys: the index files take almost as much as the segments.
    let mut id = 0;
    loop {
        id += 1;
        let key =
            format!("{}{id}", data(id, 400).iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let body = needle::Body::new(key.clone().into_bytes(), key.len());
        let needle = body.with_header(NeedleId(id), PLACEMENT, 0).concat();
        let full = append_one(&store, needle.into()).await.is_err();
        let sealed = || store.segments(99).iter().filter(|segment| segment.sealed).count() as u64;
        until("all are indexed", || {
            (1..=sealed()).all(|number| disk.exists(&index_file(number)).expect("sound"))
        })
        .await;
        until("all is counted", || store.status().used_bytes == bytes_on_disk(&disk)).await;
        if full {
            assert!(store.status().full);
            break;
        }
    }
    let status = store.status();
    let index_bytes = status.used_bytes - status.segments * options.segment_bytes;
    assert!(index_bytes > status.used_bytes / 3, "{index_bytes} of {}", status.used_bytes);
    // A segment is made before the one in front of it is indexed, so that one index file may be over.
    assert!(status.used_bytes <= options.capacity_bytes - reserve_bytes + options.segment_bytes);
    in_time(store.delete(&(1..=id).map(NeedleId).collect::<Vec<_>>())).await.expect("drops go on");
    store.close();
    let store = open_with(&disk, options);
    assert_eq!(store.status().used_bytes, bytes_on_disk(&disk));
    assert!(store.status().full, "a restart does not open the reserve");
}

#[tokio::test]
async fn index_files_that_are_half_made_or_without_a_segment_are_removed_at_start() {
    let disk = FaultyDisk::new(33);
    let store = open(&disk);
    append_one(&store, needle(1, 100)).await.expect("a good needle");
    store.seal();
    until("it is indexed", || disk.exists(&index_file(1)).expect("a sound disk")).await;
    store.close();
    let half_made = Path::new(DIR).join(format!("{:016x}.idx.new", 1));
    let not_ours = [Path::new(DIR).join("9.idx"), Path::new(DIR).join("notes.idx.new")];
    for path in [&half_made, &index_file(77), &not_ours[0], &not_ours[1]] {
        disk.create(path).and_then(|file| file.write_all_at(&[7; 300], 0)).expect("a sound disk");
    }
    let store = open(&disk);
    for path in [&half_made, &index_file(77)] {
        assert!(!disk.exists(path).expect("a sound disk"), "{}", path.display());
    }
    for path in [&index_file(1), &not_ours[0], &not_ours[1]] {
        assert!(disk.exists(path).expect("a sound disk"), "{}", path.display());
    }
    assert_eq!(store.status().used_bytes, bytes_on_disk(&disk));
    assert_eq!(read(&store, 1).expect("it is there"), data(1, 100));
}
