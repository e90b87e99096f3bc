//! One connection as the end that answers sees it.
//!
//! Owns the way from a request's frame to its handler and back. Small requests are polled once where they were read
//! and get a task of their own only if they have to wait; large ones get one at once. Invariants: at most
//! [`REQUESTS_IN_FLIGHT_MAX`] requests, and some [`REQUEST_BYTES_MAX`] of them, are in flight; every request that was
//! read is answered while the connection lasts.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use bytes::Bytes;
use hayrick_metrics as metrics;
use hayrick_protocol::limits::{LARGE_FRAME_BYTES, REQUESTS_IN_FLIGHT_MAX, SEND_QUEUE_BYTES_MAX};
use hayrick_protocol::messages::Method;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{Notify, watch};
use tokio::task::consume_budget;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, timeout, timeout_at};

use crate::KEEP_ALIVE;
use crate::brief::Brief;
use crate::budget::{Budget, Place};
use crate::frame::{Decoder, ErrorCode, Frame, Header, Kind, Payload};
use crate::handshake;
use crate::local::{Local, Peer};
use crate::outbox::{Company, Outbox};
use crate::server::{HandleError, Handler, Request};

/// Bytes of requests in flight; at more, no further is read.
const REQUEST_BYTES_MAX: usize = SEND_QUEUE_BYTES_MAX;
/// Requests up to this are polled once where they were read.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// An asker says something every ten ticks at least; one that was silent for so many is gone.
const SILENT_TICKS_MAX: u32 = 60;

/// How long a peer may take to see our end.
const LINGER: Duration = Duration::from_millis(500);

struct Conversation<H> {
    handler: Arc<H>,
    local: Local,
    peer: Peer,
    outbox: Outbox,
    budget: Budget,
    /// A large request waits for its place.
    waits: AtomicBool,
    requests: AtomicUsize,
    request_bytes: AtomicUsize,
    /// A request was answered.
    answered: Notify,
    heard: AtomicBool,
    closing: AtomicBool,
}

/// Serves a connection to its end, or until `stopping` turns true and its requests are answered.
pub(crate) async fn run<H: Handler>(
    mut socket: TcpStream,
    local: Local,
    handler: Arc<H>,
    budget: Budget,
    mut stopping: watch::Receiver<bool>,
) {
    let address =
        socket.peer_addr().map_or_else(|_| "an unknown address".to_owned(), |address| address.to_string());
    let shaken = tokio::select! {
        shaken = shake_hands(&mut socket, &local) => shaken,
        _ = stopping.wait_for(|stop| *stop) => return,
    };
    let peer = match shaken {
        Ok(peer) => peer,
        Err(error) => {
            metrics::RPC_REFUSED.increment();
            tracing::debug!(address, %error, "no connection");
            return;
        }
    };
    let (mut reader, writer) = socket.into_split();
    let conversation = Arc::new(Conversation {
        handler,
        local,
        peer,
        outbox: Outbox::new(writer),
        budget,
        waits: AtomicBool::new(false),
        requests: AtomicUsize::new(0),
        request_bytes: AtomicUsize::new(0),
        answered: Notify::new(),
        heard: AtomicBool::new(false),
        closing: AtomicBool::new(false),
    });
    // What was asked is answered before the replies are gathered.
    let why = tokio::select! {
        biased;
        why = conversation.read(&mut reader) => why,
        error = conversation.outbox.write() => format!("the connection broke: {error}"),
        () = conversation.watch() => "the peer fell silent".to_owned(),
        () = conversation.finish(stopping) => {
            conversation.outbox.close();
            linger(&mut reader).await;
            "shutting down".to_owned()
        }
    };
    conversation.outbox.close();
    tracing::debug!(peer = %peer.identity, ?address, why, "connection ended");
}

/// Reads until the peer saw our end and closed: closing first, with something unread, may take the last replies back.
async fn linger(socket: &mut OwnedReadHalf) {
    let mut unread = [0; 4096];
    let closed = async { while socket.read(&mut unread).await.is_ok_and(|bytes| bytes > 0) {} };
    if timeout(LINGER, closed).await.is_err() {
        tracing::debug!("the peer did not close its end");
    }
}

async fn shake_hands(socket: &mut TcpStream, local: &Local) -> Result<Peer, handshake::HandshakeError> {
    socket.set_nodelay(true)?;
    handshake::accept(socket, local).await
}

impl<H: Handler> Conversation<H> {
    async fn read(self: &Arc<Self>, socket: &mut OwnedReadHalf) -> String {
        let mut decoder = Decoder::default();
        let mut version = self.local.version();
        let mut place: Option<Place> = None;
        loop {
            loop {
                match decoder.next() {
                    Ok(None) => break,
                    Ok(Some(frame)) => match frame.header.kind {
                        Kind::Request => self.take(frame, place.take()).await,
                        Kind::Alive => {}
                        Kind::Reply | Kind::Error => return "the peer answered what nobody asked".to_owned(),
                    },
                    Err(error) => return error.to_string(),
                }
            }
            while self.request_bytes.load(Ordering::Acquire) >= REQUEST_BYTES_MAX {
                self.some_answered(|| self.request_bytes.load(Ordering::Acquire) < REQUEST_BYTES_MAX).await;
            }
            if place.is_none() {
                let bytes = decoder.announced_bytes();
                if bytes > LARGE_FRAME_BYTES && self.is_stranger() {
                    return format!("a request of {bytes} bytes from a peer that is of no cluster");
                }
                place = self.place(bytes).await;
            }
            let read = socket.read_buf(decoder.room());
            let read = match &place {
                None => read.await,
                Some(place) => timeout_at(place.until, read).await.unwrap_or_else(|late| Err(late.into())),
            };
            match read {
                Ok(0) => return "the peer closed the connection".to_owned(),
                Ok(_) => self.heard.store(true, Ordering::Relaxed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return format!("the connection broke: {error}"),
            }
            if version != self.local.version() {
                version = self.local.version();
                let (ours, theirs) = (self.local.cluster(), self.peer.cluster);
                if ours.is_known() && theirs.is_known() && ours != theirs {
                    return format!("the peer is of cluster {theirs}, and this is now of {ours}");
                }
            }
        }
    }

    /// Starts what a request asks for, or answers why not.
    async fn take(self: &Arc<Self>, frame: Frame, place: Option<Place>) {
        consume_budget().await;
        let refused = if self.closing.load(Ordering::Acquire) {
            Some(ErrorCode::Closing)
        } else if self.requests.load(Ordering::Acquire) >= REQUESTS_IN_FLIGHT_MAX {
            Some(ErrorCode::Overloaded)
        } else {
            None
        };
        if let Some(code) = refused {
            // Waiting for room here stops reading: who does not take answers may not ask on.
            let _gone = self
                .outbox
                .push(error_header(code, frame.header.id), &Payload::empty(), Company::Others)
                .await;
            return;
        }
        let bytes = frame.head.len() + frame.body.len();
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.request_bytes.fetch_add(bytes, Ordering::AcqRel);
        let (conversation, id) = (Arc::clone(self), frame.header.id);
        let is_brief = bytes <= INLINE_BYTES_MAX && self.handler.is_brief(Method(frame.header.code));
        let open = Open { conversation, id, bytes, _place: place, answered: false };
        let mut answer = Box::pin(open.answer(frame));
        if bytes <= INLINE_BYTES_MAX {
            // Whatever this waker misses, the task's first poll finds.
            let mut context = Context::from_waker(Waker::noop());
            if answer.as_mut().poll(&mut context).is_ready() {
                return;
            }
        }
        if is_brief {
            Brief::start(answer);
        } else {
            tokio::spawn(answer);
        }
    }

    /// Whether the peer named no cluster, or another than ours: a stranger must not hold the places of those who belong
    /// here. As long as we do not know ours, whoever names one may be its leader with the log that says so.
    fn is_stranger(&self) -> bool {
        let own = self.local.cluster();
        !self.peer.cluster.is_known() || (own.is_known() && self.peer.cluster != own)
    }

    /// The place for a frame, if it is a large one.
    async fn place(&self, bytes: usize) -> Option<Place> {
        if bytes <= LARGE_FRAME_BYTES {
            return None;
        }
        self.waits.store(true, Ordering::Release);
        let place = self.budget.place(bytes).await;
        self.waits.store(false, Ordering::Release);
        Some(place)
    }

    /// Waits until `enough`, which answered requests bring about.
    async fn some_answered(&self, enough: impl Fn() -> bool) {
        loop {
            let answered = self.answered.notified();
            if enough() {
                return;
            }
            answered.await;
        }
    }

    /// Says that we live while a request is worked on, or after the asker said that it does.
    async fn watch(&self) {
        let mut ticks = interval(KEEP_ALIVE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = 0;
        while silent < SILENT_TICKS_MAX {
            ticks.tick().await;
            let heard = self.heard.swap(false, Ordering::Relaxed);
            let works = self.requests.load(Ordering::Acquire) > 0 || self.waits.load(Ordering::Acquire);
            if heard || works {
                silent = 0;
                // If the queue is full or gone, more than a sign is under way.
                let _queued = self.outbox.try_push(Header::ALIVE, &Payload::empty());
            } else {
                silent += 1;
            }
        }
    }

    /// Done once the server stops, all requests are answered, and the answers written.
    async fn finish(&self, mut stopping: watch::Receiver<bool>) {
        if stopping.wait_for(|stop| *stop).await.is_err() {
            tracing::debug!("the server is gone without a word");
        }
        self.closing.store(true, Ordering::Release);
        self.some_answered(|| self.requests.load(Ordering::Acquire) == 0).await;
        self.outbox.flushed().await;
    }
}

fn error_header(code: ErrorCode, id: u64) -> Header {
    Header { kind: Kind::Error, code: code as u16, deadline_ms: 0, id }
}

/// A request that was not answered yet.
struct Open<H: Handler> {
    conversation: Arc<Conversation<H>>,
    id: u64,
    bytes: usize,
    _place: Option<Place>,
    answered: bool,
}

impl<H: Handler> Open<H> {
    async fn answer(mut self, frame: Frame) {
        let conversation = Arc::clone(&self.conversation);
        let request = Request {
            from: conversation.peer,
            method: Method(frame.header.code),
            head: frame.head,
            body: frame.body,
            deadline: Instant::now() + Duration::from_millis(u64::from(frame.header.deadline_ms)),
        };
        let (header, payload) = match conversation.handler.handle(request).await {
            Ok(response) => match Payload::new(response.head, response.body) {
                Ok(payload) => (Header { kind: Kind::Reply, code: 0, deadline_ms: 0, id: self.id }, payload),
                Err(error) => self.error(ErrorCode::Abandoned, error.to_string()),
            },
            Err(HandleError::UnknownMethod) => self.error(ErrorCode::UnknownMethod, String::new()),
            Err(HandleError::Malformed(why)) => self.error(ErrorCode::Malformed, why),
            Err(HandleError::Overloaded) => self.error(ErrorCode::Overloaded, String::new()),
        };
        self.answered = true;
        let alone = conversation.requests.load(Ordering::Acquire) == 1;
        let company = if alone { Company::Alone } else { Company::Others };
        // Who asked may be gone.
        let _gone = conversation.outbox.push(header, &payload, company).await;
    }

    fn error(&self, code: ErrorCode, why: String) -> (Header, Payload) {
        let payload =
            Payload::new(why.into_bytes(), Vec::<Bytes>::new()).unwrap_or_else(|_| Payload::empty());
        (error_header(code, self.id), payload)
    }
}

impl<H: Handler> Drop for Open<H> {
    fn drop(&mut self) {
        if !self.answered {
            // The handler panicked. Its asker must not wait for the deadline to learn that nothing will come.
            let (header, payload) = self.error(ErrorCode::Abandoned, "its handler died".to_owned());
            self.conversation.outbox.force_push(header, &payload);
        }
        self.conversation.request_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.conversation.requests.fetch_sub(1, Ordering::AcqRel);
        self.conversation.answered.notify_waiters();
    }
}
