//! The Raft log on disk: openraft's log storage over one append stream.
//!
//! Appends, votes, truncations and purges go into one queue in the order they were made; one thread writes what has
//! gathered, syncs once, and then everybody is told. Recent entries are read from memory, older ones from the files.
//! What a record looks like is in `log_record`, what is known in memory in `log_index`.
//!
//! Invariants: votes and truncations are durable before their calls return, an entry before its callback says so; a file
//! is removed only once durable records say that its entries are purged, and what else it said; the first failed write
//! ends all appending.

mod raft_side;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hayrick_disk::{
    Disk, DurableRecords, FileId, Format, Location, OpenError as StreamError, Owner, Record,
    Stream as AppendStream,
};
use hayrick_metrics as metrics;
use hayrick_protocol::held::Held;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::errors::OpenError;
use crate::log_index::{Found, Index, Replay};
use crate::log_record::{self, Content, LogFormat, Start};
use crate::options::Options;
use crate::status::LogStatus;
use crate::types::{Entry, LogId, Vote, ballot, entry_bytes, position};

/// Bytes that may wait for the writer, in the unit of the semaphore.
const QUEUE_KIB_MAX: u32 = 256 << 10;
/// Free space that the log leaves alone, so that the index file can still be made durable.
const RESERVE_BYTES: u64 = 64 << 20;

/// The log: storage and reader in one. Clones are the same log.
#[derive(Clone)]
pub(crate) struct Log {
    stream: Arc<AppendStream<LogFormat>>,
    index: Arc<Mutex<Index>>,
    room: Arc<Semaphore>,
    /// A submission of several records stays below half a file.
    submission_bytes_max: usize,
}

impl Log {
    /// Reads all of it back. `dir` is created if need be.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, options: &Options) -> Result<Self, OpenError> {
        Self::open_with(disk, dir, options, true)
    }

    /// The same without threads, for tests that must do the same to the disk each time: what is submitted is written by
    /// [`Self::work`].
    #[cfg(test)]
    pub(crate) fn open_by_hand(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: &Options,
    ) -> Result<Self, OpenError> {
        Self::open_with(disk, dir, options, false)
    }

    fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: &Options,
        threads: bool,
    ) -> Result<Self, OpenError> {
        let replay = Arc::new(Mutex::new(Replay::default()));
        let index = Arc::new(Mutex::new(Index::default()));
        let recorder =
            Recorder { state: Start::default(), replay: Arc::clone(&replay), index: Arc::clone(&index) };
        let file_bytes = options.log_file_bytes.max(hayrick_disk::FILE_BYTES_MIN);
        let stream_options = hayrick_disk::Options {
            file_bytes,
            zero_ahead_bytes: (4 << 20).min(file_bytes / 4),
            idle_mark_after: Duration::from_millis(20),
            queue_bytes_max: (QUEUE_KIB_MAX as usize) << 11,
            queue_records_max: usize::MAX,
            reserve_bytes: RESERVE_BYTES,
            threads,
            ..hayrick_disk::Options::new(dir, "log")
        };
        let stream =
            AppendStream::open(disk, stream_options, recorder).map_err(|error| open_error(dir, error))?;
        let found = std::mem::take(&mut *replay.lock());
        let found = found
            .finish(options.log_cache_bytes)
            .map_err(|what| OpenError::Damaged { path: dir.to_owned(), what })?;
        // Opening may have written the first file's start: it holds no entries, so nothing is lost by replacing.
        *index.lock() = found;
        let log = Self {
            stream: Arc::new(stream),
            index,
            room: Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize)),
            submission_bytes_max: usize::try_from(file_bytes / 4).unwrap_or(usize::MAX),
        };
        log.remove_obsolete_files();
        Ok(log)
    }

    /// Opened by hand: writes what was submitted.
    #[cfg(test)]
    pub(crate) fn work(&self) {
        self.stream.work();
    }

    /// Opened by hand: makes something ready before it is needed, the next file or a piece of zeros.
    #[cfg(test)]
    pub(crate) fn prepare(&self) {
        self.stream.prepare();
    }

    /// Whether it never held anything.
    pub(crate) fn is_pristine(&self) -> bool {
        let index = self.index.lock();
        index.vote.is_none() && index.last().is_none()
    }

    pub(crate) fn status(&self) -> LogStatus {
        let stream = self.stream.status();
        let index = self.index.lock();
        LogStatus {
            first: index.first().unwrap_or(0),
            last: index.last().map_or(0, |id| id.index),
            files: stream.files.len() as u64,
            bytes: stream.allocated_bytes,
        }
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.index.lock().purged
    }

    /// What the disk has, whatever is on its way there.
    pub(crate) fn held(&self) -> Held {
        let index = self.index.lock();
        let last = index.last_durable();
        let committed = index.committed.map_or(0, |id| id.index);
        Held {
            vote: index.vote.as_ref().map(ballot),
            last: last.as_ref().map(position),
            committed: committed.min(last.map_or(0, |id| id.index)),
        }
    }

    /// How long the oldest submission that is not durable yet has waited.
    pub(crate) fn unsynced_for(&self) -> Duration {
        self.index.lock().unsynced.front().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Why it takes nothing any more.
    pub(crate) fn failed(&self) -> Option<String> {
        self.index.lock().failed.clone()
    }

    /// Writes down what rides along otherwise, and waits until all is durable.
    pub(crate) async fn flush(&self) {
        let committed = self.index.lock().committed;
        let (done, flushed) = oneshot::channel();
        let submitted =
            self.stream.submit(vec![log_record::committed(committed.as_ref()).into()], move |_| {
                let _ = done.send(());
            });
        if submitted.is_ok() {
            let _ = flushed.await;
        }
    }

    /// Queues records; `done` runs in the writer thread, and learns of earlier failures too.
    fn submit(
        &self,
        records: Vec<Record>,
        permit: Option<OwnedSemaphorePermit>,
        done: impl FnOnce(&mut Index, Result<Vec<Location>, io::Error>) + Send + 'static,
    ) -> io::Result<()> {
        {
            let mut index = self.index.lock();
            if let Some(failed) = &index.failed {
                return Err(io::Error::other(failed.clone()));
            }
            index.unsynced.push_back(Instant::now());
        }
        let index = Arc::clone(&self.index);
        let result = self.stream.submit(records, move |result| {
            let mut index = index.lock();
            index.unsynced.pop_front();
            if let Err(error) = &result {
                index.failed.get_or_insert_with(|| error.to_string());
            }
            let result = match &index.failed {
                Some(failed) => Err(io::Error::other(failed.clone())),
                None => Ok(result.unwrap_or_default()),
            };
            done(&mut index, result);
            drop(permit);
        });
        result.map_err(|error| {
            self.index.lock().failed.get_or_insert_with(|| error.to_string());
            io::Error::other(error)
        })
    }

    /// Queues a record and waits until it is durable.
    async fn submit_and_wait(
        &self,
        record: Vec<u8>,
        change: impl FnOnce(&mut Index) + Send + 'static,
    ) -> io::Result<()> {
        let (done, durable) = oneshot::channel();
        self.submit(vec![record.into()], None, move |index, result| {
            if result.is_ok() {
                change(index);
            }
            let _ = done.send(result.map(drop));
        })?;
        durable.await.map_err(|_| io::Error::other("the log was closed"))?
    }

    /// Makes a new log begin behind an entry that the index alone has, in the term of that entry.
    pub(crate) async fn begin_behind(&self, last: LogId) -> io::Result<()> {
        // Its leader is nobody's, so that nobody takes the term for its own.
        let vote = Vote::new(last.leader_id.term, last.leader_id.node_id);
        self.submit_and_wait(log_record::vote(&vote), move |index| index.vote = Some(vote)).await?;
        let purged = move |index: &mut Index| {
            index.purge(last);
            index.purge_is_durable(last);
        };
        self.submit_and_wait(log_record::purge(&last), purged).await
    }

    fn remove_obsolete_files(&self) {
        let status = self.stream.status();
        for file in status.files {
            if Some(file) == status.active || !self.index.lock().is_obsolete(file) {
                return;
            }
            match self.stream.remove_file(file) {
                Ok(()) => self.index.lock().forget_file(file),
                // It holds nothing that is needed; it is tried again at the next purge.
                Err(error) => return tracing::warn!(%file, %error, "a purged log file cannot be removed"),
            }
        }
    }

    /// Entries of a range, at most about `bytes_max` of them, but at least one if there is one.
    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut places = Vec::new();
        let mut entries = Vec::new();
        let mut bytes = 0;
        {
            // The files are opened under the lock: a purge drops the places before it removes the files.
            let index = self.index.lock();
            for found in index.find(range) {
                if bytes > bytes_max {
                    break;
                }
                match found {
                    Found::Cached(entry) => {
                        bytes += entry_bytes(&entry);
                        entries.push(entry);
                    }
                    Found::Stored(id, at) => {
                        bytes += at.len as usize;
                        let reader =
                            self.stream.reader(at.file).ok_or_else(|| unreadable(&id, "its file is gone"))?;
                        places.push((id, at, reader));
                    }
                }
            }
        }
        if places.is_empty() {
            return Ok(entries);
        }
        let read = move || places.iter().map(|(id, at, reader)| read_stored(id, at, reader)).collect();
        let mut stored: Vec<Entry> = tokio::task::spawn_blocking(read)
            .await
            .map_err(io::Error::other)
            .and_then(|read: io::Result<_>| read)?;
        stored.append(&mut entries);
        Ok(stored)
    }
}

fn read_stored(id: &LogId, at: &Location, reader: &hayrick_disk::Reader) -> io::Result<Entry> {
    let mut record = vec![0; at.len as usize];
    reader.read_exact_at(at.offset, &mut record)?;
    if !LogFormat::verify(&record, reader.salt_at(at.offset)) {
        return Err(unreadable(id, "its checksum does not match"));
    }
    match log_record::read_entry(record) {
        Ok(entry) if entry.log_id == *id => Ok(entry),
        _ => Err(unreadable(id, "something else lies in its place")),
    }
}

fn unreadable(id: &LogId, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("entry {} of the log cannot be read: {why}", id.index))
}

fn open_error(dir: &Path, error: StreamError) -> OpenError {
    match error {
        StreamError::DamagedHeader { path } => OpenError::Damaged { path, what: "its header".into() },
        error => OpenError::Io { path: dir.to_owned(), source: io::Error::other(error) },
    }
}

/// The stream's owner: hears of every record that is found at start, and of every one that becomes durable.
struct Recorder {
    /// What the durable records say so far.
    state: Start,
    replay: Arc<Mutex<Replay>>,
    index: Arc<Mutex<Index>>,
}

impl Owner for Recorder {
    fn recovered(&mut self, at: Location, record: &[u8]) {
        let mut replay = self.replay.lock();
        match log_record::content(record) {
            Ok(content) => replay.record(at, content),
            Err(error) => replay.damaged(format!("file {} at {}: {error}", at.file, at.offset)),
        }
        self.state = replay.state;
    }

    fn damaged(&mut self, file: FileId, range: Range<u64>) {
        let what = format!("file {file}, bytes {} to {}", range.start, range.end);
        self.replay.lock().damaged(what);
    }

    fn first_records(&mut self, _file: FileId) -> Vec<Vec<u8>> {
        vec![log_record::start(&self.state)]
    }

    fn durable(&mut self, records: DurableRecords<'_>) {
        metrics::LOG_FLUSHES.increment();
        let mut index = self.index.lock();
        for (at, record) in records.iter() {
            index.begun(at.file);
            let content = log_record::content(record).expect("these are the bytes that were just written");
            if let Content::Entry(id) = content {
                index.holds(at.file, id.index);
            }
            self.state.follow(content);
        }
    }
}
