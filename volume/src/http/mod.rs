//! The volume port: objects by key, needles by id, health, readiness, status and metrics, over HTTP.
//!
//! Owns the routes. Connections, limits and timeouts are `web`'s. A plain match instead of a router: this is the path
//! that is measured against a bare file server, and there are few routes. Invariant: what is sent was verified.

mod health;
mod key;
mod metrics;
mod needle;
mod ready;
mod status;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use futures_util::future::Either;
use hayrick_protocol::ids::{ClusterId, InstanceId, VolumeId};
use hayrick_web::{Parameters, Problem};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tower_service::Service;

pub(crate) use self::key::Masters;
use crate::store::Store;

const SYSTEM: &str = "/-/";
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
    masters: Arc<Masters>,
}

impl VolumePort {
    pub(crate) fn new(store: Arc<Store>, names: Names, masters: Arc<Masters>) -> Self {
        Self { store, names, masters }
    }

    /// The answer to a path that is a key.
    fn object<B>(&self, request: Request<B>) -> impl Future<Output = Response<Body>> + Send + 'static {
        let (parts, _) = request.into_parts();
        let request = Request::from_parts(parts, ());
        key::get(Arc::clone(&self.store), Arc::clone(&self.masters), self.names.volume.0, request)
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
            (None, metrics::PATH) => Ok(metrics::get(&self.store)),
            (None, _) => Ok(status::get(&self.store, &self.names)),
        };
        answer.unwrap_or_else(|problem| problem.response(request.headers()))
    }
}

/// An answer that is there at once, or one that has to ask a master.
type Answered = Either<
    Ready<Result<Response<Body>, Infallible>>,
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>,
>;

impl<B> Service<Request<B>> for VolumePort {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answered;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answered {
        let path = request.uri().path();
        if path.starts_with(SYSTEM) || path == "/" {
            return Either::Left(ready(Ok(self.answer(&request))));
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Either::Left(ready(Ok(not_allowed(&request))));
        }
        let object = self.object(request);
        Either::Right(Box::pin(async { Ok(object.await) }))
    }
}

fn unknown(path: &str) -> Problem {
    let (health, ready, status, metrics) = (health::PATH, ready::PATH, status::PATH, metrics::PATH);
    let text = format!(
        "there is no route {path} on a volume; there are /KEY, {NEEDLES}ID, {health}, {ready}, {status} and {metrics}; \
         lists and writes are for a master"
    );
    Problem::new(StatusCode::NOT_FOUND, text)
}

fn not_allowed<B>(request: &Request<B>) -> Response<Body> {
    let (path, method) = (request.uri().path(), request.method());
    let text = format!("{path} on a volume takes GET and HEAD, not {method}; write to a master");
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, text).response(request.headers());
    response.headers_mut().insert(header::ALLOW, ALLOW);
    response
}
