//! The volume port from the first moment: before the volume serves it says that it is alive, and that it is not ready.
//!
//! A start may take long, for reading the data directory after a crash and for waiting on a master, and who watches over
//! processes must not take it for dead. Leaves all else to [`VolumePort`]. Invariant: nothing of the store is served before
//! the volume is registered.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::body::Body;
use futures_util::future::Either;
use hayrick_web::Problem;
use http::{Request, Response, StatusCode};
use tower_service::Service;

use super::{Answered, VolumePort, health};

/// Answers the volume port from the first moment; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Starting {
    started: Arc<OnceLock<VolumePort>>,
}

impl Starting {
    /// From now on the volume serves.
    pub(crate) fn serve(&self, port: VolumePort) {
        let is_first = self.started.set(port).is_ok();
        assert!(is_first, "a volume starts once");
    }
}

impl<B> Service<Request<B>> for Starting {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answered;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answered {
        if let Some(port) = self.started.get() {
            return port.answer(request);
        }
        let answer = if request.uri().path() == health::PATH {
            health::get()
        } else {
            let text = "this volume is starting: it reads its data directory, then a master has to know it; what it waits for \
                        is in its log";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).response(&request)
        };
        Either::Left(ready(Ok(answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_starts_is_alive_and_not_ready() {
        let mut port = Starting::default();
        for (path, status, words) in
            [("/-/health", 200, "ok"), ("/-/ready", 503, "starting"), ("/k", 503, "starting")]
        {
            let request = Request::builder().uri(path).body(()).expect("a request");
            let Ok(answer) = port.call(request).await;
            assert_eq!(answer.status().as_u16(), status, "{path}");
            let text = axum::body::to_bytes(answer.into_body(), 1024).await.expect("it is in memory");
            assert!(String::from_utf8_lossy(&text).contains(words), "{path}");
        }
    }
}
