//! The end that asks: one connection to one peer, made when it is needed.
//!
//! Owns connecting, the pause between failed attempts, and the calls' deadlines. Leaves to the caller whether a call
//! is made again. Invariant: at most one connection is used for new calls, at most one is being made, and at most
//! [`REQUESTS_IN_FLIGHT_MAX`] calls are in flight.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::codec;
use hayrick_protocol::limits::REQUESTS_IN_FLIGHT_MAX;
use hayrick_protocol::messages::{Identity, Message, Method};
use parking_lot::Mutex;
use rand::Rng;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Duration, Instant, timeout, timeout_at};

use crate::call_error::CallError;
use crate::frame::Payload;
use crate::handshake::{self, HandshakeError};
use crate::link::{Link, RequestError};
use crate::local::{Local, Peer};

/// A peer that does not accept within this is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause after the first failed attempt; it doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// One multiplexed connection to one peer; cheap to clone. It connects with the first call and again with the first
/// call after a loss. While the peer cannot be reached, calls fail at once between attempts, which are up to 500 ms
/// apart. The connection closes with the last clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    local: Local,
    address: Arc<str>,
    expects: Option<Identity>,
    places: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    attempt: Option<watch::Receiver<Attempt>>,
    /// Attempts in a row that brought no answer to a call: no connection, or one that was lost at once.
    failures: u32,
    /// The last failure, and until when it stands for the next.
    failed: Option<(CallError, Instant)>,
    closed: bool,
}

impl State {
    /// Notes a failed attempt, and until when it stands for the next.
    fn fail(&mut self, error: CallError) {
        let pause = if planted::is(Bug::ReconnectsEverLater) {
            PAUSE_FIRST.saturating_mul(1 << (4 * self.failures).min(16))
        } else {
            PAUSE_FIRST.saturating_mul(1 << self.failures.min(8)).min(PAUSE_MAX)
        };
        // Apart, lest all clients of a peer come back at the same moment.
        let pause = pause.mul_f64(rand::rng().random_range(0.75..=1.0));
        self.failures = self.failures.saturating_add(1);
        self.failed = Some((error, Instant::now() + pause));
    }

    /// Lets a connection go that takes no new calls. A peer that accepts only to drop is not there either; but once is
    /// bad luck, and the next call may try at once.
    fn judge(&mut self, link: &Link, address: &str) {
        if link.was_answered() {
            self.failures = 0;
        } else if link.is_retired() {
            let once = self.failures == 0;
            let why = format!("{address}: the peer drops connections before it answers anything");
            self.fail(CallError::NotSent { why });
            self.failed = self.failed.take().filter(|_| !once);
        }
    }
}

/// None while it is under way.
type Attempt = Option<Result<Arc<Link>, CallError>>;

impl Client {
    /// A client of the peer at `address` (`HOST:PORT`), which must be `expects` if that is known. Connects nowhere yet.
    pub fn new(local: Local, address: String, expects: Option<Identity>) -> Self {
        let inner = Inner {
            local,
            address: address.into(),
            expects,
            places: Semaphore::new(REQUESTS_IN_FLIGHT_MAX),
            state: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Asks the peer and waits for its reply, with the reply's body. The chunks of `body` go out one after the other
    /// without being copied together. Returns by `deadline` whatever the peer does; dropping the future gives up on
    /// the reply, not on the request.
    ///
    /// The reply's body may share its memory with replies that came with it: copy what is small and kept long.
    ///
    /// # Errors
    /// Each tells whether the request may have been executed: [`CallError::surely_not_executed`].
    pub async fn call<M: Message>(
        &self,
        message: &M,
        body: Vec<Bytes>,
        deadline: Instant,
    ) -> Result<(M::Reply, Bytes), CallError> {
        if deadline <= Instant::now() {
            return Err(CallError::Deadline { sent: false });
        }
        let payload = Payload::new(codec::encode(message), body)
            .map_err(|error| CallError::NotSent { why: format!("{}: {error}", M::NAME) })?;
        let mut sent = false;
        let exchange = self.inner.exchange(M::METHOD, &payload, deadline, &mut sent);
        let answer = timeout_at(deadline, exchange).await;
        let answer = answer.unwrap_or_else(|_| {
            metrics::RPC_TIMEOUTS.increment();
            Err(CallError::Deadline { sent })
        });
        let (head, body) = answer?;
        let reply = codec::decode(&head).map_err(|error| {
            CallError::BadReply(format!("{} of {}: {error}", M::NAME, self.inner.address))
        })?;
        Ok((reply, body))
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.peer().is_some()
    }

    /// Who is at the other end, if there is a connection now.
    pub fn peer(&self) -> Option<Peer> {
        let state = self.inner.state.lock();
        state.link.as_ref().filter(|link| link.is_fresh(self.inner.local.version())).map(|link| link.peer())
    }

    /// The address it was made with.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// Closes the connection for all clones; calls in flight are lost, later ones not sent.
    pub fn close(&self) {
        let link = {
            let mut state = self.inner.state.lock();
            state.closed = true;
            state.link.take()
        };
        if let Some(link) = link {
            link.close();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        f.debug_struct("Client").field("address", &inner.address).field("expects", &inner.expects).finish()
    }
}

impl Inner {
    async fn exchange(
        self: &Arc<Self>,
        method: Method,
        payload: &Payload,
        deadline: Instant,
        sent: &mut bool,
    ) -> Result<(Bytes, Bytes), CallError> {
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        loop {
            let link = self.link().await?;
            match link.request(method, payload, deadline, sent).await {
                Ok(reply) => return Ok(reply),
                Err(RequestError::Call(error)) => return Err(error),
                // It died between the two; it is not fresh any more.
                Err(RequestError::Stale) => {}
            }
        }
    }

    /// The connection for a new call, made first if there is none.
    async fn link(self: &Arc<Self>) -> Result<Arc<Link>, CallError> {
        let mut attempt = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(self.closed());
            }
            if let Some(link) = &state.link
                && link.is_fresh(self.local.version())
            {
                return Ok(Arc::clone(link));
            }
            if let Some(stale) = state.link.take() {
                state.judge(&stale, &self.address);
            }
            match &state.attempt {
                Some(attempt) => attempt.clone(),
                None => {
                    if let Some((error, until)) = &state.failed
                        && Instant::now() < *until
                    {
                        return Err(error.clone());
                    }
                    let (sender, attempt) = watch::channel(None);
                    state.attempt = Some(attempt.clone());
                    tokio::spawn(Arc::clone(self).attempt(sender));
                    attempt
                }
            }
        };
        let stopped = || CallError::NotSent { why: "the runtime stopped".to_owned() };
        let done = attempt.wait_for(Option::is_some).await.map_err(|_| stopped())?;
        done.as_ref().ok_or_else(stopped)?.clone()
    }

    fn closed(&self) -> CallError {
        CallError::NotSent { why: format!("{}: the client was closed", self.address) }
    }

    /// Makes one attempt, for all calls that wait for it; it outlives those that give up.
    async fn attempt(self: Arc<Self>, done: watch::Sender<Attempt>) {
        let mut result = self.connect().await.map(Arc::new);
        {
            let mut state = self.state.lock();
            state.attempt = None;
            if state.closed {
                result = Err(self.closed());
            }
            match &result {
                Ok(link) => {
                    state.link = Some(Arc::clone(link));
                    state.failed = None;
                }
                Err(error) => state.fail(error.clone()),
            }
        }
        // Nobody may be waiting any more.
        let _alone = done.send(Some(result));
    }

    async fn connect(&self) -> Result<Link, CallError> {
        let not_sent = |why: String| CallError::NotSent { why: format!("{}: {why}", self.address) };
        let version = self.local.version();
        let connect = timeout(CONNECT_TIMEOUT, TcpStream::connect(&*self.address)).await;
        let mut socket = connect
            .map_err(|_| not_sent(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())))?
            .and_then(|socket| socket.set_nodelay(true).map(|()| socket))
            .map_err(|error| not_sent(error.to_string()))?;
        match handshake::offer(&mut socket, &self.local, self.expects).await {
            Ok(peer) => {
                metrics::RPC_OPENED.increment();
                Ok(Link::start(socket, Arc::clone(&self.address), peer, version))
            }
            Err(HandshakeError::Refused(refusal)) => Err(CallError::Refused(refusal)),
            Err(error) => Err(not_sent(error.to_string())),
        }
    }
}
