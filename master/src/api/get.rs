//! `GET` and `HEAD /{key}`: the read protocol.
//!
//! ```text
//! read-index ─▶ applied here ─▶ record ─▶ verified blocks from a member ─▶ answer
//!                                 ▲         │ no member has them: the record again, once
//!                                 └─────────┘
//! ```
//! Owns the order of the steps, ranges, and the pieces of large objects. Invariants: 404 only when the index says
//! so; no byte goes out that was not verified, and the first are verified before the status is sent; a piece counts
//! for the memory of answers until its client has taken it.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use hayrick_protocol::NeedleId;
use hayrick_protocol::cluster_map::Volume;
use hayrick_protocol::limits::{BLOCK_BYTES, VERIFY_WHOLE_BYTES_MAX};
use hayrick_protocol::record::ObjectRecord;
use hayrick_web::{Consistency, NoMemory, Problem, RangeRequest, content_range, unsatisfiable};
use http::{HeaderValue, Method, StatusCode, header};
use rand::seq::IndexedRandom;
use thiserror::Error;
use tokio::time::Instant;

use super::conditions::{self, Conditions, Verdict};
use super::problem::{
    missing, no_memory_to_answer, no_such_key, not_linearizable, not_now, not_readable, not_what_was_meant,
};
use super::stopwatch::{Step, lap};
use super::{Head, fields, plain, repr_digest, switch};
use crate::gateway::bodies::PATIENCE;
use crate::gateway::copies;
use crate::gateway::fetch::{self, Blocks, NoCopy, Wanted};
use crate::gateway::read_index::linearize;
use crate::master::Master;

/// Blocks of a large object that are fetched, verified and sent at a time.
const PIECE_BLOCKS: u64 = (VERIFY_WHOLE_BYTES_MAX / BLOCK_BYTES) as u64;

pub(super) async fn answer(master: &Arc<Master>, request: &Head) -> Result<Response, Problem> {
    let key = super::key(request.uri())?;
    let conditions = Conditions::of(request.headers())?;
    let consistency = Consistency::of(request.uri())?;
    let redirects = switch(request, "redirect")?;
    let deadline = super::deadline(master);
    let mut lost: Option<(NeedleId, NoCopy)> = None;
    loop {
        match (consistent(master, consistency, deadline).await, &lost) {
            (Ok(()), _) => {}
            // Without a second look, the first one's reasons are what there is to say.
            (Err(_), Some((_, no_copy))) => {
                return Err(not_readable(&master.node.cluster().map, no_copy));
            }
            (Err(problem), None) => return Err(problem),
        }
        let record = master.node.get(&key);
        let record = record.map_err(|error| not_now(format!("the index could not be read: {error}")))?;
        let Some(record) = record else { return Err(no_such_key()) };
        if redirects {
            return redirect(master, request, consistency, &record);
        }
        if let Some((needle, no_copy)) = &lost
            && *needle == record.needle
        {
            return Err(not_readable(&master.node.cluster().map, no_copy));
        }
        // What may break off in the middle is read to its end before.
        let is_read = *request.method() == Method::GET;
        if is_read && record.missing && !copies::is_on_a_member(master, &record, deadline).await {
            return Err(missing());
        }
        match respond(master, request, &conditions, &record, deadline).await {
            Ok(response) => return Ok(response),
            // It may have been overwritten and reaped since the record was read.
            Err(NoPiece::NoCopy(no_copy)) => lost = Some((record.needle, no_copy)),
            Err(NoPiece::NoMemory(error)) => return Err(no_memory_to_answer(error)),
        }
    }
}

/// Why there is no piece of an object.
#[derive(Debug, Error)]
enum NoPiece {
    #[error("{}", .0.reasons())]
    NoCopy(NoCopy),
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
}

/// Waits until this master may answer a read.
pub(super) async fn consistent(
    master: &Arc<Master>,
    consistency: Consistency,
    deadline: Instant,
) -> Result<(), Problem> {
    let seen = match consistency {
        // What it never heard of it cannot call absent.
        Consistency::Stale if master.node.cluster().config.is_none() => Err(not_now(
            "this master has not seen anything of its cluster yet, so it has no state to read from; try another one",
        )),
        Consistency::Stale => Ok(()),
        Consistency::Linearizable => linearize(master, deadline).await.map_err(not_linearizable),
    };
    lap(Step::ReadIndex);
    seen
}

/// 307 to one of the volumes that are up and hold the object, as far as is known here.
fn redirect(
    master: &Master,
    request: &Head,
    consistency: Consistency,
    record: &ObjectRecord,
) -> Result<Response, Problem> {
    let cluster = master.node.cluster();
    let members = cluster.table.placement(record.placement).map_or(&[][..], |row| &row.members);
    let volumes = members.iter().filter_map(|id| cluster.map.volumes.get(id));
    let up: Vec<&Volume> = volumes.filter(|volume| volume.state.serves_reads()).collect();
    let Some(volume) = up.choose(&mut rand::rng()) else {
        return Err(not_now("none of the volumes that hold the object is up; start one of them"));
    };
    // It asks a master again, and must not ask for more than was asked here.
    let query = match consistency {
        Consistency::Linearizable => "",
        Consistency::Stale => "?consistency=stale",
    };
    let to = format!("http://{}{}{query}", volume.addr, request.uri().path());
    let mut response = plain(StatusCode::TEMPORARY_REDIRECT, format!("volume {} has it: {to}\n", volume.id));
    let location = HeaderValue::try_from(to).map_err(|_| not_now("its volume has no address for clients"))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

async fn respond(
    master: &Arc<Master>,
    request: &Head,
    conditions: &Conditions,
    record: &ObjectRecord,
    deadline: Instant,
) -> Result<Response, NoPiece> {
    let size = u64::from(record.size);
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = fields::describe(record, &master.node.cluster());
    match conditions.weigh(record) {
        Verdict::Send => {}
        Verdict::NotModified => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        Verdict::Failed(field) => {
            return Ok(not_what_was_meant(&field, response.headers()).response(request));
        }
    }
    let range = if conditions::range_counts(request.method(), request.headers(), record) {
        RangeRequest::parse(request.headers(), size)
    } else {
        RangeRequest::Full
    };
    let span = match range {
        RangeRequest::Full => 0..size,
        RangeRequest::Part(range) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response.headers_mut().insert(header::CONTENT_RANGE, content_range(range, size));
            range.first..range.last + 1
        }
        RangeRequest::Unsatisfiable => return Ok(unsatisfiable(size, request)),
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(span.end - span.start));
    let wanted = repr_digest::Wanted::of(request.headers());
    let digest = if *request.method() == Method::GET {
        let is_whole = span == (0..size);
        let reader = Reader { master: Arc::clone(master), record: record.clone(), table: None, span };
        let piece = reader.piece(Some(deadline)).await;
        lap(Step::Fetch);
        let (first, rest) = piece?;
        response.headers_mut().insert(fields::SERVED_BY, HeaderValue::from(first.served_by.0));
        let digest = wanted.digest(record, (is_whole && rest.span.is_empty()).then_some(&*first.data));
        *response.body_mut() = body(first.data, rest);
        digest
    } else {
        wanted.digest(record, None)
    };
    if let Some(digest) = digest {
        response.headers_mut().insert(repr_digest::REPR_DIGEST, digest);
    }
    Ok(response)
}

/// The first piece, and the others as they are read.
fn body(first: Bytes, rest: Reader) -> Body {
    if rest.span.is_empty() {
        return Body::from(first);
    }
    let rest = stream::try_unfold(rest, |reader| async {
        if reader.span.is_empty() {
            return Ok(None);
        }
        // Each piece has its own time: how long all of them take is up to the client.
        let (piece, reader) = reader.piece(None).await.map_err(std::io::Error::other)?;
        Ok(Some((piece.data, reader)))
    });
    let first = stream::once(std::future::ready(Ok::<_, std::io::Error>(first)));
    Body::from_stream(futures_util::StreamExt::chain(first, rest))
}

/// What is left to read of an object.
struct Reader {
    master: Arc<Master>,
    record: ObjectRecord,
    table: Option<Bytes>,
    span: Range<u64>,
}

impl Reader {
    /// The next piece, cut to the span, and what is left then; with no `deadline` as long as a piece may take by itself: it
    /// waits for memory, which other readers have, and then has a request's time.
    async fn piece(mut self, deadline: Option<Instant>) -> Result<(Blocks, Self), NoPiece> {
        let block_bytes = BLOCK_BYTES as u64;
        let first = self.span.start / block_bytes;
        let until = self.span.end.div_ceil(block_bytes).min(first + PIECE_BLOCKS);
        let blocks = until.saturating_sub(first);
        let ends_at = (until * block_bytes).min(self.record.size.into());
        let bytes = usize::try_from(ends_at.saturating_sub(first * block_bytes)).expect("pieces are small");
        let patience = deadline.unwrap_or_else(|| Instant::now() + PATIENCE);
        let share = self.master.gateway.answers.take(bytes, patience).await?;
        let deadline = deadline.unwrap_or_else(|| super::deadline(&self.master));
        let table = self.table.take();
        let wanted = Wanted { first: narrow(first), count: narrow(blocks), table, deadline };
        let blocks = fetch::blocks(&self.master, &self.record, &wanted).await;
        let mut blocks = blocks.map_err(NoPiece::NoCopy)?;
        let piece_end = self.span.end.min(until * block_bytes);
        let from = first * block_bytes;
        let cut = |offset: u64| usize::try_from(offset - from).expect("a piece fits in memory");
        let data = blocks.data.slice(cut(self.span.start)..cut(piece_end.max(self.span.start)));
        blocks.data = share.hold(data);
        // Copied, as it would keep the whole piece in memory that it came with.
        self.table = Some(Bytes::copy_from_slice(&blocks.table));
        self.span.start = piece_end.max(self.span.start);
        Ok((blocks, self))
    }
}

fn narrow(blocks: u64) -> u32 {
    u32::try_from(blocks).expect("objects are bounded, so their blocks fit")
}
