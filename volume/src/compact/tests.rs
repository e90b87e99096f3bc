//! What is promised of compaction that only shows from inside.

use futures_util::FutureExt;
use hayrick_disk::FaultyDisk;
use hayrick_protocol::needle::Body;

use super::*;
use crate::store::Store;

const SEGMENT_BYTES: u64 = 4 << 20;
/// Some forty needles of this fit a segment.
const SIZE: usize = 100_000;

fn open() -> Store {
    let mut options = StoreOptions::new("/needles", 16 * SEGMENT_BYTES);
    options.segment_bytes = SEGMENT_BYTES;
    options.zero_ahead_bytes = 0;
    options.threads = false;
    Store::open(Arc::new(FaultyDisk::new(1)), options).expect("the store opens")
}

fn append(store: &Store, id: u64) -> Result<(), AppendError> {
    let needle = Body::new(vec![7; SIZE], 1).with_header(NeedleId(id), PlacementId(1), 0).concat();
    let outcomes = store.append(vec![needle.into()]);
    store.work();
    store.keep_house();
    outcomes.now_or_never().expect("it was written").remove(0).map(|_| ())
}

/// Appends, from this id on, until less than that is free; the last id.
fn fill(store: &Store, first: u64, free_bytes_max: u64) -> u64 {
    let mut id = first;
    while store.status().free_bytes >= free_bytes_max {
        append(store, id).expect("there is room");
        id += 1;
    }
    id - 1
}

fn delete(store: &Store, ids: impl Iterator<Item = u64>) {
    let dropped = store.delete(&ids.map(NeedleId).collect::<Vec<_>>());
    store.work();
    dropped.now_or_never().expect("it was written").expect("dropped");
}

/// Compacts a segment if one is worth it: whether one was, and the time that was waited.
fn compact_one(store: &Store) -> (bool, Duration) {
    let mut waited = Duration::ZERO;
    let before = store.compacted().segments;
    store.housekeeper.compact_one(&mut |wait| {
        waited += wait;
        true
    });
    (store.compacted().segments > before, waited)
}

#[test]
fn it_hurries_for_little_only_when_no_other_segment_can_be_made() {
    let store = open();
    let mut last = fill(&store, 1, 3 * SEGMENT_BYTES);
    // A tenth of each segment is dead, but of the first, where it is a third.
    let first = store.segments(1)[0].needles;
    delete(&store, (1..=last).filter(|id| id % if *id <= first { 3 } else { 10 } == 0));
    let (is_done, waited) = compact_one(&store);
    let at_rate = Duration::from_secs_f64(SEGMENT_BYTES as f64 / store.options.compact_bytes_per_s as f64);
    assert!(is_done && waited > at_rate / 2, "{waited:?} and not some {at_rate:?}");
    for free_bytes in [3 * SEGMENT_BYTES, 2 * SEGMENT_BYTES, SEGMENT_BYTES + SIZE as u64] {
        last = fill(&store, last + 1, free_bytes);
        assert!(store.status().free_bytes >= SEGMENT_BYTES, "another segment can be made");
        assert_eq!(compact_one(&store), (false, Duration::ZERO), "{} are free", store.status().free_bytes);
    }
    fill(&store, last + 1, SEGMENT_BYTES);
    assert_eq!(compact_one(&store), (true, Duration::ZERO), "{} are free", store.status().free_bytes);
}

#[test]
fn a_needle_that_is_pulled_again_while_its_tombstone_is_moved_lives() {
    let store = open();
    (11..=18).chain([1]).for_each(|id| append(&store, id).expect("there is room"));
    store.seal();
    // The tombstone is the first record of the second segment; then comes one that is dead, and another.
    delete(&store, [1].into_iter());
    (3..=9).for_each(|id| append(&store, id).expect("there is room"));
    store.seal();
    append(&store, 10).expect("there is room");
    delete(&store, [3, 4, 5].into_iter());
    let is_first = || store.shared.index.read().get(NeedleId(1)) == Some(Known::Dropped);
    assert!(is_first());
    let mut pulled = 0;
    store.housekeeper.compact_one(&mut |_| {
        if is_first() {
            let needle = Body::new(vec![7; SIZE], 1).with_header(NeedleId(1), PlacementId(1), 0).concat();
            let outcomes = store.append_pulled(vec![(needle.into(), true)]);
            store.work();
            assert!(outcomes.now_or_never().expect("it was written")[0].is_ok());
            pulled += 1;
        }
        true
    });
    assert_eq!((pulled, store.compacted().segments), (1, 1));
    assert!(store.open_needle(NeedleId(1)).is_ok(), "its tombstone came behind it");
    store.seal();
    store.work();
    store.compact();
    assert!(store.open_needle(NeedleId(1)).is_ok());
}

#[test]
fn what_is_not_worth_it_is_not_moved_even_when_no_other_segment_can_be_made() {
    let store = open();
    let last = fill(&store, 1, SEGMENT_BYTES);
    // One of some forty in each segment.
    delete(&store, (1..=last).filter(|id| id % 40 == 0));
    assert_eq!(compact_one(&store), (false, Duration::ZERO));
}

#[test]
fn where_more_may_be_damaged_than_is_remembered_nothing_is_removed() {
    let store = open();
    let last = fill(&store, 1, 12 * SEGMENT_BYTES);
    delete(&store, 1..=last);
    let damage = &store.shared.damage;
    // Stretches of a segment that nothing else is known of.
    let mut at = 0;
    while !damage.is_full() {
        damage.stretch(FileId(77), at..at + 8);
        at += 16;
    }
    assert!(!compact_one(&store).0, "a stretch that did not fit the list may be in any segment");
    damage.verified(FileId(77), &(0..8));
    assert!(compact_one(&store).0);
}
