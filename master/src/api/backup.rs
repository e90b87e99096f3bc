//! `GET /-/backup`: the whole index in one answer, as it was when the request had come.
//!
//! Owns that it is linearizable, and how much of it is in memory: a piece. The bytes are the Raft store's. Invariant: an
//! answer that ends without an error of the connection is whole; and its end says so once more.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use hayrick_web::{Parameters, Problem};
use http::{HeaderValue, Method, header};

use super::problem::not_now;
use super::put::now_ms;
use super::{Head, not_allowed};
use crate::gateway::read_index::{NotLinearizable, linearize};
use crate::master::Master;

pub(super) async fn answer(master: &Arc<Master>, request: &Head) -> Result<Response, Problem> {
    if request.method() != Method::GET {
        return Ok(not_allowed(request, "GET"));
    }
    Parameters::NONE.check(request.uri())?;
    let linearized = linearize(master, super::deadline(master)).await;
    linearized.map_err(|NotLinearizable(text)| not_now(text))?;
    let place = Arc::clone(&master.gateway.backups).try_acquire_owned();
    let place = place.map_err(|_| {
        not_now("a backup is being taken from this master already; wait for its end, or ask another master")
    })?;
    let backup = master.node.backup(now_ms()).await.map_err(|error| not_now(error.to_string()))?;
    let backup = backup.ok_or_else(|| not_now("there is no cluster to back up yet"))?;
    let bytes = stream::try_unfold((backup, place), |(mut backup, place)| async move {
        let next = tokio::task::spawn_blocking(move || (backup.next_bytes(), backup)).await;
        let (bytes, backup) = next.map_err(io::Error::other)?;
        let bytes = bytes.map_err(|error| {
            tracing::warn!(%error, "a backup broke off");
            io::Error::other(error)
        })?;
        Ok::<_, io::Error>(bytes.map(|bytes| (Bytes::from(bytes), (backup, place))))
    });
    let mut response = Response::new(Body::from_stream(bytes));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
