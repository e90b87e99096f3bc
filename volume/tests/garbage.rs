//! Bytes that are no needles of a segment never count as such, whatever they once were: zeros, noise, needles as they
//! travel, needles of an older segment in whose blocks this one lies, needles of this very segment at another place. Each
//! through the real recovery.

mod needles;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hayrick_disk::{Failure, Fault, FaultyDisk, Op, salt_at};
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::messages::volume::ReadError;
use hayrick_protocol::needle::{self, Header};
use hayrick_volume::{Store, StoreOptions};
use needles::{data, holding, needle};
use proptest::prelude::*;

const HEADER_BYTES: usize = 4096;
/// What needles of the older segment are numbered from; the others are numbered from 1.
const OLDER: u64 = 1000;
/// Bytes of the needle with the number [`OLDER`], if it is empty.
const FIRST_BYTES: usize = 40;

fn open(disk: &FaultyDisk) -> Store {
    let mut options = StoreOptions::new("/needles", 64 << 20);
    options.segment_bytes = 64 << 10;
    options.zero_ahead_bytes = 0;
    options.compact_bytes_per_s = 0;
    options.idle_mark_after = Duration::from_secs(3600);
    Store::open(Arc::new(disk.clone()), options).expect("the store opens")
}

fn segment() -> PathBuf {
    Path::new("/needles").join("0000000000000001.seg")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

/// A store that was closed, with needles of these lengths, a group commit each, numbered from `first`.
fn written(seed: u64, first: u64, lens: &[usize]) -> FaultyDisk {
    let disk = FaultyDisk::new(seed);
    let store = open(&disk);
    for (id, len) in (first..).zip(lens) {
        block_on(store.append(vec![needle(id, *len)])).remove(0).expect("a good needle");
    }
    store.close();
    disk
}

/// The bytes of a segment from its first record on, up to the last.
fn records_of(disk: &FaultyDisk) -> Vec<u8> {
    let bytes = disk.bytes(&segment()).expect("it is there");
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes[HEADER_BYTES..end.next_multiple_of(8)].to_vec()
}

fn read(store: &Store, id: u64) -> Result<Vec<u8>, ReadError> {
    let opened = store.open_needle(NeedleId(id))?;
    Ok(store.read_blocks(&opened, 0, u32::MAX)?.to_vec())
}

/// The needles of these lengths are there, and no other, and nothing counts as damaged. So it is after another start.
fn assert_holds(disk: &FaultyDisk, lens: &[usize]) {
    for start in 1..=2 {
        let store = open(disk);
        for (id, len) in (1..).zip(lens) {
            assert_eq!(read(&store, id), Ok(data(id, *len)), "start {start}");
        }
        let status = store.status();
        assert_eq!((status.needles, status.bad), (lens.len() as u64, 0), "start {start}");
        for id in OLDER..OLDER + 20 {
            assert_eq!(read(&store, id), Err(ReadError::NotFound), "start {start}");
        }
        store.close();
    }
}

/// Puts bytes behind the last record, and opens.
fn assert_never_parse_behind(lens: &[usize], shift: usize, bytes: &[u8]) {
    let disk = written(1, 1, lens);
    let at = HEADER_BYTES + records_of(&disk).len() + shift;
    let bytes = &bytes[..bytes.len().min((64 << 10) - at)];
    assert!(disk.overwrite(&segment(), at as u64, bytes));
    assert_holds(&disk, lens);
    let left = disk.bytes(&segment()).expect("it is there").split_off(at);
    // Two starts later there are marks at most.
    assert!(left.iter().skip(64).all(|byte| *byte == 0), "the tail was cut, so that it never comes back");
}

/// Writes these bytes over a segment with needles of these lengths, from there on behind its header, and opens: what they
/// changed is lost and counted as one stretch, all else is there, and nothing new.
fn assert_damage_costs_what_it_covers(
    lens: &[usize],
    from: usize,
    bytes: &[u8],
) -> Result<(), TestCaseError> {
    let disk = written(1, 1, lens);
    let own = records_of(&disk);
    assert!(disk.overwrite(&segment(), (HEADER_BYTES + from) as u64, bytes));
    let now = records_of(&disk);
    let store = open(&disk);
    let (mut at, mut lost, mut lost_bytes) = (0, 0, 0);
    for (id, len) in (1..).zip(lens) {
        let record = at..at + needle(id, *len).len();
        // Its padding says nothing.
        let said = at..at + Header::peek(&needle(id, *len)).expect("a needle").end();
        let is_covered = own[said.clone()] != now[said];
        match read(&store, id) {
            Ok(bytes) => prop_assert!(!is_covered && bytes == data(id, *len)),
            error => {
                prop_assert_eq!(error, Err(ReadError::NotFound));
                prop_assert!(
                    is_covered,
                    "needle {} at {:?} was lost, the bytes begin at {}",
                    id,
                    record,
                    from
                );
                (lost, lost_bytes) = (lost + 1, lost_bytes + record.len());
            }
        }
        at = record.end;
    }
    let status = store.status();
    prop_assert_eq!(status.needles, lens.len() as u64 - lost);
    prop_assert_eq!((status.bad, status.bad_bytes), (u64::from(lost > 0), lost_bytes as u64));
    for id in OLDER..OLDER + 12 {
        prop_assert_eq!(read(&store, id), Err(ReadError::NotFound));
    }
    Ok(())
}

fn lens() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..900_usize, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn zeros_and_noise_never_parse(lens in lens(), zeros in 0..5000_usize, noise in prop::collection::vec(any::<u8>(), 0..5000)) {
        assert_never_parse_behind(&lens, zeros, &noise);
    }

    #[test]
    fn a_recycled_segment_never_parses(lens in lens(), older in lens(), shift in 0..200_usize) {
        let older = records_of(&written(2, OLDER, &older));
        assert_never_parse_behind(&lens, 8 * shift, &older);
    }

    #[test]
    fn needles_as_they_travel_never_parse(lens in lens(), shift in 0..50_usize) {
        let wire: Vec<u8> = (OLDER..OLDER + 8).flat_map(|id| needle(id, 300).to_vec()).collect();
        assert_never_parse_behind(&lens, 8 * shift, &wire);
    }

    #[test]
    fn an_older_segment_in_the_middle_is_damage_and_costs_what_it_covers(
        lens in prop::collection::vec(0..900_usize, 4..12),
        older in lens(),
        from: prop::sample::Index,
        blocks in 1..4_usize,
    ) {
        let older = records_of(&written(2, OLDER, &older));
        let own = records_of(&written(1, 1, &lens));
        // Sectors that were never written over, so that the older ones show; the last record, a mark, proves what is before.
        let whole = (own.len() - 32) / 512;
        prop_assume!(whole > 0 && !older.is_empty());
        let from = from.index(whole) * 512;
        let stale: Vec<u8> = older.iter().copied().cycle().take((blocks * 512).min(whole * 512 - from)).collect();
        assert_damage_costs_what_it_covers(&lens, from, &stale)?;
    }

    #[test]
    fn blocks_of_this_segment_at_another_place_are_damage_and_cost_what_they_cover(
        lens in prop::collection::vec(0..900_usize, 4..12),
        from: prop::sample::Index,
        to: prop::sample::Index,
        blocks in 1..6_usize,
    ) {
        // As a write that went astray leaves it, or a block that was moved and is there twice.
        let own = records_of(&written(1, 1, &lens));
        let whole = (own.len() - 32) / 512;
        prop_assume!(whole > 1);
        let (from, to) = (from.index(whole) * 512, to.index(whole) * 512);
        prop_assume!(from != to);
        let len = (blocks * 512).min(whole * 512 - from.max(to));
        assert_damage_costs_what_it_covers(&lens, to, &own[from..from + len])?;
    }

    #[test]
    fn needles_of_this_segment_behind_its_end_never_parse(lens in lens(), shift in 0..200_usize) {
        let own = records_of(&written(1, 1, &lens));
        assert_never_parse_behind(&lens, 8 * shift, &own);
    }

    #[test]
    fn a_needle_at_another_place_of_its_segment_never_parses(
        len in 0..900_usize,
        salt: u64,
        // Up to 32 GiB, twice what a segment has.
        own in 0..1_u64 << 32,
        others in prop::collection::vec(0..1_u64 << 32, 1..50),
    ) {
        let mut record = needle(1, len).to_vec();
        needle::seal(&mut record, salt_at(salt, 8 * own), false);
        prop_assert!(needle::parse(&record, salt_at(salt, 8 * own)).is_ok());
        for other in others.into_iter().filter(|other| *other != own) {
            prop_assert!(needle::parse(&record, salt_at(salt, 8 * other)).is_err(), "from {} at {}", own, other);
        }
    }

    #[test]
    fn a_write_that_went_astray_is_damage_and_serves_nothing_wrong(
        lens in prop::collection::vec(1..900_usize, 4..12),
        astray: prop::sample::Index,
        seed: u64,
    ) {
        let astray = 1 + astray.index(lens.len()) as u64;
        let disk = FaultyDisk::new(seed);
        let store = open(&disk);
        for (id, len) in (1..).zip(&lens) {
            if id == astray {
                disk.order(Fault::new(Op::Write.on("0000000000000001.seg"), 1, Failure::Misdirected));
            }
            block_on(store.append(vec![needle(id, *len)])).remove(0).expect("the disk says nothing");
        }
        prop_assert_eq!(read(&store, astray), Err(ReadError::Damaged));
        store.close();
        let store = open(&disk);
        prop_assert!(store.status().bad > 0);
        prop_assert_eq!(read(&store, astray), Err(ReadError::NotFound));
        let there = (1..).zip(&lens).filter(|(id, len)| match read(&store, *id) {
            Ok(bytes) => bytes == data(*id, **len) || panic!("needle {id} has other bytes"),
            Err(_) => false,
        });
        prop_assert_eq!(store.status().needles, there.count() as u64);
    }

    #[test]
    fn a_needle_made_of_needles_is_one_needle(older in lens(), behind in 0..900_usize) {
        // Sealed for a segment of the very same salt, as the seed makes it, and for these very places: header and key of the
        // needle around them, filled up to a multiple of 8, are as long as the empty needle before them.
        let records = records_of(&written(1, OLDER, &[&[0], &older[..]].concat()));
        let before = Header::peek(&needle(1, 0)).expect("a needle").data_at();
        let records = [&vec![0; FIRST_BYTES - before], &records[FIRST_BYTES..]].concat();
        let disk = FaultyDisk::new(1);
        let store = open(&disk);
        block_on(store.append(vec![holding(1, &records)])).remove(0).expect("a good needle");
        block_on(store.append(vec![needle(2, behind)])).remove(0).expect("a good needle");
        store.close();
        let store = open(&disk);
        prop_assert_eq!(read(&store, 1), Ok(records));
        prop_assert_eq!(read(&store, 2), Ok(data(2, behind)));
        prop_assert_eq!((store.status().needles, store.status().bad), (2, 0));
    }
}
