//! What a client may ask, one verb a file.
//!
//! Owns the routes of the client port, the reading of requests and the shape of answers. Leaves the steps of the
//! protocol to `gateway/`. Invariant: every 4xx, 503 and 507 to a write means that it had no effect and will have
//! none; what is not known is 504.

mod backup;
mod body;
mod check;
mod conditions;
mod delete;
mod digests;
mod etags;
mod explain;
mod fields;
mod get;
mod list;
mod masters;
mod move_rate;
mod problem;
mod put;
mod rebalance;
mod repr_digest;
mod system;
mod undelete;
mod volumes;

pub(crate) use put::accept_hand_over;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use hayrick_metrics as metrics;
use hayrick_protocol::ObjectKey;
use hayrick_web::{Parameters, Problem, parameter};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use tokio::time::{Duration, Instant};

use crate::master::Master;

/// Taken off `--request-timeout`, so that the answer is there by then.
const ANSWER_MARGIN: Duration = Duration::from_millis(200);

/// Echoed if sent, never added.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const OF_LIST: Parameters = Parameters {
    takes: &["list", "limit", "start", "delimiter", "detail", "consistency"],
    later: &[],
    hint: "a ? in the prefix is written as %3F",
};
const OF_READ: Parameters = Parameters {
    takes: &["consistency"],
    later: &["redirect"],
    hint: "those of a listing count beside list, and a ? in the key is written as %3F",
};
const OF_WRITE: Parameters = Parameters { hint: "a ? in the key is written as %3F", ..Parameters::NONE };
const OF_FRONT_PAGE: Parameters =
    Parameters { hint: "/?list lists all keys, and takes more", ..Parameters::NONE };

/// What the client port serves. Every path that is not a system route is a key, so paths are told apart here and
/// not by patterns.
pub(crate) fn router(master: Arc<Master>) -> Router {
    Router::new().fallback(dispatch).with_state(master)
}

/// A request without its body, which tasks may share.
type Head = http::Request<()>;

async fn dispatch(State(master): State<Arc<Master>>, request: Request) -> Response {
    let fields = request.headers().clone();
    let is_head = request.method() == Method::HEAD;
    let mut response = answer(&master, request).await.unwrap_or_else(|problem| {
        let mut response = problem.response(&fields);
        // A HEAD tells the length of an object; of one that is not there, that is 0 and not the length of the words.
        if is_head && problem.status == StatusCode::NOT_FOUND {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(0));
            *response.body_mut() = Body::empty();
        }
        response
    });
    if response.status() == StatusCode::GATEWAY_TIMEOUT {
        metrics::OUTCOMES_UNKNOWN.increment();
    }
    if let Some(id) = fields.get(REQUEST_ID) {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
    response
}

async fn answer(master: &Arc<Master>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let request = Head::from_parts(parts, ());
    if request.uri().path().starts_with("/-/") {
        if masters::is_route(request.uri().path()) {
            return masters::answer(master, &request, body).await;
        }
        if request.uri().path() == rebalance::ROUTE {
            return rebalance::answer(master, &request).await;
        }
        if request.uri().path() == delete::ROUTE {
            return delete::answer_list(master, &request, body).await;
        }
        if request.uri().path() == check::ROUTE {
            return check::answer(master, &request).await;
        }
        if request.uri().path() == move_rate::ROUTE {
            return move_rate::answer(master, &request, body).await;
        }
        if volumes::is_route(request.uri().path()) {
            return volumes::answer(master, &request).await;
        }
        if explain::is_route(request.uri().path()) {
            return explain::answer(master, &request).await;
        }
        if undelete::is_route(request.uri().path()) {
            return undelete::answer(master, &request).await;
        }
        return system::answer(master, &request).await;
    }
    if let Some(reason) = master.admission.failure() {
        return Err(problem::not_now(reason));
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_read && request.uri().path() == "/" {
        return Ok(not_allowed(&request, "GET, HEAD"));
    }
    if !is_read && !matches!(*request.method(), Method::PUT | Method::DELETE) {
        return Ok(not_allowed(&request, "GET, HEAD, PUT, DELETE"));
    }
    if is_read && parameter(request.uri(), "list").is_some() {
        OF_LIST.check(request.uri())?;
        return list::answer(master, &request).await;
    }
    if is_read && request.uri().path() == "/" {
        OF_FRONT_PAGE.check(request.uri())?;
        return Ok(system::front_page(master));
    }
    let taken = if is_read { OF_READ } else { OF_WRITE };
    taken.check(request.uri())?;
    match *request.method() {
        Method::PUT => put::answer(master, request.map(|()| body)).await,
        Method::GET | Method::HEAD => get::answer(master, &request).await,
        _ => delete::answer(master, &request).await,
    }
}

/// 405, with the methods that the path takes.
fn not_allowed(request: &Head, allow: &'static str) -> Response {
    let text = format!("{} is not a method of {}; it takes {allow}", request.method(), request.uri().path());
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, text).response(request.headers());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// The key that the path names.
fn key(uri: &Uri) -> Result<ObjectKey, Problem> {
    let path = uri.path();
    named(path.strip_prefix('/').unwrap_or(path))
}

/// The key in a part of a path.
fn named(encoded: &str) -> Result<ObjectKey, Problem> {
    ObjectKey::from_path(encoded).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
}

/// By when a request whose last byte has arrived must be answered.
fn deadline(master: &Master) -> Instant {
    let timeout = master.options.request_timeout;
    Instant::now() + timeout.saturating_sub(ANSWER_MARGIN.min(timeout / 4))
}

/// An answer with `text` as it is.
fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_in_a_key_never_addresses_another_object() {
        let takes = |uri: &'static str, known: &Parameters| known.check(&Uri::from_static(uri)).is_ok();
        assert!(takes("/a", &OF_WRITE) && takes("/a?consistency=stale", &OF_READ));
        assert!(!takes("/a?b", &OF_WRITE) && !takes("/a?", &OF_WRITE));
        assert!(!takes("/a?consistency=stale&b=1", &OF_READ));
    }
}
