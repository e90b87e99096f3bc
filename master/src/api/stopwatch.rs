//! Where the time of a request goes: for the histograms, and for the log when it is slow.
//!
//! The order of a request's steps is in `put`, `get` and the others; each says when a step is over. The stopwatch is the
//! task's, so that no step has to pass it on; what runs on another task has none, and says it to nobody. Owns which
//! histogram a step is of, what is slow, and how many lines a second are written of that. Invariant: nothing is ever decided
//! by it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use hayrick_metrics::{self as metrics, Histogram};
use http::{Method, StatusCode};
use tokio::time::{Duration, Instant};

use super::Head;
use super::routes::Does;

/// A request that takes longer is worth a line. Its body does not count, as that is up to the client.
const SLOW: Duration = Duration::from_secs(1);
/// Lines about slow requests in a second: when all are slow, a few tell why.
const LINES_PER_SECOND: u64 = 10;

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
    pub(super) fn tell(&self, does: Option<Does>, request: &Head, status: StatusCode) {
        if let Some(histogram) = does.and_then(|does| of_request(does, request.method())) {
            histogram.observe(self.own());
            for (step, time) in &self.steps {
                if let Some(histogram) = of_step(*step) {
                    histogram.observe(*time);
                }
            }
        }
        let is_slow =
            self.own() >= SLOW && does.is_some_and(|does| of_request(does, request.method()).is_some());
        let (method, uri, status) = (request.method(), request.uri(), status.as_u16());
        let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        if is_slow && may_tell() {
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
fn of_request(does: Does, method: &Method) -> Option<&'static Histogram> {
    Some(match does {
        Does::Put => &metrics::PUT_SECONDS,
        Does::Read if *method == Method::HEAD => &metrics::HEAD_SECONDS,
        Does::Read => &metrics::GET_SECONDS,
        Does::Delete | Does::DeleteList => &metrics::DELETE_SECONDS,
        Does::List | Does::ListDeleted => &metrics::LIST_SECONDS,
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

/// Whether another line may be written in this second.
fn may_tell() -> bool {
    /// The second in its upper half, lines in it in the lower.
    static TOLD: AtomicU64 = AtomicU64::new(0);
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let second = BEGAN.get_or_init(Instant::now).elapsed().as_secs() << 32;
    let told = TOLD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |told| {
        let lines = if told & !0xffff_ffff == second { told & 0xffff_ffff } else { 0 };
        (lines < LINES_PER_SECOND).then_some(second | (lines + 1))
    });
    told.is_ok()
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

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

    #[tokio::test(start_paused = true)]
    async fn of_many_slow_requests_some_are_told_each_second() {
        advance(Duration::from_secs(1)).await;
        let told = |tries: u64| (0..tries).filter(|_| may_tell()).count() as u64;
        assert_eq!(told(100), LINES_PER_SECOND);
        advance(Duration::from_secs(1)).await;
        assert_eq!(told(3), 3);
    }
}
