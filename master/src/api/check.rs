//! `GET /-/check`, `?deep`: the volumes against the index, as a stream of JSON values, one a line.
//!
//! Owns the stream: a line of progress every half second, so that nobody takes the check for dead, and the report last. The
//! status is 200 once the check has begun; what breaks it off later is its last line. Leaves the check to `crate::check`.
//! Invariants: a check ends with its client, whether that goes or takes nothing any more; one at a time.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use hayrick_protocol::answers::check::{Line, Report};
use hayrick_web::Problem;
use http::{HeaderValue, StatusCode, header};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, timeout};

use super::problem::not_now;
use super::system::json_text;
use super::{Head, switch};
use crate::check::{self, Counters};
use crate::gateway::read_index::{NotLinearizable, linearize};
use crate::master::Master;

/// Between two lines.
const LINE_EVERY: Duration = Duration::from_millis(500);
/// A client that takes no line for so long is gone.
const LINE_PATIENCE: Duration = Duration::from_secs(30);
/// Lines that wait for the client; what does not fit is left out.
const LINES_WAITING_MAX: usize = 4;

pub(super) async fn answer(master: &Arc<Master>, request: &Head) -> Result<Response, Problem> {
    let deep = switch(request, "deep")?;
    linearize(master, super::deadline(master)).await.map_err(|NotLinearizable(text)| not_now(text))?;
    let place = Arc::clone(&master.gateway.checks).try_acquire_owned();
    let place = place.map_err(|_| {
        let text = "a check is being made by this master already; wait for its end, or ask another master";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, text)
    })?;
    let (to, lines) = mpsc::channel(LINES_WAITING_MAX);
    let master = Arc::clone(master);
    tokio::spawn(async move {
        let counters = Counters::default();
        let check = async {
            let report = check::run(&master, deep, &counters).await;
            // Before the report is sent: whoever has it may ask for the next one.
            drop(place);
            report
        };
        tell(check, &counters, to).await;
    });
    let mut response = Response::new(Body::from_stream(stream::unfold(lines, async |mut lines| {
        let line: Bytes = lines.recv().await?;
        Some((io::Result::Ok(line), lines))
    })));
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Tells how far the check is until it ends, and then what it found; ends it where nobody takes that.
async fn tell(
    check: impl Future<Output = Result<Report, String>>,
    counters: &Counters,
    to: mpsc::Sender<Bytes>,
) {
    let mut check = std::pin::pin!(check);
    let mut ticks = interval(LINE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut taken = Instant::now();
    let last = loop {
        tokio::select! {
            report = &mut check => break report,
            () = to.closed() => return,
            _ = ticks.tick() => match to.try_send(line(&Line::Progress(counters.progress()))) {
                Ok(()) => taken = Instant::now(),
                Err(TrySendError::Full(_)) if taken.elapsed() < LINE_PATIENCE => {}
                Err(_) => {
                    tracing::warn!("a check was given up: its client took no line within {LINE_PATIENCE:?}");
                    return;
                }
            },
        }
    };
    let last = match last {
        Ok(report) => Line::Report(Box::new(report)),
        Err(why) => Line::Error(format!("{why}; check again")),
    };
    // A client that is gone does not want to know.
    let _ = timeout(LINE_PATIENCE, to.send(line(&last))).await;
}

fn line(line: &Line) -> Bytes {
    let mut text = json_text(line);
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    type Told = (mpsc::Receiver<Bytes>, tokio::task::JoinHandle<()>);

    fn telling(check: impl Future<Output = Result<Report, String>> + Send + 'static) -> Told {
        let (to, lines) = mpsc::channel(LINES_WAITING_MAX);
        let telling = tokio::spawn(async move {
            let counters = Counters::default();
            tell(check, &counters, to).await;
        });
        (lines, telling)
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_says_how_far_it_is_and_what_it_found_last() {
        for (outcome, wanted) in [(Ok(Report::default()), "report"), (Err("why".to_owned()), "error")] {
            let (mut lines, told) = telling(async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                outcome
            });
            let mut kinds = Vec::new();
            while let Some(line) = lines.recv().await {
                assert_eq!(line.last(), Some(&b'\n'));
                let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
                kinds.extend(value.as_object().expect("an object").keys().cloned());
            }
            told.await.expect("it ended");
            assert_eq!(kinds.pop().as_deref(), Some(wanted));
            assert!(kinds.len() >= 4 && kinds.iter().all(|kind| kind == "progress"), "{kinds:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_ends_with_its_client_or_with_that_ones_patience() {
        let (lines, told) = telling(pending());
        drop(lines);
        timeout(Duration::from_secs(1), told).await.expect("at once").expect("it ended");
        let (lines, told) = telling(pending());
        let began = Instant::now();
        told.await.expect("it ended");
        assert!((LINE_PATIENCE..2 * LINE_PATIENCE).contains(&began.elapsed()), "after {:?}", began.elapsed());
        drop(lines);
    }
}
