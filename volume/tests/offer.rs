//! What is promised of offers and drops: nobody counts on a needle that goes by an answer from before he looked.

mod needles;

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use hayrick_disk::{Failure, Fault, FaultyDisk, Op};
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::messages::volume::{AppendError, DropError, ListPosition, Listing, Offered};
use hayrick_volume::{Store, StoreOptions};
use needles::{PLACEMENT, needle};

fn open(disk: &FaultyDisk) -> Store {
    let mut options = StoreOptions::new("/volume/needles", 8 << 20);
    options.segment_bytes = 256 << 10;
    options.zero_ahead_bytes = 0;
    options.threads = false;
    Store::open(Arc::new(disk.clone()), options).expect("the store opens")
}

/// Needles 1 to 9.
fn nine() -> (FaultyDisk, Store) {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let appended = store.append((1..=9).map(|id| needle(id, 100)).collect());
    store.work();
    assert!(appended.now_or_never().expect("it was written").iter().all(Result::is_ok));
    (disk, store)
}

fn ids(listing: &Listing) -> Vec<u64> {
    listing.needles.iter().map(|row| row.needle.0).collect()
}

fn list(store: &Store) -> Vec<u64> {
    ids(&store.list_page(&[PLACEMENT], ListPosition::default(), 100).expect("it can be listed"))
}

fn offer(store: &Store) -> Offered {
    store.offer(ListPosition::default(), 100).expect("it can be listed")
}

/// Submits a drop, which is written once the store works.
fn submit(
    store: &Store,
    ticket: u64,
    needles: &[u64],
) -> impl Future<Output = Result<(), DropError>> + use<> {
    store.drop_offered(ticket, &needles.iter().copied().map(NeedleId).collect::<Vec<_>>())
}

fn drop_now(store: &Store, ticket: u64, needles: &[u64]) -> Result<(), DropError> {
    let dropped = submit(store, ticket, needles);
    store.work();
    dropped.now_or_never().expect("it was written")
}

#[test]
fn two_offers_and_two_drops_go_well_and_outlive_the_process() {
    let (disk, store) = nine();
    let (one, other) = (offer(&store), offer(&store));
    assert_eq!((ids(&one.listing), ids(&other.listing)), ((1..=9).collect(), (1..=9).collect()));
    drop_now(&store, one.ticket, &[1, 2]).expect("in force");
    drop_now(&store, other.ticket, &[3, 99]).expect("in force, too");
    drop_now(&store, one.ticket, &[4, 1]).expect("still in force");
    assert_eq!(ids(&offer(&store).listing), [5, 6, 7, 8, 9]);
    assert_eq!(list(&open(&disk.restart())), [5, 6, 7, 8, 9]);
}

#[test]
fn a_list_ends_the_tickets_of_all_offers_before_it() {
    let (_disk, store) = nine();
    let tickets = [offer(&store).ticket, offer(&store).ticket];
    assert_eq!(list(&store).len(), 9);
    for ticket in tickets {
        assert_eq!(drop_now(&store, ticket, &[1]), Err(DropError::Stale));
    }
    assert_eq!(list(&store).len(), 9, "nothing of it was dropped");
    drop_now(&store, offer(&store).ticket, &[1]).expect("offered anew");
}

#[test]
fn a_list_that_is_served_while_an_offer_is_made_ends_its_ticket_too() {
    let (disk, store) = nine();
    let offered = std::thread::scope(|scope| {
        let gate = disk.gate(Op::Read);
        let offering = scope.spawn(|| offer(&store));
        gate.wait_for_arrival();
        let listing = scope.spawn(|| list(&store));
        while gate.waiting() < 2 {
            std::thread::yield_now();
        }
        gate.open();
        assert_eq!(listing.join().expect("no panic").len(), 9);
        offering.join().expect("no panic")
    });
    assert_eq!(drop_now(&store, offered.ticket, &[1]), Err(DropError::Stale));
}

#[test]
fn a_ticket_of_another_process_is_none() {
    let (disk, store) = nine();
    let before = offer(&store).ticket;
    store.close();
    let store = open(&disk.restart());
    assert_eq!(drop_now(&store, before, &[1]), Err(DropError::Stale));
    assert_eq!(list(&store).len(), 9);
}

#[test]
fn what_is_on_its_way_to_be_dropped_is_listed_no_more() {
    let (_disk, store) = nine();
    let dropping = submit(&store, offer(&store).ticket, &[2, 5]);
    assert_eq!(list(&store), [1, 3, 4, 6, 7, 8, 9], "it was submitted before the list began");
    assert!(store.open_needle(NeedleId(2)).is_ok(), "and is not written yet");
    store.work();
    dropping.now_or_never().expect("it was written").expect("in force when it came");
    assert_eq!(list(&store), [1, 3, 4, 6, 7, 8, 9]);
}

#[test]
fn what_may_have_been_dropped_is_listed_no_more_by_this_process() {
    let (disk, store) = nine();
    let ticket = offer(&store).ticket;
    disk.order(Fault::new(Op::Sync, 1, Failure::Broken));
    let failed = drop_now(&store, ticket, &[4]).expect_err("the disk fails");
    assert!(matches!(failed, DropError::Append(AppendError::Failed(_))), "{failed}");
    assert_eq!(list(&store), [1, 2, 3, 5, 6, 7, 8, 9]);
    let refused = drop_now(&store, offer(&store).ticket, &[5]).expect_err("it is read-only");
    assert!(matches!(refused, DropError::Append(AppendError::ReadOnly(_))), "{refused}");
    assert!(list(&store).contains(&5), "nothing was written of it");
}
