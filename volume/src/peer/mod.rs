//! The peer port: what masters and volumes may ask of this one, one file per request.
//!
//! Owns which request goes where. Frames, deadlines and back-pressure are `rpc`'s, needles the store's. Invariant: a
//! request that makes no sense is refused whole and changes nothing.

mod append;
mod delete;
mod probe;
mod read;
mod status;

use std::sync::Arc;

use hayrick_protocol::messages::Message;
use hayrick_protocol::messages::volume::{Append, Delete, Probe, Read, Status};
use hayrick_rpc::{HandleError, Handler, Request, Response};

use crate::store::Store;

/// Requests with more bytes than this are worked on by a thread of their own, not by one that serves connections.
const INLINE_BYTES_MAX: usize = 1 << 20;

/// Answers the peer port.
pub(crate) struct PeerPort {
    pub(crate) store: Arc<Store>,
}

impl Handler for PeerPort {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        match request.method {
            Append::METHOD => append::answer(&self.store, request).await,
            Probe::METHOD => probe::answer(&self.store, &request).await,
            Read::METHOD => read::answer(&self.store, &request).await,
            Delete::METHOD => delete::answer(&self.store, &request).await,
            Status::METHOD => status::answer(&self.store, &request),
            _ => Err(HandleError::UnknownMethod),
        }
    }
}
