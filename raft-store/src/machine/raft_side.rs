//! The machine as openraft sees it: entries in a stream, gathered into batches, and snapshots.
//!
//! Invariant: entries are handed on in their order; and a snapshot that is built, after which the log may go, holds nothing that is
//! not durable here.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder, Snapshot};

use super::{Applicable, Machine, RaftSnapshot};
use crate::snapshot::SnapshotData;
use crate::types::{Entry, LogId, SnapshotMeta, StoredMembership, Types, entry_bytes};
use crate::view::View;

/// Entries applied at once.
const APPLY_ENTRIES_MAX: usize = 256;
/// Bytes of entries applied at once; a larger entry is applied alone.
const APPLY_BYTES_MAX: usize = 4 << 20;

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.applied_now();
        Ok((applied.last, applied.membership))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut ready = entries.ready_chunks(APPLY_ENTRIES_MAX);
        while let Some(chunk) = ready.next().await {
            let mut batch = Batch::default();
            for entry in chunk {
                let entry = entry?;
                if !batch.has_room(&entry.0) {
                    self.take(std::mem::take(&mut batch)).await?;
                }
                batch.push(entry);
            }
            self.take(batch).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let (shared, meta) = (Arc::clone(&self.shared), meta.clone());
        let installed = tokio::task::spawn_blocking(move || shared.install(&meta, snapshot));
        installed.await.map_err(io::Error::other)??;
        metrics::SNAPSHOTS_INSTALLED.increment();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        let view = self.view().await?;
        Ok(view.applied.last.is_some().then(|| snapshot_of(view)))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = SnapshotData;

    /// What is durable afterwards is at least what the snapshot holds: the log up to there may go.
    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let view = self.view().await?;
        if !planted::is(Bug::LogPurgedEarly) {
            self.checkpoint().await?;
        }
        metrics::SNAPSHOTS_BUILT.increment();
        Ok(snapshot_of(view))
    }
}

/// Entries to be applied at once.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Applicable>,
    pub(super) bytes: usize,
}

impl Batch {
    /// Whether the entry may come beside those that are there.
    fn has_room(&self, entry: &Entry) -> bool {
        let bytes = self.bytes + entry_bytes(entry);
        self.entries.is_empty() || (self.entries.len() < APPLY_ENTRIES_MAX && bytes <= APPLY_BYTES_MAX)
    }

    fn push(&mut self, entry: Applicable) {
        self.bytes += entry_bytes(&entry.0);
        self.entries.push(entry);
    }
}

fn snapshot_of(view: Arc<View>) -> RaftSnapshot {
    let meta =
        SnapshotMeta { last_log_id: view.applied.last, last_membership: view.applied.membership.clone() };
    Snapshot { meta, snapshot: SnapshotData::View(view) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::EntryPayload;

    use super::*;
    use crate::types::{Commands, LeaderId};

    #[test]
    fn a_batch_is_bounded_in_bytes_and_takes_a_larger_entry_alone() {
        let entry = |bytes| {
            let payload = EntryPayload::Normal(Commands(Bytes::from(vec![0; bytes])));
            Entry { log_id: LogId::new(LeaderId { term: 1, node_id: 1 }, 1), payload }
        };
        let mut batch = Batch::default();
        assert!(batch.has_room(&entry(2 * APPLY_BYTES_MAX)), "alone");
        batch.push((entry(APPLY_BYTES_MAX / 2), None));
        assert!(!batch.has_room(&entry(APPLY_BYTES_MAX / 2)), "with its head it is too much");
        (1..APPLY_ENTRIES_MAX).for_each(|_| batch.push((entry(1), None)));
        assert!(!batch.has_room(&entry(1)), "too many");
    }
}
