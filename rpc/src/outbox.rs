//! What waits to be sent on one connection, and the writer that sends it.
//!
//! Owns the queue, its bound, and the coalescing: whatever gathered while the last write was under way, or while the
//! other tasks had their turn, goes out with one vectored write. A frame that has nothing to wait for is written by who
//! pushes it, from whatever thread. Small pieces are copied together; large chunks are sent from where they lie.
//! Invariants: a frame whose first byte was not written before [`Outbox::close`] returned is never sent; nobody writes
//! while another does.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use hayrick_protocol::limits::SEND_QUEUE_BYTES_MAX;
use parking_lot::Mutex;
use tokio::net::tcp::OwnedWriteHalf;
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

/// Whether other frames may come that could go out with this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// Nothing else is in flight on this connection: whom should it wait for?
    Alone,
    Others,
}

/// The send queue of one connection.
#[derive(Debug)]
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
    /// The writer has taken chunks and not written them all yet.
    writing: bool,
    /// None once closed.
    socket: Option<Arc<OwnedWriteHalf>>,
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

    /// Writes what is queued as far as the socket takes it at once; whether that was all. What goes wrong, the writer meets
    /// too.
    fn write_now(&mut self) -> bool {
        let Some(socket) = self.socket.clone().filter(|_| !self.writing) else { return false };
        self.cut_tail();
        let written = write(&socket, &self.chunks).unwrap_or(0);
        advance(&mut self.chunks, written);
        self.written_bytes += written as u64;
        self.chunks.is_empty()
    }

    fn cut_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }
}

impl Outbox {
    pub(crate) fn new(socket: OwnedWriteHalf) -> Self {
        let queue = Queue { socket: Some(Arc::new(socket)), ..Queue::default() };
        Self { queue: Mutex::new(queue), filled: Notify::new(), written: Notify::new() }
    }

    /// Queues a frame, once less than [`SEND_QUEUE_BYTES_MAX`] wait; returns its offset in all that was ever queued.
    pub(crate) async fn push(
        &self,
        header: Header,
        payload: &Payload,
        company: Company,
    ) -> Result<u64, PushError> {
        loop {
            match self.push_if_room(header, payload, company) {
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
        self.push_if_room(header, payload, Company::Others)
    }

    fn push_if_room(&self, header: Header, payload: &Payload, company: Company) -> Result<u64, PushError> {
        let bytes = header.encode(payload);
        let mut queue = self.queue.lock();
        if queue.is_full() {
            return Err(PushError::Full);
        }
        self.put(&mut queue, &bytes, payload, company)
    }

    /// Queues a frame beyond the bound: for what is small and bounded otherwise.
    pub(crate) fn force_push(&self, header: Header, payload: &Payload) {
        let bytes = header.encode(payload);
        let _gone = self.put(&mut self.queue.lock(), &bytes, payload, Company::Others);
    }

    fn put(
        &self,
        queue: &mut Queue,
        header: &[u8; HEADER_BYTES],
        payload: &Payload,
        company: Company,
    ) -> Result<u64, PushError> {
        if queue.closed {
            return Err(PushError::Closed);
        }
        let offset = queue.pushed_bytes;
        queue.copy(header);
        queue.put(&payload.head);
        payload.body.iter().for_each(|chunk| queue.put(chunk));
        let was_empty = queue.written_bytes == offset;
        // Who waits for room or for the end waits for the queue as it was before.
        let is_written = was_empty && company == Company::Alone && queue.write_now();
        if was_empty && !is_written {
            // The writer may be asleep.
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
        queue.socket = None;
        let written_bytes = queue.written_bytes;
        // Outside the lock: who is woken may be polled on the spot (`brief`), and takes it.
        drop(queue);
        self.written.notify_waiters();
        written_bytes
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
    pub(crate) async fn write(&self) -> io::Error {
        let mut chunks = VecDeque::new();
        let Some(socket) = self.queue.lock().socket.clone() else {
            return io::ErrorKind::NotConnected.into();
        };
        loop {
            self.filled.notified().await;
            // Others that are ready to run may have more for the same write.
            yield_now().await;
            while self.take(&mut chunks) {
                if let Err(error) = self.write_all(&socket, &mut chunks).await {
                    return error;
                }
            }
        }
    }

    fn take(&self, chunks: &mut VecDeque<Bytes>) -> bool {
        let mut queue = self.queue.lock();
        queue.cut_tail();
        mem::swap(&mut queue.chunks, chunks);
        queue.writing = !chunks.is_empty();
        queue.writing
    }

    async fn write_all(&self, socket: &OwnedWriteHalf, chunks: &mut VecDeque<Bytes>) -> io::Result<()> {
        while !chunks.is_empty() {
            let written_bytes = match write(socket, chunks) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written_bytes) => written_bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let writable = timeout(WRITE_STALL, socket.writable());
                    writable.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                    0
                }
                Err(error) => return Err(error),
            };
            advance(chunks, written_bytes);
            self.queue.lock().written_bytes += written_bytes as u64;
            self.written.notify_waiters();
        }
        Ok(())
    }
}

/// One write of as much as the socket takes now.
fn write(socket: &OwnedWriteHalf, chunks: &VecDeque<Bytes>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = chunks.len().min(SLICES_MAX);
    for (slice, chunk) in slices.iter_mut().zip(chunks) {
        *slice = IoSlice::new(chunk);
    }
    socket.try_write_vectored(&slices[..count])
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::brief::Brief;

    async fn outbox() -> Outbox {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let socket = TcpStream::connect(address).await.expect("it listens");
        Outbox::new(socket.into_split().1)
    }

    #[tokio::test]
    async fn who_waits_for_room_and_is_polled_where_it_is_woken_learns_that_the_connection_ended() {
        let outbox = Arc::new(outbox().await);
        let chunk = Bytes::from(vec![0; SEND_QUEUE_BYTES_MAX]);
        let large = Payload::new(Vec::new(), vec![chunk]).expect("it fits a frame");
        outbox.try_push(Header::ALIVE, &large).expect("there is room");
        let (tell, told) = mpsc::channel();
        let pushing = Arc::clone(&outbox);
        Brief::start(Box::pin(async move {
            let pushed = pushing.push(Header::ALIVE, &Payload::empty(), Company::Others).await;
            tell.send(pushed).expect("the test waits");
        }));
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty), "there is no room");
        thread::spawn(move || outbox.close());
        let pushed = told.recv_timeout(Duration::from_secs(20)).expect("it is woken, and gets the lock");
        assert_eq!(pushed, Err(PushError::Closed));
    }
}
