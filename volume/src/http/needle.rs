//! The data of a needle, whole or one range of it: `/-/needles/{id}`, and what a key stands for.
//!
//! A small needle is read on the thread that serves the connection: one `pread`, mostly from the page cache, costs less
//! than handing it to another thread. A large one is read piece by piece as the connection takes them. Invariant: a
//! piece goes out only after its blocks were verified; when one is damaged the connection breaks, and the reader sees
//! fewer bytes than announced.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::limits::BLOCK_BYTES;
use hayrick_protocol::messages::volume::ReadError;
use hayrick_web::{Problem, Range, RangeRequest, content_range, unsatisfiable};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use crate::read::Opened;
use crate::store::Store;

/// Blocks read at once of a large needle: bounds what one slow connection holds.
const PIECE_BLOCKS: u32 = 4;

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");

pub(crate) fn get<B>(store: &Arc<Store>, id: &str, request: &Request<B>) -> Result<Response<Body>, Problem> {
    let id = parse(id)?;
    let opened = store.open_needle(id).map_err(|error| problem(id, &error))?;
    // A needle has no validator that an If-Range could name, so that what one names is another thing.
    let range_counts = !request.headers().contains_key(header::IF_RANGE);
    let mut response = send(store, opened, request, range_counts).map_err(|error| problem(id, &error))?;
    response.headers_mut().entry(header::CONTENT_TYPE).or_insert(OCTETS);
    Ok(response)
}

/// The answer with a needle's data, or the range of it that is asked for if one `range_counts`.
pub(crate) fn send<B>(
    store: &Arc<Store>,
    opened: Opened,
    request: &Request<B>,
    range_counts: bool,
) -> Result<Response<Body>, ReadError> {
    let size = u64::from(opened.size());
    let range = match RangeRequest::parse(request.headers(), size) {
        _ if request.method() == Method::HEAD || !range_counts => None,
        RangeRequest::Full => None,
        RangeRequest::Part(range) => Some(range),
        RangeRequest::Unsatisfiable => {
            let (problem, field) = unsatisfiable(size);
            let mut response = problem.response(request.headers());
            response.headers_mut().insert(header::CONTENT_RANGE, field);
            return Ok(response);
        }
    };
    let length = range.map_or(size, Range::len_bytes);
    let is_head = request.method() == Method::HEAD;
    let mut response = Response::new(if is_head { Body::empty() } else { body(store, opened, range)? });
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    fields.insert(header::ACCEPT_RANGES, BYTES);
    if let Some(range) = range {
        fields.insert(header::CONTENT_RANGE, content_range(range, size));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

fn parse(id: &str) -> Result<NeedleId, Problem> {
    let number = if id.bytes().all(|byte| byte.is_ascii_digit()) { id.parse().ok() } else { None };
    number.ok_or_else(|| {
        let text = format!("{id} is no needle id: that is a number in decimal digits, below 2^64");
        Problem::new(StatusCode::BAD_REQUEST, text)
    })
}

fn problem(id: NeedleId, error: &ReadError) -> Problem {
    match error {
        ReadError::NotFound => Problem::new(
            StatusCode::NOT_FOUND,
            format!("needle {id} is not on this volume; ask a master for its key"),
        ),
        error => {
            let text = format!(
                "needle {id} cannot be read here ({error}); ask a master for its key, it reads another copy"
            );
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

fn body(store: &Arc<Store>, opened: Opened, range: Option<Range>) -> Result<Body, ReadError> {
    let size = opened.size() as usize;
    let (from, to) = range.map_or((0, size), |range| (offset(range.first), offset(range.last) + 1));
    if opened.is_in_memory() {
        let data = store.read_blocks(&opened, 0, u32::MAX)?;
        return Ok(Body::from(data.slice(from..to)));
    }
    let pieces = Pieces { store: Arc::clone(store), opened: Arc::new(opened), at: from, to };
    Ok(Body::from_stream(stream::try_unfold(pieces, Pieces::next)))
}

/// A byte's place, which a range has that was checked against the size.
fn offset(place: u64) -> usize {
    usize::try_from(place).expect("it lies within a needle")
}

/// What is left to send of a large needle.
struct Pieces {
    store: Arc<Store>,
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
        let (store, opened) = (Arc::clone(&self.store), Arc::clone(&self.opened));
        let first_block = u32::try_from(first).expect("a needle has fewer blocks");
        let read = move || store.read_blocks(&opened, first_block, PIECE_BLOCKS);
        let data = tokio::task::spawn_blocking(read).await?.map_err(io::Error::other)?;
        let skip = self.at - first * BLOCK_BYTES;
        let end = data.len().min(self.to - first * BLOCK_BYTES);
        self.at += end - skip;
        Ok(Some((data.slice(skip..end), self)))
    }
}
