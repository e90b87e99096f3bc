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
use self::routes::{Asked, Does, NotAsked};
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
    let asked = routes::asked(head.method(), head.uri());
    let does = asked.as_ref().ok().map(|asked| asked.does);
    let (answered, laps) = stopwatch::timed(answer(&master, &head, asked, body)).await;
    let response = answered.unwrap_or_else(|problem| {
        let mut response = problem.response(head.headers());
        // A HEAD tells the length of an object; of one that is not there, that is 0 and not the length of the words.
        if *head.method() == Method::HEAD && problem.status == StatusCode::NOT_FOUND {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(0));
            *response.body_mut() = Body::empty();
        }
        response
    });
    if response.status() == StatusCode::GATEWAY_TIMEOUT {
        metrics::OUTCOMES_UNKNOWN.increment();
    }
    laps.tell(does, &head, response.status());
    response
}

async fn answer(
    master: &Arc<Master>,
    request: &Head,
    asked: Result<Asked<'_>, NotAsked>,
    body: Body,
) -> Result<Response, Problem> {
    let Asked { does, named } = match asked {
        Ok(asked) => asked,
        Err(NotAsked::Problem(problem)) => return Err(problem),
        Err(NotAsked::Method(allow)) => return Ok(not_allowed(request, &allow)),
    };
    if does.is_of_objects()
        && let Some(reason) = master.admission.failure()
    {
        return Err(problem::not_now(reason));
    }
    match does {
        Does::FrontPage => Ok(system::front_page(master)),
        Does::List => list::answer(master, request).await,
        Does::ListDeleted => list::answer_deleted(master, request).await,
        Does::Put => put::answer(master, request, body).await,
        Does::Read => get::answer(master, request).await,
        Does::Delete => delete::answer(master, request).await,
        Does::DeleteList => delete::answer_list(master, request, body).await,
        Does::Undelete => undelete::answer(master, named).await,
        Does::Health => Ok(plain(StatusCode::OK, "ok\n")),
        Does::Ready => system::ready(master).await,
        Does::Status => system::status(master, request).await,
        Does::Metrics => Ok(system::metrics(master).await),
        Does::OpenApi => Ok(openapi::answer()),
        Does::Explain => explain::answer(master, request, named).await,
        Does::Check => check::answer(master, request).await,
        Does::Backup => backup::answer(master).await,
        Does::ShowMoveRate => move_rate::show(master).await,
        Does::SetMoveRate => move_rate::set(master, body).await,
        Does::Rebalance => rebalance::answer(master, request).await,
        Does::Drain => volumes::answer(master, request, named, Verb::Drain).await,
        Does::Undrain => volumes::answer(master, request, named, Verb::Undrain).await,
        Does::RemoveVolume => volumes::answer(master, request, named, Verb::Remove).await,
        Does::AddMaster => masters::add(master, body).await,
        Does::RemoveMaster => masters::remove(master, named).await,
        Does::Transfer => masters::transfer(master, named).await,
    }
}

/// 405, with the methods that the path takes.
fn not_allowed(request: &Head, allow: &str) -> Response {
    let text = format!("{} is not a method of {}; it takes {allow}", request.method(), request.uri().path());
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, text).response(request.headers());
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
