//! The volume port: objects by key, needles by id, health, readiness, status and metrics, over HTTP.
//!
//! Owns the routes. Connections, limits and timeouts are `web`'s. A plain match instead of a router: this is the path
//! that is measured against a bare file server, and there are few routes. Invariant: what is sent was verified.

mod health;
mod key;
mod metrics;
mod needle;
mod ready;
mod starting;
mod status;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use futures_util::future::Either;
use hayrick_protocol::ids::{ClusterId, InstanceId, VolumeId};
use hayrick_web::{Parameters, Problem, REQUEST_ID, Sparing};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::time::{Duration, Instant};

pub(crate) use self::key::Masters;
use self::needle::Needles;
pub(crate) use self::starting::Starting;
use crate::store::Store;

const SYSTEM: &str = "/-/";
const NEEDLES: &str = "/-/needles/";
/// A request that takes longer until its first byte is worth a line.
const SLOW: Duration = Duration::from_secs(1);
static SLOW_ONES: Sparing = Sparing::new(10);
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    pub(crate) volume: VolumeId,
    pub(crate) cluster: ClusterId,
    pub(crate) instance: InstanceId,
}

/// Answers the volume port of a volume that serves; cheap to clone.
#[derive(Clone)]
pub(crate) struct VolumePort {
    store: Arc<Store>,
    needles: Needles,
    names: Names,
    masters: Arc<Masters>,
}

/// What a request says, without its body.
pub(crate) type Head = Request<()>;

impl VolumePort {
    pub(crate) fn new(store: Arc<Store>, names: Names, masters: Arc<Masters>) -> Self {
        Self { needles: Needles::new(Arc::clone(&store)), store, names, masters }
    }

    /// The answer to what has to do with objects. A HEAD is answered as a GET, of which the connection sends the head only.
    async fn object(self, request: Head) -> Response<Body> {
        let (begun, mut asking) = (Instant::now(), Duration::ZERO);
        let answer = match request.uri().path().strip_prefix(NEEDLES) {
            None => key::get(&self.needles, &self.masters, self.names.volume.0, &request, &mut asking).await,
            Some(id) => match Parameters::NONE.check(request.uri()) {
                Ok(()) => self.needles.get(id, &request).await,
                Err(problem) => Err(problem),
            },
        };
        let response = answer.unwrap_or_else(|problem| problem.response(&request));
        tell(&request, response.status(), begun.elapsed(), asking);
        response
    }

    /// The answer to the path of a system route, if it is one.
    fn system<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let answer = match request.uri().path() {
            // A health check may add what it likes, as some do against caches.
            health::PATH => Ok(health::get()),
            ready::PATH => ready::get(&self.store),
            metrics::PATH => Ok(metrics::get(&self.store)),
            status::PATH => {
                Parameters::NONE.check(request.uri()).map(|()| status::get(&self.store, &self.names))
            }
            _ => return None,
        };
        Some(answer.unwrap_or_else(|problem| problem.response(request)))
    }
}

/// An answer that is there at once, or one that has to ask a master.
type Answered = Either<
    Ready<Result<Response<Body>, Infallible>>,
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>,
>;

impl VolumePort {
    /// The answer to any request.
    fn answer<B>(&self, request: Request<B>) -> Answered {
        let path = request.uri().path();
        let is_system = path == "/" || (path.starts_with(SYSTEM) && !path.starts_with(NEEDLES));
        let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
        if !is_system && is_read {
            let (parts, _) = request.into_parts();
            let object = self.clone().object(Head::from_parts(parts, ()));
            return Either::Right(Box::pin(async { Ok(object.await) }));
        }
        let answer = match self.system(&request) {
            None if is_system => unknown(path).response(&request),
            Some(answer) if is_read => answer,
            _ => not_allowed(&request),
        };
        Either::Left(ready(Ok(answer)))
    }
}

/// Writes what is to be said of a request for an object, and where its time went: a master was asked, then the disk.
fn tell(request: &Head, status: StatusCode, took: Duration, asking: Duration) {
    let (method, uri, status) = (request.method(), request.uri(), status.as_u16());
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let ms = took.as_secs_f64() * 1000.0;
    if took >= SLOW && SLOW_ONES.may_tell() {
        let (asking, reading) = (asking.as_millis(), took.saturating_sub(asking).as_millis());
        let went = format!("resolve {asking} ms, read {reading} ms");
        tracing::warn!(%method, %uri, status, request_id = id, ms, went, "a slow request");
    } else {
        tracing::debug!(%method, %uri, status, request_id = id, ms, "a request");
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
    let text = format!(
        "{path} on a volume takes GET and HEAD, not {method}; write to the client port of a master, by default 9090"
    );
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, text).response(request);
    response.headers_mut().insert(header::ALLOW, ALLOW);
    response
}
