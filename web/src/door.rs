//! What every request passes before its service sees it.
//!
//! Owns the bound on targets and the one `Host` that a request of HTTP/1.1 has (RFC 9112, section 3.2), which hyper does
//! not look at; the other bounds are in its settings. Owns what all answers carry, too: what kind of server gives them, and the
//! `X-Request-Id` that was sent. Invariant: what breaks one of these reaches no service, and whatever is answered to a
//! head that could be read carries both.

use std::convert::Infallible;
use std::future::Ready;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use futures_util::future::Either;
use hayrick_protocol::limits::HTTP_TARGET_BYTES_MAX;
use http::{HeaderName, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tower_service::Service;

use crate::Problem;
use crate::answering::{Answer, Answered, Answering};

/// Echoed if sent, never added.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// In every answer of a server of ours, so that nobody takes a stranger's word for it.
pub(crate) const SERVER_KIND: HeaderName = HeaderName::from_static("hayrick-server");

/// What answers, by the name that its answers carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// A master's client port.
    Master,
    /// A volume's port.
    Volume,
}

impl ServerKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Volume => "volume",
        }
    }
}

/// A service behind its door, for one connection.
#[derive(Debug)]
pub(crate) struct Door<S> {
    service: TowerToHyperService<S>,
    kind: ServerKind,
    served: AtomicBool,
    answering: Answering,
}

impl<S> Door<S> {
    pub(crate) fn new(service: S, kind: ServerKind, answering: Answering) -> Self {
        Self { service: TowerToHyperService::new(service), kind, served: AtomicBool::new(false), answering }
    }

    /// Whether any request came through.
    pub(crate) fn served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }
}

impl<S> hyper::service::Service<Request<Incoming>> for Door<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answered<
        Either<
            <TowerToHyperService<S> as hyper::service::Service<Request<Incoming>>>::Future,
            Ready<Result<Response<Body>, Infallible>>,
        >,
    >;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.served.store(true, Ordering::Relaxed);
        self.answering.begin();
        let request_id = request.headers().get(REQUEST_ID).cloned();
        let answer = match refusal(&request) {
            Some(problem) => Either::Right(std::future::ready(Ok(problem.response(&request)))),
            None => Either::Left(self.service.call(request)),
        };
        Answered::new(answer, self.kind, request_id, &self.answering)
    }
}

/// Why a request reaches no service.
fn refusal<B>(request: &Request<B>) -> Option<Problem> {
    if target_bytes(request.uri()) > HTTP_TARGET_BYTES_MAX {
        return Some(target_too_long());
    }
    let mut coded = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    if coded.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        let text =
            "the only Transfer-Encoding that is taken is chunked; a Content-Encoding is kept with the object";
        return Some(Problem::new(StatusCode::NOT_IMPLEMENTED, text));
    }
    let hosts = request.headers().get_all(header::HOST).iter().count();
    (request.version() == Version::HTTP_11 && hosts != 1).then(|| {
        let text = format!("a request of HTTP/1.1 has one Host field; this one has {hosts}");
        Problem::new(StatusCode::BAD_REQUEST, text)
    })
}

fn target_bytes(target: &Uri) -> usize {
    let authority = target.authority().map_or(0, |authority| authority.as_str().len());
    authority + target.path_and_query().map_or(0, |path| path.as_str().len())
}

/// 414.
pub(crate) fn target_too_long() -> Problem {
    let text = format!(
        "the request's target is longer than {HTTP_TARGET_BYTES_MAX} bytes; use shorter keys or parameters"
    );
    Problem::new(StatusCode::URI_TOO_LONG, text)
}
