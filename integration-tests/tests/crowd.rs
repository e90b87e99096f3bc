//! Ten thousand idle connections, and four hundred requests that do not go on, keep nobody from being served.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use hayrick_integration_tests::{cluster, figure, raw};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const IDLE: usize = 10_000;
const HALF_SENT: usize = 400;
/// What this test and the master each need beside.
const DESCRIPTORS_BESIDE: u64 = 1000;
const CONNECTING_AT_ONCE: usize = 64;
/// Of the master that they all are connected to, which may take 64 MiB for bodies of requests, and as much for those of answers;
/// with the default, 256 MiB, it may be three times that.
const RESIDENT_BYTES_MAX: u64 = 256 << 20;
/// What an honest request may take beside them; a failure is three times that.
const SERVED_AIM: Duration = Duration::from_secs(1);
const ROUNDS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_keep_nobody_from_being_served() -> Result<()> {
    raise_own_limit()?;
    let cluster = cluster::start_set(3, &["--body-memory", "64MiB", "--index-cache", "64MiB"]).await?;
    let master = cluster.master(1);
    let client = cluster::client(&[master.http_addr().to_string()])?;
    client.put("honest", "meow").await?;

    let begun = Instant::now();
    let idle: Vec<TcpStream> = stream::iter((0..IDLE).map(|_| idle(master.http_addr())))
        .buffer_unordered(CONNECTING_AT_ONCE)
        .try_collect()
        .await?;
    figure::say(&format!("{IDLE} idle connections were opened in {:.1?}", begun.elapsed()));
    let half: Vec<TcpStream> =
        stream::iter((0..HALF_SENT).map(|number| half_sent(master.http_addr(), number)))
            .buffer_unordered(CONNECTING_AT_ONCE)
            .try_collect()
            .await?;

    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        let begun = Instant::now();
        let served = async {
            client.put(&format!("honest/{round}"), "meow").await?;
            anyhow::Ok(client.get("honest").await?.bytes().await?)
        };
        let bytes = timeout(3 * SERVED_AIM, served).await.context("an honest client was kept waiting")??;
        ensure!(bytes == "meow");
        slowest = slowest.max(begun.elapsed());
    }
    figure::at_most("the slowest PUT and GET beside them", slowest, SERVED_AIM)?;
    let pid = master.pid().context("the master runs")?;
    let resident = raw::resident_bytes(pid)?;
    figure::say(&format!("{IDLE} idle and {HALF_SENT} half-sent: the master has {} MiB", resident >> 20));
    ensure!(resident < RESIDENT_BYTES_MAX, "{} MiB are too much", resident >> 20);

    // They are connected still, and served when they ask again.
    for stream in idle.into_iter().step_by(IDLE / 20) {
        ask(stream).await.context("one of the idle connections")?;
    }
    drop(half);
    cluster::no_panics(&cluster)
}

/// As many descriptors as the system lets this process have; enough for all of it.
fn raise_own_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let most = limit.maximum.unwrap_or(u64::MAX);
    let needed = (IDLE + HALF_SENT) as u64 + DESCRIPTORS_BESIDE;
    ensure!(
        most >= needed,
        "this needs {needed} descriptors, and may have {most}: raise the limit (ulimit -Hn)"
    );
    Ok(())
}

/// A connection that has served one request, and waits.
async fn idle(addr: SocketAddr) -> Result<TcpStream> {
    ask(TcpStream::connect(addr).await?).await
}

async fn ask(mut stream: TcpStream) -> Result<TcpStream> {
    stream.write_all(b"GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let answer = raw::read_answer(&mut stream).await?;
    ensure!(answer.status == Some(200), "{:?}", answer.text);
    Ok(stream)
}

/// Half a head, a small body of which nothing or nearly nothing comes, or the first bytes of a large one.
async fn half_sent(addr: SocketAddr, number: usize) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(addr).await?;
    let put = |bytes: usize| format!("PUT /half/{number} HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\n");
    let sent = match number % 4 {
        0 => put(1_000_000),
        1 => format!("{}\r\n", put(60_000)),
        2 => format!("{}\r\nx", put(60_000)),
        _ => format!("{}\r\n{}", put(1_000_000), "x".repeat(60_000)),
    };
    stream.write_all(sent.as_bytes()).await?;
    Ok(stream)
}
