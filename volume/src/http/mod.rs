//! The volume port: needles by id, health, readiness, status and metrics, over HTTP.
//!
//! Owns the routes. Connections, limits and timeouts are `web`'s. A plain match instead of a router: this is the path
//! that is measured against a bare file server, and there are five routes. Invariant: what is sent was verified.

mod health;
mod metrics;
mod needle;
mod ready;
mod status;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use hayrick_protocol::ids::{ClusterId, InstanceId, VolumeId};
use hayrick_web::{Parameters, Problem};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tower_service::Service;

use crate::store::Store;

const NEEDLES: &str = "/-/needles/";
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    pub(crate) volume: VolumeId,
    pub(crate) cluster: ClusterId,
    pub(crate) instance: InstanceId,
}

/// Answers the volume port; cheap to clone.
#[derive(Clone)]
pub(crate) struct VolumePort {
    store: Arc<Store>,
    names: Names,
}

impl VolumePort {
    pub(crate) fn new(store: Arc<Store>, names: Names) -> Self {
        Self { store, names }
    }

    /// A HEAD is answered as a GET, of which the connection sends the head only.
    fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let path = request.uri().path();
        let id = path.strip_prefix(NEEDLES);
        if id.is_none() && !matches!(path, health::PATH | ready::PATH | status::PATH | metrics::PATH) {
            return unknown(path).response(request.headers());
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return not_allowed(request);
        }
        // A health check may add what it likes, as some do against caches.
        if !matches!(path, health::PATH | ready::PATH | metrics::PATH)
            && let Err(problem) = Parameters::NONE.check(request.uri())
        {
            return problem.response(request.headers());
        }
        let answer = match (id, path) {
            (Some(id), _) => needle::get(&self.store, id, request),
            (None, health::PATH) => Ok(health::get()),
            (None, ready::PATH) => ready::get(&self.store),
            (None, metrics::PATH) => Ok(metrics::get()),
            (None, _) => Ok(status::get(&self.store, &self.names)),
        };
        answer.unwrap_or_else(|problem| problem.response(request.headers()))
    }
}

impl<B> Service<Request<B>> for VolumePort {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}

fn unknown(path: &str) -> Problem {
    if path.starts_with("/-/") {
        let (health, ready, status, metrics) = (health::PATH, ready::PATH, status::PATH, metrics::PATH);
        let text = format!(
            "there is no route {path} on a volume; there are {NEEDLES}ID, {health}, {ready}, {status} and {metrics}"
        );
        return Problem::new(StatusCode::NOT_FOUND, text);
    }
    // Not 404: a client would take it for the index's word that there is no such key.
    let text = format!(
        "this is a volume, which serves needles by id ({NEEDLES}ID); ask a master for the key {path}"
    );
    Problem::new(StatusCode::MISDIRECTED_REQUEST, text)
}

fn not_allowed<B>(request: &Request<B>) -> Response<Body> {
    let text = format!("{} takes GET and HEAD, not {}", request.uri().path(), request.method());
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, text).response(request.headers());
    response.headers_mut().insert(header::ALLOW, ALLOW);
    response
}
