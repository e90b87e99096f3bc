//! Sources that lie, hang, or say less than they were asked for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hayrick_protocol::ids::{NeedleId, PlacementId, VolumeId};
use hayrick_protocol::key::ObjectKey;
use hayrick_protocol::messages::volume::{
    AppendError, Fetch, Fetched, List, ListPosition, Listed, Listing, Pull, PullError, Pulled, ReadError,
};
use hayrick_protocol::messages::{Identity, Message};
use hayrick_rpc::{HandleError, Handler, Request, Response};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::needles::{PLACEMENT, needle};
use crate::volumes::{DEADLINE, elsewhere, in_time, serve, volume};

/// A source that answers by a script: pages, and needles, one answer after the other; then not at all.
#[derive(Default)]
struct Liar {
    pages: Mutex<VecDeque<Listing>>,
    given: Mutex<VecDeque<(Fetched, Vec<Bytes>)>>,
    /// How often needles were asked for.
    fetches: AtomicU64,
}

impl Liar {
    fn new(
        pages: impl IntoIterator<Item = Listing>,
        given: impl IntoIterator<Item = (Fetched, Vec<Bytes>)>,
    ) -> Arc<Self> {
        let (pages, given) = (pages.into_iter().collect(), given.into_iter().collect());
        Arc::new(Self { pages: Mutex::new(pages), given: Mutex::new(given), fetches: AtomicU64::new(0) })
    }
}

impl Handler for Liar {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        self.fetches.fetch_add(u64::from(request.method == Fetch::METHOD), Ordering::Relaxed);
        match request.method {
            List::METHOD => match self.pages.lock().await.pop_front() {
                Some(page) => Ok(Response::to::<List>(&Ok(page), Vec::new())),
                None => std::future::pending().await,
            },
            Fetch::METHOD => match self.given.lock().await.pop_front() {
                Some((fetched, body)) => Ok(Response::to::<Fetch>(&fetched, body)),
                None => std::future::pending().await,
            },
            _ => Err(HandleError::UnknownMethod),
        }
    }
}

fn listed(id: u64) -> Listed {
    let key = ObjectKey::new(&format!("key/{id}")).expect("a key");
    Listed { segment: 1, placement: PLACEMENT, needle: NeedleId(id), bytes: 1000, key }
}

fn listing(ids: &[u64], next: Option<ListPosition>) -> Listing {
    Listing { needles: ids.iter().copied().map(listed).collect(), next }
}

fn at(segment: u64, id: u64) -> ListPosition {
    ListPosition { segment, placement: PLACEMENT, needle: NeedleId(id) }
}

#[tokio::test]
async fn a_source_that_lies_is_refused_and_does_no_harm() {
    let target = volume(2, 64 << 20).await;
    let pull_of = async |page: Listing, given: Vec<(Fetched, Vec<Bytes>)>, from: ListPosition| {
        let address = serve(Identity::Volume(VolumeId(1)), Liar::new([page], given)).await;
        target.pull(&Pull { from, ..target.pull_from(VolumeId(1), address) }).await
    };
    let refused = async |why: &str, page: Listing, given: Vec<(Fetched, Vec<Bytes>)>| {
        let error = pull_of(page, given, at(1, 0)).await.expect_err(why);
        assert!(matches!(&error, PullError::Source(text) if text.contains(why)), "{error} is not: {why}");
    };
    let ok = |count: usize, body: Vec<Bytes>| vec![(Fetched(vec![Ok(()); count]), body)];
    let good = |id: u64| needle(id, 900);
    let mut flipped = good(1).to_vec();
    flipped[500] ^= 4;

    // Lists that do not ascend, are of something else, or never end.
    refused("does not ascend", listing(&[2, 1], None), vec![]).await;
    refused("does not ascend", listing(&[1, 1], None), vec![]).await;
    let before = Listed { segment: 0, ..listed(9) };
    refused("does not ascend", Listing { needles: vec![before], next: None }, vec![]).await;
    let other = Listed { placement: PlacementId(77), ..listed(1) };
    refused("other placements", Listing { needles: vec![other], next: None }, vec![]).await;
    refused("does not go on", listing(&[], Some(at(1, 0))), vec![]).await;
    refused("does not go on", listing(&[], Some(ListPosition::default())), vec![]).await;
    refused("does not go on", listing(&[5, 6], Some(at(1, 5))), vec![]).await;
    let many: Vec<u64> = (1..=4097).collect();
    refused("longer than any", listing(&many, None), vec![]).await;
    // Needles that are none, or others.
    refused("does not match", listing(&[1], None), ok(1, vec![flipped.clone().into()])).await;
    refused("another needle", listing(&[1], None), ok(1, vec![good(2)])).await;
    refused("another needle", listing(&[1], None), ok(1, vec![elsewhere(1, 10)])).await;
    refused("another needle", listing(&[1, 2], None), ok(2, vec![good(2), good(1)])).await;
    refused("bytes follow", listing(&[1], None), ok(1, vec![good(1), good(2)])).await;
    refused("needle 2 of 2", listing(&[1, 2], None), ok(2, vec![good(1)])).await;
    let none = (Fetched(vec![Err(ReadError::NotFound)]), vec![good(1)]);
    refused("1 to 512 needles", listing(&[1], None), vec![none]).await;
    refused("answers for 2 of 1", listing(&[1], None), ok(2, vec![good(1), good(2)])).await;
    refused("answers for 0 of 1", listing(&[1], None), ok(0, vec![])).await;
    assert_eq!(target.list(&[PLACEMENT, PlacementId(PLACEMENT.0 + 1)]).await, [0; 0], "nothing was taken");

    // Of a batch, what is good is kept, and the truth is taken afterwards.
    let batch = ok(2, vec![flipped.into(), good(2)]);
    refused("does not match", listing(&[1, 2], None), batch).await;
    let pulled = pull_of(listing(&[1, 2], Some(at(1, 2))), ok(1, vec![good(1)]), at(1, 0)).await;
    let next = Some(at(1, 2));
    assert_eq!(pulled, Ok(Pulled { next, listed: 2, needles: 1, bytes: good(1).len() as u64, failed: 0 }));
    assert_eq!(target.list(&[PLACEMENT]).await, [1, 2]);
    assert_eq!((target.fetch(1).await, target.fetch(2).await), (Ok(good(1)), Ok(good(2))));
}

#[tokio::test]
async fn what_is_dropped_while_it_is_pulled_stays_dropped_and_has_not_failed() {
    let target = volume(2, 64 << 20).await;
    target.append([needle(1, 900)]).await;
    target.flip(1, 900);
    assert_eq!(target.fetch(1).await, Err(ReadError::Damaged));
    let given = (Fetched(vec![Ok(()), Ok(())]), vec![needle(1, 900), needle(2, 900)]);
    let source = Liar::new([listing(&[1, 2], None)], [given]);
    let address = serve(Identity::Volume(VolumeId(1)), Arc::clone(&source)).await;
    // It answers once this is let go.
    let held = source.given.lock().await;
    let pull = target.pull_from(VolumeId(1), address);
    let pulling = target.pull(&pull);
    let dropping = async {
        while source.fetches.load(Ordering::Relaxed) == 0 {
            sleep(Duration::from_millis(2)).await;
        }
        target.delete([1]).await;
        drop(held);
    };
    let (pulled, ()) = tokio::join!(pulling, dropping);
    let pulled = pulled.expect("it can be pulled");
    assert_eq!((pulled.listed, pulled.needles, pulled.failed), (2, 1, 0));
    assert_eq!(target.list(&[PLACEMENT]).await, [2]);
    assert_eq!(target.fetch(1).await, Err(ReadError::NotFound));
}

#[tokio::test]
async fn a_source_that_gives_less_than_it_was_asked_for_is_asked_again() {
    let target = volume(2, 64 << 20).await;
    let answer = |outcomes: Vec<Result<(), ReadError>>, ids: &[u64]| {
        (Fetched(outcomes), ids.iter().map(|id| needle(*id, 900)).collect::<Vec<_>>())
    };
    let given = [
        answer(vec![Ok(()), Err(ReadError::Damaged)], &[1]),
        answer(vec![Err(ReadError::NotFound)], &[]),
        answer(vec![Ok(()), Ok(())], &[4, 5]),
    ];
    let liar = Liar::new([listing(&[1, 2, 3, 4, 5], Some(at(2, 0)))], given);
    let address = serve(Identity::Volume(VolumeId(1)), liar).await;
    let pulled = target.pull(&target.pull_from(VolumeId(1), address)).await.expect("it can be pulled");
    assert_eq!((pulled.next, pulled.listed, pulled.needles, pulled.failed), (Some(at(2, 0)), 5, 3, 2));
    assert_eq!(target.list(&[PLACEMENT]).await, [1, 4, 5]);
}

#[tokio::test]
async fn pulls_that_follow_each_other_use_up_one_page_of_the_source() {
    let target = volume(2, 64 << 20).await;
    let given = [1, 2, 3, 4].map(|id| (Fetched(vec![Ok(())]), vec![needle(id, 900)]));
    // Asked for a second page it would not answer.
    let liar = Liar::new([listing(&[1, 2, 3, 4], Some(at(2, 0)))], given);
    let address = serve(Identity::Volume(VolumeId(1)), liar).await;
    let mut pull = Pull { bytes_max: 1001, ..target.pull_from(VolumeId(1), address) };
    for next in [at(1, 2), at(2, 0)] {
        let pulled = target.pull(&pull).await.expect("it can be pulled");
        assert_eq!((pulled.next, pulled.listed, pulled.needles), (Some(next), 2, 2));
        pull.from = next;
    }
    assert_eq!(target.list(&[PLACEMENT]).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_pull_answers_in_time_whatever_the_source_does() {
    let target = volume(2, 64 << 20).await;
    let ask = async |pull: Pull, within: Duration| {
        target.client.call(&pull, Vec::new(), Instant::now() + within).await.expect("it answers in time").0
    };
    // Nobody there, and one that is somebody else.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let nobody = free.local_addr().expect("bound").to_string();
    drop(free);
    let pulled = ask(target.pull_from(VolumeId(1), nobody), DEADLINE).await;
    assert!(matches!(pulled, Err(PullError::Source(_))), "{pulled:?}");
    let address = serve(Identity::Volume(VolumeId(5)), Arc::<Liar>::default()).await;
    let pulled = ask(target.pull_from(VolumeId(1), address), DEADLINE).await;
    assert!(
        matches!(&pulled, Err(PullError::Source(why)) if why.contains("you expected volume 1")),
        "{pulled:?}"
    );
    // One that hangs.
    let address = serve(Identity::Volume(VolumeId(1)), Arc::<Liar>::default()).await;
    let pulled = ask(target.pull_from(VolumeId(1), address), Duration::from_secs(2)).await;
    assert!(matches!(pulled, Err(PullError::Source(_))), "{pulled:?}");
    // One that hangs in the middle: what came before is told.
    let given = (Fetched(vec![Ok(())]), vec![needle(1, 900)]);
    let liar = Liar::new([listing(&[1, 2], None)], [given]);
    let address = serve(Identity::Volume(VolumeId(1)), liar).await;
    let pulled = ask(target.pull_from(VolumeId(1), address), Duration::from_secs(2)).await;
    let bytes = needle(1, 900).len() as u64;
    assert_eq!(pulled, Ok(Pulled { next: Some(at(1, 1)), listed: 1, needles: 1, bytes, failed: 0 }));
}

#[tokio::test]
async fn so_many_pulls_at_a_time_and_no_more_and_none_keeps_a_volume_from_stopping() {
    let target = volume(2, 64 << 20).await;
    let address = serve(Identity::Volume(VolumeId(1)), Arc::<Liar>::default()).await;
    let pull = target.pull_from(VolumeId(1), address);
    let mut asked = JoinSet::new();
    for _ in 0..5 {
        let (client, pull) = (target.client.clone(), pull.clone());
        asked.spawn(async move { client.call(&pull, Vec::new(), Instant::now() + DEADLINE).await });
    }
    // The others hang.
    let first = in_time(asked.join_next()).await.expect("one of five").expect("no panic");
    assert_eq!(first.expect("it answers").0, Err(PullError::Append(AppendError::Busy)));
    let began = Instant::now();
    in_time(target.running.stop()).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    while let Some(answer) = asked.join_next().await {
        let answer = answer.expect("no panic").expect("it answers").0;
        assert!(
            matches!(&answer, Err(PullError::Append(AppendError::Failed(why))) if why.contains("shutting down"))
        );
    }
}
