//! Steps 2 and 3 of the write: the needle goes to every member, in parallel, and all must say it is durable.
//!
//! Owns one queue per volume, so that one request carries the needles which gathered while the last was in
//! flight. Leaves to `api/put` what to do about a member that failed. Invariant: `everywhere` says yes only when
//! every member acknowledged this needle with this checksum.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::limits::{APPEND_BATCH_BYTES_MAX, APPEND_BATCH_NEEDLES_MAX};
use hayrick_protocol::messages::volume::{Append, AppendError, Appended};
use hayrick_protocol::{NeedleId, VolumeId};
use hayrick_rpc::CallError;
use parking_lot::RwLock;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::bodies::Holding;
use super::gather::{Gather, Pushed};
use crate::master::Master;

/// Needles that may wait for one volume: more than any request budget lets in at once.
const WAITING_MAX: usize = 16 * 1024;
/// Append requests under way to one volume: the volume's group commit joins them anyway, and with two the wire
/// is never idle while it syncs.
const FLIGHTS_MAX: usize = 2;
/// What one append may take before the gateway reports the volume: many times a slow disk's sync.
const PATIENCE: Duration = Duration::from_millis(1500);
/// What is said of a volume from which nothing came by then, whoever gave up first.
const LATE: &str = "it did not answer in time";
/// Bytes a millisecond that a healthy volume takes at the very least: what a needle and those ahead of it in the queue
/// need at this rate is added to the patience, so that a volume with much to do is not taken for a dead one.
const BYTES_PER_MS_MIN: u64 = 2 * 1024;

/// The queues to all volumes.
pub(crate) struct Appends {
    lanes: RwLock<HashMap<VolumeId, Arc<Lane>>>,
}

/// The queue to one volume.
struct Lane {
    queue: Gather<Waiting>,
    /// Bytes of the needles that wait or are on their way.
    bytes: Arc<AtomicU64>,
}

/// One needle's bytes in its lane, for as long as it is there.
struct InLane {
    bytes: u64,
    lane: Arc<AtomicU64>,
}

/// An encoded needle, and the memory that it counts for.
pub(crate) struct Parts {
    /// Its header, and what follows.
    pub(crate) bytes: [Bytes; 2],
    /// Held as long as the bytes wait anywhere.
    pub(crate) share: Arc<Holding>,
}

struct Waiting {
    parts: [Bytes; 2],
    /// The needle's bytes count until they are sent, though its client may be gone.
    _share: Arc<Holding>,
    _in_lane: InLane,
    deadline: Instant,
    done: oneshot::Sender<Result<Appended, AppendFailure>>,
}

/// Why a needle is not known to be durable on one volume.
#[derive(Debug, Clone, Error)]
pub(crate) enum AppendFailure {
    /// No answer from it.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// It answered no.
    #[error(transparent)]
    Refused(#[from] AppendError),
}

impl Appends {
    pub(crate) fn new() -> Self {
        Self { lanes: RwLock::new(HashMap::new()) }
    }

    fn lane(&self, volume: VolumeId) -> Arc<Lane> {
        if let Some(lane) = self.lanes.read().get(&volume) {
            return Arc::clone(lane);
        }
        Arc::clone(self.lanes.write().entry(volume).or_insert_with(|| Arc::new(Lane::new())))
    }
}

impl Lane {
    fn new() -> Self {
        Self { queue: Gather::new(WAITING_MAX, FLIGHTS_MAX), bytes: Arc::default() }
    }

    /// A needle joins the lane: what it holds there, and how long it may take with what is ahead of it.
    fn join(&self, bytes: u64) -> (InLane, Duration) {
        let ahead = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let patience = PATIENCE + Duration::from_millis((ahead + bytes) / BYTES_PER_MS_MIN);
        (InLane { bytes, lane: Arc::clone(&self.bytes) }, patience)
    }
}

impl Drop for InLane {
    fn drop(&mut self) {
        self.lane.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Appends the needle, encoded as `parts` with checksum `crc`, to every one of `members`. The members that did
/// not acknowledge it, with the reason; none: it is durable everywhere.
pub(crate) async fn everywhere(
    master: &Arc<Master>,
    members: &[VolumeId],
    needle: NeedleId,
    parts: &Parts,
    crc: u32,
    deadline: Instant,
) -> Vec<(VolumeId, AppendFailure)> {
    let appends = members.iter().map(|volume| async {
        let failure = match append(master, *volume, parts, deadline).await {
            Ok(acked) if acked == (Appended { needle, crc }) => return None,
            Ok(acked) => {
                AppendFailure::Unreachable(format!("it acknowledged {acked:?} instead of needle {needle}"))
            }
            Err(failure) => failure,
        };
        Some((*volume, failure))
    });
    let failures =
        if planted::is(Bug::AckTwoOfThree) { all_but_one(appends).await } else { join_all(appends).await };
    failures.into_iter().flatten().collect()
}

/// What all but the slowest came to; of that one, what was not sent yet is not sent any more.
async fn all_but_one<T>(appends: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let appends: FuturesUnordered<_> = appends.collect();
    let waited_for = appends.len().saturating_sub(1).max(1);
    appends.take(waited_for).collect().await
}

async fn append(
    master: &Arc<Master>,
    volume: VolumeId,
    parts: &Parts,
    deadline: Instant,
) -> Result<Appended, AppendFailure> {
    let (done, answer) = oneshot::channel();
    let lane = master.gateway.appends.lane(volume);
    let (_in_lane, patience) = lane.join(parts.bytes.iter().map(|part| part.len() as u64).sum());
    let deadline = deadline.min(Instant::now() + patience);
    let (parts, _share) = (parts.bytes.clone(), Arc::clone(&parts.share));
    match lane.queue.push(Waiting { parts, _share, _in_lane, deadline, done }) {
        Ok(Pushed::Waits) => {}
        Ok(Pushed::StartFlight) => drop(tokio::spawn(flight(Arc::clone(master), volume, lane))),
        Err(_) => return Err(AppendError::Busy.into()),
    }
    match tokio::time::timeout_at(deadline, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(AppendFailure::Unreachable("this master is stopping".into())),
        Err(_) => Err(AppendFailure::Unreachable(LATE.to_owned())),
    }
}

/// For whoever waits for the object: that a volume may have taken the needle all the same is nothing to them, as no key names it.
fn in_words(error: CallError) -> String {
    match error {
        CallError::Deadline { .. } => LATE.to_owned(),
        CallError::Lost { why } => format!("the connection broke: {why}"),
        other => other.to_string(),
    }
}

/// Sends what waits for `volume` until nothing does.
async fn flight(master: Arc<Master>, volume: VolumeId, lane: Arc<Lane>) {
    let _flight = lane.queue.flight();
    lane.queue.let_others_gather().await;
    loop {
        let (mut bytes, mut needles) = (0, 0);
        let batch = lane.queue.take(|waiting| {
            bytes += waiting.parts.iter().map(Bytes::len).sum::<usize>();
            needles += 1;
            bytes <= APPEND_BATCH_BYTES_MAX && needles <= APPEND_BATCH_NEEDLES_MAX
        });
        let Some(mut batch) = batch else { return };
        batch.retain(|waiting| !waiting.done.is_closed());
        if !batch.is_empty() {
            send(&master, volume, batch).await;
        }
    }
}

async fn send(master: &Master, volume: VolumeId, batch: Vec<Waiting>) {
    let Some(deadline) = batch.iter().map(|waiting| waiting.deadline).max() else { return };
    let needles = u32::try_from(batch.len()).expect("batches are bounded");
    let body = batch.iter().flat_map(|waiting| waiting.parts.clone()).collect();
    let answer = match master.peers.volume(volume) {
        None => Err(AppendFailure::Unreachable("its address is not known".into())),
        Some(client) => match client.call(&Append { needles }, body, deadline).await {
            Ok((reply, _)) if reply.0.len() == batch.len() => Ok(reply.0),
            Ok(_) => Err(AppendFailure::Unreachable("its answer does not fit the request".into())),
            Err(error) => Err(AppendFailure::Unreachable(in_words(error))),
        },
    };
    // A receiver that is gone stopped waiting; its needle is an orphan.
    match answer {
        Ok(results) => {
            for (waiting, result) in batch.into_iter().zip(results) {
                let _ = waiting.done.send(result.map_err(AppendFailure::Refused));
            }
        }
        Err(failure) => {
            for waiting in batch {
                let _ = waiting.done.send(Err(failure.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::bodies::Bodies;

    #[tokio::test(start_paused = true)]
    async fn a_needle_that_waits_for_a_volume_counts_though_its_client_is_gone() {
        let bodies = Bodies::new(8 << 20, PATIENCE);
        let share = Arc::new(bodies.whole(7 << 20).await.expect("nobody else is there"));
        let parts = Parts { bytes: [Bytes::new(), Bytes::from(vec![0; 1024])], share };
        let (done, answer) = oneshot::channel();
        let lane = Lane::new();
        let waiting = Waiting {
            parts: parts.bytes.clone(),
            _share: Arc::clone(&parts.share),
            _in_lane: lane.join(1024).0,
            deadline: Instant::now(),
            done,
        };
        assert!(matches!(lane.queue.push(waiting), Ok(Pushed::StartFlight)));
        drop((parts, answer));
        assert!(bodies.whole(1 << 20).await.is_err(), "the bytes are still in memory");
        drop(lane.queue.take(|_| true));
        assert!(bodies.whole(1 << 20).await.is_ok());
    }

    #[test]
    fn a_needle_behind_many_bytes_is_given_the_time_they_take() {
        let lane = Lane::new();
        let (large, _) = lane.join(64 << 20);
        let (small, patience) = lane.join(1024);
        assert!(patience > Duration::from_secs(32), "64 MiB at 2 MiB a second are ahead of it: {patience:?}");
        drop((large, small));
        let (_, patience) = lane.join(1024);
        assert_eq!(patience, PATIENCE, "nothing is ahead of it any more");
    }
}
