//! Dropping needles: a tombstone for each, durable before the answer.
//!
//! Owns which ids need one. That the bytes go is compaction's, later. Invariant: a drop that was acknowledged holds
//! across restarts, also against an append of that needle which was on its way when the drop came.

use std::future::Future;
use std::sync::Arc;

use hayrick_disk::Record;
use hayrick_metrics as metrics;
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::messages::volume::AppendError;
use hayrick_protocol::needle;
use tokio::sync::oneshot;

use crate::append::{Flights, closed, submit_error};
use crate::index::Known;
use crate::store::Store;

/// Drops that were submitted, each to be answered once it is durable.
pub(crate) type Dropping = Vec<oneshot::Receiver<Result<(), AppendError>>>;

/// Waits until they are.
pub(crate) async fn durable(dropping: Dropping) -> Result<(), AppendError> {
    for outcome in dropping {
        outcome.await.unwrap_or_else(|_| Err(closed()))?;
    }
    Ok(())
}

impl Store {
    /// Drops needles; one that is not there counts as dropped. It is submitted before this returns, and durable when the
    /// future is done.
    pub fn delete(&self, ids: &[NeedleId]) -> impl Future<Output = Result<(), AppendError>> + Send + use<> {
        let submitted = self.submit_tombstones(ids);
        async move { durable(submitted?).await }
    }

    /// Submits what makes these needles dropped ones.
    pub(crate) fn submit_tombstones(&self, ids: &[NeedleId]) -> Result<Dropping, AppendError> {
        // Under this lock a needle that is on its way was submitted already, so its tombstone comes behind it.
        let mut flights = self.shared.in_flight.lock();
        // A needle that nothing is known of may lie in a stretch that could not be read, and be found there some day.
        let some_is_hidden = self.shared.damage.has_stretches();
        let may_be_here = |id: &NeedleId| {
            // No needle has the id 0, and a tombstone of it would be none.
            if *id == NeedleId(0) {
                return false;
            }
            flights.holds(*id)
                || match self.shared.index.read().get(*id) {
                    Some(Known::Live(_)) => true,
                    Some(Known::Dropped) => false,
                    None => some_is_hidden,
                }
        };
        let ids = ids.iter().copied().filter(may_be_here).collect();
        self.submit_drops(&mut flights, ids)
    }

    /// Submits a tombstone for each of these needles.
    pub(crate) fn submit_drops(
        &self,
        flights: &mut Flights,
        ids: Vec<NeedleId>,
    ) -> Result<Dropping, AppendError> {
        if let Some(cause) = self.stream.poisoned() {
            return Err(AppendError::ReadOnly(cause.to_string()));
        }
        // The needle itself names its placement; the tombstone need not.
        let tombstone = |id: NeedleId| (Record::from(needle::tombstone(id, PlacementId(0))), id);
        let tombstones: Vec<_> = ids.into_iter().map(tombstone).collect();
        let mut outcomes = Vec::new();
        for part in self.parts(tombstones, |(record, _)| record.padded_len()) {
            let (records, ids): (Vec<_>, Vec<_>) = part.into_iter().unzip();
            let (sender, outcome) = oneshot::channel();
            let shared = Arc::clone(&self.shared);
            let of_part = ids.clone();
            let done = move |result: Result<Vec<_>, _>| {
                let result = shared.in_reach(result);
                // Of what failed in between nobody knows whether it is on the disk: it stays on its way, and is not shown.
                if !matches!(result, Err(AppendError::Failed(_))) {
                    let mut flights = shared.in_flight.lock();
                    ids.iter().for_each(|id| flights.drop_ends(*id));
                }
                metrics::TOMBSTONES.add(if result.is_ok() { ids.len() as u64 } else { 0 });
                for id in ids.iter().filter(|_| result.is_ok()) {
                    shared.damage.forget(*id);
                }
                // Who asked may have gone.
                let _ = sender.send(result);
            };
            // A full volume must still be able to drop: that is what makes room.
            self.stream.submit_from_reserve(records, done).map_err(|error| submit_error(&error))?;
            // The callback waits for the lock that is held here, so it cannot have come before.
            of_part.iter().for_each(|id| flights.drop_begins(*id));
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }
}
