//! `GET /{prefix}?list`: keys in order, a page at a time, linearizable like any read.

use std::sync::Arc;

use axum::response::Response;
use hayrick_protocol::key::percent_decode;
use hayrick_protocol::limits::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX};
use hayrick_web::Problem;
use http::Uri;
use serde::Serialize;

use super::get::consistent;
use super::problem::{bad_request, not_now};
use super::{Head, query, system};
use crate::master::Master;

#[derive(Serialize)]
struct Page {
    next: String,
    keys: Vec<String>,
}

pub(super) async fn answer(master: &Arc<Master>, request: &Head) -> Result<Response, Problem> {
    let uri = request.uri();
    let path = uri.path();
    let prefix = decoded(path.strip_prefix('/').unwrap_or(path))?;
    let start = decoded(query(uri, "start").unwrap_or_default())?;
    let limit = limit(uri)?;
    consistent(master, uri, super::deadline(master)).await?;
    let node = master.node.clone();
    // A page is a walk over the index: not for the threads that serve requests.
    let page = tokio::task::spawn_blocking(move || node.list(&prefix, &start, limit));
    let page = page.await.map_err(|_| not_now("this master is stopping"))?;
    let page = page.map_err(|error| not_now(format!("the index could not be read: {error}")))?;
    Ok(system::json(&Page {
        next: page.next.map(|key| key.as_str().to_owned()).unwrap_or_default(),
        keys: page.keys.into_iter().map(|(key, _)| key.as_str().to_owned()).collect(),
    }))
}

fn decoded(encoded: &str) -> Result<String, Problem> {
    percent_decode(encoded).map_err(|error| bad_request(error.to_string()))
}

fn limit(uri: &Uri) -> Result<usize, Problem> {
    let Some(text) = query(uri, "limit") else { return Ok(LIST_LIMIT_DEFAULT) };
    let limit = text.parse().ok().filter(|limit| (1..=LIST_LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| bad_request(format!("limit={text} is not a number from 1 to {LIST_LIMIT_MAX}")))
}
