//! Pulling from another volume what this one lacks: a page of its list, and of that the needles that are not here, or only
//! damaged.
//!
//! Owns what is believed of the source: nothing that does not verify whole, under the id and placement that were asked for,
//! and no list that does not ascend. How an append replaces a damaged copy is `append`'s, which placements are pulled from
//! whom the leader's. Invariants: what counts as pulled is durable here; what was dropped here comes back, as only what must be here is pulled, unless it is dropped meanwhile; a pull has one
//! batch on its way to the disk at a time, so that clients' appends get their turns, and answers before who asked for it
//! stops waiting, whatever the source does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hayrick_metrics as metrics;
use hayrick_protocol::ids::{NeedleId, VolumeId};
use hayrick_protocol::limits::{APPEND_BATCH_BYTES_MAX, APPEND_BATCH_NEEDLES_MAX, LIST_PAGE_NEEDLES_MAX};
use hayrick_protocol::messages::volume::{
    AppendError, Fetch, Fetched, List, ListPosition, Listed, Listing, Pull, PullError, Pulled, ReadError,
};
use hayrick_protocol::messages::{Identity, Message};
use hayrick_protocol::needle::Header;
use hayrick_rpc::{Client, Local};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::append::{Outcome, closed};
use crate::index::Known;
use crate::list::position;
use crate::pages::Pages;
use crate::peer::split;
use crate::store::Store;

/// Pulls at a time. Each holds a batch or one large needle in memory.
const PULLS_MAX: usize = 4;
/// Connections to other volumes that are kept for the next pull.
const SOURCES_MAX: usize = 16;
/// The longest pull, however long its asker would wait.
const PULL_TIMEOUT: Duration = Duration::from_secs(60);
/// What the answer takes on its way, of the time that is left: an eighth, and not more than this.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// What the source may take for a page of its list: it may have to read some of its data.
const LIST_TIMEOUT: Duration = Duration::from_secs(8);
/// What it may take to send needles, besides the time that their bytes take at [`FETCH_BYTES_PER_S`].
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const FETCH_BYTES_PER_S: u64 = 8 << 20;

/// Pulls from other volumes.
pub(crate) struct Puller {
    local: Local,
    /// The volume is being stopped: pulls end.
    stopping: CancellationToken,
    places: Semaphore,
    pages: Pages,
    /// The one that was used last stands last.
    sources: Mutex<VecDeque<(VolumeId, Client)>>,
}

impl Puller {
    pub(crate) fn new(local: Local, stopping: CancellationToken) -> Self {
        Self {
            local,
            stopping,
            places: Semaphore::new(PULLS_MAX),
            pages: Pages::new(PULLS_MAX),
            sources: Mutex::default(),
        }
    }

    /// Who pulls.
    pub(crate) fn identity(&self) -> Identity {
        self.local.identity()
    }

    /// Pulls what is lacking of a page, until that ends, enough bytes were pulled, or the time is up.
    pub(crate) async fn pull(
        &self,
        store: &Arc<Store>,
        pull: &Pull,
        deadline: Instant,
    ) -> Result<Pulled, PullError> {
        let _place = self.places.try_acquire().map_err(|_| AppendError::Busy)?;
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now).min(PULL_TIMEOUT);
        let until = now + left - (left / 8).min(ANSWER_MAX);
        store.tickets.end();
        let source = Source { volume: pull.source, client: self.client(pull), until };
        tokio::select! {
            pulled = one_page(store, &source, pull, &self.pages) => pulled,
            () = self.stopping.cancelled() => Err(closed().into()),
        }
    }

    /// The connection to a source, made with its first call.
    fn client(&self, pull: &Pull) -> Client {
        let mut sources = self.sources.lock();
        let known = sources
            .iter()
            .position(|(volume, client)| *volume == pull.source && client.address() == pull.address);
        let client = match known.and_then(|number| sources.remove(number)) {
            Some((_, client)) => client,
            None => {
                let expected = Some(Identity::Volume(pull.source));
                Client::new(self.local.clone(), pull.address.clone(), expected)
            }
        };
        if sources.len() >= SOURCES_MAX {
            sources.pop_front();
        }
        sources.push_back((pull.source, client.clone()));
        client
    }
}

async fn one_page(
    store: &Arc<Store>,
    source: &Source,
    pull: &Pull,
    pages: &Pages,
) -> Result<Pulled, PullError> {
    let mut page = match pages.take(pull) {
        Some(rest) => rest,
        None => source.list(pull).await?,
    };
    if !pull.only.is_empty() {
        page.needles.retain(|listed| pull.only.binary_search(&listed.needle).is_ok());
    }
    let mut pulled = Pulled { next: page.next, listed: 0, needles: 0, bytes: 0, failed: 0 };
    // All needles before it were looked at, and are here, or failed.
    let mut settled = 0;
    while settled < page.needles.len() && (settled == 0 || pulled.bytes < pull.bytes_max) {
        let bytes_max = pull.bytes_max.saturating_sub(pulled.bytes);
        let (batch, looked_to) = next_batch(store, &page.needles, settled, bytes_max);
        settled = batch.first().map_or(looked_to, |lack| lack.number);
        let mut rest = &batch[..];
        while !rest.is_empty() {
            match pull_some(store, source, &page, rest, &mut pulled).await {
                Ok(said) => rest = &rest[said..],
                Err(_) if settled > 0 && source.time_is_up() => {
                    return Ok(up_to(page, settled, pulled, pull, pages));
                }
                Err(error) => return Err(error),
            }
            settled = rest.first().map_or(looked_to, |lack| lack.number);
        }
    }
    Ok(up_to(page, settled, pulled, pull, pages))
}

/// What came of a page when so many of its needles are settled; the rest is kept for the next pull.
fn up_to(page: Listing, settled: usize, pulled: Pulled, pull: &Pull, pages: &Pages) -> Pulled {
    let next = match page.needles.get(..settled).and_then(<[_]>::last) {
        Some(last) if settled < page.needles.len() => Some(position(last)),
        _ => page.next,
    };
    pages.keep(pull, page, settled);
    Pulled { next, listed: settled as u64, ..pulled }
}

/// The needles of a page, from this one on, that are to be fetched together, and up to where the page was looked at.
fn next_batch(store: &Store, page: &[Listed], from: usize, bytes_max: u64) -> (Vec<Lack>, usize) {
    let bytes_max = bytes_max.min(APPEND_BATCH_BYTES_MAX as u64);
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for (number, listed) in page.iter().enumerate().skip(from) {
        let here = store.here(listed.needle);
        if here == Here::Good {
            continue;
        }
        bytes += u64::from(listed.bytes);
        if !batch.is_empty() && (batch.len() == APPEND_BATCH_NEEDLES_MAX || bytes > bytes_max) {
            return (batch, number);
        }
        batch.push(Lack { number, was_dropped: here == Here::Dropped });
    }
    (batch, page.len())
}

/// Fetches needles and appends them. Of how many the source said something.
async fn pull_some(
    store: &Arc<Store>,
    source: &Source,
    page: &Listing,
    lacks: &[Lack],
    pulled: &mut Pulled,
) -> Result<usize, PullError> {
    let wanted: Vec<&Listed> = lacks.iter().map(|lack| &page.needles[lack.number]).collect();
    let (outcomes, needles) = source.fetch(&wanted).await?;
    let said = lacks.iter().zip(&wanted).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
    let given: Vec<(NeedleId, bool)> =
        said.map(|((lack, listed), _)| (listed.needle, lack.was_dropped)).collect();
    let failed =
        wanted.iter().zip(&outcomes).filter_map(|(listed, outcome)| Some((listed, outcome.as_ref().err()?)));
    for (listed, error) in failed {
        tracing::debug!(needle = %listed.needle, source = %source.volume, %error, "a needle cannot be pulled");
        pulled.failed += 1;
    }
    let lens: Vec<usize> = needles.iter().map(Bytes::len).collect();
    let needles: Vec<_> =
        needles.into_iter().zip(&given).map(|(bytes, (_, was_dropped))| (bytes, *was_dropped)).collect();
    let appended = if needles.is_empty() { Vec::new() } else { append(store, needles, source.until).await? };
    for (((id, was_dropped), len), outcome) in given.into_iter().zip(lens).zip(appended) {
        match outcome {
            Ok(_) => {
                metrics::NEEDLES_PULLED.increment();
                pulled.needles += 1;
                pulled.bytes += len as u64;
            }
            // Since it was looked for.
            Err(AppendError::Conflict(_)) if !was_dropped && store.here(id) == Here::Dropped => {}
            Err(AppendError::Conflict(_)) => {
                tracing::warn!(needle = %id, source = %source.volume, "a needle was not pulled: there is one of that id with other bytes, or it is just being dropped");
                pulled.failed += 1;
            }
            Err(AppendError::Malformed(why)) => return Err(source.failed(&format!("needle {id}: {why}"))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(outcomes.len())
}

/// Appends needles; done when they are durable.
async fn append(
    store: &Arc<Store>,
    needles: Vec<(Bytes, bool)>,
    until: Instant,
) -> Result<Vec<Outcome>, AppendError> {
    let store = Arc::clone(store);
    // It verifies them all, and compares them with damaged copies.
    let submitted = tokio::task::spawn_blocking(move || store.append_pulled(needles));
    let appended = async {
        match submitted.await {
            Ok(appended) => Ok(appended.await),
            Err(_) => Err(AppendError::Failed("the thread that appends died".to_owned())),
        }
    };
    let late = |_| Err(AppendError::Failed("the disk did not take it in time".to_owned()));
    timeout_at(until, appended).await.unwrap_or_else(late)
}

/// A needle of a page that is not here.
struct Lack {
    /// Its number in the page.
    number: usize,
    /// Only what was dropped before it was looked for comes back: a drop that comes while it is pulled holds.
    was_dropped: bool,
}

/// What is here of a needle, so far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Here {
    /// A good copy, which is to stay.
    Good,
    /// A damaged copy, or none.
    Lacking,
    /// It was dropped, or is about to be.
    Dropped,
}

impl Store {
    fn here(&self, id: NeedleId) -> Here {
        if self.is_dropping(id) {
            return Here::Dropped;
        }
        match self.shared.index.read().get(id) {
            Some(Known::Live(at)) if !self.shared.damage.is_bad(id, at) => Here::Good,
            Some(Known::Live(_)) | None => Here::Lacking,
            Some(Known::Dropped) => Here::Dropped,
        }
    }
}

/// Whom is pulled from, and until when.
struct Source {
    volume: VolumeId,
    client: Client,
    until: Instant,
}

impl Source {
    /// A page of its list, which makes sense.
    async fn list(&self, pull: &Pull) -> Result<Listing, PullError> {
        let list = List { placements: pull.placements.clone(), from: pull.from, only_looks: false };
        let (page, _) = self.ask(&list, LIST_TIMEOUT).await?;
        let page = page.map_err(|error| self.failed(&format!("it cannot list: {error}")))?;
        check(&page, pull).map_err(|why| self.failed(why))?;
        Ok(page)
    }

    /// What it says of the first of these needles, and those that it gives.
    async fn fetch(&self, wanted: &[&Listed]) -> Result<(Vec<Result<(), ReadError>>, Vec<Bytes>), PullError> {
        let needles = wanted.iter().map(|listed| listed.needle).collect();
        let bytes: u64 = wanted.iter().map(|listed| u64::from(listed.bytes)).sum();
        let timeout = FETCH_TIMEOUT + Duration::from_secs(bytes / FETCH_BYTES_PER_S);
        let (Fetched(outcomes), body) = self.ask(&Fetch { needles }, timeout).await?;
        if outcomes.is_empty() || outcomes.len() > wanted.len() {
            let why = format!("it answers for {} of {} needles", outcomes.len(), wanted.len());
            return Err(self.failed(&why));
        }
        let said = wanted.iter().zip(&outcomes);
        let given: Vec<&Listed> =
            said.filter(|(_, outcome)| outcome.is_ok()).map(|(listed, _)| *listed).collect();
        let needles = match given.len() {
            0 if body.is_empty() => Vec::new(),
            count => split(body, count).map_err(|why| self.failed(&why))?,
        };
        for (listed, bytes) in given.into_iter().zip(&needles) {
            let header = Header::peek(bytes).map(|header| (header.id, header.placement));
            if header != Some((listed.needle, listed.placement)) {
                return Err(self.failed(&format!("it sent another needle for {}", listed.needle)));
            }
        }
        Ok((outcomes, needles))
    }

    async fn ask<M: Message>(&self, message: &M, within: Duration) -> Result<(M::Reply, Bytes), PullError> {
        let deadline = self.until.min(Instant::now() + within);
        let answer = self.client.call(message, Vec::new(), deadline).await;
        answer.map_err(|error| self.failed(&error.to_string()))
    }

    fn time_is_up(&self) -> bool {
        Instant::now() >= self.until
    }

    fn failed(&self, why: &str) -> PullError {
        PullError::Source(format!("volume {} at {}: {why}", self.volume, self.client.address()))
    }
}

/// Whether a page is what was asked for, and one that a list may go on behind.
fn check(page: &Listing, pull: &Pull) -> Result<(), &'static str> {
    if page.needles.len() > LIST_PAGE_NEEDLES_MAX {
        return Err("a page of its list is longer than any");
    }
    let mut last: ListPosition = pull.from;
    for listed in &page.needles {
        if position(listed) <= last {
            return Err("its list does not ascend");
        }
        if pull.placements.binary_search(&listed.placement).is_err() {
            return Err("its list has needles of other placements");
        }
        last = position(listed);
    }
    match page.next {
        // It may be that of the last needle.
        Some(next) if next < last || next == pull.from => Err("its list does not go on"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use hayrick_disk::FaultyDisk;
    use hayrick_protocol::ids::PlacementId;
    use hayrick_protocol::needle::Body;

    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn what_is_about_to_be_dropped_is_not_here_and_comes_back_once_that_is_done() {
        let mut options = StoreOptions::new("/needles", 64 << 20);
        options.threads = false;
        let store = Store::open(Arc::new(FaultyDisk::new(1)), options).expect("the store opens");
        let pull = |was_dropped| {
            let needle = Body::new(vec![7; 100], 1).with_header(NeedleId(1), PlacementId(1), 0).concat();
            let outcomes = store.append_pulled(vec![(needle.into(), was_dropped)]);
            store.work();
            outcomes.now_or_never().expect("it was answered").remove(0).map(|_| ())
        };
        assert_eq!((store.here(NeedleId(1)), pull(false)), (Here::Lacking, Ok(())));
        assert_eq!(store.here(NeedleId(1)), Here::Good);
        let dropping = store.delete(&[NeedleId(1)]);
        assert_eq!(store.here(NeedleId(1)), Here::Dropped, "the index says that it lives");
        let conflict = Err(AppendError::Conflict(NeedleId(1)));
        assert_eq!(pull(true), conflict, "it would come behind the tombstone");
        dropping.now_or_never().expect("it was written").expect("dropped");
        assert_eq!(
            (store.here(NeedleId(1)), pull(false)),
            (Here::Dropped, conflict),
            "it was dropped meanwhile"
        );
        assert_eq!((pull(true), store.here(NeedleId(1))), (Ok(()), Here::Good));
    }
}
