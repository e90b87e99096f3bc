//! The end that answers: accept loop, bounded connections, graceful stop.
//!
//! Owns the listener and what a handler is; one connection's requests are the conversation's. Invariant: no more than
//! [`PEER_CONNECTIONS_MAX`] connections are served at a time; more wait in the listener's backlog.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use hayrick_protocol::codec;
use hayrick_protocol::limits::PEER_CONNECTIONS_MAX;
use hayrick_protocol::messages::{Message, Method};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::conversation;
use crate::local::{Local, Peer};

/// What is in flight at shutdown gets this long.
const GRACE: Duration = Duration::from_secs(10);
/// The pause after a failed accept: most likely there are no descriptors, and spinning makes none.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What answers the requests of a peer port.
///
/// A small request is polled once on its connection's task before it gets a task of its own: `handle` must not block.
/// Its future is driven to its end even if the connection breaks or the deadline passes.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request, by its deadline if that matters to it.
    fn handle(&self, request: Request) -> impl Future<Output = Result<Response, HandleError>> + Send;
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who sent it, by its own word.
    pub from: Peer,
    /// What is asked.
    pub method: Method,
    /// The encoded message; see [`Request::message`].
    pub head: Bytes,
    /// The raw bytes behind it. They may share their memory with requests that came with them: copy what is small and
    /// kept long.
    pub body: Bytes,
    /// When its sender stops waiting, less the way here.
    pub deadline: Instant,
}

impl Request {
    /// The message, once `method` told which.
    pub fn message<M: Message>(&self) -> Result<M, HandleError> {
        codec::decode(&self.head).map_err(|error| HandleError::Malformed(format!("{}: {error}", M::NAME)))
    }
}

/// What goes back.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// The encoded reply.
    pub head: Vec<u8>,
    /// The chunks of its body, which are never copied together.
    pub body: Vec<Bytes>,
}

impl Response {
    /// The reply to an `M`, with a body.
    pub fn to<M: Message>(reply: &M::Reply, body: Vec<Bytes>) -> Self {
        Self { head: codec::encode(reply), body }
    }
}

/// Why a handler did nothing. What went wrong on the way is part of a method's reply instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandleError {
    /// It has no such method.
    #[error("unknown method")]
    UnknownMethod,
    /// The request makes no sense.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// It has more to do than its queues hold.
    #[error("overloaded")]
    Overloaded,
}

/// Answers the connections that `listener` accepts, until `shutdown` is done. Then accepts no more, answers what was
/// not begun with "closing", finishes what is in flight within 10 s, and returns.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    local: Local,
    handler: Arc<H>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(PEER_CONNECTIONS_MAX));
    let (stop, stopping) = watch::channel(false);
    let mut conversations = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_ended) = conversations.join_next() => {}
            (socket, place) = accept(&listener, &places) => {
                let conversation = conversation::run(socket, local.clone(), Arc::clone(&handler), stopping.clone());
                conversations.spawn(async move {
                    conversation.await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let ended = async { while conversations.join_next().await.is_some() {} };
    if timeout(GRACE, ended).await.is_err() {
        tracing::warn!(
            connections = conversations.len(),
            "closing connections with requests still in flight"
        );
    }
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return (socket, place),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
