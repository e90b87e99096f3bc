//! What a PUT sends: bytes, a file, or a stream.
//!
//! Owns how a body is made for each try, and the MD5 of what was sent. Bytes and files can be sent again; a stream only
//! while nothing has been read of it. Invariant: a source that gives fewer bytes than it announced ends its request before the
//! last one, so that nothing is stored of it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use md5::{Digest, Md5};
use tokio::task::spawn_blocking;

/// Up to this size a file is read once and held; a larger one is read for its MD5 and again when it is sent.
const HELD_BYTES_MAX: u64 = 1 << 20;
/// Above this, an MD5 is made on a thread where it holds nobody up.
const HASHED_HERE_BYTES_MAX: usize = 256 << 10;
const PIECE_BYTES: u64 = 256 << 10;

type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// What a PUT sends.
#[derive(Debug)]
pub struct Source {
    from: Origin,
    bytes: Option<u64>,
    /// What is known of it before it is sent.
    md5: Option<[u8; 16]>,
    sent: Option<Arc<AtomicU64>>,
}

enum Origin {
    Memory(Bytes),
    File(Arc<File>),
    /// Taken by the first body that is read.
    Stream(Arc<Mutex<Option<Pieces>>>),
}

/// What the last body that was made for a PUT tells of itself.
#[derive(Debug, Default)]
pub(crate) struct Told {
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    bytes: u64,
    hash: Md5,
    failure: Option<String>,
}

impl Source {
    /// Bytes that are at hand.
    pub async fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let (length, kept) = (bytes.len() as u64, bytes.clone());
        let md5 = if bytes.len() <= HASHED_HERE_BYTES_MAX {
            Some(Md5::digest(&bytes).into())
        } else {
            // It ends early only with the runtime, and then nothing is sent.
            spawn_blocking(move || Md5::digest(&bytes).into()).await.ok()
        };
        Self::new(Origin::Memory(kept), Some(length), md5)
    }

    /// A file, as it is now: it is read here for its MD5, so that a change before it is sent is found, and nothing stored.
    ///
    /// # Errors
    /// When it cannot be read, or is no regular file: of a pipe, [`Source::stream`] is the way.
    pub async fn file(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        spawn_blocking(move || Self::of_file(&path)).await.map_err(io::Error::other)?
    }

    fn of_file(path: &Path) -> io::Result<Self> {
        // Before it is opened, which of a pipe would wait for its other end.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        let file = File::open(path)?;
        let (length, mut hash, mut held) = (file.metadata()?.len(), Md5::new(), Vec::new());
        if length == 0 {
            // Some files, as those of /proc, say nothing of what they hold.
            (&file).take(HELD_BYTES_MAX + 1).read_to_end(&mut held)?;
            if held.len() as u64 > HELD_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it does not say how long it is; send it as a stream",
                ));
            }
            let (bytes, md5) = (held.len() as u64, Md5::digest(&held).into());
            return Ok(Self::new(Origin::Memory(held.into()), Some(bytes), Some(md5)));
        }
        let mut at = 0;
        while at < length {
            let piece = piece(&file, at, length)?;
            hash.update(&piece);
            at += piece.len() as u64;
            if length <= HELD_BYTES_MAX {
                held.extend_from_slice(&piece);
            }
        }
        let from =
            if length <= HELD_BYTES_MAX { Origin::Memory(held.into()) } else { Origin::File(Arc::new(file)) };
        Ok(Self::new(from, Some(length), Some(hash.finalize().into())))
    }

    /// A stream, of so many bytes if that is known. It can be sent once: a write is not tried again once the first of it was read.
    pub fn stream<S>(stream: S, bytes: Option<u64>) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        Self::new(Origin::Stream(Arc::new(Mutex::new(Some(Box::pin(stream))))), bytes, None)
    }

    fn new(from: Origin, bytes: Option<u64>, md5: Option<[u8; 16]>) -> Self {
        Self { from, bytes, md5, sent: None }
    }

    /// Adds to `sent` the bytes that are given to be sent, as they go; those that are sent again count again.
    pub fn counted(mut self, sent: Arc<AtomicU64>) -> Self {
        self.sent = Some(sent);
        self
    }

    /// How long it is, where that is known before it is read.
    pub fn bytes_known(&self) -> Option<u64> {
        self.bytes
    }

    /// The MD5 in hex, which the object's ETag will be, where that is known before it is sent.
    pub fn etag_known(&self) -> Option<String> {
        self.md5.map(hex::encode)
    }

    pub(crate) fn md5_known(&self) -> Option<[u8; 16]> {
        self.md5
    }

    /// Whether a body made now gives all of it.
    pub(crate) fn can_be_sent(&self) -> bool {
        match &self.from {
            Origin::Memory(_) | Origin::File(_) => true,
            Origin::Stream(stream) => lock(stream).is_some(),
        }
    }

    /// A body for one try, which `told` then knows of.
    pub(crate) fn body(&self, told: &Arc<Told>) -> reqwest::Body {
        *told.lock() = State::default();
        let pieces: Pieces = match &self.from {
            Origin::Memory(bytes) => {
                count(self.sent.as_deref(), bytes);
                return bytes.clone().into();
            }
            Origin::File(file) => pieces_of(Arc::clone(file), self.bytes.unwrap_or_default()),
            Origin::Stream(stream) => {
                let stream = Arc::clone(stream);
                let first =
                    async move { lock(&stream).take().ok_or_else(|| io::Error::other("it was read")) };
                Box::pin(stream::once(first).try_flatten())
            }
        };
        let sent = self.sent.clone();
        let pieces = pieces.inspect_ok(move |piece| count(sent.as_deref(), piece));
        reqwest::Body::wrap_stream(watched(Box::pin(pieces), self.bytes, Arc::clone(told)))
    }
}

fn count(sent: Option<&AtomicU64>, piece: &Bytes) {
    if let Some(sent) = sent {
        sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
}

/// The pieces, measured and hashed as they go by.
fn watched(
    pieces: Pieces,
    announced: Option<u64>,
    told: Arc<Told>,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let pieces = pieces.map(Some).chain(stream::once(async { None }));
    pieces.filter_map(move |piece| {
        let seen = told.see(piece, announced);
        async move { seen.transpose() }
    })
}

impl Told {
    /// In hex, the MD5 of what the body gave.
    pub(crate) fn md5(&self) -> String {
        hex::encode(self.lock().hash.clone().finalize())
    }

    /// Why the body ended before its end, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What is sent on of a piece, or of the end.
    fn see(&self, piece: Option<io::Result<Bytes>>, announced: Option<u64>) -> io::Result<Option<Bytes>> {
        let mut state = self.lock();
        let bytes = piece.as_ref().and_then(|piece| piece.as_ref().ok()).map_or(0, Bytes::len) as u64;
        let (is_end, sum) = (piece.is_none(), state.bytes + bytes);
        let wrong = match (&piece, announced) {
            (Some(Err(error)), _) => Some(error.to_string()),
            (_, Some(announced)) if sum > announced || (is_end && sum < announced) => {
                Some(format!("it has {sum} bytes, {announced} were announced"))
            }
            _ => None,
        };
        if let Some(why) = wrong {
            state.failure = Some(why.clone());
            return Err(io::Error::other(why));
        }
        let piece = piece.transpose()?;
        state.bytes = sum;
        if let Some(piece) = &piece {
            state.hash.update(piece);
        }
        Ok(piece)
    }
}

/// A file from its first byte to `length`.
fn pieces_of(file: Arc<File>, length: u64) -> Pieces {
    Box::pin(stream::try_unfold(0, move |at| {
        let file = Arc::clone(&file);
        async move {
            if at == length {
                return Ok(None);
            }
            let read = spawn_blocking(move || piece(&file, at, length)).await;
            let piece = read.map_err(io::Error::other)??;
            let next = at + piece.len() as u64;
            Ok(Some((piece, next)))
        }
    }))
}

fn piece(file: &File, at: u64, length: u64) -> io::Result<Bytes> {
    let mut piece = vec![0; usize::try_from(PIECE_BYTES.min(length - at)).expect("pieces are small")];
    file.read_exact_at(&mut piece, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it became shorter while it was read"),
        _ => error,
    })?;
    Ok(piece.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory(_) => "Memory",
            Self::File(_) => "File",
            Self::Stream(_) => "Stream",
        })
    }
}
