//! A connection's socket as hyper sees it.
//!
//! Owns two things hyper leaves open: a reader that stops reading is given up after a while, and hyper's own wordless
//! answers to heads it cannot parse are held back, so that the door can answer in words. Shutting down is left to the
//! door as well. Invariant: bytes of a service's answer are never held back.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Duration, Sleep, sleep};

use crate::answering::Answering;

/// A client that takes no byte of its answer for this long is given up.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// How hyper's own answers begin.
const WORDLESS: [&[u8]; 3] = [b"HTTP/1.1 400 ", b"HTTP/1.1 414 ", b"HTTP/1.1 431 "];

/// The socket.
#[derive(Debug)]
pub(crate) struct Socket {
    io: TokioIo<TcpStream>,
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
        Self { io: TokioIo::new(socket), stall: None, stalled: false, held_back: false, answering }
    }

    /// The socket itself, when hyper is done with it.
    pub(crate) fn tcp(&mut self) -> &mut TcpStream {
        self.io.inner_mut()
    }

    /// Gives up on a write that waits for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL)));
        if stall.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.stalled = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
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
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
