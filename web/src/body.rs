//! A request body that may not fall silent.
//!
//! Owns the idle timeout; how long a body may be is the caller's to bound. Invariant: whoever waits for bytes learns
//! within the timeout that none come.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hayrick_protocol::limits::HTTP_BODY_IDLE_TIMEOUT_MS;
use hyper::body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Duration, Instant, Sleep, sleep};

/// Why a body ended before its end.
#[derive(Debug, Error)]
pub enum BodyError {
    /// No byte for as long as [`HTTP_BODY_IDLE_TIMEOUT_MS`]: 408.
    #[error("no byte of the body arrived for {idle_ms} ms")]
    Idle {
        /// How long was waited.
        idle_ms: u128,
    },
    /// The connection broke, the body is shorter than announced, or its chunks are malformed: 400.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

/// A body that fails once no byte of it arrives for the idle timeout. The time runs while somebody waits for bytes.
#[derive(Debug)]
pub struct BodyIdle<B> {
    body: B,
    idle: Duration,
    /// Made when a wait begins, kept for the next.
    silence: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<B> BodyIdle<B> {
    /// Wraps `body` with the timeout that all our ports have.
    pub fn new(body: B) -> Self {
        Self::with_timeout(body, Duration::from_millis(HTTP_BODY_IDLE_TIMEOUT_MS))
    }

    /// Wraps `body` with another timeout.
    pub fn with_timeout(body: B, idle: Duration) -> Self {
        Self { body, idle, silence: None, waiting: false }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(idle)));
        if !self.waiting {
            self.waiting = true;
            silence.as_mut().reset(Instant::now() + idle);
        }
        silence.as_mut().poll(cx)
    }
}

impl<B> Body for BodyIdle<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyError::Broken(error.into()))));
        }
        ready!(self.poll_silence(cx));
        Poll::Ready(Some(Err(BodyError::Idle { idle_ms: self.idle.as_millis() })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::{BodyError, BodyIdle, Bytes, Duration, Frame};
    use futures_util::StreamExt;
    use futures_util::stream::{iter, once, pending};
    use http_body_util::{BodyExt, StreamBody};
    use std::io;

    fn data(bytes: &'static [u8]) -> Result<Frame<Bytes>, io::Error> {
        Ok(Frame::data(Bytes::from_static(bytes)))
    }

    #[tokio::test]
    async fn a_body_that_falls_silent_fails_after_what_came() {
        let stream = iter([data(b"one"), data(b"two")]).chain(pending());
        let mut body = BodyIdle::with_timeout(StreamBody::new(stream), Duration::from_millis(20));
        for expected in [b"one", b"two"] {
            let frame = body.frame().await.expect("it goes on").expect("it came");
            assert_eq!(frame.into_data().expect("data"), expected.as_slice());
        }
        let error = body.frame().await.expect("an error").expect_err("silence");
        assert!(matches!(error, BodyError::Idle { idle_ms: 20 }), "{error}");
    }

    #[tokio::test]
    async fn a_body_that_breaks_is_told_from_one_that_is_silent() {
        let stream = once(async { Err::<Frame<Bytes>, _>(io::Error::other("reset")) });
        let mut body = BodyIdle::new(StreamBody::new(Box::pin(stream)));
        let error = body.frame().await.expect("an error").expect_err("it broke");
        assert!(matches!(error, BodyError::Broken(_)), "{error}");
    }
}
