//! The peer port: what masters and volumes may ask of this one, one file per request.
//!
//! Owns which request goes where, and that only masters of this volume's cluster change anything. Frames, deadlines and
//! back-pressure are `rpc`'s, needles the store's. Invariant: a request that makes no sense, or comes from somebody else,
//! is refused whole and changes nothing.

mod append;
mod delete;
mod probe;
mod read;
mod status;

use std::sync::Arc;

use hayrick_protocol::messages::volume::{Append, Delete, Probe, Read, Status};
use hayrick_protocol::messages::{Identity, Message, Method};
use hayrick_rpc::{HandleError, Handler, Local, Peer, Request, Response};

use crate::store::Store;

/// Requests with more bytes than this are worked on by a thread of their own, not by one that serves connections.
const INLINE_BYTES_MAX: usize = 1 << 20;

/// Answers the peer port.
pub(crate) struct PeerPort {
    pub(crate) store: Arc<Store>,
    pub(crate) local: Local,
}

impl PeerPort {
    /// Whether it says that it is a master of this volume's cluster; of any, as long as this volume has none.
    fn is_own_master(&self, from: Peer) -> bool {
        let own = self.local.cluster();
        matches!(from.identity, Identity::Master(_)) && (!own.is_known() || from.cluster == own)
    }
}

impl Handler for PeerPort {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        let changes = matches!(request.method, Append::METHOD | Delete::METHOD | Probe::METHOD);
        if changes && !self.is_own_master(request.from) {
            let text = "only a master of this volume's cluster may append, delete and probe";
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
            _ => Err(HandleError::UnknownMethod),
        }
    }

    /// What is left of an append once it is durable is to say so: the writer's thread does that itself.
    fn is_brief(&self, method: Method) -> bool {
        method == Append::METHOD
    }
}
