//! The first step of a linearizable read: learn an index that was committed after the read arrived, and wait
//! until this master has applied it.
//!
//! Owns the rounds. One question to the leader serves all reads that gathered while the last one was in flight.
//! Invariant: a read waits for a round that started after it arrived.

use std::sync::Arc;

use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::gather::{Gather, Pushed};
use crate::leader;
use crate::master::Master;

/// Reads that may wait for a round.
const WAITING_MAX: usize = 64 * 1024;
/// What one question may take.
const ATTEMPT: Duration = Duration::from_millis(1000);
/// Pause before the leader is asked again.
const RETRY: Duration = Duration::from_millis(20);

/// The reads that wait for an index.
pub(crate) struct Rounds {
    waiting: Gather<oneshot::Sender<u64>>,
}

/// There was no index until the deadline, or it was not applied here by then; a sentence for the client.
#[derive(Debug)]
pub(crate) struct NotLinearizable(pub(crate) String);

impl Rounds {
    pub(crate) fn new() -> Self {
        Self { waiting: Gather::new(WAITING_MAX, 1) }
    }
}

/// Returns once this master has applied everything that was acknowledged before the call.
pub(crate) async fn linearize(master: &Arc<Master>, deadline: Instant) -> Result<(), NotLinearizable> {
    if planted::is(Bug::FollowerReadsOwnState) {
        return Ok(());
    }
    if leader::is_out_of_reach(master) {
        return Err(NotLinearizable(leader::why_none(master)));
    }
    let (done, answer) = oneshot::channel();
    match master.gateway.reads.waiting.push(done) {
        Ok(Pushed::Waits) => {}
        Ok(Pushed::StartFlight) => drop(tokio::spawn(flight(Arc::clone(master)))),
        Err(_) => return Err(NotLinearizable("too many reads wait for the leader; try again".into())),
    }
    let Ok(Ok(index)) = timeout_at(deadline, answer).await else {
        return Err(NotLinearizable(leader::why_none(master)));
    };
    master.node.wait_applied(index, deadline).await.map_err(|_| {
        NotLinearizable(format!(
            "master {} lags behind: it has not applied index {index} yet",
            master.options.id
        ))
    })
}

/// Asks the leader until no read waits.
async fn flight(master: Arc<Master>) {
    let queue = &master.gateway.reads.waiting;
    let _flight = queue.flight();
    while let Some(mut waiting) = queue.take(|_| true) {
        waiting.retain(|done| !done.is_closed());
        if waiting.is_empty() {
            continue;
        }
        match leader::read_index(&master, Instant::now() + ATTEMPT).await {
            Ok(index) => {
                metrics::READ_ROUNDS.increment();
                metrics::READS_CONFIRMED.add(waiting.len() as u64);
                waiting.into_iter().for_each(|done| {
                    // A reader that is gone does not want to know.
                    let _ = done.send(index);
                });
            }
            Err(_) => {
                queue.put_back(waiting);
                sleep(RETRY).await;
            }
        }
    }
}
