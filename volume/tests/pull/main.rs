//! What is promised of pulls between volumes, over real sockets: all that is lacking comes, also what was dropped here
//! before, and whatever the source says (`lies`), nothing is taken that does not verify as what was asked for.

mod lies;
#[path = "../needles/mod.rs"]
mod needles;
mod volumes;

use std::time::Duration;

use hayrick_protocol::ids::{ClusterId, NeedleId, NodeId, PlacementId, VolumeId};
use hayrick_protocol::limits::{LIST_PAGE_NEEDLES_MAX, LIST_PLACEMENTS_MAX};
use hayrick_protocol::messages::Identity;
use hayrick_protocol::messages::volume::{
    Append, AppendError, AppendReply, Damaged, Drop, DropError, Fetch, List, ListPosition, MadeUp, Offer,
    Offered, Pull, PullError, Pulled, Read, ReadError, Status,
};
use hayrick_rpc::{CallError, Client, Local};
use tokio::time::{Instant, sleep};

use crate::needles::{PLACEMENT, needle};
use crate::volumes::{CLUSTER, DEADLINE, Volume, elsewhere, in_time, volume};

#[tokio::test]
async fn all_that_is_lacking_comes_also_when_either_side_is_restarted_on_the_way() {
    let (mut source, mut target) = (volume(1, 128 << 20).await, volume(2, 128 << 20).await);
    let size = |id: u64| if id == 50 { 5 << 20 } else { (id * 97 % 40_000) as usize };
    source.append((1..=200).map(|id| needle(id, size(id)))).await;
    source.append((301..=310).map(|id| elsewhere(id, 10))).await;
    target.append([7, 8, 120, 999].map(|id| needle(id, size(id)))).await;
    let mut pull = target.pull_of(&source);
    pull.bytes_max = 150_000;
    let (mut pulls, mut needles, mut bytes) = (0, 0, 0);
    loop {
        let pulled = target.pull(&pull).await.expect("it can be pulled");
        // It ends with the needle that goes beyond.
        assert!(pulled.bytes < 150_000 + needle(50, size(50)).len() as u64);
        assert_eq!(pulled.failed, 0);
        (pulls, needles, bytes) = (pulls + 1, needles + pulled.needles, bytes + pulled.bytes);
        let Some(next) = pulled.next else { break };
        assert!(next > pull.from);
        pull.from = next;
        if pulls == 3 {
            source = source.restarted().await;
            pull.address = source.running.peer.to_string();
        } else if pulls == 6 {
            target = target.restarted().await;
        }
    }
    assert!(pulls > 8, "{pulls} pulls");
    let lacking = (1..=200).filter(|id| ![7, 8, 120].contains(id));
    assert_eq!((needles, bytes), (197, lacking.map(|id| needle(id, size(id)).len() as u64).sum()));
    let here: Vec<u64> = (1..=200).chain([999]).collect();
    assert_eq!(target.list(&[PLACEMENT]).await, here);
    for id in here {
        assert!(target.fetch(id).await.expect("it is here") == needle(id, size(id)), "needle {id}");
    }
    assert_eq!(target.fetch(301).await, Err(ReadError::NotFound), "of another placement");
    // It was durable.
    let target = target.restarted().await;
    let again = target.pull_all(target.pull_of(&source)).await;
    assert_eq!(again, Pulled { next: None, listed: 200, needles: 0, bytes: 0, failed: 0 });
}

#[tokio::test]
async fn a_damaged_copy_is_replaced_and_what_was_dropped_comes_back() {
    let (source, target) = (volume(1, 64 << 20).await, volume(2, 64 << 20).await);
    source.append((1..=6).map(|id| needle(id, 3000))).await;
    target.append((1..=5).map(|id| needle(id, 3000))).await;
    target.delete([2]).await;
    target.flip(3, 3000);
    assert_eq!(target.damaged().await, [0; 0].map(PlacementId), "nobody has looked");
    assert_eq!(target.fetch(3).await, Err(ReadError::Damaged));
    assert_eq!(target.damaged().await, [PLACEMENT]);
    let AppendReply(refused) = target.call(&Append { needles: 1 }, vec![needle(2, 3000)]).await.0;
    assert_eq!(refused, [Err(AppendError::Conflict(NeedleId(2)))], "a gateway is late");
    let pulled = target.pull_all(target.pull_of(&source)).await;
    assert_eq!((pulled.listed, pulled.needles, pulled.failed), (6, 3, 0));
    assert_eq!(target.damaged().await, [0; 0].map(PlacementId), "it is mended");
    let target = target.restarted().await;
    assert_eq!(target.list(&[PLACEMENT]).await, [1, 2, 3, 4, 5, 6]);
    for id in [2, 3] {
        assert_eq!(target.fetch(id).await.expect("the good copy"), needle(id, 3000));
    }
}

#[tokio::test]
async fn a_ticket_is_good_until_somebody_looks_at_what_is_here_also_with_a_pull() {
    let (source, target) = (volume(1, 64 << 20).await, volume(2, 64 << 20).await);
    source.append((1..=3).map(|id| needle(id, 100))).await;
    target.append((1..=3).map(|id| needle(id, 100))).await;
    let offer = async || {
        let offer = Offer { from: ListPosition::default() };
        let Offered { listing, ticket } = target.call(&offer, Vec::new()).await.0.expect("it can be listed");
        assert_eq!(listing.next, None);
        ticket
    };
    let drop = async |ticket, needle| {
        target.call(&Drop { ticket, needles: vec![NeedleId(needle)] }, Vec::new()).await.0
    };
    let ticket = offer().await;
    assert_eq!(drop(ticket, 1).await, Ok(()));
    // Nobody but the source lists.
    assert_eq!(target.pull(&target.pull_of(&source)).await.expect("it can be pulled").needles, 1);
    assert_eq!(drop(ticket, 2).await, Err(DropError::Stale));
    assert_eq!(drop(offer().await, 2).await, Ok(()));
    let ticket = offer().await;
    assert_eq!(target.list(&[PLACEMENT]).await, [1, 3]);
    assert_eq!(drop(ticket, 3).await, Err(DropError::Stale));
    assert_eq!(target.list(&[PLACEMENT]).await, [1, 3]);
}

#[tokio::test]
async fn what_is_damaged_and_nobodys_is_dropped_when_the_leader_says_so() {
    let target = volume(2, 64 << 20).await;
    target.append((1..=3).map(|id| needle(id, 3000))).await;
    let made_up = async || {
        let damaged = target.call(&Damaged, Vec::new()).await.0;
        target.call(&MadeUp { mark: damaged.mark }, Vec::new()).await;
        damaged
    };
    let status = async || target.call(&Status, Vec::new()).await.0;
    assert!(status().await.uncompared);
    assert!(made_up().await.others, "whoever asks, of a process that just began, compares all");
    assert!(!status().await.uncompared);
    target.flip(2, 3000);
    assert_eq!(target.fetch(2).await, Err(ReadError::Damaged));
    let damaged = made_up().await;
    assert_eq!((damaged.placements, damaged.others), (vec![PLACEMENT], false));
    assert_eq!(target.fetch(2).await, Err(ReadError::NotFound));
    assert_eq!(status().await.bad, 0);
}

#[tokio::test]
async fn what_the_source_cannot_give_is_counted_and_the_rest_comes() {
    let (source, target) = (volume(1, 64 << 20).await, volume(2, 64 << 20).await);
    source.append((1..=9).map(|id| needle(id, 3000))).await;
    // Into a segment of its own, so that the first gets its index file.
    source.append([elsewhere(100, 1 << 20)]).await;
    let index_file = source.segment(1).with_extension("idx");
    let indexed = async {
        while !index_file.exists() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(indexed).await;
    // Nobody has looked at the data, so it lists both.
    source.flip(4, 3000);
    source.flip(9, 3000);
    let pulled = target.pull_all(target.pull_of(&source)).await;
    assert_eq!((pulled.listed, pulled.needles, pulled.failed), (9, 7, 2));
    assert_eq!(target.list(&[PLACEMENT]).await, [1, 2, 3, 5, 6, 7, 8]);
    // Now it knows of them.
    let again = target.pull_all(target.pull_of(&source)).await;
    assert_eq!((again.listed, again.needles, again.failed), (7, 0, 0));
}

#[tokio::test]
async fn other_bytes_under_an_id_are_left_where_they_are() {
    let (source, target) = (volume(1, 64 << 20).await, volume(2, 64 << 20).await);
    source.append([needle(1, 3000), needle(2, 4000)]).await;
    target.append([needle(2, 3000)]).await;
    target.flip(2, 3000);
    assert_eq!(target.fetch(2).await, Err(ReadError::Damaged));
    let pulled = target.pull_all(target.pull_of(&source)).await;
    assert_eq!((pulled.listed, pulled.needles, pulled.failed), (2, 1, 1));
    assert_eq!(target.fetch(2).await, Err(ReadError::Damaged), "the other is no copy of it");
}

#[tokio::test]
async fn a_volume_that_is_full_says_so() {
    let (source, target) = (volume(1, 64 << 20).await, volume(2, 8 << 20).await);
    source.append((1..=12).map(|id| needle(id, 900_000))).await;
    let error = loop {
        if let Err(error) = target.pull(&target.pull_of(&source)).await {
            break error;
        }
    };
    assert!(matches!(error, PullError::Append(AppendError::Full { .. })), "{error}");
    let here = target.list(&[PLACEMENT]).await;
    assert!(!here.is_empty() && here.len() < 12, "{here:?}");
    for id in here {
        assert!(target.fetch(id).await.expect("it is whole") == needle(id, 900_000));
    }
}

#[tokio::test]
async fn strangers_neither_pull_nor_list_nor_fetch_nor_have_anything_dropped() {
    let (source, target) = (volume(1, 64 << 20).await, volume(2, 64 << 20).await);
    source.append([needle(1, 100)]).await;
    let pull = target.pull_of(&source);
    let ask = async |who, cluster, volume: &Volume, which: usize| {
        let expected = Some(Identity::Volume(volume.running.id));
        let client = Client::new(Local::new(who, cluster), volume.running.peer.to_string(), expected);
        let until = Instant::now() + DEADLINE;
        match which {
            0 => client.call(&pull, Vec::new(), until).await.map(|_| ()),
            1 => {
                let list =
                    List { placements: vec![PLACEMENT], from: ListPosition::default(), only_looks: false };
                client.call(&list, Vec::new(), until).await.map(|_| ())
            }
            2 => client.call(&Fetch { needles: vec![NeedleId(1)] }, Vec::new(), until).await.map(|_| ()),
            4 => {
                let offer = Offer { from: ListPosition::default() };
                client.call(&offer, Vec::new(), until).await.map(|_| ())
            }
            5 => {
                let drop = Drop { ticket: 0, needles: vec![NeedleId(1)] };
                client.call(&drop, Vec::new(), until).await.map(|_| ())
            }
            6 => client.call(&MadeUp { mark: 0 }, Vec::new(), until).await.map(|_| ()),
            _ => client.call(&Damaged, Vec::new(), until).await.map(|_| ()),
        }
    };
    let (master, other_volume) = (Identity::Master(NodeId(1)), Identity::Volume(VolumeId(9)));
    for which in 0..7 {
        for who in [master, other_volume] {
            let unknown = ask(who, ClusterId::UNKNOWN, &target, which).await;
            assert!(
                matches!(&unknown, Err(CallError::Malformed(why)) if why.contains("of this volume's cluster")),
                "{who} asks {which}: {unknown:?}"
            );
            let foreign = ask(who, ClusterId([2; 16]), &target, which).await;
            assert!(matches!(foreign, Err(CallError::Refused(_))), "{who} asks {which}: {foreign:?}");
        }
        let own_volume = ask(other_volume, CLUSTER, &target, which).await;
        assert_eq!(own_volume.is_ok(), (1..4).contains(&which), "{which}: {own_volume:?}");
    }
    assert_eq!(target.list(&[PLACEMENT]).await, [0; 0], "nothing was pulled");
    assert!(ask(master, CLUSTER, &target, 0).await.is_ok());
    assert_eq!(target.list(&[PLACEMENT]).await, [1]);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_whole() {
    let (source, target) = (volume(1, 64 << 20).await, volume(2, 64 << 20).await);
    let good = target.pull_of(&source);
    let many: Vec<PlacementId> = (1..=LIST_PLACEMENTS_MAX as u32 + 1).map(PlacementId).collect();
    let bad_sets = [vec![], vec![PlacementId(2), PlacementId(2)], vec![PlacementId(3), PlacementId(2)], many];
    let until = || Instant::now() + DEADLINE;
    for placements in bad_sets {
        let list = List { placements: placements.clone(), from: ListPosition::default(), only_looks: false };
        let listed = target.client.call(&list, Vec::new(), until()).await;
        assert!(matches!(listed, Err(CallError::Malformed(_))), "{listed:?}");
        let pulled = target.client.call(&Pull { placements, ..good.clone() }, Vec::new(), until()).await;
        assert!(matches!(pulled, Err(CallError::Malformed(_))), "{pulled:?}");
    }
    let bad_pulls = [
        Pull { source: VolumeId(2), ..good.clone() },
        Pull { source: VolumeId(0), ..good.clone() },
        Pull { address: "a".repeat(257), ..good.clone() },
    ];
    for pull in bad_pulls {
        let pulled = target.client.call(&pull, Vec::new(), until()).await;
        assert!(matches!(pulled, Err(CallError::Malformed(_))), "{pulled:?}");
    }
    let bad_drops = [vec![NeedleId(0)], vec![NeedleId(1); LIST_PAGE_NEEDLES_MAX + 1]];
    for needles in bad_drops {
        let dropped = target.client.call(&Drop { ticket: 0, needles }, Vec::new(), until()).await;
        assert!(matches!(dropped, Err(CallError::Malformed(_))), "{dropped:?}");
    }
    for count in [0, 513] {
        let fetch = Fetch { needles: (1..=count).map(NeedleId).collect() };
        let fetched = target.client.call(&fetch, Vec::new(), until()).await;
        assert!(matches!(fetched, Err(CallError::Malformed(_))), "{fetched:?}");
    }
    let read = Read { needle: NeedleId(1), first_block: 0, blocks: 1, with_table: false };
    assert_eq!(target.call(&read, Vec::new()).await.0, Err(ReadError::NotFound), "it goes on");
}
