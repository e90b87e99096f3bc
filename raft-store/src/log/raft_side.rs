//! The log as openraft sees it: what it reads, and what it has written.
//!
//! Invariant: a callback, and the return of a vote or truncation, say only what is durable; a purge may be late, and never early.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use hayrick_disk::Record;
use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use super::{Log, QUEUE_KIB_MAX, unreadable};
use crate::log_record;
use crate::types::{Entry, LogId, Types, Vote, entry_bytes};

/// Bytes of entries that one replication request carries; a larger entry travels alone.
const REPLICATE_BYTES_MAX: usize = 4 << 20;
/// Bytes of entries that are read at once to be applied.
const APPLY_BYTES_MAX: usize = 4 << 20;
/// Records that one submission carries.
const SUBMISSION_RECORDS_MAX: usize = 1024;

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(half_open(&range), usize::MAX).await
    }

    /// What apply reads, piece by piece: after a start it may be all of the log.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let pieces = stream::try_unfold((self.clone(), half_open(&range)), async |(log, range)| {
            let piece = log.read(range.clone(), APPLY_BYTES_MAX).await?;
            let Some(last) = piece.last() else { return Ok::<_, io::Error>(None) };
            let rest = last.log_id.index + 1..range.end;
            Ok(Some((stream::iter(piece.into_iter().map(Ok)), (log, rest))))
        });
        pieces.try_flatten().boxed()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.index.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, REPLICATE_BYTES_MAX).await
    }

    async fn get_key_log_ids(
        &mut self,
        range: std::ops::RangeInclusive<LogId>,
    ) -> Result<Vec<LogId>, io::Error> {
        let index = self.index.lock();
        // The last entry of each leader. (openraft's documentation says the first, its code and its suite the last.)
        let mut keys: Vec<LogId> = Vec::new();
        for at in range.start().index..=range.end().index {
            let id =
                index.log_id(at).ok_or_else(|| unreadable(range.start(), "the range is not in the log"))?;
            match keys.last_mut() {
                Some(last) if last.leader_id == id.leader_id => *last = id,
                _ => keys.push(id),
            }
        }
        Ok(keys)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let index = self.index.lock();
        Ok(LogState { last_purged_log_id: index.purged, last_log_id: index.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        if planted::is(Bug::VoteBeforeDurable) {
            let log = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ =
                    log.submit_and_wait(log_record::vote(&vote), move |index| index.vote = Some(vote)).await;
            });
            return Ok(());
        }
        self.submit_and_wait(log_record::vote(&vote), move |index| index.vote = Some(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.index.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.index.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = AppendBatch::default();
        let entries: Vec<Entry> = entries.into_iter().collect();
        metrics::LOG_ENTRIES.add(entries.len() as u64);
        for entry in entries {
            let bytes = entry_bytes(&entry);
            if !batch.is_empty()
                && (batch.bytes + bytes > self.submission_bytes_max
                    || batch.ids.len() >= SUBMISSION_RECORDS_MAX)
            {
                self.append_batch(std::mem::take(&mut batch), None).await?;
            }
            batch.push(entry, bytes);
        }
        self.append_batch(batch, Some(callback)).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.index.lock().truncate_after(last.map(|id| id.index));
        // openraft may install a snapshot next. Were that durable first, a power failure would leave entries of an older
        // leader behind it, and no such log is ever opened again.
        self.submit_and_wait(log_record::truncate(last.as_ref()), |_| ()).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.index.lock().purge(upto);
        let (done, durable) = oneshot::channel();
        self.submit(vec![log_record::purge(&upto).into()], None, move |index, result| {
            if result.is_ok() {
                index.purge_is_durable(upto);
            }
            let _ = done.send(result.is_ok());
        })?;
        let log = self.clone();
        tokio::spawn(async move {
            if durable.await == Ok(true) {
                // Files that it leaves, should it panic, are removed at the next purge or start.
                let _ = tokio::task::spawn_blocking(move || log.remove_obsolete_files()).await;
            }
        });
        Ok(())
    }
}

/// Entries on their way to the writer in one submission.
#[derive(Default)]
struct AppendBatch {
    entries: Vec<Entry>,
    ids: Vec<LogId>,
    bytes: usize,
}

impl AppendBatch {
    fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn push(&mut self, entry: Entry, bytes: usize) {
        self.ids.push(entry.log_id);
        self.bytes += bytes;
        self.entries.push(entry);
    }
}

impl Log {
    async fn append_batch(&self, batch: AppendBatch, callback: Option<IOFlushed<Types>>) -> io::Result<()> {
        let kib = u32::try_from(batch.bytes >> 10).unwrap_or(u32::MAX).clamp(1, QUEUE_KIB_MAX);
        let permit = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(io::Error::other)?;
        let mut records: Vec<Record> = Vec::with_capacity(batch.ids.len() + 1);
        {
            let mut index = self.index.lock();
            // An entry too large to share a submission goes alone; the next one brings what rides along.
            let shares = batch.bytes <= self.submission_bytes_max;
            if shares && index.committed != index.committed_written {
                index.committed_written = index.committed;
                records.push(log_record::committed(index.committed.as_ref()).into());
            }
            for entry in batch.entries {
                records.push(log_record::entry(&entry));
                index.push(entry)?;
            }
        }
        let ids = batch.ids;
        self.submit(records, Some(permit), move |index, result| {
            let result = result.map(|places| {
                let skipped = places.len() - ids.len();
                ids.iter().zip(&places[skipped..]).for_each(|(id, place)| index.place(id, *place));
                index.evict();
            });
            if let Some(callback) = callback {
                callback.io_completed(result);
            }
        })
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
