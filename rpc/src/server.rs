//! The end that answers: accept loop, bounded connections, graceful stop.
//!
//! Owns the listener and what a handler is; one connection's requests are the conversation's. Invariant: no more than
//! [`PEER_CONNECTIONS_MAX`] connections are served at a time, and large requests of [`LARGE_FRAMES_BYTES_MAX`]; more wait
//! in the listener's backlog, and in the senders' sockets.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use hayrick_protocol::codec;
use hayrick_protocol::limits::{LARGE_FRAMES_BYTES_MAX, PEER_CONNECTIONS_MAX};
use hayrick_protocol::messages::{Message, Method};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::budget::Budget;
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

    /// Whether all that is left to do for a small request of this kind, once what it waits for is there, takes
    /// microseconds and needs no runtime. Then whoever brings that about does it, on its own thread.
    fn is_brief(&self, _method: Method) -> bool {
        false
    }
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
    serve_within(Budget::new(LARGE_FRAMES_BYTES_MAX), listener, local, handler, shutdown).await;
}

async fn serve_within<H: Handler>(
    budget: Budget,
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
                let conversation = conversation::run(
                    socket, local.clone(), Arc::clone(&handler), budget.clone(), stopping.clone(),
                );
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hayrick_protocol::messages::{Identity, volume::Probe};
    use hayrick_protocol::{ClusterId, NodeId, VolumeId};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::frame::{Decoder, Header, Kind, Payload};
    use crate::handshake;

    const LARGE_BYTES: usize = 2 << 20;

    /// Counts what it took.
    struct Counter(AtomicUsize);

    impl Handler for Counter {
        async fn handle(&self, _: Request) -> Result<Response, HandleError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Response::default())
        }
    }

    /// A server with room for two large requests.
    async fn server() -> (String, Arc<Counter>, Budget) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let handler = Arc::new(Counter(AtomicUsize::new(0)));
        let local = Local::new(Identity::Volume(VolumeId(3)), ClusterId([7; 16]));
        let budget = Budget::new(2 * LARGE_BYTES + (64 << 10));
        let served =
            serve_within(budget.clone(), listener, local, Arc::clone(&handler), std::future::pending());
        tokio::spawn(served);
        (address, handler, budget)
    }

    /// Shakes hands, and sends the first bytes of a request of `bytes`.
    async fn begin(address: &str, bytes: usize) -> (TcpStream, Bytes) {
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        let local = Local::new(Identity::Master(NodeId(1)), ClusterId([7; 16]));
        handshake::offer(&mut socket, &local, None).await.expect("it is welcome");
        let body = Bytes::from(vec![7; bytes]);
        let payload = Payload::new(codec::encode(&Probe), vec![body.clone()]).expect("it fits a frame");
        let header = Header { kind: Kind::Request, code: Probe::METHOD.0, deadline_ms: 60_000, id: 1 };
        socket.write_all(&header.encode(&payload)).await.expect("sent");
        socket.write_all(&payload.head).await.expect("sent");
        (socket, body)
    }

    /// Done once the server says what is no sign of life.
    async fn answered(socket: &mut TcpStream) -> bool {
        let mut decoder = Decoder::default();
        loop {
            while let Some(frame) = decoder.next().expect("frames") {
                if frame.header.kind != Kind::Alive {
                    return frame.header.kind == Kind::Reply;
                }
            }
            if socket.read_buf(decoder.room()).await.unwrap_or(0) == 0 {
                return false;
            }
        }
    }

    #[tokio::test]
    async fn large_requests_wait_for_room_and_small_ones_do_not() {
        let (address, handler, budget) = server().await;
        let (first, _) = begin(&address, LARGE_BYTES).await;
        let (second, _) = begin(&address, LARGE_BYTES).await;
        while budget.free_bytes() > LARGE_BYTES {
            tokio::task::yield_now().await;
        }
        let (mut third, body) = begin(&address, LARGE_BYTES).await;
        let sent = tokio::spawn(async move {
            third.write_all(&body).await.expect("sent");
            answered(&mut third).await
        });
        let (mut small, body) = begin(&address, 1000).await;
        small.write_all(&body).await.expect("sent");
        assert!(answered(&mut small).await);
        assert_eq!(handler.0.load(Ordering::SeqCst), 1, "only the small one");
        drop((first, second));
        assert!(sent.await.expect("it ends"), "there is room again");
        assert_eq!(handler.0.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_request_that_dribbles_loses_its_place() {
        let (address, _, budget) = server().await;
        let mut dribbling = Vec::new();
        for _ in 0..2 {
            let (mut socket, body) = begin(&address, LARGE_BYTES).await;
            dribbling.push(tokio::spawn(async move {
                let mut sent = 0;
                while socket.write_all(&body[sent..=sent]).await.is_ok() {
                    sent += 1;
                    sleep(Duration::from_secs(1)).await;
                }
                sent
            }));
        }
        for dribbler in dribbling {
            let seconds =
                timeout(Duration::from_secs(60), dribbler).await.expect("cut off").expect("it ends");
            assert!((10..30).contains(&seconds), "{seconds} s");
        }
        assert!(budget.free_bytes() > 2 * LARGE_BYTES, "both places are free again");
        let (mut next, body) = begin(&address, LARGE_BYTES).await;
        next.write_all(&body).await.expect("sent");
        assert!(answered(&mut next).await);
    }
}
