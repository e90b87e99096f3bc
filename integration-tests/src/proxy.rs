//! A TCP proxy that can lose answers: the requests go through, what comes back does not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How much is passed on at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// What the proxy does with what the server sends back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Passes it on.
    Pass,
    /// Loses it; the connection looks alive.
    Lose,
}

/// A TCP proxy in front of one server.
pub struct Proxy {
    addr: SocketAddr,
    answers: Arc<watch::Sender<Answers>>,
    /// Pieces of answers that it lost so far.
    lost: Arc<AtomicU64>,
    /// Raised to close all connections.
    cuts: Arc<watch::Sender<u64>>,
}

impl Proxy {
    /// Listens on a free port of loopback, for `target`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let answers = Arc::new(watch::Sender::new(Answers::Pass));
        let cuts = Arc::new(watch::Sender::new(0));
        let lost = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&lost);
        let (answers_seen, cuts_seen) = (answers.subscribe(), cuts.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (answers, mut cuts) = (answers_seen.clone(), cuts_seen.clone());
                let lost = Arc::clone(&counter);
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    // Cut or closed by one end: either way both halves are dropped here.
                    tokio::select! {
                        _ = relay(client, target, answers, lost) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Ok(Self { addr, answers, lost, cuts })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on it does this with answers, on connections that are open, too.
    pub fn set_answers(&self, answers: Answers) {
        self.answers.send_replace(answers);
    }

    /// How often it has lost something that came back.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }

    /// Closes all open connections; new ones are taken.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    answers: watch::Receiver<Answers>,
    lost: Arc<AtomicU64>,
) -> Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let forth = copy(from_client, to_server, || true);
    let back = copy(from_server, to_client, || {
        let passes = *answers.borrow() == Answers::Pass;
        if !passes {
            lost.fetch_add(1, Ordering::SeqCst);
        }
        passes
    });
    tokio::select! { result = forth => result, result = back => result }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passes: impl Fn() -> bool) -> Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        if passes() {
            to.write_all(&chunk[..read]).await?;
        }
    }
}
