//! The load: an HTTP/1.1 keep-alive client that does only what the bench needs, so that it is not what is measured.
//!
//! All connections share one thread and one small runtime. Each client has a connection to every target and takes
//! them in turn, one request at a time.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// The buffer of a connection: a head and a 64 KiB body fit.
const BUFFER_BYTES: usize = 80 * 1024;
/// How many requests of a row may fail before the row is given up.
const FAILURES_MAX: u64 = 1000;

/// When the load ends.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// After this time; what comes in the warm-up before it is not counted.
    Time { warm_up: Duration, measured: Duration },
    /// After so many requests.
    Count(u64),
}

/// What a load is made of.
pub(crate) struct Load<'a> {
    pub(crate) targets: &'a [SocketAddr],
    pub(crate) clients: usize,
    pub(crate) until: Until,
    /// Writes the request with this number; numbers grow by one.
    pub(crate) request: &'a (dyn Fn(u64, &mut SmallRng, &mut Vec<u8>) + Sync),
    /// The body's length that an answer must have, where it must have one.
    pub(crate) answer_bytes: Option<usize>,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Sorted.
    latencies: Vec<Duration>,
    elapsed: Duration,
    /// Requests that failed.
    pub(crate) failed: u64,
}

impl Sample {
    pub(crate) fn new(mut latencies: Vec<Duration>, elapsed: Duration, failed: u64) -> Self {
        latencies.sort_unstable();
        Self { latencies, elapsed, failed }
    }

    /// Puts two measurements of the same thing together.
    pub(crate) fn and(self, other: Self) -> Self {
        let latencies = [self.latencies, other.latencies].concat();
        Self::new(latencies, self.elapsed + other.elapsed, self.failed + other.failed)
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// A percentile, in milliseconds.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let index = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    }
}

impl Load<'_> {
    /// Runs it on a thread of its own.
    pub(crate) fn run(&self) -> Result<Sample> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                LocalSet::new().block_on(&runtime, self.run_clients())
            });
            thread.join().unwrap_or_else(|_| bail!("the load panicked"))
        })
    }

    async fn run_clients(&self) -> Result<Sample> {
        let shared = Rc::new(Shared::default());
        let started = Instant::now();
        let clients = (0..self.clients).map(|number| self.run_client(number, started, Rc::clone(&shared)));
        futures_util::future::try_join_all(clients).await?;
        let elapsed = match self.until {
            Until::Time { measured, .. } => measured,
            Until::Count(_) => started.elapsed(),
        };
        Ok(Sample::new(shared.latencies.take(), elapsed, shared.failed.get()))
    }

    async fn run_client(&self, number: usize, started: Instant, shared: Rc<Shared>) -> Result<()> {
        let mut rng = SmallRng::seed_from_u64(rand::rng().random());
        let mut connections = Vec::new();
        for addr in self.targets {
            connections.push(Connection::open(*addr).await?);
        }
        let mut request = Vec::with_capacity(BUFFER_BYTES);
        let mut turn = number;
        loop {
            let issued = shared.issued.get();
            let (from, to) = match self.until {
                Until::Count(count) if issued >= count => return Ok(()),
                Until::Count(_) => (Duration::ZERO, Duration::MAX),
                Until::Time { warm_up, measured } => (warm_up, warm_up + measured),
            };
            shared.issued.set(issued + 1);
            request.clear();
            (self.request)(issued, &mut rng, &mut request);
            turn = (turn + 1) % connections.len();
            let begun = Instant::now();
            let outcome = connections[turn].exchange(&request, self.answer_bytes).await;
            let ended = Instant::now();
            let at = ended - started;
            if at >= to {
                return Ok(());
            }
            match outcome {
                Ok(()) if at >= from => shared.latencies.borrow_mut().push(ended - begun),
                Ok(()) => {}
                Err(error) => {
                    shared.failed.set(shared.failed.get() + 1);
                    if shared.failed.get() > FAILURES_MAX {
                        return Err(error).context("too many requests failed; the last");
                    }
                    connections[turn] = Connection::open(self.targets[turn]).await?;
                }
            }
        }
    }
}

#[derive(Default)]
struct Shared {
    issued: Cell<u64>,
    failed: Cell<u64>,
    latencies: RefCell<Vec<Duration>>,
}

/// One connection, with the buffer its answers are read into.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The head of an answer.
struct Head {
    status: u16,
    /// Where the body begins.
    len: usize,
    body_bytes: usize,
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await.with_context(|| addr.to_string())?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Sends a request and reads the whole answer, which must be one of success.
    async fn exchange(&mut self, request: &[u8], answer_bytes: Option<usize>) -> Result<()> {
        let (status, body_bytes) = self.answer(request).await?;
        ensure!((200..300).contains(&status), "the answer has status {status}");
        ensure!(answer_bytes.is_none_or(|bytes| bytes == body_bytes), "the answer has {body_bytes} bytes");
        Ok(())
    }

    /// Sends a request and reads the whole answer: its status and the length of its body.
    pub(crate) async fn answer(&mut self, request: &[u8]) -> Result<(u16, usize)> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let head = loop {
            filled += self.read(filled).await?;
            if let Some(head) = parse_head(&self.buffer[..filled])? {
                break head;
            }
            ensure!(filled < BUFFER_BYTES, "the head has no end");
        };
        let mut missing = (head.len + head.body_bytes).saturating_sub(filled);
        while missing > 0 {
            missing = missing.saturating_sub(self.read(0).await?);
        }
        Ok((head.status, head.body_bytes))
    }

    async fn read(&mut self, at: usize) -> Result<usize> {
        let read = self.stream.read(&mut self.buffer[at..]).await?;
        ensure!(read > 0, "the connection was closed");
        Ok(read)
    }
}

/// `None` while the head is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?;
    let status = head.get(9..12).and_then(|status| status.parse().ok()).context("the answer is not HTTP")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let body_bytes = if status == 204 { 0 } else { length.context("the answer has no Content-Length")? };
    Ok(Some(Head { status, len: end + 4, body_bytes }))
}
