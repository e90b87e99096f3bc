//! Frames of the peer ports, written by hand: what an old, a foreign or a hostile build might send.
//!
//! The layouts are those of `rpc/src/handshake.rs` and `rpc/src/frame.rs`; they are told again here on purpose, so
//! that a change of what travels between builds is noticed.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const HELLO: &[u8; 8] = b"HayrickH";
const REFUSAL: &[u8; 8] = b"HayrickN";
/// Bytes of a hello, and where the sentence of a refusal begins.
pub(crate) const HELLO_BYTES: usize = 52;
const SENTENCE_AT: usize = 12;
const ROLE_MASTER: u8 = 1;
pub(crate) const HEADER_BYTES: usize = 32;
const LAYOUT: u8 = 1;
pub(crate) const KIND_REQUEST: u8 = 1;

/// What the other end made of a hello.
#[derive(Debug)]
pub enum Greeting {
    /// It answered alike.
    Accepted(TcpStream),
    /// It refused, with this sentence.
    Refused(String),
    /// It closed without a word.
    Closed,
}

/// Says hello as a master of this cluster with these versions.
///
/// # Errors
/// When there is neither answer nor end.
pub async fn greet(addr: SocketAddr, cluster: [u8; 16], versions: (u16, u16)) -> Result<Greeting> {
    let mut hello = [0; HELLO_BYTES];
    hello[..8].copy_from_slice(HELLO);
    hello[8..10].copy_from_slice(&versions.0.to_le_bytes());
    hello[10..12].copy_from_slice(&versions.1.to_le_bytes());
    hello[12..28].copy_from_slice(&cluster);
    hello[28] = ROLE_MASTER;
    hello[29] = 1;
    let crc = crc32c::crc32c(&hello[..48]);
    hello[48..].copy_from_slice(&crc.to_le_bytes());

    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(&hello).await?;
    let mut answer = vec![0; HELLO_BYTES];
    let mut filled = 0;
    let reading = async {
        while filled < HELLO_BYTES {
            match stream.read(&mut answer[filled..]).await {
                Ok(0) | Err(_) => break,
                Ok(read) => filled += read,
            }
        }
    };
    tokio::time::timeout(ANSWER_TIMEOUT, reading).await.context("no answer to a hello")?;
    if filled == HELLO_BYTES && answer.starts_with(HELLO) {
        return Ok(Greeting::Accepted(stream));
    }
    if !answer.starts_with(REFUSAL) {
        return Ok(Greeting::Closed);
    }
    answer.truncate(filled);
    // A sentence is bounded, and the refusing end closes behind it.
    let rest = tokio::time::timeout(ANSWER_TIMEOUT, stream.read_to_end(&mut answer)).await;
    rest.context("a refusal without end")??;
    let length = usize::from(u16::from_le_bytes([answer[10], answer[11]]));
    let sentence = answer.get(SENTENCE_AT..SENTENCE_AT + length).context("a refusal cut short")?;
    Ok(Greeting::Refused(String::from_utf8(sentence.to_vec())?))
}

/// A request of this method with this head, checksums and all.
pub fn request(method: u16, head: &[u8]) -> Vec<u8> {
    let mut frame = header(method, head, 0);
    frame.extend_from_slice(head);
    frame
}

/// The beginning of a request with a body of so many bytes, which is all in order so far.
pub fn announcement(body_bytes: u32) -> Vec<u8> {
    header(0, &[], body_bytes)
}

fn header(method: u16, head: &[u8], body_bytes: u32) -> Vec<u8> {
    let mut frame = vec![0; HEADER_BYTES];
    frame[4] = LAYOUT;
    frame[5] = KIND_REQUEST;
    frame[6..8].copy_from_slice(&method.to_le_bytes());
    frame[8..12].copy_from_slice(&1000_u32.to_le_bytes());
    frame[12..20].copy_from_slice(&7_u64.to_le_bytes());
    frame[20..24].copy_from_slice(&u32::try_from(head.len()).expect("a short head").to_le_bytes());
    frame[24..28].copy_from_slice(&body_bytes.to_le_bytes());
    frame[28..32].copy_from_slice(&crc32c::crc32c(head).to_le_bytes());
    let crc = crc32c::crc32c(&frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// Flips a bit of the first byte of a frame's body, and makes the frame's checksums those of what it holds then; whether it
/// has a body.
pub(crate) fn flip_in_body(frame: &mut [u8]) -> bool {
    let head_bytes = u32::from_le_bytes([frame[20], frame[21], frame[22], frame[23]]) as usize;
    let Some(byte) = frame.get_mut(HEADER_BYTES + head_bytes) else { return false };
    *byte ^= 0x10;
    let crc = crc32c::crc32c(&frame[HEADER_BYTES..]);
    frame[28..32].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&frame[4..HEADER_BYTES]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    true
}

/// Sends a frame and returns the kind and the code of the one that comes back; `None` if the other end closes.
/// Frames that say only that it lives are passed over.
///
/// # Errors
/// When there is neither answer nor end.
pub async fn exchange(stream: &mut TcpStream, frame: &[u8]) -> Result<Option<(u8, u16)>> {
    /// Says only that its sender lives.
    const KIND_ALIVE: u8 = 4;
    let exchange = async {
        stream.write_all(frame).await?;
        loop {
            let mut header = [0; HEADER_BYTES];
            if stream.read_exact(&mut header).await.is_err() {
                return Ok(None);
            }
            let field = |at: usize| header[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
            let mut rest = (&mut *stream).take(u64::from(field(20)) + u64::from(field(24)));
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
            if header[5] != KIND_ALIVE {
                return Ok(Some((header[5], u16::from_le_bytes([header[6], header[7]]))));
            }
        }
    };
    tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.context("no answer to a frame")?
}
