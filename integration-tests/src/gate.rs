//! A proxy before a peer port that holds back requests of one kind, and later lets them through, while all else passes: how an
//! order arrives long after it was given. Or it spoils the answers to requests of one kind: how a server answers whose memory
//! is bad.
//!
//! Layouts are those of `frames`. A frame that is held does not hold up those behind it: frames are independent of each other.
//! What is spoiled has the right checksums of a frame, so that only what is said in it is wrong.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use hayrick_launcher::{Cluster, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::frames::{self, HEADER_BYTES, HELLO, HELLO_BYTES, KIND_REQUEST};

/// Frames that wait for one connection's server.
const UNDER_WAY_MAX: usize = 64;

/// A proxy before the peer port of one server.
pub struct Gate {
    addr: SocketAddr,
    orders: watch::Sender<Orders>,
    counts: watch::Sender<Counts>,
}

/// The method whose requests are held, and the one whose answers are spoiled.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    held: Option<u16>,
    spoiled: Option<u16>,
}

/// What became of the requests that were held, and of those whose answers were to be spoiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many there were.
    pub held: u64,
    /// How many the server answered, after all.
    pub answered: u64,
    /// How many answers were spoiled.
    pub spoiled: u64,
}

/// One connection's requests that are not answered yet, by their ids.
#[derive(Clone, Default)]
struct Noted {
    held: Ids,
    to_spoil: Ids,
}

type Ids = Arc<Mutex<BTreeSet<u64>>>;

impl Gate {
    /// Listens on a free port of loopback, for `target`, and lets everything through.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (orders, counts) = (watch::Sender::<Orders>::default(), watch::Sender::<Counts>::default());
        let (seen, counted) = (orders.subscribe(), counts.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Closed by one end, or the target is not there: the other end sees its connection closed.
                tokio::spawn(relay(client, target, seen.clone(), counted.clone()));
            }
        });
        Ok(Self { addr, orders, counts })
    }

    /// One before each of the three masters of a cluster that is not started yet: the others reach them through these alone.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn before_masters(cluster: &mut Cluster) -> Result<Vec<Self>> {
        let mut gates = Vec::new();
        for id in 1..=3 {
            let gate = Self::start(cluster.master(id).peer_addr()).await?;
            cluster.advertise_peer(Role::Master, id, gate.addr());
            gates.push(gate);
        }
        Ok(gates)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on requests of this method wait.
    pub fn hold(&self, method: u16) {
        self.orders.send_modify(|orders| orders.held = Some(method));
    }

    /// Lets through what waits, and what comes.
    pub fn release(&self) {
        self.orders.send_modify(|orders| orders.held = None);
    }

    /// From now on the first byte of the body of each answer to this method has a bit flipped.
    pub fn spoil(&self, method: u16) {
        self.orders.send_modify(|orders| orders.spoiled = Some(method));
    }

    /// What became of those that were held.
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }
}

async fn relay(
    client: TcpStream,
    target: SocketAddr,
    orders: watch::Receiver<Orders>,
    counts: watch::Sender<Counts>,
) -> Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let noted = Noted::default();
    let forth = requests(from_client, to_server, orders, counts.clone(), noted.clone());
    let back = replies(from_server, to_client, counts, noted);
    tokio::select! { result = forth => result, result = back => result }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    orders: watch::Receiver<Orders>,
    counts: watch::Sender<Counts>,
    noted: Noted,
) -> Result<()> {
    let (sender, mut under_way) = mpsc::channel::<Vec<u8>>(UNDER_WAY_MAX);
    let taken = async move {
        let mut hello = vec![0; HELLO_BYTES];
        from.read_exact(&mut hello).await?;
        sender.send(hello).await?;
        loop {
            let frame = frame(&mut from).await?;
            let asked = (frame[5] == KIND_REQUEST).then(|| method(&frame));
            let now = *orders.borrow();
            if asked.is_some() && now.spoiled == asked {
                locked(&noted.to_spoil).insert(id(&frame));
            }
            if asked.is_none() || now.held != asked {
                sender.send(frame).await?;
                continue;
            }
            locked(&noted.held).insert(id(&frame));
            counts.send_modify(|counts| counts.held += 1);
            let (mut orders, sender) = (orders.clone(), sender.clone());
            tokio::spawn(async move {
                // Either the test or the connection may have ended by then.
                if orders.wait_for(|orders| orders.held != asked).await.is_ok() {
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
    noted: Noted,
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
        let mut frame = frame(&mut from).await?;
        if locked(&noted.held).remove(&id(&frame)) {
            counts.send_modify(|counts| counts.answered += 1);
        }
        if locked(&noted.to_spoil).remove(&id(&frame)) && frames::flip_in_body(&mut frame) {
            counts.send_modify(|counts| counts.spoiled += 1);
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
