//! A proxy before a peer port that holds back requests of one kind, and later lets them through, while all else passes: how an
//! order arrives long after it was given.
//!
//! Layouts are those of `frames`. A frame that is held does not hold up those behind it: frames are independent of each other.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::frames::{HEADER_BYTES, HELLO, HELLO_BYTES, KIND_REQUEST};

/// Frames that wait for one connection's server.
const UNDER_WAY_MAX: usize = 64;

/// A proxy before the peer port of one server.
pub struct Gate {
    addr: SocketAddr,
    /// The method whose requests are held.
    held: watch::Sender<Option<u16>>,
    counts: watch::Sender<Counts>,
}

/// What became of the requests that were held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many there were.
    pub held: u64,
    /// How many the server answered, after all.
    pub answered: u64,
}

/// One connection's requests that were held, by their ids.
type Ids = Arc<Mutex<BTreeSet<u64>>>;

impl Gate {
    /// Listens on a free port of loopback, for `target`, and lets everything through.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (held, counts) = (watch::Sender::new(None), watch::Sender::new(Counts::default()));
        let (held_seen, counted) = (held.subscribe(), counts.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Closed by one end, or the target is not there: the other end sees its connection closed.
                tokio::spawn(relay(client, target, held_seen.clone(), counted.clone()));
            }
        });
        Ok(Self { addr, held, counts })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on requests of this method wait.
    pub fn hold(&self, method: u16) {
        self.held.send_replace(Some(method));
    }

    /// Lets through what waits, and what comes.
    pub fn release(&self) {
        self.held.send_replace(None);
    }

    /// What became of those that were held.
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    held: watch::Receiver<Option<u16>>,
    counts: watch::Sender<Counts>,
) -> Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let ids = Ids::default();
    let forth = requests(from_client, to_server, held, counts.clone(), Arc::clone(&ids));
    let back = replies(from_server, to_client, counts, ids);
    tokio::select! { result = forth => result, result = back => result }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    held: watch::Receiver<Option<u16>>,
    counts: watch::Sender<Counts>,
    ids: Ids,
) -> Result<()> {
    let (sender, mut under_way) = mpsc::channel::<Vec<u8>>(UNDER_WAY_MAX);
    let taken = async move {
        let mut hello = vec![0; HELLO_BYTES];
        from.read_exact(&mut hello).await?;
        sender.send(hello).await?;
        loop {
            let frame = frame(&mut from).await?;
            let is_held = frame[5] == KIND_REQUEST && *held.borrow() == Some(method(&frame));
            if !is_held {
                sender.send(frame).await?;
                continue;
            }
            locked(&ids).insert(id(&frame));
            counts.send_modify(|counts| counts.held += 1);
            let (mut held, sender) = (held.clone(), sender.clone());
            tokio::spawn(async move {
                // Either the test or the connection may have ended by then.
                if held.wait_for(|held| *held != Some(method(&frame))).await.is_ok() {
                    let _ = sender.send(frame).await;
                }
            });
        }
    };
    let delivered = async {
        while let Some(frame) = under_way.recv().await {
            to.write_all(&frame).await?;
        }
        anyhow::Ok(())
    };
    tokio::select! { result = taken => result, result = delivered => result }
}

async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    counts: watch::Sender<Counts>,
    ids: Ids,
) -> Result<()> {
    let mut hello = [0; HELLO_BYTES];
    from.read_exact(&mut hello[..HELLO.len()]).await?;
    if !hello.starts_with(HELLO) {
        // A refusal, of any length.
        to.write_all(&hello[..HELLO.len()]).await?;
        tokio::io::copy(&mut from, &mut to).await?;
        return Ok(());
    }
    from.read_exact(&mut hello[HELLO.len()..]).await?;
    to.write_all(&hello).await?;
    loop {
        let frame = frame(&mut from).await?;
        if locked(&ids).remove(&id(&frame)) {
            counts.send_modify(|counts| counts.answered += 1);
        }
        to.write_all(&frame).await?;
    }
}

/// One whole frame.
async fn frame(from: &mut OwnedReadHalf) -> Result<Vec<u8>> {
    let mut frame = vec![0; HEADER_BYTES];
    from.read_exact(&mut frame).await?;
    let length = |at: usize| frame[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
    let payload = u64::from(length(20)) + u64::from(length(24));
    let read = (&mut *from).take(payload).read_to_end(&mut frame).await?;
    (read as u64 == payload).then_some(frame).context("the connection ended within a frame")
}

fn method(frame: &[u8]) -> u16 {
    u16::from_le_bytes([frame[6], frame[7]])
}

fn id(frame: &[u8]) -> u64 {
    frame[12..20].try_into().map_or(0, u64::from_le_bytes)
}

fn locked(ids: &Ids) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
    ids.lock().unwrap_or_else(PoisonError::into_inner)
}
