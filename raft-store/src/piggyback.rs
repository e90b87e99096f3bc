//! A request to a follower that only says what is committed waits a moment for the next entries, which say it too.
//!
//! openraft sends one whenever the committed index grows and no entry is there to carry it: under load after every
//! entry, and the next one has to wait for its answer. What is committed is told later by this, at most [`HOLD`] and a
//! tick of the timer, and sooner by any heartbeat, such as the round of a read-index; so linearizable reads lose
//! nothing by it. Owns only that pause. Invariant: the first request of a stream is never held, nor is one with
//! entries; and what is left out is said by the request that takes its place.

use futures_util::{Stream, StreamExt, stream};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Duration, Instant, timeout_at};

use crate::types::Types;

/// Many times what the next commit takes, when one follows the other; what is read at a follower waits for no less than a
/// round of its own.
const HOLD: Duration = Duration::from_millis(5);

type Request = AppendEntriesRequest<Types>;

/// The same requests, without those whose word the next one brings in time.
pub(crate) fn piggyback<S>(requests: S) -> impl Stream<Item = Request> + Send + Unpin + 'static
where
    S: Stream<Item = Request> + Send + Unpin + 'static,
{
    // Fused, as it is asked again after its end when that comes while a request is held.
    Box::pin(stream::unfold((requests.fuse(), true), async |(mut requests, first)| {
        let mut request = requests.next().await?;
        let until = Instant::now() + HOLD;
        while !first && request.entries.is_empty() {
            match timeout_at(until, requests.next()).await {
                Ok(Some(next)) => request = next,
                Ok(None) | Err(_) => break,
            }
        }
        Some((request, (requests, false)))
    }))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use openraft::EntryPayload;
    use tokio::sync::mpsc;

    use super::*;
    use crate::types::{Entry, LeaderId, LogId, Vote};

    fn log_id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 1, node_id: 1 }, index)
    }

    /// What says that all up to `committed` is, with the entries behind that up to `last`.
    fn request(committed: u64, last: u64) -> Request {
        let entries =
            (committed + 1..=last).map(log_id).map(|log_id| Entry { log_id, payload: EntryPayload::Blank });
        Request {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(log_id(committed)),
            entries: entries.collect(),
            leader_commit: Some(log_id(committed)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_without_entries_goes_with_the_next_entries() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver =
            stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        let mut sent = pin!(piggyback(Box::pin(receiver)));
        let send = |request| sender.send(request).expect("it is received");
        let told = |request: Option<Request>| {
            let request = request.expect("the stream goes on");
            (request.leader_commit.map(|id| id.index), request.entries.len())
        };

        send(request(4, 4));
        assert_eq!(told(sent.next().await), (Some(4), 0), "the first goes at once, as a heartbeat must");
        send(request(5, 5));
        send(request(6, 6));
        assert!(sent.next().now_or_never().is_none(), "it is held");
        send(request(6, 9));
        assert_eq!(told(sent.next().await), (Some(6), 3));
        send(request(9, 9));
        let since = Instant::now();
        assert_eq!(told(sent.next().await), (Some(9), 0), "nothing came in time");
        assert!(since.elapsed() <= 2 * HOLD);
        send(request(10, 10));
        drop(sender);
        assert_eq!(told(sent.next().await), (Some(10), 0), "what was held is sent before the end");
        assert!(sent.next().await.is_none());
    }
}
