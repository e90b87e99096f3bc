//! The network between the servers, which can be cut, torn, slow and narrow, each way of each link by itself.
//!
//! Before each server's peer port stands a TCP relay which the others dial; by the hello of a connection it knows who dialled,
//! so no privilege and no address of its own is needed for each. What is *held* is not lost: as with a cut cable under TCP it
//! waits, and comes late, once the link is well, or not at all. What is *torn* ends in the middle of a message: a part of a
//! chunk still comes, then both ends see the connection closed. On a *slow* link all comes so much later, in its order; a
//! *narrow* one passes so many bytes a second.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How much is passed on at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that are under way on one way of one connection; more wait at their sender.
const UNDER_WAY_MAX: usize = 1024;
/// A hello as docs/format.md lays it out: its length, and where role and id stand in it.
const HELLO_BYTES: usize = 52;
const ROLE_AT: usize = 28;
const ROLE_MASTER: u8 = 1;
/// Who connects and says nothing is given up.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// A server, by the name it gives itself. A volume that has no number yet is volume 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A master.
    Master(u64),
    /// A volume.
    Volume(u64),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master(id) => write!(f, "master-{id}"),
            Self::Volume(id) => write!(f, "volume-{id}"),
        }
    }
}

/// What is wrong with one way of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trouble {
    /// Nothing comes through until that ends.
    pub held: bool,
    /// Of a thousand chunks, so many are torn.
    pub torn_per_mille: u32,
    /// All comes so much later.
    pub delay: Duration,
    /// So many bytes a second come through; 0: as many as there are.
    pub bytes_per_s: u64,
}

impl Trouble {
    /// Both at once.
    fn and(self, other: Self) -> Self {
        let narrow = [self.bytes_per_s, other.bytes_per_s].into_iter().filter(|rate| *rate > 0).min();
        Self {
            held: self.held || other.held,
            torn_per_mille: self.torn_per_mille.max(other.torn_per_mille),
            delay: self.delay + other.delay,
            bytes_per_s: narrow.unwrap_or(0),
        }
    }
}

/// Who brought trouble, so that it can be ended without that of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause(pub u64);

type Troubles = BTreeMap<(Node, Node), BTreeMap<Cause, Trouble>>;

/// All links of a cluster.
pub struct Links {
    troubles: watch::Sender<Troubles>,
    /// Chunks seen so far, from which those to be torn are drawn.
    chunks: Arc<AtomicU64>,
    torn: Arc<AtomicU64>,
}

/// One way of one connection.
#[derive(Clone)]
struct Way {
    dialler: Node,
    target: Target,
    /// From the dialler to the target, or back.
    is_forth: bool,
    shared: Shared,
}

/// Who is behind a relay; asked each time, as a volume may get a number, and another one, while connections last.
type Target = Arc<dyn Fn() -> Node + Send + Sync>;

/// What all ways look at.
#[derive(Clone)]
struct Shared {
    troubles: watch::Receiver<Troubles>,
    chunks: Arc<AtomicU64>,
    torn: Arc<AtomicU64>,
}

impl Links {
    /// Links without trouble, as yet between nobody.
    pub fn new(seed: u64) -> Self {
        Self {
            troubles: watch::Sender::default(),
            chunks: Arc::new(AtomicU64::new(seed)),
            torn: Arc::default(),
        }
    }

    /// Puts a relay before the server that listens at `target`, which is `node` at any time; where the others shall dial
    /// instead.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn before(
        &self,
        target: SocketAddr,
        node: impl Fn() -> Node + Send + Sync + 'static,
    ) -> Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Shared {
            troubles: self.troubles.subscribe(),
            chunks: Arc::clone(&self.chunks),
            torn: Arc::clone(&self.torn),
        };
        let node: Target = Arc::new(node);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Closed by one end, or the target is not there: the other end sees its connection closed.
                tokio::spawn(relay(client, target, Arc::clone(&node), shared.clone()));
            }
        });
        Ok(addr)
    }

    /// From now on all that `from` sends to `to` has this trouble of this cause, beside those of others.
    pub fn trouble(&self, cause: Cause, from: Node, to: Node, trouble: Trouble) {
        self.troubles.send_modify(|troubles| {
            troubles.entry((from, to)).or_default().insert(cause, trouble);
        });
    }

    /// What had this cause is over.
    pub fn end(&self, cause: Cause) {
        self.troubles.send_modify(|troubles| {
            for of_link in troubles.values_mut() {
                of_link.remove(&cause);
            }
        });
    }

    /// Everything comes through at once, also what has waited.
    pub fn heal(&self) {
        self.troubles.send_modify(BTreeMap::clear);
    }

    /// How many connections were torn so far.
    pub fn torn(&self) -> u64 {
        self.torn.load(Ordering::Relaxed)
    }
}

/// All that is wrong with one way of a link.
fn of(troubles: &Troubles, link: (Node, Node)) -> Trouble {
    let causes = troubles.get(&link).into_iter().flat_map(BTreeMap::values);
    causes.fold(Trouble::default(), |all, one| all.and(*one))
}

async fn relay(mut client: TcpStream, addr: SocketAddr, target: Target, shared: Shared) -> Result<()> {
    let mut hello = [0; HELLO_BYTES];
    timeout(HELLO_TIMEOUT, client.read_exact(&mut hello)).await??;
    let id = hello[ROLE_AT + 1..ROLE_AT + 9].try_into().map(u64::from_le_bytes)?;
    let dialler = if hello[ROLE_AT] == ROLE_MASTER { Node::Master(id) } else { Node::Volume(id) };

    let server = TcpStream::connect(addr).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let forth = Way { dialler, target, is_forth: true, shared };
    let back = Way { is_forth: false, ..forth.clone() };
    let forth = forth.pass(hello.to_vec(), from_client, to_server);
    let back = back.pass(Vec::new(), from_server, to_client);
    tokio::select! { result = forth => result, result = back => result }
}

impl Way {
    fn link(&self) -> (Node, Node) {
        let target = (self.target)();
        if self.is_forth { (self.dialler, target) } else { (target, self.dialler) }
    }

    fn trouble(&self) -> Trouble {
        of(&self.shared.troubles.borrow(), self.link())
    }

    /// Passes on what comes this way, until that ends.
    async fn pass(self, first: Vec<u8>, from: OwnedReadHalf, to: OwnedWriteHalf) -> Result<()> {
        let (sent, under_way) = mpsc::channel(UNDER_WAY_MAX);
        tokio::try_join!(self.clone().take(first, from, sent), self.deliver(under_way, to))?;
        Ok(())
    }

    /// Takes chunk by chunk, and says when each may arrive.
    async fn take(
        self,
        first: Vec<u8>,
        mut from: OwnedReadHalf,
        sent: mpsc::Sender<(Instant, Vec<u8>)>,
    ) -> Result<()> {
        let mut chunk = first;
        let mut read_into = vec![0; CHUNK_BYTES];
        loop {
            sent.send((Instant::now() + self.trouble().delay, chunk)).await?;
            let read = from.read(&mut read_into).await?;
            if read == 0 {
                return Ok(());
            }
            // Many small ones may be under way: none holds more memory than it needs.
            chunk = read_into[..read].to_vec();
        }
    }

    async fn deliver(
        mut self,
        mut under_way: mpsc::Receiver<(Instant, Vec<u8>)>,
        mut to: OwnedWriteHalf,
    ) -> Result<()> {
        while let Some((due, chunk)) = under_way.recv().await {
            sleep_until(due).await;
            let link = self.link();
            let well = |troubles: &Troubles| !of(troubles, link).held;
            self.shared.troubles.wait_for(well).await?;
            let trouble = self.trouble();
            if let Some(part) = self.tears(&trouble, chunk.len()) {
                to.write_all(&chunk[..part]).await?;
                self.shared.torn.fetch_add(1, Ordering::Relaxed);
                bail!("torn");
            }
            if trouble.bytes_per_s > 0 {
                sleep(Duration::from_secs_f64(chunk.len() as f64 / trouble.bytes_per_s as f64)).await;
            }
            to.write_all(&chunk).await?;
        }
        Ok(())
    }

    /// After how many bytes of a chunk, one at least, the connection breaks, if it does.
    fn tears(&self, trouble: &Trouble, len: usize) -> Option<usize> {
        if trouble.torn_per_mille == 0 || len < 2 {
            return None;
        }
        // Spread by Fibonacci hashing; the counter began with the seed.
        let drawn = self.shared.chunks.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let torn = (drawn >> 32) % 1000 < u64::from(trouble.torn_per_mille);
        torn.then(|| 1 + usize::try_from(drawn % (len as u64 - 1)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUSE: Cause = Cause(1);
    const PATIENCE: Duration = Duration::from_secs(10);
    /// Long enough that what does not come in it is held.
    const HELD: Duration = Duration::from_millis(200);

    fn hello(id: u64) -> Vec<u8> {
        let mut hello = vec![0; HELLO_BYTES];
        hello[ROLE_AT] = ROLE_MASTER;
        hello[ROLE_AT + 1..ROLE_AT + 9].copy_from_slice(&id.to_le_bytes());
        hello
    }

    /// Two connected ends with a relay between: master 1 dialled master 2.
    async fn ends() -> (Links, TcpStream, TcpStream) {
        let links = Links::new(1);
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = server.local_addr().unwrap();
        let addr = links.before(target, || Node::Master(2)).await.unwrap();
        let mut one = TcpStream::connect(addr).await.unwrap();
        one.write_all(&hello(1)).await.unwrap();
        let (mut two, _) = server.accept().await.unwrap();
        let mut seen = vec![0; HELLO_BYTES];
        two.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, hello(1));
        (links, one, two)
    }

    async fn comes(to: &mut TcpStream, bytes: &[u8]) {
        let mut seen = vec![0; bytes.len()];
        timeout(PATIENCE, to.read_exact(&mut seen)).await.expect("it comes").unwrap();
        assert_eq!(seen, bytes);
    }

    #[tokio::test]
    async fn what_is_held_one_way_comes_late_and_the_other_way_is_free() {
        let (links, mut one, mut two) = ends().await;
        links.trouble(CAUSE, Node::Master(1), Node::Master(2), Trouble { held: true, ..Trouble::default() });
        one.write_all(b"held").await.unwrap();
        two.write_all(b"free").await.unwrap();
        comes(&mut one, b"free").await;
        let mut byte = [0];
        assert!(timeout(HELD, two.read_exact(&mut byte)).await.is_err(), "nothing comes through");
        links.heal();
        comes(&mut two, b"held").await;
    }

    #[tokio::test]
    async fn one_trouble_ends_without_another() {
        let (links, mut one, mut two) = ends().await;
        let held = Trouble { held: true, ..Trouble::default() };
        for cause in [CAUSE, Cause(2)] {
            links.trouble(cause, Node::Master(1), Node::Master(2), held);
        }
        one.write_all(b"held").await.unwrap();
        links.end(CAUSE);
        let mut byte = [0];
        assert!(timeout(HELD, two.read_exact(&mut byte)).await.is_err(), "the other still holds it");
        links.end(Cause(2));
        comes(&mut two, b"held").await;
    }

    #[test]
    fn two_troubles_are_as_bad_as_both() {
        let slow = Trouble { delay: HELD, bytes_per_s: 10, ..Trouble::default() };
        let torn = Trouble { delay: HELD, torn_per_mille: 7, bytes_per_s: 3, ..Trouble::default() };
        let both = Trouble { held: false, torn_per_mille: 7, delay: 2 * HELD, bytes_per_s: 3 };
        assert_eq!(slow.and(torn), both);
        assert_eq!(slow.and(Trouble::default()), slow);
    }

    #[tokio::test]
    async fn what_is_torn_ends_within_a_message_at_both_ends() {
        let (links, mut one, mut two) = ends().await;
        links.trouble(
            CAUSE,
            Node::Master(1),
            Node::Master(2),
            Trouble { torn_per_mille: 1000, ..Trouble::default() },
        );
        one.write_all(&[7; 100]).await.unwrap();
        let mut seen = Vec::new();
        let end = timeout(PATIENCE, two.read_to_end(&mut seen)).await.expect("it ends");
        assert!(seen.len() < 100 && end.is_ok_and(|read| read == seen.len()), "{} bytes", seen.len());
        let mut rest = Vec::new();
        // Closed or reset, as the system likes.
        let _ = timeout(PATIENCE, one.read_to_end(&mut rest)).await.expect("it ends");
        assert_eq!(links.torn(), 1);
    }

    #[tokio::test]
    async fn a_slow_link_delays_and_keeps_the_order() {
        let (links, mut one, mut two) = ends().await;
        links.trouble(CAUSE, Node::Master(1), Node::Master(2), Trouble { delay: HELD, ..Trouble::default() });
        let sent = Instant::now();
        one.write_all(b"first").await.unwrap();
        one.write_all(b"second").await.unwrap();
        comes(&mut two, b"firstsecond").await;
        assert!(sent.elapsed() >= HELD);
    }
}
