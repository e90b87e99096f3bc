//! `GET /{prefix}?list`: keys in order, a page at a time, linearizable like any read.

use std::sync::Arc;

use axum::response::Response;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::ObjectKey;
use hayrick_protocol::key::percent_decode;
use hayrick_protocol::limits::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX};
use hayrick_web::{Problem, parameter};
use http::Uri;
use serde::Serialize;
use tokio::time::timeout_at;

use super::get::consistent;
use super::problem::{bad_request, no_memory_to_answer, not_now};
use super::{Head, system};
use crate::master::Master;

#[derive(Serialize)]
struct Page<'a> {
    next: &'a str,
    keys: Vec<&'a str>,
}

pub(super) async fn answer(master: &Arc<Master>, request: &Head) -> Result<Response, Problem> {
    let uri = request.uri();
    let path = uri.path();
    let prefix = decoded(path.strip_prefix('/').unwrap_or(path))?;
    let start = decoded(parameter(uri, "start").unwrap_or_default())?;
    let limit = limit(uri)?;
    let deadline = super::deadline(master);
    if !planted::is(Bug::ListFromOwnState) {
        consistent(master, uri, deadline).await?;
    }
    let Ok(Ok(_place)) = timeout_at(deadline, master.gateway.lists.acquire()).await else {
        return Err(not_now("too many listings are being made; try again"));
    };
    let node = master.node.clone();
    // A page is a walk over the index: not for the threads that serve requests.
    let page = tokio::task::spawn_blocking(move || node.list(&prefix, &start, limit));
    let page = page.await.map_err(|_| not_now("this master is stopping"))?;
    let page = page.map_err(|error| not_now(format!("the index could not be read: {error}")))?;
    let text = system::json_text(&Page {
        next: page.next.as_ref().map(ObjectKey::as_str).unwrap_or_default(),
        keys: page.keys.iter().map(ObjectKey::as_str).collect(),
    });
    let share = master.gateway.answers.take(text.len(), deadline).await.map_err(no_memory_to_answer)?;
    Ok(system::json_answer(share.hold(text.into())))
}

fn decoded(encoded: &str) -> Result<String, Problem> {
    percent_decode(encoded).map_err(|error| bad_request(error.to_string()))
}

fn limit(uri: &Uri) -> Result<usize, Problem> {
    let Some(text) = parameter(uri, "limit") else { return Ok(LIST_LIMIT_DEFAULT) };
    let limit = text.parse().ok().filter(|limit| (1..=LIST_LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| bad_request(format!("limit={text} is not a number from 1 to {LIST_LIMIT_MAX}")))
}
