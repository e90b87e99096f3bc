//! What is promised of verifying: each needle of the placements is read, page by page, and what is damaged is said to be.

mod needles;

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use hayrick_disk::FaultyDisk;
use hayrick_protocol::digest;
use hayrick_protocol::ids::PlacementId;
use hayrick_protocol::messages::volume::{ListPosition, ReadError, Verified};
use hayrick_volume::{Store, StoreOptions};
use needles::{PLACEMENT, data, needle};

const NEEDLE_BYTES: usize = 50_000;

/// Needles 1 to 9.
fn nine(scrub_bytes_per_s_max: u64) -> (FaultyDisk, Store) {
    let disk = FaultyDisk::new(1);
    let mut options = StoreOptions::new("/volume/needles", 8 << 20);
    options.segment_bytes = 256 << 10;
    options.zero_ahead_bytes = 0;
    options.threads = false;
    options.scrub_bytes_per_s_max = scrub_bytes_per_s_max;
    let store = Store::open(Arc::new(disk.clone()), options).expect("the store opens");
    let appended = store.append((1..=9).map(|id| needle(id, NEEDLE_BYTES)).collect());
    store.work();
    assert!(appended.now_or_never().expect("it was written").iter().all(Result::is_ok));
    // The first segment is full. With its index file it is listed without reading its data.
    store.keep_house();
    (disk, store)
}

/// Which needle, and how it reads.
type Checks = Vec<(u64, Result<u32, ReadError>)>;

/// All pages: their checks, and how many each page had.
fn all(store: &Store, placement: PlacementId, bytes_max: u64) -> (Checks, Vec<usize>) {
    let (mut from, mut checks, mut pages) = (ListPosition::default(), Vec::new(), Vec::new());
    loop {
        let page = store.verify_page(&[placement], from, bytes_max).expect("it can be listed");
        let Verified { listing, checks: of_page } = page;
        assert_eq!(listing.needles.len(), of_page.len());
        pages.push(of_page.len());
        checks.extend(listing.needles.iter().map(|one| one.needle.0).zip(of_page));
        match listing.next {
            None => return (checks, pages),
            Some(next) => {
                assert!(next > from, "it goes on");
                from = next;
            }
        }
    }
}

#[test]
fn each_needle_is_read_once_and_its_checksum_is_that_of_the_index() {
    let (_disk, store) = nine(0);
    let wanted = |id| Ok(digest::table_crc(&digest::block_table(&data(id, NEEDLE_BYTES))));
    let (checks, _) = all(&store, PLACEMENT, u64::MAX);
    assert_eq!(checks, (1..=9).map(|id| (id, wanted(id))).collect::<Vec<_>>());
    let (again, pages) = all(&store, PLACEMENT, NEEDLE_BYTES as u64 + 1000);
    assert_eq!(again, checks, "in many pages as in few");
    assert!(pages.iter().all(|needles| *needles <= 2), "{pages:?}");
    assert_eq!(all(&store, PlacementId(77), u64::MAX).0, []);
}

#[test]
fn no_page_has_more_bytes_than_a_second_of_scrub_and_one_needle() {
    let (_disk, store) = nine(1000);
    let (checks, pages) = all(&store, PLACEMENT, u64::MAX);
    assert_eq!(checks.len(), 9);
    assert!(pages.iter().all(|needles| *needles <= 1), "{pages:?}");
}

#[test]
fn a_flipped_bit_is_found_and_reported_and_others_are_sound() {
    let (disk, store) = nine(0);
    assert!(disk.flip(Path::new("/volume/needles/0000000000000001.seg"), 4096 + 1000, 1));
    let (checks, _) = all(&store, PLACEMENT, u64::MAX);
    assert_eq!(checks.len(), 9);
    let damaged: Vec<_> = checks.iter().filter(|(_, check)| check.is_err()).collect();
    assert_eq!(damaged, [&(1, Err(ReadError::Damaged))]);
    assert_eq!(store.status().bad, 1, "so that it is mended");
    let (rest, _) = all(&store, PLACEMENT, u64::MAX);
    assert!(rest.iter().map(|(id, _)| *id).eq(2..=9), "what is known to be damaged is listed no more");
}

#[test]
fn whoever_verifies_counts_on_nothing_so_that_tickets_stay_good() {
    let (_disk, store) = nine(0);
    let offered = store.offer(ListPosition::default(), 100).expect("it can be listed");
    all(&store, PLACEMENT, u64::MAX);
    let dropped = store.drop_offered(offered.ticket, &[offered.listing.needles[0].needle]);
    store.work();
    assert_eq!(dropped.now_or_never().expect("it was written"), Ok(()));
}
