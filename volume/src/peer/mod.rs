//! The peer port: what masters and volumes may ask of this one, one file per request.
//!
//! Owns which request goes where, that only masters of this volume's cluster change anything, and only its masters and
//! volumes list and fetch. Frames, deadlines and back-pressure are `rpc`'s, needles the store's. Invariant: a request that
//! makes no sense, or comes from somebody else, is refused whole and changes nothing.

mod append;
mod damaged;
mod delete;
mod drop;
mod fetch;
mod list;
mod made_up;
mod offer;
mod probe;
mod pull;
mod read;
mod status;
mod verify;

use std::sync::Arc;

use hayrick_protocol::ids::PlacementId;
use hayrick_protocol::limits::LIST_PLACEMENTS_MAX;
use hayrick_protocol::messages::volume::{
    Append, Damaged, Delete, Drop, Fetch, List, MadeUp, Offer, Probe, Pull, Read, Status, Verify,
};
use hayrick_protocol::messages::{Identity, Message, Method};
use hayrick_rpc::{HandleError, Handler, Local, Peer, Request, Response};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

pub(crate) use crate::peer::append::split;
use crate::pull::Puller;
use crate::store::Store;

/// Requests with more bytes than this are worked on by a thread of their own, not by one that serves connections.
const INLINE_BYTES_MAX: usize = 1 << 20;

/// Lists, fetches and the like that are worked on at a time: each reads the disk for a while, and may hold one large needle.
/// More wait, until nobody waits for them any more.
const REPAIR_READS_MAX: usize = 4;

/// Answers the peer port.
pub(crate) struct PeerPort {
    store: Arc<Store>,
    local: Local,
    puller: Puller,
    repair_reads: Semaphore,
}

impl PeerPort {
    /// Pulls end early once `stopping` is cancelled.
    pub(crate) fn new(store: Arc<Store>, local: Local, stopping: CancellationToken) -> Self {
        let puller = Puller::new(local.clone(), stopping);
        Self { store, local, puller, repair_reads: Semaphore::new(REPAIR_READS_MAX) }
    }

    /// What masters and volumes read for the sake of repair.
    async fn answer_repair(&self, request: &Request) -> Result<Response, HandleError> {
        let _place = self.repair_place(request).await?;
        match request.method {
            List::METHOD => list::answer(&self.store, request).await,
            Fetch::METHOD => fetch::answer(&self.store, request).await,
            Offer::METHOD => offer::answer(&self.store, request).await,
            _ => damaged::answer(&self.store, request).await,
        }
    }

    /// One reader for repair more, once there are not too many.
    async fn repair_place(&self, request: &Request) -> Result<SemaphorePermit<'_>, HandleError> {
        if !self.is_own(request.from) {
            let text = "only masters and volumes of this volume's cluster may list, fetch, verify and ask for damage";
            return Err(HandleError::Malformed(text.to_owned()));
        }
        let place = timeout_at(request.deadline, self.repair_reads.acquire()).await;
        let Ok(Ok(place)) = place else { return Err(HandleError::Overloaded) };
        Ok(place)
    }

    /// Reads a page of needles, and answers when that much may have been read.
    async fn answer_verify(&self, request: &Request) -> Result<Response, HandleError> {
        let began = Instant::now();
        let place = self.repair_place(request).await?;
        let (response, bytes) = verify::answer(&self.store, request).await?;
        // Who only waits is in nobody's way.
        drop(place);
        sleep_until(began + self.store.verify_pace(bytes)).await;
        Ok(response)
    }

    /// Whether it says that it is of this volume's cluster; of any, as long as this volume has none.
    fn is_own(&self, from: Peer) -> bool {
        let own = self.local.cluster();
        !own.is_known() || from.cluster == own
    }

    /// Whether it says that it is a master of this volume's cluster; of any, as long as this volume has none.
    fn is_own_master(&self, from: Peer) -> bool {
        matches!(from.identity, Identity::Master(_)) && self.is_own(from)
    }
}

impl Handler for PeerPort {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        let changes = matches!(
            request.method,
            Append::METHOD
                | Delete::METHOD
                | Drop::METHOD
                | MadeUp::METHOD
                | Offer::METHOD
                | Probe::METHOD
                | Pull::METHOD
        );
        if changes && !self.is_own_master(request.from) {
            let text = "only a master of this volume's cluster may append, delete, drop, probe, let it pull and say that damage is made up for";
            return Err(HandleError::Malformed(text.to_owned()));
        }
        if request.method != Append::METHOD && !request.body.is_empty() {
            let text = format!("{} bytes follow a request that has no body", request.body.len());
            return Err(HandleError::Malformed(text));
        }
        match request.method {
            Append::METHOD => append::answer(&self.store, request).await,
            Probe::METHOD => probe::answer(&self.store, &request).await,
            Read::METHOD => read::answer(&self.store, &request).await,
            Delete::METHOD => delete::answer(&self.store, &request).await,
            Status::METHOD => status::answer(&self.store, &request),
            List::METHOD | Fetch::METHOD | Damaged::METHOD | Offer::METHOD => {
                self.answer_repair(&request).await
            }
            Verify::METHOD => self.answer_verify(&request).await,
            MadeUp::METHOD => made_up::answer(&self.store, &request).await,
            Drop::METHOD => drop::answer(&self.store, &request).await,
            Pull::METHOD => pull::answer(&self.store, &self.puller, &request).await,
            _ => Err(HandleError::UnknownMethod),
        }
    }

    /// What is left of an append once it is durable is to say so: the writer's thread does that itself.
    fn is_brief(&self, method: Method) -> bool {
        method == Append::METHOD
    }
}

/// Does what reads much of the disk on a thread of its own, not on one that serves connections.
async fn in_background<T: Send + 'static>(
    store: &Arc<Store>,
    work: impl FnOnce(&Store) -> T + Send + 'static,
) -> Result<T, HandleError> {
    let store = Arc::clone(store);
    tokio::task::spawn_blocking(move || work(&store)).await.map_err(|_| HandleError::Overloaded)
}

/// Refuses placements that are no set of some.
fn check_placements(placements: &[PlacementId]) -> Result<(), HandleError> {
    let is_set = placements.is_sorted_by(|one, next| one < next);
    if !is_set || placements.is_empty() || placements.len() > LIST_PLACEMENTS_MAX {
        let text = format!("a list or pull names 1 to {LIST_PLACEMENTS_MAX} placements, ascending");
        return Err(HandleError::Malformed(text));
    }
    Ok(())
}
