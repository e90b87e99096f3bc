//! One connection as the end that asks sees it: the calls that wait for replies, and what keeps it alive.
//!
//! Owns the table of pending calls and the connection's task. Leaves connecting and connecting again to the client.
//! Invariants: every pending call is completed, dropped by its caller, or failed when the connection dies; a call is
//! reported as not sent only if no byte of it was written.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use hayrick_protocol::messages::Method;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::call_error::CallError;
use crate::frame::{Decoder, ErrorCode, Frame, Header, Kind, Payload};
use crate::local::Peer;
use crate::outbox::{Company, Outbox};
use crate::{KEEP_ALIVE, SILENT_TICKS_MAX};

/// An idle connection is tried this often, in keep-alive ticks, so that a dead one is found before it is needed.
const IDLE_TICKS_MAX: u32 = 10;

/// One connection; its task ends, and with it the connection, when this is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: Arc<str>,
    peer: Peer,
    /// [`crate::Local::version`] at the handshake.
    local_version: u64,
    outbox: Outbox,
    /// None once the connection died.
    pending: Mutex<Option<Pending>>,
    next_id: AtomicU64,
    /// Takes no new calls: it died, or its peer is shutting down.
    retired: AtomicBool,
    /// Something arrived since the last tick.
    heard: AtomicBool,
    /// A call was answered, if only to say that it is not executed.
    answered: AtomicBool,
    /// Something was sent since anything arrived: a sign of life is due, though the call may be given up.
    asked: AtomicBool,
    dropped: Notify,
}

/// Who waits for the reply to which request.
type Pending = HashMap<u64, oneshot::Sender<Result<Frame, Death>>>;

/// What a dying connection leaves to its calls.
#[derive(Debug, Clone)]
struct Death {
    written_bytes: u64,
    why: Arc<str>,
}

/// Why a request brought no reply's frame.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// The connection was gone before the request was queued; another may take it.
    Stale,
    /// Final.
    Call(CallError),
}

impl Link {
    /// Starts the connection's task on a socket that shook hands.
    pub(crate) fn start(socket: TcpStream, address: Arc<str>, peer: Peer, local_version: u64) -> Self {
        let (reader, writer) = socket.into_split();
        let shared = Arc::new(Shared {
            address,
            peer,
            local_version,
            outbox: Outbox::new(writer),
            pending: Mutex::new(Some(HashMap::new())),
            next_id: AtomicU64::new(1),
            retired: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            dropped: Notify::new(),
        });
        tokio::spawn(Arc::clone(&shared).run(reader));
        Self { shared }
    }

    pub(crate) fn peer(&self) -> Peer {
        self.shared.peer
    }

    /// Whether it takes new calls of who we are at `local_version`.
    pub(crate) fn is_fresh(&self, local_version: u64) -> bool {
        self.shared.local_version == local_version && !self.shared.retired.load(Ordering::Acquire)
    }

    /// Whether a call was ever answered on it.
    pub(crate) fn was_answered(&self) -> bool {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Whether it takes no new calls, whoever we are.
    pub(crate) fn is_retired(&self) -> bool {
        self.shared.retired.load(Ordering::Acquire)
    }

    /// Ends the connection: its calls are lost. The connection's own task tells them, because it alone knows what was
    /// written: a write may just be under way.
    pub(crate) fn close(&self) {
        self.shared.retired.store(true, Ordering::Release);
        self.shared.dropped.notify_one();
    }

    /// Sends a request and waits for its reply; sets `sent` once it may reach the peer.
    pub(crate) async fn request(
        &self,
        method: Method,
        payload: &Payload,
        deadline: Instant,
        sent: &mut bool,
    ) -> Result<(Bytes, Bytes), RequestError> {
        let shared = &*self.shared;
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        let company = match &mut *shared.pending.lock() {
            Some(pending) => {
                pending.insert(id, sender);
                if pending.len() == 1 { Company::Alone } else { Company::Others }
            }
            None => return Err(RequestError::Stale),
        };
        let _forget = Forget { shared, id };
        let header = Header { kind: Kind::Request, code: method.0, deadline_ms: left_ms(deadline), id };
        shared.asked.store(true, Ordering::Relaxed);
        let offset = shared.outbox.push(header, payload, company).await.map_err(|_| RequestError::Stale)?;
        *sent = true;
        let frame = match reply.await {
            Ok(Ok(frame)) => frame,
            Ok(Err(death)) if offset >= death.written_bytes => {
                *sent = false;
                return Err(RequestError::Call(CallError::NotSent { why: shared.tell(&death.why) }));
            }
            Ok(Err(death)) => {
                return Err(RequestError::Call(CallError::Lost { why: shared.tell(&death.why) }));
            }
            Err(_) => {
                return Err(RequestError::Call(CallError::Lost { why: shared.tell("the runtime stopped") }));
            }
        };
        match frame.header.kind {
            Kind::Reply => Ok((frame.head, frame.body)),
            _ => Err(RequestError::Call(shared.error_of(&frame))),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.dropped.notify_one();
    }
}

/// A call that is given up frees its place.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(pending) = &mut *self.shared.pending.lock() {
            pending.remove(&self.id);
        }
    }
}

fn left_ms(deadline: Instant) -> u32 {
    let left = deadline.saturating_duration_since(Instant::now());
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX).saturating_add(1)
}

impl Shared {
    fn tell(&self, why: &str) -> String {
        format!("{} at {}: {why}", self.peer.identity, self.address)
    }

    fn error_of(&self, frame: &Frame) -> CallError {
        let text = || String::from_utf8_lossy(&frame.head).into_owned();
        match ErrorCode::from_number(frame.header.code) {
            Some(ErrorCode::UnknownMethod) => CallError::UnknownMethod,
            Some(ErrorCode::Malformed) => CallError::Malformed(text()),
            Some(ErrorCode::Overloaded) => CallError::Overloaded,
            Some(ErrorCode::Closing) => {
                self.retired.store(true, Ordering::Release);
                CallError::Closing
            }
            Some(ErrorCode::Abandoned) | None => CallError::Lost { why: self.tell(&text()) },
        }
    }

    async fn run(self: Arc<Self>, reader: OwnedReadHalf) {
        // Replies are handed out before requests are gathered: their callers may have the next ones.
        let why = tokio::select! {
            biased;
            why = self.read(reader) => why,
            error = self.outbox.write() => format!("the connection broke: {error}"),
            () = self.watch() => "the peer fell silent".to_owned(),
            () = self.dropped.notified() => "closed at this end".to_owned(),
        };
        tracing::debug!(peer = %self.peer.identity, address = %self.address, why, "connection ended");
        self.die(&why);
    }

    fn die(&self, why: &str) {
        self.retired.store(true, Ordering::Release);
        let death = Death { written_bytes: self.outbox.close(), why: why.into() };
        let Some(pending) = self.pending.lock().take() else { return };
        for call in pending.into_values() {
            // A caller that is gone needs no answer.
            let _gone = call.send(Err(death.clone()));
        }
    }

    async fn read(&self, mut socket: OwnedReadHalf) -> String {
        let mut decoder = Decoder::default();
        loop {
            loop {
                match decoder.next() {
                    Ok(None) => break,
                    Ok(Some(frame)) if frame.header.kind == Kind::Request => {
                        return "the peer asked where it should answer".to_owned();
                    }
                    Ok(Some(frame)) => self.deliver(frame),
                    Err(error) => return error.to_string(),
                }
            }
            match socket.read_buf(decoder.room()).await {
                Ok(0) => return "the peer closed the connection".to_owned(),
                Ok(_) => {
                    self.heard.store(true, Ordering::Relaxed);
                    self.asked.store(false, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return format!("the connection broke: {error}"),
            }
        }
    }

    fn deliver(&self, frame: Frame) {
        self.answered.store(true, Ordering::Relaxed);
        let call = self.pending.lock().as_mut().and_then(|pending| pending.remove(&frame.header.id));
        if let Some(call) = call {
            let _gone = call.send(Ok(frame));
        }
    }

    /// Asks for a sign of life while calls wait, and now and then; done once none came for too long. It counts ticks,
    /// not time: a process that was itself stopped finds what arrived meanwhile before it judges.
    async fn watch(&self) {
        let mut ticks = interval(KEEP_ALIVE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let (mut silent, mut idle) = (0, 0);
        loop {
            ticks.tick().await;
            let heard = self.heard.swap(false, Ordering::Relaxed);
            let waiting = self.pending.lock().as_ref().is_some_and(|pending| !pending.is_empty());
            let due = waiting || self.asked.load(Ordering::Relaxed);
            silent = if due && !heard { silent + 1 } else { 0 };
            if silent >= SILENT_TICKS_MAX {
                return;
            }
            idle = if due || heard { 0 } else { idle + 1 };
            if due || idle >= IDLE_TICKS_MAX {
                self.asked.store(true, Ordering::Relaxed);
                // If the queue is full or gone, more than a sign is under way.
                let _queued = self.outbox.try_push(Header::ALIVE, &Payload::empty());
            }
        }
    }
}
