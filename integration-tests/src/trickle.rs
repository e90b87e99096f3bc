//! Clients that ask for an object and take it in drips, as a slow phone does, or somebody who means harm.
//!
//! Owns the connections. How long they are put up with is for the claims to say: what a server has written before it gave one
//! up still lies in the kernel, so that its client notices late, or never.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What is taken at a time, and the pause before the next.
const DRIP_BYTES: usize = 10_000;
const DRIP_EVERY: Duration = Duration::from_secs(1);
/// As little as the kernel may read ahead.
const READ_AHEAD_BYTES: u32 = 8 << 10;
const CONNECTING_AT_ONCE: usize = 16;

/// Connections that trickle, until this is dropped.
pub struct Readers {
    _all: JoinSet<Result<()>>,
}

impl Readers {
    /// Has so many connections GET the target, and take the first of it; the rest they take in drips.
    ///
    /// # Errors
    /// When one of them is not served.
    pub async fn start(addr: SocketAddr, target: &str, count: usize) -> Result<Self> {
        let begun: Vec<TcpStream> = stream::iter((0..count).map(|_| begin(addr, target)))
            .buffer_unordered(CONNECTING_AT_ONCE)
            .try_collect()
            .await?;
        let mut all = JoinSet::new();
        for stream in begun {
            all.spawn(trickle(stream));
        }
        Ok(Self { _all: all })
    }
}

/// Asks, and waits for the first byte of the answer.
async fn begin(addr: SocketAddr, target: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(READ_AHEAD_BYTES)?;
    let mut stream = socket.connect(addr).await?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await?;
    stream.read_u8().await?;
    Ok(stream)
}

async fn trickle(mut stream: TcpStream) -> Result<()> {
    let mut drip = [0; DRIP_BYTES];
    while stream.read(&mut drip).await? > 0 {
        sleep(DRIP_EVERY).await;
    }
    Ok(())
}
