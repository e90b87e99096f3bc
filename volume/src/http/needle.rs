//! The data of a needle, whole or one range of it: `/-/needles/{id}`, and what a key stands for.
//!
//! A small needle is read on the thread that serves the connection: one `pread`, mostly from the page cache, costs less
//! than handing it to another thread. A large one is read piece by piece as the connection takes them. Invariants: a
//! piece goes out only after its blocks were verified; when one is damaged the connection breaks, and the reader sees
//! fewer bytes than announced. What is read counts for the memory of answers until its client has taken it.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::limits::BLOCK_BYTES;
use hayrick_protocol::messages::volume::ReadError;
use hayrick_web::{Answers, NoMemory, Problem, Range, RangeRequest, Share, content_range, unsatisfiable};
use http::{HeaderValue, Method, Response, StatusCode, header};
use thiserror::Error;
use tokio::time::{Duration, Instant};

use super::Head;
use crate::read::Opened;
use crate::store::Store;

/// Blocks read at once of a large needle: bounds what one slow connection holds.
const PIECE_BLOCKS: u32 = 4;
/// For all answers together. Readers beyond it wait; no more than one disk's page cache is worth.
const MEMORY_BYTES: usize = 128 << 20;
/// How long a request waits for memory before it is refused.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the next piece of an answer waits: whoever has the memory gives it back, or is ended, well before.
const PIECE_PATIENCE: Duration = Duration::from_secs(5 * 60);

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");

/// The needles, and the memory for answers with them; cheap to clone.
#[derive(Clone)]
pub(crate) struct Needles {
    store: Arc<Store>,
    memory: Arc<Answers>,
}

/// Why a needle is not sent.
#[derive(Debug, Error)]
pub(crate) enum NotSent {
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
}

/// A needle found, and what its bytes take of the memory.
pub(crate) struct Held {
    pub(crate) opened: Opened,
    share: Share,
}

impl Needles {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, memory: Arc::new(Answers::new(MEMORY_BYTES)) }
    }

    /// The answer to a needle's id.
    pub(crate) async fn get(&self, id: &str, request: &Head) -> Result<Response<Body>, Problem> {
        let id = parse(id)?;
        let refused = |why: NotSent| problem(id, &why);
        let held = self.open(id).await.map_err(refused)?;
        // A needle has no validator that an If-Range could name, so that what one names is another thing.
        let range_counts = !request.headers().contains_key(header::IF_RANGE);
        let mut response = self.send(held, request, range_counts).map_err(|error| refused(error.into()))?;
        response.headers_mut().entry(header::CONTENT_TYPE).or_insert(OCTETS);
        Ok(response)
    }

    /// Finds a needle, once there is memory for what is read then.
    pub(crate) async fn open(&self, id: NeedleId) -> Result<Held, NotSent> {
        let bytes = self.store.bytes_to_open(id)?;
        let share = self.memory.take(bytes, Instant::now() + PATIENCE).await?;
        Ok(Held { opened: self.store.open_needle(id)?, share })
    }

    /// The answer with a needle's data, or the range of it that is asked for if one `range_counts`.
    pub(crate) fn send(
        &self,
        held: Held,
        request: &Head,
        range_counts: bool,
    ) -> Result<Response<Body>, ReadError> {
        let size = u64::from(held.opened.size());
        let range = match RangeRequest::parse(request.headers(), size) {
            _ if request.method() == Method::HEAD || !range_counts => None,
            RangeRequest::Full => None,
            RangeRequest::Part(range) => Some(range),
            RangeRequest::Unsatisfiable => return Ok(unsatisfiable(size, request)),
        };
        let length = range.map_or(size, Range::len_bytes);
        let is_head = request.method() == Method::HEAD;
        let mut response = Response::new(if is_head { Body::empty() } else { self.body(held, range)? });
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        fields.insert(header::ACCEPT_RANGES, BYTES);
        if let Some(range) = range {
            fields.insert(header::CONTENT_RANGE, content_range(range, size));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        Ok(response)
    }

    fn body(&self, held: Held, range: Option<Range>) -> Result<Body, ReadError> {
        let Held { opened, share } = held;
        let size = opened.size() as usize;
        let (from, to) = range.map_or((0, size), |range| (offset(range.first), offset(range.last) + 1));
        if opened.is_in_memory() {
            let data = self.store.read_blocks(&opened, 0, u32::MAX)?;
            return Ok(Body::from(share.hold(data.slice(from..to))));
        }
        let pieces = Pieces { needles: self.clone(), opened: Arc::new(opened), at: from, to };
        Ok(Body::from_stream(stream::try_unfold(pieces, Pieces::next)))
    }
}

fn parse(id: &str) -> Result<NeedleId, Problem> {
    let number = if id.bytes().all(|byte| byte.is_ascii_digit()) { id.parse().ok() } else { None };
    number.ok_or_else(|| {
        let text = format!("{id} is no needle id: that is a number in decimal digits, below 2^64");
        Problem::new(StatusCode::BAD_REQUEST, text)
    })
}

fn problem(id: NeedleId, why: &NotSent) -> Problem {
    let (status, text) = match why {
        NotSent::Unreadable(ReadError::NotFound) => {
            (StatusCode::NOT_FOUND, format!("needle {id} is not on this volume; ask a master for its key"))
        }
        NotSent::Unreadable(error) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "needle {id} cannot be read here ({error}); ask a master for its key, it reads another copy"
            ),
        ),
        NotSent::NoMemory(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}; try again")),
    };
    Problem::new(status, text)
}

/// A byte's place, which a range has that was checked against the size.
fn offset(place: u64) -> usize {
    usize::try_from(place).expect("it lies within a needle")
}

/// What is left to send of a large needle.
struct Pieces {
    needles: Needles,
    opened: Arc<Opened>,
    at: usize,
    to: usize,
}

impl Pieces {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.at >= self.to {
            return Ok(None);
        }
        let first = self.at / BLOCK_BYTES;
        let bytes = PIECE_BLOCKS as usize * BLOCK_BYTES;
        let share = self.needles.memory.take(bytes, Instant::now() + PIECE_PATIENCE).await;
        let share = share.map_err(io::Error::other)?;
        let (store, opened) = (Arc::clone(&self.needles.store), Arc::clone(&self.opened));
        let first_block = u32::try_from(first).expect("a needle has fewer blocks");
        let read = move || store.read_blocks(&opened, first_block, PIECE_BLOCKS);
        let data = tokio::task::spawn_blocking(read).await?.map_err(io::Error::other)?;
        let skip = self.at - first * BLOCK_BYTES;
        let end = data.len().min(self.to - first * BLOCK_BYTES);
        self.at += end - skip;
        Ok(Some((share.hold(data.slice(skip..end)), self)))
    }
}
