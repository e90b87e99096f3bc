//! The way between the nodes: a master's frames over TCP on loopback, without all else that a master is.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hayrick_protocol::NodeId;
use hayrick_protocol::messages::master::{Propose, Raft, ReadIndex};
use hayrick_protocol::messages::{Identity, Message};
use hayrick_raft_store::{Node, Transport, TransportError};
use hayrick_rpc::{CallError, Client, HandleError, Handler, Local, Request, Response};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clients::Get;
use crate::reads::Rounds;

/// One connection to each of the others.
pub(crate) struct Peers {
    local: Local,
    clients: Mutex<BTreeMap<(NodeId, String), Client>>,
}

impl Peers {
    pub(crate) fn new(local: Local) -> Self {
        Self { local, clients: Mutex::default() }
    }

    pub(crate) fn client(&self, to: NodeId, address: &str) -> Client {
        let mut clients = self.clients.lock();
        let connect = || Client::new(self.local.clone(), address.to_owned(), Some(Identity::Master(to)));
        clients.entry((to, address.to_owned())).or_insert_with(connect).clone()
    }
}

impl Transport for Peers {
    fn send(
        &self,
        to: NodeId,
        address: String,
        kind: u8,
        body: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let client = self.client(to, &address);
        async move {
            match client.call(&Raft { group: 0, kind }, vec![body], deadline).await {
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

/// Answers the others, and clients.
pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) reads: Arc<Rounds>,
}

impl Handler for Server {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        let Self { node, reads } = self;
        match request.method {
            Raft::METHOD => {
                let message: Raft = request.message()?;
                let (reply, body) = match node.handle(message.kind, request.body).await {
                    Ok(body) => (Ok(()), body),
                    Err(text) => (Err(text), Bytes::new()),
                };
                Ok(Response::to::<Raft>(&reply, vec![body]))
            }
            Propose::METHOD => {
                let message: Propose = request.message()?;
                let reply = node.propose(message.commands, request.deadline).await;
                Ok(Response::to::<Propose>(&reply, Vec::new()))
            }
            ReadIndex::METHOD => {
                let reply = node.read_index(request.deadline).await;
                Ok(Response::to::<ReadIndex>(&reply, Vec::new()))
            }
            Get::METHOD => {
                let message: Get = request.message()?;
                let (reply, body) = match reads.get(&message.key).await {
                    Ok(record) => (Ok(()), vec![Bytes::from(record.encode())]),
                    Err(error) => (Err(format!("{error:#}")), Vec::new()),
                };
                Ok(Response::to::<Get>(&reply, body))
            }
            _ => Err(HandleError::UnknownMethod),
        }
    }
}

/// What the transport and the server of one node share.
pub(crate) fn of(id: NodeId) -> (Local, Arc<Peers>) {
    let local = Local::new(Identity::Master(id), crate::keys::CLUSTER);
    (local.clone(), Arc::new(Peers::new(local)))
}
