//! Whether bytes of a service's answer may be on their way to the socket.
//!
//! Owns what a connection's door, answers and socket tell each other, so that the socket can tell hyper's own answers
//! from a service's. Invariant: from the call of the service until the last byte of its answer has left hyper's
//! buffer, [`Answering::is_on`] is true.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response};
use hyper::body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::door::{REQUEST_ID, SERVER_KIND, ServerKind};

/// Shared by the parts of one connection, which all run on its task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answering(Arc<Stage>);

#[derive(Debug, Default)]
struct Stage {
    on: AtomicBool,
    /// hyper has all of the answer; some of it may be in its buffer.
    handed_over: AtomicBool,
}

impl Answering {
    pub(crate) fn begin(&self) {
        self.0.handed_over.store(false, Ordering::Relaxed);
        self.0.on.store(true, Ordering::Relaxed);
    }

    /// hyper's buffer is empty.
    pub(crate) fn flushed(&self) {
        if self.0.handed_over.load(Ordering::Relaxed) {
            self.0.on.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }
}

/// The body of an answer. hyper drops it once all of it is in its buffer, and flushes after that.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Body,
    answering: Answering,
}

impl Answer {
    pub(crate) fn new(response: Response<Body>, answering: &Answering) -> Response<Self> {
        response.map(|body| Self { body, answering: answering.clone() })
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.answering.0.handed_over.store(true, Ordering::Relaxed);
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// A service's future, whose answer carries who gives it and the request's id, and says when it is handed over.
    pub(crate) struct Answered<F> {
        #[pin]
        future: F,
        kind: ServerKind,
        request_id: Option<HeaderValue>,
        answering: Answering,
    }
}

impl<F> Answered<F> {
    pub(crate) fn new(
        future: F,
        kind: ServerKind,
        request_id: Option<HeaderValue>,
        answering: &Answering,
    ) -> Self {
        Self { future, kind, request_id, answering: answering.clone() }
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Answered<F> {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.future.poll(cx));
        response.headers_mut().insert(SERVER_KIND, HeaderValue::from_static(this.kind.name()));
        if let Some(id) = this.request_id.take() {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        Poll::Ready(Ok(Answer::new(response, this.answering)))
    }
}
