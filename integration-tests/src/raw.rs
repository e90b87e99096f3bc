//! Raw requests over a socket, for what no well-behaved client would send.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; `None` if the server closed without one.
    pub status: Option<u16>,
    /// All of it, as text.
    pub text: String,
}

impl Answer {
    /// The body, or what there is after the head.
    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The value of a field of the head, its name in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Whether the head has this line, its name in any case.
    pub fn has_header(&self, line: &str) -> bool {
        line.split_once(':').is_some_and(|(name, value)| self.field(name) == Some(value.trim()))
    }
}

/// Sends these bytes, then reads until the server closes, or a whole head and `Content-Length` bytes have come.
///
/// # Errors
/// When the server neither answers nor closes in time.
pub async fn send(addr: SocketAddr, request: &[u8]) -> Result<Answer> {
    let shown = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        // The server may refuse and close before all is sent; its answer counts.
        let _ = stream.write_all(request).await;
        read_answer(&mut stream).await
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange);
    answer.await.with_context(|| format!("{addr} neither answered nor closed: {shown:?}"))?
}

/// Sends these bytes, closes the sending side, and reads until the server closes.
///
/// # Errors
/// When the server neither answers nor closes in time.
pub async fn send_and_close(addr: SocketAddr, request: &[u8]) -> Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown().await;
        read_answer(&mut stream).await
    };
    tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.context("neither answered nor closed")?
}

/// The body of a GET that succeeds.
///
/// # Errors
/// When it does not, or takes too long.
pub async fn get(addr: SocketAddr, target: &str) -> Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let mut answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.context("no answer in time")??;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no head")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer);
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}{}", String::from_utf8_lossy(&body));
    Ok(body)
}

/// Reads one answer from an open connection.
///
/// # Errors
/// Never today: a reset counts as closing.
pub async fn read_answer(stream: &mut TcpStream) -> Result<Answer> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 8192];
    while bytes.len() < ANSWER_BYTES_MAX && !is_complete(&bytes) {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    Ok(Answer { status, text })
}

fn is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    });
    let interim = head.starts_with("HTTP/1.1 1");
    !interim && length.is_some_and(|length| body.len() >= length)
}

/// The resident memory of a process, in bytes.
///
/// # Errors
/// When it is gone, or this is not Linux.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    memory(pid, "VmRSS:")
}

/// The most that it ever was.
///
/// # Errors
/// As above.
pub fn peak_resident_bytes(pid: u32) -> Result<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, of: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(of)).with_context(|| format!("no {of}"))?;
    let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib * 1024)
}
