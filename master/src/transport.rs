//! `raft-store`'s way to the other masters: its requests as they are, over the peer port.
//!
//! Owns the translation of errors. Leaves connections to `peer/client`, and what the bytes mean to `raft-store`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hayrick_protocol::NodeId;
use hayrick_protocol::messages::master::Raft;
use hayrick_raft_store::{Transport, TransportError};
use hayrick_rpc::CallError;
use tokio::time::Instant;

use crate::peer::client::Peers;

/// The one Raft group there is.
pub(crate) const GROUP: u16 = 0;

/// Sends over the connections of [`Peers`].
pub(crate) struct PeerTransport(pub(crate) Arc<Peers>);

impl Transport for PeerTransport {
    fn send(
        &self,
        to: NodeId,
        address: String,
        kind: u8,
        body: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let client = self.0.master_or_at(to, &address);
        async move {
            match client.call(&Raft { group: GROUP, kind }, vec![body], deadline).await {
                Ok((Ok(()), body)) => Ok(body),
                Ok((Err(text), _)) => Err(TransportError::Refused(text)),
                Err(error @ (CallError::NotSent { .. } | CallError::Refused(_) | CallError::Closing)) => {
                    Err(TransportError::Unreachable(error.to_string()))
                }
                Err(error) => Err(TransportError::NoReply(error.to_string())),
            }
        }
        .boxed()
    }
}
