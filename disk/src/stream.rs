//! The append stream as its users see it: a chain of preallocated files in one directory, appended to by one writer
//! thread, read by anyone.
//!
//! How a batch reaches the disk is in `group_commit`, how the chain is found again after a crash in `recover`, and what
//! is prepared ahead in `zero_ahead`. The invariant: a submission's callback gets `Ok` only after each of its records is
//! durable, and callbacks of submissions run in their order.

mod errors;

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

pub use self::errors::{AppendError, SubmitError};
use crate::append_file::{AppendFile, HEADER_BYTES};
use crate::by_hand::ByHand;
use crate::disk::Disk;
use crate::format::{FileId, Format, Location, Owner, Record};
use crate::group_commit::Writer;
use crate::limits::{FILE_BYTES_MIN, RECORD_BYTES_MAX};
use crate::queue::{Done, Job, Queue};
use crate::reader::Reader;
use crate::recover::{self, OpenError};
use crate::scan::{self, Found, Tail};
use crate::stall::Stall;
use crate::zero_ahead::{self, Ahead};

/// How a stream is laid out and bounded.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of the files; created if need be.
    pub dir: PathBuf,
    /// The ending of the files' names, without the dot.
    pub extension: &'static str,
    /// Bytes of each file, its header block among them; raised to `FILE_BYTES_MIN`. A larger record gets a larger file.
    pub file_bytes: u64,
    /// The piece in which zeros are written ahead of the append position, in the background, beginning with a next file
    /// made in advance. With 0 nothing is prepared ahead, and there is no background thread.
    pub zero_ahead_bytes: u64,
    /// After an append, when nothing more comes for this long, a mark is appended.
    pub idle_mark_after: Duration,
    /// Bytes that may wait for the writer.
    pub queue_bytes_max: usize,
    /// Records that may wait for the writer.
    pub queue_records_max: usize,
    /// Never let the free space of the file system, nor what is left of `capacity_bytes`, fall under this by a new file,
    /// except for [`Stream::submit_from_reserve`].
    pub reserve_bytes: u64,
    /// Whether the file that is appended to, when the reserve is found broken into at start, is left to
    /// [`Stream::submit_from_reserve`]. A stream that is never called so goes on in its last file instead.
    pub keeps_reserve: bool,
    /// Whether no record builds on another. Then damage in the file that is appended to, or behind it, is no reason not to
    /// open: the damaged file is kept, reported, and appends go on in another. And a next file that cannot be made fails
    /// only who needed it; else it poisons the stream, so that nothing queued behind is written after a gap.
    pub records_stand_alone: bool,
    /// Bytes that all files of the stream together may take.
    pub capacity_bytes: Option<u64>,
    /// Whether the stream has threads of its own. Without, for tests that must do the same each time, submissions are
    /// written by [`Stream::work`], a mark is left by [`Stream::idle`], both also on closing, and nothing is prepared ahead
    /// but by [`Stream::prepare`].
    pub threads: bool,
}

impl Options {
    /// Files of 256 MiB, zeroed ahead by 4 MiB, marks after 20 ms, a queue of 64 MiB or 64 Ki records, a reserve of 1 GiB.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, extension: &'static str) -> Self {
        Self {
            dir: dir.into(),
            extension,
            file_bytes: 256 << 20,
            zero_ahead_bytes: 4 << 20,
            idle_mark_after: Duration::from_millis(20),
            queue_bytes_max: 64 << 20,
            queue_records_max: 64 << 10,
            reserve_bytes: 1 << 30,
            keeps_reserve: false,
            records_stand_alone: false,
            capacity_bytes: None,
            threads: true,
        }
    }

    /// Bytes of an ordinary file: whole blocks, and not under the minimum.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes.max(FILE_BYTES_MIN).next_multiple_of(HEADER_BYTES)
    }

    pub(crate) fn path_of(&self, file: FileId) -> PathBuf {
        self.dir.join(format!("{file}.{}", self.extension))
    }
}

/// A glimpse of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Files with records, the active one among them; ascending. Damaged files are listed too.
    pub files: Vec<FileId>,
    /// Bytes that all files take on the file system, the one prepared for later among them.
    pub allocated_bytes: u64,
    /// The file that is appended to.
    pub active: Option<FileId>,
    /// The append position in the active file: all before it is durable. 0 if there is no active file.
    pub end: u64,
    /// Bytes left in the active file and in the one prepared for later; none while only who may use the reserve appends.
    pub room_bytes: u64,
    /// Why the stream takes no more writes.
    pub poisoned: Option<String>,
    /// Milliseconds that the write or sync in progress takes so far.
    pub stalled_ms: u64,
    /// Bytes that wait for the writer.
    pub queued_bytes: usize,
    /// Records that wait for the writer.
    pub queued_records: usize,
}

/// A file of the chain. Without an `AppendFile` its header is damaged.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) file: Option<Arc<AppendFile>>,
    pub(crate) bytes: u64,
}

/// What callers, the writer and the preparing thread share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) queue: Queue,
    pub(crate) files: RwLock<BTreeMap<FileId, Entry>>,
    pub(crate) allocated_bytes: AtomicU64,
    /// Bytes that a sync makes durable, of late.
    pub(crate) run_bytes: AtomicU64,
    pub(crate) active: Mutex<Option<Arc<AppendFile>>>,
    /// The active file was made of the reserve: only who may use that appends to it, until space came back.
    pub(crate) in_reserve: AtomicBool,
    pub(crate) poison: OnceLock<Arc<str>>,
    pub(crate) stall: Stall,
    pub(crate) ahead: Ahead,
}

impl Shared {
    /// Remembers the first failure for good: nothing is written any more. What it is called.
    pub(crate) fn poison_by(&self, at: &Path, error: &io::Error) -> Arc<str> {
        let cause: Arc<str> = format!("{}: {error}", at.display()).into();
        if self.poison.set(Arc::clone(&cause)).is_ok() {
            tracing::error!(%cause, "an append stream takes no more writes");
        }
        cause
    }
}

/// An append stream with group commit. Shared by reference or in an `Arc`; dropping it closes it.
pub struct Stream<F: Format> {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    preparer: Option<JoinHandle<()>>,
    /// In the place of both threads.
    by_hand: Option<ByHand>,
    format: PhantomData<F>,
}

impl<F: Format> Stream<F> {
    /// Finds the stream again, or begins it: reads what the owner wants read, cuts a torn tail, makes the rest durable, and
    /// starts the writer. The caller holds a lock on the directory: two streams on one would destroy each other.
    ///
    /// # Errors
    /// If a file cannot be read or written, has a damaged header where records may yet be appended (unless
    /// [`Options::records_stand_alone`]), or is of a later version. Nothing is deleted then.
    pub fn open(disk: Arc<dyn Disk>, options: Options, owner: impl Owner) -> Result<Self, OpenError> {
        let mut owner = owner;
        let chain = recover::open_chain::<F>(disk.as_ref(), &options, &mut owner)?;
        let prepares = options.zero_ahead_bytes > 0;
        let shared = Arc::new(Shared {
            queue: Queue::new(options.queue_bytes_max, options.queue_records_max),
            allocated_bytes: AtomicU64::new(chain.allocated_bytes()),
            run_bytes: AtomicU64::new(0),
            files: RwLock::new(chain.files),
            active: Mutex::new(chain.active.as_ref().map(|active| Arc::clone(&active.file))),
            in_reserve: AtomicBool::new(false),
            poison: OnceLock::new(),
            stall: Stall::new(),
            ahead: Ahead::new(chain.spare, chain.next_id),
            disk,
            options,
        });
        let mut writer = Writer::<F, _>::new(Arc::clone(&shared), owner, chain.active);
        writer.begin()?;
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.to_owned()).spawn(body).map_err(OpenError::Thread)
        };
        let mut stream = Self { shared, writer: None, preparer: None, by_hand: None, format: PhantomData };
        if !stream.shared.options.threads {
            stream.by_hand = Some(ByHand::new(Arc::clone(&stream.shared), writer));
            return Ok(stream);
        }
        stream.writer = Some(spawn("append-writer", Box::new(move || writer.run()))?);
        if prepares {
            let shared = Arc::clone(&stream.shared);
            stream.preparer =
                Some(spawn("append-preparer", Box::new(move || zero_ahead::run::<F>(&shared)))?);
        }
        Ok(stream)
    }

    /// Appends records in this order, all of them after every earlier submission, and calls `done` with where they lie once
    /// they are durable. `done` runs in the writer thread: it must be quick, must not wait for the stream, and must not
    /// panic. Without records it is a barrier.
    ///
    /// # Errors
    /// If the submission is not taken in; `done` is then dropped.
    pub fn submit(
        &self,
        records: Vec<Record>,
        done: impl FnOnce(Result<Vec<Location>, AppendError>) + Send + 'static,
    ) -> Result<(), SubmitError> {
        self.push(records, false, done)
    }

    /// As [`Self::submit`], but may take the space kept in reserve: for what makes room, such as compaction.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_from_reserve(
        &self,
        records: Vec<Record>,
        done: impl FnOnce(Result<Vec<Location>, AppendError>) + Send + 'static,
    ) -> Result<(), SubmitError> {
        self.push(records, true, done)
    }

    /// Proves that the write path works: calls `done` after a durable append that began after this call; of a mark, if no
    /// records are on their way. It waits for the batch that is being written, and goes before all others that wait.
    ///
    /// # Errors
    /// If it is not taken in; `done` is then dropped.
    pub fn probe(
        &self,
        done: impl FnOnce(Result<(), AppendError>) + Send + 'static,
    ) -> Result<(), SubmitError> {
        self.shared.queue.push(Job::Probe { done: Done::new(done) })
    }

    /// Seals the active file after all that was submitted so far; the next record begins another. Does nothing to a file
    /// without records.
    ///
    /// # Errors
    /// If it is not taken in.
    pub fn rotate(&self) -> Result<(), SubmitError> {
        self.shared.queue.push(Job::Rotate)
    }

    /// A file to read from, with its salt; it stays readable after it was removed. `None` if it is not of this stream, or
    /// its header is damaged.
    #[must_use]
    pub fn reader(&self, file: FileId) -> Option<Reader> {
        self.shared.files.read().get(&file)?.file.clone().map(Reader)
    }

    /// Reads from any file, from any thread; never waits for the writer. What it reads is not verified here.
    ///
    /// # Errors
    /// `NotFound` if the file is not of this stream; else what the disk says.
    pub fn read_exact_at(&self, file: FileId, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let reader = self.reader(file).ok_or_else(|| no_such_file(file))?;
        reader.read_exact_at(offset, buf)
    }

    /// Reads a whole file, up to what is durable, verifying each record: shows records and damage in order. Marks are not
    /// shown. A block that cannot be read is shown as damage. Whether there was none such: if not, reading again may show
    /// more, so nothing lasting should be concluded from what was shown.
    ///
    /// # Errors
    /// `NotFound` if the file is not of this stream, or its header is damaged; or the visitor's own error, which ends it.
    pub fn scan(&self, file: FileId, visit: &mut dyn FnMut(Found<'_>) -> io::Result<()>) -> io::Result<bool> {
        let end = self.reader(file).ok_or_else(|| no_such_file(file))?.end();
        self.scan_range(file, HEADER_BYTES..end, visit)
    }

    /// The same of a range of what is durable, that begins and ends where a batch does.
    ///
    /// # Errors
    /// As [`Self::scan`].
    pub fn scan_range(
        &self,
        file: FileId,
        range: Range<u64>,
        visit: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let file = self.reader(file).ok_or_else(|| no_such_file(file))?.0;
        let range = range.start..range.end.min(file.end());
        scan::scan::<F>(&file, range, Tail::Proven, visit).map(|scanned| scanned.unreadable.is_none())
    }

    /// Reads a piece of a file, as [`Self::scan`] does all of it, and never beyond what is durable: from where a record
    /// begins (0 is the header block, which is verified too) to the end of the last record that begins before
    /// `piece.end`. Damage is shown as far as it lies in the piece. Where the next piece begins.
    ///
    /// # Errors
    /// As [`Self::scan`].
    pub fn scan_piece(
        &self,
        file: FileId,
        piece: Range<u64>,
        visit: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
    ) -> io::Result<u64> {
        let file = self.reader(file).ok_or_else(|| no_such_file(file))?.0;
        scan::scan_piece::<F>(&file, piece, visit)
    }

    /// Unlinks a sealed file; readers that have it keep it. Before, the file itself says durably that it is gone: so it never
    /// counts again, even if its name comes back after a crash because the sync of the directory failed. A sync that
    /// failed poisons the stream, and then no file is removed any more.
    ///
    /// # Errors
    /// `NotFound` if the file is not of this stream, `InvalidInput` if it is not sealed; else what the disk says, or that the
    /// stream is poisoned. The file is gone from the stream only after `Ok`.
    pub fn remove_file(&self, file: FileId) -> io::Result<()> {
        let entry = self.shared.files.read().get(&file).cloned().ok_or_else(|| no_such_file(file))?;
        if entry.file.as_ref().is_some_and(|file| !file.is_sealed()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("file {file} is not sealed")));
        }
        if let Some(cause) = self.poisoned() {
            return Err(io::Error::other(AppendError::Poisoned { cause }));
        }
        let (path, dir) = (self.shared.options.path_of(file), &self.shared.options.dir);
        if let Some(file) = &entry.file {
            file.write_gone()?;
            file.file().sync_data().inspect_err(|error| drop(self.shared.poison_by(&path, error)))?;
        }
        match self.shared.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.shared.disk.sync_dir(dir).inspect_err(|error| drop(self.shared.poison_by(dir, error)))?;
        if self.shared.files.write().remove(&file).is_some() {
            self.shared.allocated_bytes.fetch_sub(entry.bytes, Ordering::Relaxed);
            self.shared.ahead.room_came_back();
        }
        Ok(())
    }

    /// Why the stream takes no more writes, if it takes none. Also a mark left in idleness, or a rotation, may have failed.
    #[must_use]
    pub fn poisoned(&self) -> Option<Arc<str>> {
        self.shared.poison.get().cloned()
    }

    /// How the stream is.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let active = shared.active.lock().clone();
        let (queued_bytes, queued_records) = shared.queue.waiting();
        let active_room = active.as_ref().map_or(0, |file| file.capacity().saturating_sub(file.end()));
        // Asked anew, because the writer itself looks again only when somebody appends.
        let reserve_is_whole =
            || zero_ahead::free_bytes(shared).is_ok_and(|free| free >= shared.options.reserve_bytes);
        let is_open_to_all = !shared.in_reserve.load(Ordering::Relaxed) || reserve_is_whole();
        // In a statement of its own, so that the lock is let go of before others are taken.
        let files = shared.files.read().keys().copied().collect();
        Status {
            files,
            allocated_bytes: shared.allocated_bytes.load(Ordering::Relaxed),
            end: active.as_ref().map_or(0, |file| file.end()),
            active: active.map(|file| file.id()),
            room_bytes: if is_open_to_all { active_room + shared.ahead.spare_room_bytes() } else { 0 },
            poisoned: shared.poison.get().map(ToString::to_string),
            stalled_ms: shared.stall.stalled_ms(),
            queued_bytes,
            queued_records,
        }
    }

    /// On a stream without threads: writes what is queued, and runs the callbacks. Else it does nothing.
    pub fn work(&self) {
        self.by_hand.iter().for_each(ByHand::write);
    }

    /// On a stream without threads: leaves the mark that idleness would bring. Else it does nothing.
    pub fn idle(&self) {
        self.by_hand.iter().for_each(ByHand::leave_mark);
    }

    /// On a stream without threads: one step of preparing ahead, the next file or a zeroed piece. Whether there was
    /// anything to do; never with threads.
    pub fn prepare(&self) -> bool {
        self.shared.options.zero_ahead_bytes > 0 && self.by_hand.as_ref().is_some_and(ByHand::prepare)
    }

    /// Finishes what is queued, leaves a mark, and ends the threads. The same happens on drop.
    pub fn close(self) {
        drop(self);
    }

    fn push(
        &self,
        records: Vec<Record>,
        reserve: bool,
        done: impl FnOnce(Result<Vec<Location>, AppendError>) + Send + 'static,
    ) -> Result<(), SubmitError> {
        let mut bytes = 0;
        for record in &records {
            let len = record.padded_len();
            if len < F::HEADER_LEN || len > RECORD_BYTES_MAX {
                let (bytes_min, bytes_max) = (F::HEADER_LEN, RECORD_BYTES_MAX);
                return Err(SubmitError::RecordSize { bytes: len, bytes_min, bytes_max });
            }
            bytes += len;
        }
        let half_file = (self.shared.options.file_bytes() - HEADER_BYTES) / 2;
        let bytes_max = usize::try_from(half_file).unwrap_or(usize::MAX);
        if records.len() > 1 && bytes > bytes_max {
            return Err(SubmitError::SubmissionSize { bytes, bytes_max });
        }
        self.shared.queue.push(Job::Append { records, bytes, reserve, done: Done::new(done) })
    }
}

impl<F: Format> Drop for Stream<F> {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.shared.ahead.close();
        self.work();
        self.idle();
        for thread in [self.writer.take(), self.preparer.take()].into_iter().flatten() {
            // A callback may hold the last handle of the stream: the writer must not wait for itself.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!(dir = %self.shared.options.dir.display(), "a thread of the append stream panicked");
            }
        }
    }
}

fn no_such_file(file: FileId) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no file {file} in the append stream"))
}
