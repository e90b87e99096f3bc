//! A connection's socket as hyper sees it.
//!
//! Owns two things hyper leaves open: a reader that stops reading, or reads so slowly that it only holds memory, is given up
//! after a while, and hyper's own wordless answers to heads it cannot parse are held back, so that the door can answer in
//! words. Shutting down is left to the door as well. Invariant: bytes of a service's answer are never held back.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, Sleep, sleep_until};

use crate::answering::Answering;

/// So long a client may take for what waits to be written, and more for its bytes: as long as for a body it sends.
const GRACE: Duration = Duration::from_secs(30);
/// The slowest pace, behind the grace: 64 KB a second.
const PACE_BYTES_PER_MS: u64 = 64;
/// How hyper's own answers begin.
const WORDLESS: [&[u8]; 3] = [b"HTTP/1.1 400 ", b"HTTP/1.1 414 ", b"HTTP/1.1 431 "];

/// The socket.
#[derive(Debug)]
pub(crate) struct Socket {
    io: TokioIo<TcpStream>,
    backlog: Backlog,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
    /// The client took nothing for too long.
    pub(crate) stalled: bool,
    /// An answer of hyper's own was held back.
    pub(crate) held_back: bool,
    answering: Answering,
}

impl Socket {
    pub(crate) fn new(socket: TcpStream, answering: Answering) -> Self {
        let (io, backlog) = (TokioIo::new(socket), Backlog::default());
        Self { io, backlog, stall: None, stalled: false, held_back: false, answering }
    }

    /// The socket itself, when hyper is done with it.
    pub(crate) fn tcp(&mut self) -> &mut TcpStream {
        self.io.inner_mut()
    }

    /// Gives up on a client that takes what waits for it too slowly.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            if let Ok(bytes) = &written {
                self.backlog.taken(*bytes);
            }
            return Poll::Ready(written);
        }
        let due = self.backlog.due(Instant::now());
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep_until(due)));
        stall.as_mut().reset(due);
        if stall.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.stalled = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What waits to be written: since when, and how much of it the client took.
#[derive(Debug, Default)]
struct Backlog {
    since: Option<Instant>,
    taken_bytes: u64,
}

impl Backlog {
    fn taken(&mut self, bytes: usize) {
        if self.since.is_some() {
            self.taken_bytes += bytes as u64;
        }
    }

    /// It waits now. By when more must be taken.
    fn due(&mut self, now: Instant) -> Instant {
        let since = *self.since.get_or_insert(now);
        since + GRACE + Duration::from_millis(self.taken_bytes / PACE_BYTES_PER_MS)
    }

    /// All of it is written.
    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Whether this is all of an answer of hyper's own. An object's bytes may look the same: see [`Answering`].
fn is_wordless(answer: &[u8]) -> bool {
    WORDLESS.iter().any(|start| answer.starts_with(start)) && answer.ends_with(b"\r\n\r\n")
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.answering.is_on() && is_wordless(bytes) {
            self.held_back = true;
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [answer] = slices
            && !self.answering.is_on()
            && is_wordless(answer)
        {
            self.held_back = true;
            return Poll::Ready(Ok(answer.len()));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.answering.flushed();
            self.backlog.clear();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For how long a client is waited for that takes so many bytes each time, after so long.
    fn given_up_after(bytes: usize, every: Duration, at_most: Duration) -> Option<Duration> {
        let (begun, mut backlog) = (Instant::now(), Backlog::default());
        let mut now = begun;
        while now < begun + at_most {
            let due = backlog.due(now);
            if now + every > due {
                return Some(due - begun);
            }
            now += every;
            backlog.taken(bytes);
        }
        None
    }

    #[test]
    fn who_trickles_is_given_up_and_who_is_slow_is_not() {
        let hour = Duration::from_secs(3600);
        assert_eq!(given_up_after(0, hour, hour), Some(GRACE));
        let trickles = given_up_after(20_000, Duration::from_secs(29), hour).expect("given up");
        assert!(trickles < GRACE + Duration::from_secs(1), "{trickles:?}");
        assert_eq!(given_up_after(70_000, Duration::from_secs(1), hour), None);
    }

    #[test]
    fn what_was_taken_before_gives_no_credit() {
        let mut backlog = Backlog::default();
        backlog.taken(1 << 30);
        let now = Instant::now();
        assert_eq!(backlog.due(now), now + GRACE);
        backlog.taken(64_000);
        backlog.clear();
        assert_eq!(backlog.due(now), now + GRACE);
    }
}
