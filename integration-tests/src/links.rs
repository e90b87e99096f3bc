//! The network between the masters, which can be held up one way.
//!
//! Before each master's peer port stands a TCP proxy which the others dial; by the hello of a connection it knows who dialled.
//! What is held up is not lost: as with TCP it waits, and comes late, once the link is well or not at all. Whoever is no
//! master is never held up.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::Result;
use hayrick_launcher::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How much is passed on at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// A hello, as laid out in `rpc/src/handshake.rs`: where the role and the id stand in it.
const HELLO_BYTES: usize = 52;
const ROLE_AT: usize = 28;
const ROLE_MASTER: u8 = 1;

/// From whom to whom nothing comes through.
type Held = BTreeSet<(u64, u64)>;

/// All links between the masters of a cluster.
pub struct Links {
    masters: Vec<u64>,
    held: watch::Sender<Held>,
}

impl Links {
    /// Puts a proxy before each master, and has the others told of it. Before the cluster's first start.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn between(cluster: &mut Cluster) -> Result<Self> {
        let held = watch::Sender::new(Held::new());
        let masters: Vec<(u32, SocketAddr)> =
            cluster.masters().iter().map(|master| (master.number(), master.peer_addr())).collect();
        for (id, addr) in &masters {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            cluster.advertise_peer(*id, listener.local_addr()?);
            tokio::spawn(accept(listener, u64::from(*id), *addr, held.subscribe()));
        }
        Ok(Self { masters: masters.into_iter().map(|(id, _)| id.into()).collect(), held })
    }

    /// From now on nothing that this master sends comes to another one.
    pub fn hold_from(&self, id: u32) {
        self.held.send_modify(|held| held.extend(self.others(id).map(|other| (u64::from(id), other))));
    }

    /// From now on nothing that another master sends comes to this one.
    pub fn hold_to(&self, id: u32) {
        self.held.send_modify(|held| held.extend(self.others(id).map(|other| (other, u64::from(id)))));
    }

    /// Everything comes through, also what has waited.
    pub fn heal(&self) {
        self.held.send_modify(Held::clear);
    }

    fn others(&self, id: u32) -> impl Iterator<Item = u64> {
        self.masters.iter().copied().filter(move |other| *other != u64::from(id))
    }
}

async fn accept(listener: TcpListener, to: u64, target: SocketAddr, held: watch::Receiver<Held>) {
    while let Ok((client, _)) = listener.accept().await {
        // Closed by one end, or the target is not there: the other end sees its connection closed.
        tokio::spawn(relay(client, to, target, held.clone()));
    }
}

async fn relay(
    mut client: TcpStream,
    to: u64,
    target: SocketAddr,
    held: watch::Receiver<Held>,
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
    let forth = copy(hello.to_vec(), from_client, to_server, from.map(|from| (from, to)), held.clone());
    let back = copy(Vec::new(), from_server, to_client, from.map(|from| (to, from)), held);
    tokio::select! { result = forth => result, result = back => result }
}

async fn copy(
    first: Vec<u8>,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    link: Option<(u64, u64)>,
    mut held: watch::Receiver<Held>,
) -> Result<()> {
    let mut chunk = first;
    loop {
        if let Some(link) = link {
            held.wait_for(|held| !held.contains(&link)).await?;
        }
        to.write_all(&chunk).await?;
        chunk.resize(CHUNK_BYTES, 0);
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        chunk.truncate(read);
    }
}
