//! The network between the masters, which can be held up, or be slow, one way.
//!
//! Before each master's peer port stands a TCP proxy which the others dial; by the hello of a connection it knows who dialled.
//! What is held up is not lost: as with TCP it waits, and comes late, once the link is well or not at all. On a slow link all
//! comes as much later, in its order. Whoever is no master is never held up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use hayrick_launcher::{Cluster, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// How much is passed on at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// A hello, as laid out in `rpc/src/handshake.rs`: where the role and the id stand in it.
const HELLO_BYTES: usize = 52;
const ROLE_AT: usize = 28;
const ROLE_MASTER: u8 = 1;

/// Chunks that are under way on one link at a time; more wait at their sender.
const UNDER_WAY_MAX: usize = 1024;

/// From whom to whom.
type Link = (u64, u64);

/// What is wrong with the links.
#[derive(Default)]
struct Troubles {
    /// Nothing comes through.
    held: BTreeSet<Link>,
    /// All comes so much later.
    slow: BTreeMap<Link, Duration>,
}

/// All links between the masters of a cluster.
pub struct Links {
    masters: Vec<u64>,
    troubles: watch::Sender<Troubles>,
}

impl Links {
    /// Puts a proxy before each master, and has the others told of it. Before the cluster's first start.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn between(cluster: &mut Cluster) -> Result<Self> {
        let troubles = watch::Sender::<Troubles>::default();
        let masters: Vec<(u32, SocketAddr)> =
            cluster.masters().iter().map(|master| (master.number(), master.peer_addr())).collect();
        for (id, addr) in &masters {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            cluster.advertise_peer(Role::Master, *id, listener.local_addr()?);
            tokio::spawn(accept(listener, u64::from(*id), *addr, troubles.subscribe()));
        }
        Ok(Self { masters: masters.into_iter().map(|(id, _)| id.into()).collect(), troubles })
    }

    /// From now on nothing that this master sends comes to another one.
    pub fn hold_from(&self, id: u32) {
        let links = self.others(id).map(|other| (u64::from(id), other));
        self.troubles.send_modify(|troubles| troubles.held.extend(links));
    }

    /// From now on nothing that another master sends comes to this one.
    pub fn hold_to(&self, id: u32) {
        let links = self.others(id).map(|other| (other, u64::from(id)));
        self.troubles.send_modify(|troubles| troubles.held.extend(links));
    }

    /// From now on all that this master sends comes to the others so much later.
    pub fn slow_from(&self, id: u32, delay: Duration) {
        let links = self.others(id).map(|other| ((u64::from(id), other), delay));
        self.troubles.send_modify(|troubles| troubles.slow.extend(links));
    }

    /// Everything comes through at once, also what has waited.
    pub fn heal(&self) {
        self.troubles.send_modify(|troubles| *troubles = Troubles::default());
    }

    fn others(&self, id: u32) -> impl Iterator<Item = u64> {
        self.masters.iter().copied().filter(move |other| *other != u64::from(id))
    }
}

async fn accept(listener: TcpListener, to: u64, target: SocketAddr, troubles: watch::Receiver<Troubles>) {
    while let Ok((client, _)) = listener.accept().await {
        // Closed by one end, or the target is not there: the other end sees its connection closed.
        tokio::spawn(relay(client, to, target, troubles.clone()));
    }
}

async fn relay(
    mut client: TcpStream,
    to: u64,
    target: SocketAddr,
    troubles: watch::Receiver<Troubles>,
) -> Result<()> {
    let mut hello = [0; HELLO_BYTES];
    client.read_exact(&mut hello).await?;
    let id = hello[ROLE_AT + 1..ROLE_AT + 9].try_into().map(u64::from_le_bytes)?;
    let from = (hello[ROLE_AT] == ROLE_MASTER).then_some(id);

    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (forth, back) = (from.map(|from| (from, to)), from.map(|from| (to, from)));
    let forth = pass(hello.to_vec(), from_client, to_server, forth, troubles.clone());
    let back = pass(Vec::new(), from_server, to_client, back, troubles);
    tokio::select! { result = forth => result, result = back => result }
}

/// Passes on what comes one way, until that ends.
async fn pass(
    first: Vec<u8>,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    link: Option<Link>,
    troubles: watch::Receiver<Troubles>,
) -> Result<()> {
    let (sent, under_way) = mpsc::channel(UNDER_WAY_MAX);
    let taken = take(first, from, link, troubles.clone(), sent);
    tokio::try_join!(taken, deliver(under_way, to, link, troubles))?;
    Ok(())
}

/// Takes chunk by chunk, and says when each may arrive.
async fn take(
    first: Vec<u8>,
    mut from: OwnedReadHalf,
    link: Option<Link>,
    troubles: watch::Receiver<Troubles>,
    sent: mpsc::Sender<(Instant, Vec<u8>)>,
) -> Result<()> {
    let mut chunk = first;
    loop {
        let delay = link.and_then(|link| troubles.borrow().slow.get(&link).copied()).unwrap_or_default();
        sent.send((Instant::now() + delay, chunk)).await?;
        chunk = vec![0; CHUNK_BYTES];
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        chunk.truncate(read);
    }
}

async fn deliver(
    mut under_way: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut to: OwnedWriteHalf,
    link: Option<Link>,
    mut troubles: watch::Receiver<Troubles>,
) -> Result<()> {
    while let Some((due, chunk)) = under_way.recv().await {
        sleep_until(due).await;
        if let Some(link) = link {
            troubles.wait_for(|troubles| !troubles.held.contains(&link)).await?;
        }
        to.write_all(&chunk).await?;
    }
    Ok(())
}
