//! What is promised of whole needles that another volume fetches: they are as their gateway made them, or it is said why not.

mod needles;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use hayrick_disk::FaultyDisk;
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::limits::APPEND_BATCH_BYTES_MAX;
use hayrick_protocol::messages::volume::ReadError;
use hayrick_volume::{Store, StoreOptions};
use needles::{data, needle};

const DIR: &str = "/volume/needles";

fn open(disk: &FaultyDisk) -> Store {
    let mut options = StoreOptions::new(DIR, 512 << 20);
    options.segment_bytes = 32 << 20;
    options.zero_ahead_bytes = 0;
    options.threads = false;
    Store::open(Arc::new(disk.clone()), options).expect("the store opens")
}

fn append(store: &Store, needles: impl IntoIterator<Item = Bytes>) {
    for needle in needles {
        let outcomes = store.append(vec![needle]);
        store.work();
        outcomes.now_or_never().expect("it was written").remove(0).expect("appended");
    }
}

fn delete(store: &Store, ids: impl IntoIterator<Item = u64>) {
    let dropped = store.delete(&ids.into_iter().map(NeedleId).collect::<Vec<_>>());
    store.work();
    dropped.now_or_never().expect("it was written").expect("dropped");
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("{number:016x}.seg"))
}

/// Where these bytes begin in a segment.
fn find(disk: &FaultyDisk, number: u64, bytes: &[u8]) -> u64 {
    let whole = disk.bytes(&segment(number)).expect("it is there");
    whole.windows(bytes.len()).position(|window| window == bytes).expect("they lie there") as u64
}

fn fetch(store: &Store, ids: &[u64]) -> (Vec<Result<(), ReadError>>, Vec<Bytes>) {
    let fetched = store.fetch(&ids.iter().copied().map(NeedleId).collect::<Vec<_>>());
    assert_eq!(fetched.outcomes.iter().filter(|outcome| outcome.is_ok()).count(), fetched.needles.len());
    (fetched.outcomes, fetched.needles)
}

#[test]
fn needles_come_as_they_were_made_wherever_they_lie_by_now_and_can_be_appended_elsewhere() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let sizes = [0, 1, 63, 64 << 10, 200_000, 1_500_000];
    let made: Vec<Bytes> = (1..).zip(sizes).map(|(id, size)| needle(id, size)).collect();
    append(&store, made.clone());
    let ids: Vec<u64> = (1..=6).collect();
    assert_eq!(fetch(&store, &ids), (vec![Ok(()); 6], made.clone()));
    // Moved into another segment, sealed anew with the salt of that place.
    append(&store, [needle(7, 2 << 20)]);
    store.seal();
    append(&store, [needle(8, 1)]);
    delete(&store, [7]);
    store.compact();
    assert_eq!(disk.bytes(&segment(1)), None, "it was compacted");
    let (outcomes, fetched) = fetch(&store, &ids);
    assert_eq!((&outcomes[..], &fetched), (&[const { Ok(()) }; 6][..], &made));
    let other = open(&FaultyDisk::new(2));
    append(&other, fetched);
    assert_eq!(fetch(&other, &ids).1, made);
}

#[test]
fn padding_that_a_disk_spoiled_spoils_no_needle() {
    let disk = FaultyDisk::new(3);
    let store = open(&disk);
    let made = needle(1, 100);
    append(&store, [made.clone()]);
    let end = find(&disk, 1, &data(1, 100)) + 100 + 4;
    assert!(!end.is_multiple_of(8) && made.ends_with(&[0]), "it has padding");
    assert!(disk.flip(&segment(1), end, 0x40));
    assert_eq!(fetch(&store, &[1]), (vec![Ok(())], vec![made.clone()]));
    append(&open(&FaultyDisk::new(4)), [made]);
}

#[test]
fn of_each_needle_that_cannot_be_given_it_is_said_why() {
    let disk = FaultyDisk::new(5);
    let store = open(&disk);
    append(&store, (1..=5).map(|id| needle(id, 3000)));
    delete(&store, [2]);
    assert!(disk.flip(&segment(1), find(&disk, 1, &data(3, 3000)) + 9, 1));
    let at = find(&disk, 1, &data(4, 3000));
    assert!(disk.make_unreadable(&segment(1), at..at + 1));
    let (outcomes, needles) = fetch(&store, &[9, 1, 2, 3, 4, 5]);
    assert_eq!(outcomes[..2], [Err(ReadError::NotFound), Ok(())]);
    assert_eq!(outcomes[2..4], [Err(ReadError::NotFound), Err(ReadError::Damaged)]);
    assert!(matches!(outcomes[4], Err(ReadError::Disk(_))), "{:?}", outcomes[4]);
    assert_eq!((&outcomes[5], needles), (&Ok(()), vec![needle(1, 3000), needle(5, 3000)]));
    assert_eq!(store.damaged_needles(9), [NeedleId(3), NeedleId(4)], "it is reported as by any read");
    // What can be read again is off the list.
    assert!(disk.make_unreadable(&segment(1), 0..0));
    assert_eq!(fetch(&store, &[4]), (vec![Ok(())], vec![needle(4, 3000)]));
    assert_eq!(store.damaged_needles(9), [NeedleId(3)]);
}

#[test]
fn no_more_is_given_at_once_than_one_append_takes_but_of_the_first_always() {
    let disk = FaultyDisk::new(6);
    let store = open(&disk);
    let quarter = APPEND_BATCH_BYTES_MAX / 4;
    // Whole needles of exactly a quarter: key, header, table and padding aside.
    let around = needle(1, quarter).len() - quarter;
    append(&store, (1..=5).map(|id| needle(id, quarter - around.next_multiple_of(8))));
    append(&store, [needle(6, 5 << 20)]);
    let (outcomes, needles) = fetch(&store, &[1, 2, 99, 3, 4, 5]);
    assert_eq!(outcomes.len(), 5, "{outcomes:?}");
    assert!(needles.iter().map(Bytes::len).sum::<usize>() <= APPEND_BATCH_BYTES_MAX);
    assert_eq!(fetch(&store, &[1, 6, 2]).0, [Ok(())]);
    let (outcomes, needles) = fetch(&store, &[99, 6, 1]);
    assert_eq!((outcomes, needles.len()), (vec![Err(ReadError::NotFound), Ok(())], 1), "it goes alone");
    assert_eq!(needles[0], needle(6, 5 << 20));
    assert_eq!(fetch(&store, &[]), (vec![], vec![]));
}
