//! What a stranger may send, and for how long.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::figure;
use hayrick_integration_tests::raw::{self, Answer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::{Contract, ask};

const HEAD_LIMIT: Duration = Duration::from_secs(10);
const BODY_LIMIT: Duration = Duration::from_secs(30);
/// The default of `--request-timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// One byte of a body, and the pause before the next: all of it takes longer than a request may.
const SLOW_BODY: &str = "a slow meow";
const SLOW_PAUSE: Duration = Duration::from_millis(700);

type Answering = JoinHandle<Result<(Answer, Duration)>>;

/// Requests that take their time from the beginning on, while other rows are asked.
pub(crate) struct Slow {
    slow_body: Mutex<Option<Answering>>,
    half_a_head: Mutex<Option<Answering>>,
    silent_body: Mutex<Option<Answering>>,
}

impl Slow {
    pub(crate) fn start(master: SocketAddr) -> Self {
        let begin = |request: &'static str| Mutex::new(Some(tokio::spawn(half(master, request))));
        Self {
            slow_body: Mutex::new(Some(tokio::spawn(slowly(master)))),
            half_a_head: begin("GET /slow HTTP/1.1\r\nHost: x\r\n"),
            silent_body: begin("PUT /silent HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nmeow"),
        }
    }
}

/// Sends it, and waits for what comes.
async fn half(master: SocketAddr, request: &'static str) -> Result<(Answer, Duration)> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(master).await?;
    stream.write_all(request.as_bytes()).await?;
    let answer = raw::read_answer(&mut stream).await?;
    Ok((answer, begun.elapsed()))
}

/// Sends a body byte by byte.
async fn slowly(master: SocketAddr) -> Result<(Answer, Duration)> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(master).await?;
    let head = format!("PUT /slow/body HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", SLOW_BODY.len());
    stream.write_all(head.as_bytes()).await?;
    for byte in SLOW_BODY.bytes() {
        sleep(SLOW_PAUSE).await;
        stream.write_all(&[byte]).await?;
    }
    let answer = raw::read_answer(&mut stream).await?;
    Ok((answer, begun.elapsed()))
}

pub(crate) async fn the_request_timeout_runs_from_the_last_byte(contract: &Contract) -> Result<()> {
    let sending = contract.slow.slow_body.lock().await.take().context("asked once")?;
    let (answer, took) = sending.await??;
    ensure!(took > REQUEST_TIMEOUT, "it was sent within {took:?}");
    ensure!(answer.status == Some(201), "after {took:?}: {:?}", answer.text);
    let stored = ask(contract.masters[1], "GET /slow/body", "", "", 200).await?;
    ensure!(stored.body() == SLOW_BODY, "{:?}", stored.text);
    Ok(())
}

/// The answer is a 408 at its time; on a busy machine that is later, and never sooner.
async fn is_408(answering: &Mutex<Option<Answering>>, limit: Duration) -> Result<()> {
    let answering = answering.lock().await.take().context("asked once")?;
    let (answer, after) = answering.await??;
    ensure!(answer.status == Some(408), "{:?}", answer.text);
    figure::say(&format!("408 after {after:.1?}"));
    ensure!(after >= limit && after < 3 * limit, "after {after:?}: {:?}", answer.text);
    Ok(())
}

pub(crate) async fn half_a_head_is_408(contract: &Contract) -> Result<()> {
    is_408(&contract.slow.half_a_head, HEAD_LIMIT).await
}

pub(crate) async fn a_silent_body_is_408(contract: &Contract) -> Result<()> {
    is_408(&contract.slow.silent_body, BODY_LIMIT).await?;
    ask(contract.masters[1], "GET /silent", "", "", 404).await.map(drop)
}

pub(crate) async fn heads_are_bounded(contract: &Contract) -> Result<()> {
    let huge = format!("X-Huge: {}\r\n", "h".repeat(33 << 10));
    ask(contract.masters[0], "GET /key", &huge, "", 431).await?;
    let many: String = (0..100).map(|number| format!("X-{number}: y\r\n")).collect();
    ask(contract.masters[0], "GET /key", &many, "", 431).await?;
    let fits: String = (0..98).map(|number| format!("X-{number}: y\r\n")).collect();
    ask(contract.masters[0], "GET /key", &fits, "", 404).await.map(drop)
}

pub(crate) async fn targets_are_bounded(contract: &Contract) -> Result<()> {
    for method in ["GET", "PUT", "DELETE"] {
        let line = format!("{method} /{}", "t".repeat(8 << 10));
        ask(contract.masters[0], &line, "", "", 414).await?;
    }
    Ok(())
}

pub(crate) async fn what_cannot_be_read_is_400(contract: &Contract) -> Result<()> {
    for garbage in [
        "GET /key\r\n\r\n",
        "GET  /key HTTP/1.1\r\n\r\n",
        "GET /key HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\r\n\r\n",
    ] {
        let refused = raw::send(contract.masters[0], garbage.as_bytes()).await?;
        ensure!(refused.status == Some(400), "{garbage:?}: {:?}", refused.text);
    }
    let no_host = "GET /key HTTP/1.1\r\nConnection: close\r\n\r\n";
    let refused = raw::send(contract.masters[0], no_host.as_bytes()).await?;
    ensure!(refused.status == Some(400) && refused.body().contains("Host"), "{:?}", refused.text);
    for target in ["/%zz?list", "/?list&start=%zz", "/%ff"] {
        ask(contract.masters[0], &format!("GET {target}"), "", "", 400).await?;
    }
    Ok(())
}
