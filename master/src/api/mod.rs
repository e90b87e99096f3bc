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
mod openapi;
mod problem;
mod put;
mod rebalance;
mod repr_digest;
mod resolve;
mod routes;
mod stopwatch;
mod system;
mod undelete;
mod volumes;

pub(crate) use put::accept_hand_over;
pub(crate) use resolve::resolve;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use hayrick_metrics as metrics;
use hayrick_protocol::ObjectKey;
use hayrick_web::{Problem, parameter};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use tokio::time::{Duration, Instant};

use self::problem::bad_request;
use self::routes::{NoRoute, OperationId, Routed};
use self::volumes::Verb;
use crate::master::Master;

/// Taken off `--request-timeout`, so that the answer is there by then.
const ANSWER_MARGIN: Duration = Duration::from_millis(200);

/// What the client port serves. Every path that is not a system route is a key, so paths are told apart by a table of
/// our own.
pub(crate) fn router(master: Arc<Master>) -> Router {
    Router::new().fallback(dispatch).with_state(master)
}

/// A request without its body, which tasks may share.
type Head = http::Request<()>;

async fn dispatch(State(master): State<Arc<Master>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let head = Head::from_parts(parts, ());
    let routed = routes::route(head.method(), head.uri());
    let operation = routed.as_ref().ok().map(|routed| routed.operation);
    let (answered, laps) = stopwatch::timed(answer(&master, &head, routed, body)).await;
    let response = answered.unwrap_or_else(|problem| problem.response(&head));
    if response.status() == StatusCode::GATEWAY_TIMEOUT {
        metrics::OUTCOMES_UNKNOWN.increment();
    }
    laps.tell(operation, &head, response.status());
    response
}

async fn answer(
    master: &Arc<Master>,
    request: &Head,
    routed: Result<Routed<'_>, NoRoute>,
    body: Body,
) -> Result<Response, Problem> {
    let Routed { operation, named } = match routed {
        Ok(routed) => routed,
        Err(NoRoute::Problem(problem)) => return Err(problem),
        Err(NoRoute::Method(allow)) => return Ok(not_allowed(request, &allow)),
    };
    if operation.is_of_objects()
        && let Some(reason) = master.admission.failure()
    {
        return Err(problem::not_now(reason));
    }
    match operation {
        OperationId::FrontPage => Ok(system::front_page(master)),
        OperationId::List => list::answer(master, request).await,
        OperationId::ListDeleted => list::answer_deleted(master, request).await,
        OperationId::Put => put::answer(master, request, body).await,
        OperationId::Read => get::answer(master, request).await,
        OperationId::Delete => delete::answer(master, request).await,
        OperationId::DeleteList => delete::answer_list(master, request, body).await,
        OperationId::Undelete => undelete::answer(master, named).await,
        OperationId::Health => Ok(plain(StatusCode::OK, "ok\n")),
        OperationId::Ready => system::ready(master).await,
        OperationId::Status => system::status(master, request).await,
        OperationId::Metrics => Ok(system::metrics(master).await),
        OperationId::OpenApi => Ok(openapi::answer()),
        OperationId::Explain => explain::answer(master, request, named).await,
        OperationId::Check => check::answer(master, request).await,
        OperationId::Backup => backup::answer(master).await,
        OperationId::ShowMoveRate => move_rate::show(master).await,
        OperationId::SetMoveRate => move_rate::set(master, body).await,
        OperationId::Rebalance => rebalance::answer(master, request).await,
        OperationId::Drain => volumes::answer(master, request, named, Verb::Drain).await,
        OperationId::Undrain => volumes::answer(master, request, named, Verb::Undrain).await,
        OperationId::RemoveVolume => volumes::answer(master, request, named, Verb::Remove).await,
        OperationId::AddMaster => masters::add(master, body).await,
        OperationId::RemoveMaster => masters::remove(master, named).await,
        OperationId::Transfer => masters::transfer(master, named).await,
    }
}

/// 405, with the methods that the path takes.
fn not_allowed(request: &Head, allow: &str) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let stores = *method == Method::POST && allow.contains("PUT") && !path.starts_with("/-/");
    let hint = if stores { "; PUT stores, as with curl -T FILE, or -X PUT -d TEXT" } else { "" };
    let text = format!("{method} is not a method of {path}; it takes {allow}{hint}");
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, text).response(request);
    let allow = HeaderValue::try_from(allow).expect("names of methods are valid in a field");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// The key that the path names.
fn key(uri: &Uri) -> Result<ObjectKey, Problem> {
    let path = uri.path();
    named(path.strip_prefix('/').unwrap_or(path))
}

/// The key in a part of a path.
fn named(encoded: &str) -> Result<ObjectKey, Problem> {
    ObjectKey::from_path(encoded).map_err(|error| bad_request(error.to_string()))
}

/// Whether a parameter that has no value is there.
fn switch(request: &Head, name: &str) -> Result<bool, Problem> {
    match parameter(request.uri(), name) {
        None => Ok(false),
        Some("") => Ok(true),
        Some(_) => Err(bad_request(format!("{name} has no value: it is there, as in ?{name}, or it is not"))),
    }
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
