//! What waits to be sent on one connection, and the writer that sends it.
//!
//! Owns the queue, its bound, and the coalescing: whatever gathered while the last write was under way, or while the
//! other tasks had their turn, goes out with one vectored write. Small pieces are copied together; large chunks are
//! sent from where they lie. Invariant: a frame whose first byte was not written before [`Outbox::close`] returned is
//! never sent.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;

use bytes::{Buf, Bytes, BytesMut};
use hayrick_protocol::limits::SEND_QUEUE_BYTES_MAX;
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Duration, timeout};

use crate::frame::{HEADER_BYTES, Header, Payload};

/// Chunks up to this are copied behind each other: dearer to send from where they lie than to move.
const COPY_BYTES_MAX: usize = 4 * 1024;
/// What the copies' buffer grows by.
const TAIL_BYTES: usize = 16 * 1024;
/// Chunks in one write.
const SLICES_MAX: usize = 64;
/// After so many writes of one frame each, the next does not wait for others either.
const ALONE_WRITES: u32 = 16;
/// A peer that takes no byte for this long is given up.
const WRITE_STALL: Duration = Duration::from_secs(10);

/// Why a frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushError {
    /// As many bytes wait as may.
    Full,
    /// The connection is gone.
    Closed,
}

/// The send queue of one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Wakes the writer.
    filled: Notify,
    /// Wakes who waits for room, or for the queue to be empty.
    written: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    /// What comes behind the chunks: small frames, one after the other.
    tail: BytesMut,
    /// Frames among them.
    frames: usize,
    /// Bytes ever queued and ever written: a frame is known by the offset of its first byte.
    pushed_bytes: u64,
    written_bytes: u64,
    closed: bool,
}

impl Queue {
    fn waiting_bytes(&self) -> usize {
        usize::try_from(self.pushed_bytes - self.written_bytes).unwrap_or(usize::MAX)
    }

    fn is_full(&self) -> bool {
        !self.closed && self.waiting_bytes() >= SEND_QUEUE_BYTES_MAX
    }

    fn put(&mut self, chunk: &Bytes) {
        if chunk.len() <= COPY_BYTES_MAX {
            self.copy(chunk);
        } else {
            self.pushed_bytes += chunk.len() as u64;
            self.cut_tail();
            self.chunks.push_back(chunk.clone());
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.pushed_bytes += bytes.len() as u64;
        if self.tail.capacity() - self.tail.len() < bytes.len() {
            self.tail.reserve(TAIL_BYTES);
        }
        self.tail.extend_from_slice(bytes);
    }

    fn cut_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }
}

impl Outbox {
    /// Queues a frame, once less than [`SEND_QUEUE_BYTES_MAX`] wait; returns its offset in all that was ever queued.
    pub(crate) async fn push(&self, header: Header, payload: &Payload) -> Result<u64, PushError> {
        loop {
            match self.try_push(header, payload) {
                Err(PushError::Full) => {}
                done => return done,
            }
            let written = self.written.notified();
            let full = self.queue.lock().is_full();
            if full {
                written.await;
            }
        }
    }

    /// Queues a frame now or not at all.
    pub(crate) fn try_push(&self, header: Header, payload: &Payload) -> Result<u64, PushError> {
        let bytes = header.encode(payload);
        let mut queue = self.queue.lock();
        if queue.is_full() {
            return Err(PushError::Full);
        }
        self.put(&mut queue, &bytes, payload)
    }

    /// Queues a frame beyond the bound: for what is small and bounded otherwise.
    pub(crate) fn force_push(&self, header: Header, payload: &Payload) {
        let bytes = header.encode(payload);
        let _gone = self.put(&mut self.queue.lock(), &bytes, payload);
    }

    fn put(
        &self,
        queue: &mut Queue,
        header: &[u8; HEADER_BYTES],
        payload: &Payload,
    ) -> Result<u64, PushError> {
        if queue.closed {
            return Err(PushError::Closed);
        }
        let offset = queue.pushed_bytes;
        queue.frames += 1;
        queue.copy(header);
        queue.put(&payload.head);
        payload.body.iter().for_each(|chunk| queue.put(chunk));
        if queue.written_bytes == offset {
            // The queue was empty: the writer may be asleep.
            self.filled.notify_one();
        }
        Ok(offset)
    }

    /// Takes no more; returns how many bytes were ever written.
    pub(crate) fn close(&self) -> u64 {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.chunks.clear();
        queue.tail = BytesMut::new();
        self.written.notify_waiters();
        queue.written_bytes
    }

    /// Done once all that was queued is written, or the connection is gone.
    pub(crate) async fn flushed(&self) {
        loop {
            let written = self.written.notified();
            {
                let queue = self.queue.lock();
                if queue.closed || queue.waiting_bytes() == 0 {
                    return;
                }
            }
            written.await;
        }
    }

    /// Writes whatever is queued, until writing fails.
    pub(crate) async fn write_to<W: AsyncWrite + Unpin>(&self, mut socket: W) -> io::Error {
        let mut chunks = VecDeque::new();
        let mut alone = 0_u32;
        loop {
            self.filled.notified().await;
            if alone < ALONE_WRITES {
                // Others that are ready to run may have more for the same write.
                yield_now().await;
            }
            while let frames @ 1.. = self.take(&mut chunks) {
                alone = if frames == 1 { alone.saturating_add(1) } else { 0 };
                if let Err(error) = self.write_all(&mut socket, &mut chunks).await {
                    return error;
                }
            }
        }
    }

    /// Moves all that is queued to `chunks`; how many frames that is.
    fn take(&self, chunks: &mut VecDeque<Bytes>) -> usize {
        let mut queue = self.queue.lock();
        queue.cut_tail();
        mem::swap(&mut queue.chunks, chunks);
        mem::take(&mut queue.frames)
    }

    async fn write_all<W: AsyncWrite + Unpin>(
        &self,
        socket: &mut W,
        chunks: &mut VecDeque<Bytes>,
    ) -> io::Result<()> {
        while !chunks.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = chunks.len().min(SLICES_MAX);
            for (slice, chunk) in slices.iter_mut().zip(chunks.iter()) {
                *slice = IoSlice::new(chunk);
            }
            let write = timeout(WRITE_STALL, socket.write_vectored(&slices[..count]));
            let written_bytes = write.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if written_bytes == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            advance(chunks, written_bytes);
            self.queue.lock().written_bytes += written_bytes as u64;
            self.written.notify_waiters();
        }
        Ok(())
    }
}

fn advance(chunks: &mut VecDeque<Bytes>, mut written_bytes: usize) {
    while let Some(first) = chunks.front_mut() {
        if first.len() > written_bytes {
            first.advance(written_bytes);
            return;
        }
        written_bytes -= first.len();
        chunks.pop_front();
    }
}
