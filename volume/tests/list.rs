//! What is promised of lists: whatever is appended, dropped, sealed, indexed and compacted between two pages, all that was there
//! from the first to the last is shown; and a list that cannot see everything fails.

mod needles;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hayrick_disk::{Disk, FaultyDisk, Op, replay};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::messages::volume::{ListPosition, Listed, Listing, ReadError};
use hayrick_protocol::needle::{HEADER_BYTES, Header, WIRE_SALT};
use hayrick_volume::{Store, StoreOptions};
use needles::data;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const DIR: &str = "/volume/needles";
/// Placements of the needles, by their ids.
const PLACEMENTS: u32 = 5;

fn options(segment_bytes: u64) -> StoreOptions {
    let mut options = StoreOptions::new(DIR, 2000 * segment_bytes);
    options.segment_bytes = segment_bytes;
    options.zero_ahead_bytes = 0;
    options.idle_mark_after = Duration::from_secs(3600);
    options.threads = false;
    options
}

fn open(disk: &FaultyDisk, options: StoreOptions) -> Store {
    Store::open(Arc::new(disk.clone()), options).expect("the store opens")
}

fn of(id: u64) -> PlacementId {
    PlacementId(1 + (id * 7 % u64::from(PLACEMENTS)) as u32)
}

fn all() -> Vec<PlacementId> {
    (1..=PLACEMENTS).map(PlacementId).collect()
}

/// The needle of this id, in its placement.
fn needle(id: u64, len: usize) -> Bytes {
    let mut needle = needles::needle(id, len).to_vec();
    let header = Header { placement: of(id), ..Header::peek(&needle).expect("a needle") };
    let header = header.encode(&needle[HEADER_BYTES..header.data_at()], WIRE_SALT);
    needle[..HEADER_BYTES].copy_from_slice(&header);
    needle.into()
}

fn append(store: &Store, ids: impl IntoIterator<Item = u64>, len: usize) {
    for id in ids {
        let outcomes = store.append(vec![needle(id, len)]);
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

fn index_file(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("{number:016x}.idx"))
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("{number:016x}.seg"))
}

fn position(row: &Listed) -> ListPosition {
    ListPosition { segment: row.segment, placement: row.placement, needle: row.needle }
}

/// One page, which makes sense: what is in it ascends, and the next begins behind it.
fn page(store: &Store, from: ListPosition, limit: usize) -> Result<Listing, ReadError> {
    let page = store.list_page(&all(), from, limit)?;
    assert!(page.needles.len() <= limit);
    let mut last = from;
    for row in &page.needles {
        assert!(position(row) > last, "{row:?} behind {last:?}");
        assert_eq!((row.placement, row.key.as_str()), (of(row.needle.0), &*format!("key/{}", row.needle)));
        last = position(row);
    }
    assert!(page.next.is_none_or(|next| next >= last && next > from), "{:?} behind {last:?}", page.next);
    Ok(page)
}

/// Pages to the last, and what is done between each two.
fn pages(store: &Store, limit: usize, mut between: impl FnMut(usize)) -> Vec<Listed> {
    let (mut shown, mut from, mut number) = (Vec::new(), Some(ListPosition::default()), 0);
    while let Some(position) = from {
        let page = page(store, position, limit).expect("it can be listed");
        shown.extend(page.needles);
        from = page.next;
        between(number);
        number += 1;
    }
    shown
}

fn ids(rows: &[Listed]) -> BTreeSet<u64> {
    rows.iter().map(|row| row.needle.0).collect()
}

#[test]
fn pages_of_any_size_show_each_needle_once_in_the_order_of_segments_placements_and_ids() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk, options(64 << 10));
    let len_of = |id: u64| 10 + (id % 700) as usize;
    for id in 1..=900 {
        append(&store, [id], len_of(id));
        if id % 300 == 0 {
            // Some segments have their index files, those behind not yet.
            store.keep_house();
        }
        if id == 600 {
            store.seal();
        }
    }
    delete(&store, [3, 300, 620, 899]);
    let expected: BTreeSet<u64> = (1..=900).filter(|id| ![3, 300, 620, 899].contains(id)).collect();
    let whole = pages(&store, 4096, |_| ());
    assert_eq!((ids(&whole), whole.len()), (expected.clone(), expected.len()));
    assert!(whole.iter().all(|row| row.bytes as usize == needle(row.needle.0, len_of(row.needle.0)).len()));
    assert!(whole.last().is_some_and(|row| row.segment > 4), "of several segments");
    for limit in [1, 2, 7, 100, expected.len()] {
        assert_eq!(pages(&store, limit, |_| ()), whole, "pages of {limit}");
    }
    let some = [PlacementId(4), PlacementId(2), PlacementId(77)];
    let of_some = |row: &&Listed| some.contains(&row.placement);
    let page = store.list_page(&some, ListPosition::default(), 4096).expect("it can be listed");
    assert_eq!(page.needles, whole.iter().filter(of_some).cloned().collect::<Vec<_>>());
    store.keep_house();
    assert!((1..=4).all(|number| disk.bytes(&index_file(number)).is_some()));
    assert_eq!(pages(&store, 31, |_| ()), whole, "with index files of all");
}

/// The segment that is appended to is this large here; it gets an index file with each eighth.
const LARGE_BYTES: u64 = 4 << 20;

#[test]
fn of_a_segment_that_is_appended_to_only_what_lies_behind_its_index_file_is_read() {
    let disk = FaultyDisk::new(2);
    let options = StoreOptions { index_every_bytes: 0, ..options(LARGE_BYTES) };
    let store = open(&disk, options);
    for id in 1..=75 {
        append(&store, [id], 50_000);
        store.keep_house();
    }
    assert_eq!(store.status().segments, 1, "nothing is sealed");
    let read = |what: &str| {
        let before = disk.counts();
        assert_eq!(ids(&pages(&store, 4096, |_| ())), (1..=75).collect(), "{what}");
        disk.counts().since(&before).read_bytes
    };
    let tail_max = LARGE_BYTES / 8 + 100_000;
    assert!((1..tail_max).contains(&read("with an index file of its beginning")));
    let good = disk.bytes(&index_file(1)).expect("it is there");
    for at in (0..good.len() as u64).step_by(11) {
        assert!(disk.flip(&index_file(1), at, 1 << (at % 8)));
        read("with one bit flipped");
        assert!(disk.flip(&index_file(1), at, 1 << (at % 8)));
    }
    let keys_at = good.windows(4).position(|bytes| bytes == b"key/").expect("keys are there") as u64;
    assert!(disk.flip(&index_file(1), keys_at, 1));
    assert!(read("with a bad block of keys") > 75 * 50_000, "all of the data");
    assert!(disk.flip(&index_file(1), keys_at, 1));
    // Sealed, and its index file not made anew yet.
    store.seal();
    store.work();
    append(&store, [200], 1);
    delete(&store, [200]);
    assert_eq!(disk.bytes(&index_file(1)), Some(good));
    assert!((1..tail_max).contains(&read("just sealed")));
    disk.remove(&index_file(1)).expect("a sound disk");
    assert!(read("without an index file") > 75 * 50_000);
    store.keep_house();
    assert!(read("with its own") < 100_000);
}

/// Six segments, and a few needles in a seventh.
fn seven() -> (FaultyDisk, Store) {
    let disk = FaultyDisk::new(3);
    let store = open(&disk, options(64 << 10));
    for number in 0..6 {
        append(&store, number * 20 + 1..=number * 20 + 20, 2500);
        store.seal();
    }
    append(&store, 121..=125, 2500);
    store.keep_house();
    assert_eq!(store.status().segments, 7);
    (disk, store)
}

#[test]
fn what_compaction_moves_between_any_two_pages_is_shown() {
    let limit = 9;
    let (_disk, store) = seven();
    let count = pages(&store, limit, |_| ()).len().div_ceil(limit);
    let mut shown_twice = 0;
    for moved_behind in 0..=count {
        // The first half is compacted behind one page, the second some pages later: what was moved moves again.
        for again_behind in [moved_behind, moved_behind + 1, moved_behind + 4] {
            let (_disk, store) = seven();
            let compact = |dropped: &dyn Fn(u64) -> bool| {
                let before = store.compacted().segments;
                delete(&store, (1..=125).filter(|id| dropped(*id)));
                store.compact();
                assert!(store.compacted().segments > before, "something was moved");
            };
            let shown = pages(&store, limit, |number| {
                if number == moved_behind {
                    compact(&|id| id <= 60 && id % 2 == 0);
                }
                if number == again_behind {
                    // Of the copies, which lie in the seventh segment or behind, too.
                    store.seal();
                    store.work();
                    append(&store, [1000 + number as u64], 1);
                    store.keep_house();
                    compact(&|id| id > 60 && id % 2 == 0 || id % 6 == 3);
                }
            });
            let there: BTreeSet<u64> = (1..=125).filter(|id| id % 2 == 1 && id % 6 != 3).collect();
            let missing = &there - &ids(&shown);
            assert!(
                missing.is_empty(),
                "behind {moved_behind} and {again_behind}: {missing:?} are not shown"
            );
            shown_twice += shown.len() - ids(&shown).len();
        }
    }
    assert!(shown_twice > 0, "some are shown where they were and where they went");
}

#[test]
fn what_is_moved_while_a_page_is_made_is_shown_where_it_went() {
    let (disk, store) = seven();
    let gate = disk.gate(Op::Open.on("0000000000000001.idx"));
    let shown = thread::scope(|scope| {
        let listing = scope.spawn(|| pages(&store, 4096, |_| ()));
        gate.wait_for_arrival();
        // It knows of seven segments, and is about to look into the first. Both of these go to one that is made now.
        store.seal();
        store.work();
        delete(&store, (1..=40).filter(|id| id % 2 == 0));
        let before = store.compacted().segments;
        store.compact();
        assert_eq!(store.compacted().segments, before + 2);
        gate.open();
        listing.join().expect("it can be listed")
    });
    let there: BTreeSet<u64> = (1..=125).filter(|id| *id > 40 || id % 2 == 1).collect();
    assert_eq!(ids(&shown), there);
    assert!(shown.iter().all(|row| row.segment > 2));
}

#[test]
fn whatever_happens_between_pages_all_that_was_there_from_the_first_to_the_last_is_shown() {
    let test = "whatever_happens_between_pages_all_that_was_there_from_the_first_to_the_last_is_shown";
    let mut seen = BTreeMap::new();
    for replay in replay::histories(env!("CARGO_PKG_NAME"), test, 150) {
        let mut random = StdRng::seed_from_u64(replay.seed());
        let mut disk = FaultyDisk::new(replay.seed());
        let options = StoreOptions {
            index_every_bytes: 0,
            capacity_bytes: 1 << 30,
            ..options([32 << 10, 64 << 10, 256 << 10][random.random_range(0..3)])
        };
        let mut store = Some(open(&disk, options.clone()));
        let mut live = BTreeSet::new();
        let mut last_id = 0;
        for _ in 0..random.random_range(5..40) {
            step(&mut random, (&mut disk, &mut store, &options), &mut live, &mut last_id, &mut seen);
        }
        let mut there = live.clone();
        let (mut shown, mut from) = (BTreeSet::new(), Some(ListPosition::default()));
        while let Some(position) = from {
            let limit = *[1, 3, 10, 50].choose(&mut random).expect("there are some");
            let open_store = store.as_ref().expect("it is open");
            let page = page(open_store, position, limit).expect("it can be listed");
            shown.extend(page.needles.iter().map(|row| row.needle.0));
            from = page.next;
            // Fewer than a page shows, so that the list comes to an end.
            if random.random_range(0..3) == 0 {
                step(&mut random, (&mut disk, &mut store, &options), &mut live, &mut last_id, &mut seen);
                there.retain(|id| live.contains(id));
            }
        }
        replay.note(format!("{} needles", there.len()));
        let missing: Vec<_> = there.difference(&shown).collect();
        assert!(missing.is_empty(), "not shown: {missing:?}");
    }
    assert!(["append", "delete", "seal", "index", "compact", "restart"].iter().all(|step| seen[step] > 50));
}

/// What may come between two pages.
fn step(
    random: &mut StdRng,
    (disk, slot, options): (&mut FaultyDisk, &mut Option<Store>, &StoreOptions),
    live: &mut BTreeSet<u64>,
    last_id: &mut u64,
    seen: &mut BTreeMap<&'static str, usize>,
) {
    let store = slot.as_ref().expect("it is open");
    let what = match random.random_range(0..12) {
        0..=3 => {
            for _ in 0..random.random_range(1..20) {
                *last_id += 1;
                append(store, [*last_id], random.random_range(1..3000));
                live.insert(*last_id);
            }
            "append"
        }
        4..=5 => {
            // Neighbours, so that segments are worth compacting.
            let first = random.random_range(0..=*last_id);
            let gone: Vec<u64> = live.range(first..first + 30).copied().filter(|id| id % 3 > 0).collect();
            delete(store, gone.iter().copied());
            live.retain(|id| !gone.contains(id));
            "delete"
        }
        6 => {
            store.seal();
            store.work();
            "seal"
        }
        7..=8 => {
            store.keep_house();
            "index"
        }
        9..=10 => {
            let before = store.compacted().segments;
            store.compact();
            if store.compacted().segments > before { "compact" } else { "nothing" }
        }
        _ => {
            // It is killed.
            *disk = disk.restart();
            *slot = None;
            *slot = Some(open(disk, options.clone()));
            "restart"
        }
    };
    *seen.entry(what).or_default() += 1;
}

#[test]
fn a_disk_that_cannot_be_read_makes_a_list_fail_and_not_be_short() {
    let (disk, store) = seven();
    let whole = pages(&store, 4096, |_| ());
    let list = || store.list_page(&all(), ListPosition::default(), 4096);
    // One with its data alone, and one with its index file.
    disk.remove(&index_file(3)).expect("it is there");
    let before = disk.counts();
    assert_eq!(list().expect("a sound disk").needles, whole);
    let normal = disk.counts().since(&before);
    // Each read of a list, and each opening of a file, fails once: it sees all nevertheless, or fails.
    for (op, count) in [(Op::Read, normal.reads), (Op::Open, normal.opens)] {
        assert!(count > 7, "{op:?}: {count}");
        for nth in 1..=count {
            disk.fail(op, nth);
            match list() {
                Ok(page) => assert_eq!(page.needles, whole, "{op:?} {nth}"),
                Err(error) => assert!(matches!(error, ReadError::Disk(_)), "{error}"),
            }
            store.keep_house();
            // Made by who could not tell whether it was there.
            if disk.bytes(&index_file(3)).is_some() {
                disk.remove(&index_file(3)).expect("it is there");
            }
        }
    }
    assert_eq!(disk.fired().len() as u64, normal.reads + normal.opens);
    assert_eq!(store.status().bad, 0, "what fails once is not taken for damage");
    // A sector that stays bad in the one that has no index file, and nobody knew of it.
    assert!(disk.make_unreadable(&segment(3), 8192..8193));
    let error = list().expect_err("not all can be seen");
    assert!(matches!(&error, ReadError::Disk(why) if why.contains("ask again")), "{error}");
    // Now it is known.
    let lost: BTreeSet<u64> = store.damaged_needles(99).iter().map(|id| id.0).collect();
    assert!(!lost.is_empty() && lost.iter().all(|id| (41..=60).contains(id)), "{lost:?}");
    let listed = ids(&list().expect("all but what is known to be damaged").needles);
    assert_eq!(listed, ids(&whole).difference(&lost).copied().collect());
    assert!(disk.make_unreadable(&segment(3), 0..0));
    store.scrub(&mut |_| true);
    assert_eq!(list().expect("it can be read again").needles, whole);
}

#[test]
fn needles_that_are_known_to_be_damaged_are_not_listed_until_they_are_well_again() {
    let disk = FaultyDisk::new(4);
    let store = open(&disk, options(64 << 10));
    append(&store, 1..=10, 2500);
    let flip = |id: u64| {
        let whole = disk.bytes(&segment(1)).expect("it is there");
        let sample = &data(id, 2500)[2000..2100];
        let at = whole.windows(sample.len()).position(|window| window == sample).expect("it is there");
        assert!(disk.flip(&segment(1), at as u64 - 1500, 1));
    };
    let list = || ids(&pages(&store, 3, |_| ()));
    let without = |lost: &[u64]| (1..=11).filter(|id| !lost.contains(id)).collect::<BTreeSet<u64>>();
    // The index file is made without what is damaged by then.
    flip(2);
    store.seal();
    append(&store, [11], 2500);
    store.keep_house();
    assert_eq!((list(), store.damaged_needles(9)), (without(&[2]), vec![NeedleId(2)]));
    // One that it names is found by a read.
    flip(5);
    assert_eq!(list(), without(&[2]), "nobody has looked");
    assert_eq!(store.open_needle(NeedleId(5)).err(), Some(ReadError::Damaged));
    assert_eq!(list(), without(&[2, 5]));
    // Both are well again, and the index file lacks one of them still.
    flip(2);
    flip(5);
    store.scrub(&mut |_| true);
    assert_eq!(store.status().bad, 0);
    assert_eq!(list(), without(&[]), "told by the data");
    store.keep_house();
    let before = disk.counts();
    assert_eq!(list(), without(&[]));
    assert!(disk.counts().since(&before).read_bytes < 25_000, "told by the index file, made anew");
    // A good copy takes the place of a damaged one.
    flip(7);
    assert_eq!(store.open_needle(NeedleId(7)).err(), Some(ReadError::Damaged));
    assert_eq!(list(), without(&[7]));
    append(&store, [7], 2500);
    assert_eq!(list(), without(&[]));
}

#[test]
fn a_page_looks_into_so_many_segments_and_no_more() {
    let disk = FaultyDisk::new(5);
    let store = open(&disk, options(32 << 10));
    for id in 1..=150 {
        append(&store, [id], 10);
        store.seal();
    }
    append(&store, [151], 10);
    store.keep_house();
    let last = of(151);
    assert_eq!(store.status().segments, 151);
    delete(&store, (1..=150).filter(|id| of(*id) == last));
    let (mut from, mut number, mut shown) = (Some(ListPosition::default()), 0, Vec::new());
    while let Some(position) = from {
        let before = disk.counts();
        let page = store.list_page(&[last], position, 100).expect("it can be listed");
        let reads = disk.counts().since(&before).reads;
        assert!(reads < 64 * 8, "{reads} reads for page {number}");
        shown.extend(page.needles);
        from = page.next;
        number += 1;
    }
    assert_eq!((ids(&shown), number), ([151].into(), 3));
}
