//! Where the time of a request goes: for the histograms, and for the log when it is slow.
//!
//! The order of a request's steps is in `put`, `get` and the others; each says when a step is over. The stopwatch is the
//! task's, so that no step has to pass it on; what runs on another task has none, and says it to nobody. Owns which
//! histogram a step is of, and what is slow. Invariant: nothing is ever decided
//! by it.

use std::cell::RefCell;

use hayrick_metrics::{self as metrics, Histogram};
use hayrick_web::{REQUEST_ID, Sparing};
use http::{Method, StatusCode};
use tokio::time::{Duration, Instant};

use super::Head;
use super::routes::OperationId;

/// A request that takes longer is worth a line. Its body does not count, as that is up to the client.
const SLOW: Duration = Duration::from_secs(1);
static SLOW_ONES: Sparing = Sparing::new(10);

/// A step of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its body comes in, and waits for memory.
    Body,
    /// A place for it is found, and a number.
    Placement,
    /// Volumes take it.
    Replication,
    /// Its command is applied.
    Commit,
    /// It is made sure that it sees all that was acknowledged.
    ReadIndex,
    /// A volume gives its first bytes.
    Fetch,
    /// What else there is.
    Rest,
}

/// Time by steps.
#[derive(Debug)]
pub(crate) struct Laps {
    last: Instant,
    steps: Vec<(Step, Duration)>,
}

tokio::task_local! {
    static LAPS: RefCell<Laps>;
}

/// The step is over, if this is a request's task.
pub(crate) fn lap(step: Step) {
    // Elsewhere nobody measures.
    let _ = LAPS.try_with(|laps| laps.borrow_mut().lap(step));
}

/// Does it with a stopwatch, and says where its time went.
pub(super) async fn timed<T>(work: impl Future<Output = T>) -> (T, Laps) {
    let laps = RefCell::new(Laps { last: Instant::now(), steps: Vec::with_capacity(6) });
    LAPS.scope(laps, async {
        let done = work.await;
        lap(Step::Rest);
        let empty = Laps { last: Instant::now(), steps: Vec::new() };
        (done, LAPS.with(|laps| laps.replace(empty)))
    })
    .await
}

impl Laps {
    fn lap(&mut self, step: Step) {
        let (now, before) = (Instant::now(), self.last);
        self.last = now;
        match self.steps.iter_mut().find(|(known, _)| *known == step) {
            Some((_, time)) => *time += now - before,
            None => self.steps.push((step, now - before)),
        }
    }

    /// All but the body.
    fn own(&self) -> Duration {
        self.steps.iter().filter(|(step, _)| *step != Step::Body).map(|(_, time)| *time).sum()
    }

    /// Notes it for the histograms, and writes what is to be said of it.
    pub(super) fn tell(&self, operation: Option<OperationId>, request: &Head, status: StatusCode) {
        if let Some(histogram) = operation.and_then(|operation| of_request(operation, request.method())) {
            histogram.observe(self.own());
            for (step, time) in &self.steps {
                if let Some(histogram) = of_step(*step) {
                    histogram.observe(*time);
                }
            }
        }
        let is_of_object = |operation| {
            operation == OperationId::Undelete || of_request(operation, request.method()).is_some()
        };
        let is_slow = self.own() >= SLOW && operation.is_some_and(is_of_object);
        let (method, uri, status) = (request.method(), request.uri(), status.as_u16());
        let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        if is_slow && SLOW_ONES.may_tell() {
            tracing::warn!(
                %method, %uri, status, request_id = id, ms = ms(self.own()), went = self.shown(),
                "a slow request"
            );
        } else {
            tracing::debug!(%method, %uri, status, request_id = id, ms = ms(self.own()), "a request");
        }
    }

    /// `replication 1203 ms, commit 4 ms`, the longest first.
    fn shown(&self) -> String {
        let mut steps = self.steps.clone();
        steps.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        let each = steps.iter().map(|(step, time)| format!("{} {} ms", step.name(), time.as_millis()));
        each.collect::<Vec<_>>().join(", ")
    }
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Placement => "placement",
            Self::Replication => "replication",
            Self::Commit => "commit",
            Self::ReadIndex => "read-index",
            Self::Fetch => "fetch",
            Self::Rest => "rest",
        }
    }
}

/// Of those that read and change objects.
fn of_request(operation: OperationId, method: &Method) -> Option<&'static Histogram> {
    Some(match operation {
        OperationId::Put => &metrics::PUT_SECONDS,
        OperationId::Read if *method == Method::HEAD => &metrics::HEAD_SECONDS,
        OperationId::Read => &metrics::GET_SECONDS,
        OperationId::Delete | OperationId::DeleteList => &metrics::DELETE_SECONDS,
        OperationId::List | OperationId::ListDeleted => &metrics::LIST_SECONDS,
        _ => return None,
    })
}

fn of_step(step: Step) -> Option<&'static Histogram> {
    Some(match step {
        Step::Body => &metrics::BODY_SECONDS,
        Step::Replication => &metrics::REPLICATION_SECONDS,
        Step::Commit => &metrics::COMMIT_SECONDS,
        Step::ReadIndex => &metrics::READ_INDEX_SECONDS,
        Step::Fetch => &metrics::FETCH_SECONDS,
        Step::Placement | Step::Rest => return None,
    })
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_of_each_step_is_summed_and_the_body_is_the_client_s() {
        let ((), laps) = timed(async {
            for _ in 0..2 {
                sleep(Duration::from_millis(300)).await;
                lap(Step::Replication);
            }
            sleep(Duration::from_millis(40)).await;
            lap(Step::Body);
            sleep(Duration::from_millis(5)).await;
        })
        .await;
        assert_eq!(laps.shown(), "replication 600 ms, body 40 ms, rest 5 ms");
        assert_eq!(laps.own(), Duration::from_millis(605));
        // Nobody measures here.
        lap(Step::Commit);
    }
}
