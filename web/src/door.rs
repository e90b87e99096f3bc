//! What every request passes before its service sees it.
//!
//! Owns the bound on targets, which hyper does not know; the others are in its settings. Invariant: a target over
//! [`HTTP_TARGET_BYTES_MAX`] reaches no service.

use std::convert::Infallible;
use std::future::Ready;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use futures_util::future::Either;
use hayrick_protocol::limits::HTTP_TARGET_BYTES_MAX;
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tower_service::Service;

use crate::Problem;
use crate::answering::{Answer, Answered, Answering};

/// A service behind its door, for one connection.
#[derive(Debug)]
pub(crate) struct Door<S> {
    service: TowerToHyperService<S>,
    served: AtomicBool,
    answering: Answering,
}

impl<S> Door<S> {
    pub(crate) fn new(service: S, answering: Answering) -> Self {
        Self { service: TowerToHyperService::new(service), served: AtomicBool::new(false), answering }
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
        let answer = if target_bytes(request.uri()) > HTTP_TARGET_BYTES_MAX {
            Either::Right(std::future::ready(Ok(target_too_long().response(request.headers()))))
        } else {
            Either::Left(self.service.call(request))
        };
        Answered::new(answer, &self.answering)
    }
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
