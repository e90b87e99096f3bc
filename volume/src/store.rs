//! The needle store: one append stream of needles, and the index of what lies where.
//!
//! Owns how the parts hang together and how the store is opened, closed and asked for its state; each verb has a file
//! of its own (`append`, `read`, `delete`). It knows nothing of the network. Invariant: whoever opens a store holds the
//! lock on its directory.

mod layout;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use hayrick_disk::{Disk, FileId, HEADER_BYTES, Location, Lock, OpenError, Stream};
use hayrick_protocol::cluster_map::VolumeStatus;
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::messages::volume::AppendError;
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::oneshot;

pub use self::layout::{SEGMENT_BYTES_MAX, StoreOptions};
use crate::append::{InFlight, closed, submit_error};
use crate::compact::{self, Compacted, Compactor, Tally};
use crate::damage::kept::KeptDamage;
use crate::damage::{Damage, Stretch};
use crate::examine::Examiner;
use crate::housekeeping::{Housekeeper, Job};
use crate::index::{Index, Known};
use crate::later::{self, LaterVersion};
use crate::offer::Tickets;
use crate::quota::Quota;
use crate::recover::{self, Found, Keeper};
use crate::scrub::{Scrubbed, Scrubber, Scrubbing};
use crate::seal::Indexer;
use crate::segment::Needles;

/// Room below which a volume calls itself full, as a share of a segment: objects of some size do not fit any more.
const FULL_BELOW_SEGMENTS: u64 = 8;

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The segments cannot be opened.
    #[error(transparent)]
    Stream(#[from] OpenError),
    /// The directory cannot be looked at.
    #[error("the segments in {dir} cannot be counted", dir = dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A segment's name or size is beyond what the index can name.
    #[error(
        "a segment in {dir} is none of ours: {place}; move it out of the directory",
        dir = dir.display()
    )]
    OutOfReach {
        /// The directory.
        dir: PathBuf,
        /// The segment and offset.
        place: String,
    },
    /// A later version of Hayrick was at work in the directory. Nothing was changed.
    #[error(transparent)]
    LaterVersion(#[from] LaterVersion),
    /// No thread to be had.
    #[error("a thread of the store does not start: {0}")]
    Thread(io::Error),
}

/// What the store, the stream's writer and the keeping thread share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<Quota>,
    pub(crate) index: RwLock<Index>,
    pub(crate) damage: Damage,
    pub(crate) in_flight: InFlight,
}

impl Shared {
    fn new(disk: Arc<Quota>) -> Self {
        let damage = Damage::new(disk.random());
        Self { disk, index: RwLock::default(), damage, in_flight: InFlight::default() }
    }

    /// The copy of a needle that lies here cannot be read: lists it. Whether that is news; `None`: nobody looks for it
    /// there any more.
    pub(crate) fn report(&self, id: NeedleId, at: Location) -> Option<bool> {
        let is_news = self.damage.needle(id, at);
        // Listed first and looked for then: who drops it, or appends a good copy, tells the index first, and forgets then.
        if self.index.read().get(id) == Some(Known::Live(at)) {
            return Some(is_news);
        }
        self.damage.is_well(id, at);
        None
    }

    /// What an append comes to: what was written where the index cannot name it would be acknowledged, and never found.
    pub(crate) fn in_reach(
        &self,
        written: Result<Vec<Location>, hayrick_disk::AppendError>,
    ) -> Result<(), AppendError> {
        let written = written.map_err(|error| self.append_error(&error))?;
        let index = self.index.read();
        written
            .into_iter()
            .try_for_each(|at| index.reaches(at))
            .map_err(|error| AppendError::Failed(format!("{error}; start this volume with an empty --data")))
    }

    /// What a failure of the stream means to who asked for an append.
    pub(crate) fn append_error(&self, error: &hayrick_disk::AppendError) -> AppendError {
        match error {
            // The stream knows of the segments only.
            hayrick_disk::AppendError::Full { reserve_bytes, .. } => {
                AppendError::Full { used_bytes: self.disk.taken_bytes(), reserve_bytes: *reserve_bytes }
            }
            hayrick_disk::AppendError::Poisoned { cause } => {
                // It was on its way when the write failed, so nobody knows whether it is on the disk.
                AppendError::Failed(cause.to_string())
            }
            // Nothing was written, and the next try may well succeed.
            hayrick_disk::AppendError::NoNextFile { cause } => {
                tracing::warn!(%cause, "the next segment cannot be made; appends are put off");
                AppendError::Busy
            }
            error => AppendError::Failed(error.to_string()),
        }
    }
}

/// A segment, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its file.
    pub id: FileId,
    /// Bytes appended to it so far.
    pub bytes: u64,
    /// Whether nothing is appended any more.
    pub sealed: bool,
    /// Live needles in it.
    pub needles: u64,
    /// Their bytes on disk.
    pub live_bytes: u64,
}

/// A store of needles. Shared in an `Arc`; dropping it closes it: what is queued is finished and synced.
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    /// Held by nobody else for longer than a call, so that it closes with the store.
    pub(crate) stream: Arc<Stream<Needles>>,
    pub(crate) options: StoreOptions,
    pub(crate) jobs: Sender<Job>,
    tally: Arc<Tally>,
    stopping: Arc<AtomicBool>,
    pub(crate) tickets: Tickets,
    pub(crate) scrubber: Arc<Scrubber>,
    scrubbing: Option<Scrubbing>,
    pub(crate) housekeeper: Arc<Housekeeper>,
    thread: Option<JoinHandle<()>>,
    /// In the place of the thread.
    by_hand: Option<Mutex<Receiver<Job>>>,
    /// The last field, so that it is let go of only when the stream is closed.
    lock: Option<Arc<Lock>>,
}

impl Store {
    /// Opens the store in a directory whose lock is held, or begins one. Damage never stops it: that is counted in the
    /// status.
    pub fn open(disk: Arc<dyn Disk>, options: StoreOptions) -> Result<Self, StoreError> {
        let unreadable = |source| StoreError::Directory { dir: options.dir.clone(), source };
        let quota = Quota::new(disk, &options.dir, options.capacity_bytes).map_err(unreadable)?;
        let quota = Arc::new(quota);
        let disk: Arc<dyn Disk> = Arc::clone(&quota) as _;
        later::refuse(disk.as_ref(), &options.dir)?;
        recover::remove_orphans(disk.as_ref(), &options.dir).map_err(unreadable)?;
        let shared = Arc::new(Shared::new(quota));
        let (jobs, to_do) = mpsc::channel();
        let stream = Arc::new(open_stream(&disk, &options, &shared, &jobs)?);
        let damage = KeptDamage::open(Arc::clone(&disk), &options.dir, Arc::clone(&shared), &stream);
        let stopping = Arc::new(AtomicBool::new(false));
        let examiner = Examiner {
            disk: Arc::clone(&disk),
            dir: options.dir.clone(),
            shared: Arc::clone(&shared),
            stopping: Arc::clone(&stopping),
        };
        let indexer = Indexer {
            disk: Arc::clone(&disk),
            dir: options.dir.clone(),
            examiner: examiner.clone(),
            stream: Arc::downgrade(&stream),
            stopping: Arc::clone(&stopping),
        };
        let tally = Arc::new(Tally::default());
        let compactor = Compactor {
            options: options.clone(),
            shared: Arc::clone(&shared),
            examiner: examiner.clone(),
            stream: Arc::downgrade(&stream),
            tally: Arc::clone(&tally),
            kept: Mutex::default(),
        };
        let compacts = options.compact_bytes_per_s > 0;
        let housekeeper =
            Arc::new(Housekeeper { indexer, compactor, damage, compacts, at_work: Mutex::default() });
        let (thread, by_hand) = if options.threads {
            (Some(Housekeeper::begin(Arc::clone(&housekeeper), to_do).map_err(StoreError::Thread)?), None)
        } else {
            (None, Some(Mutex::new(to_do)))
        };
        let scrubber = Scrubber::new(examiner, Arc::downgrade(&stream), jobs.clone(), &options);
        let mut store = Self {
            shared,
            stream,
            options,
            jobs,
            tally,
            stopping,
            tickets: Tickets::new(disk.random()),
            scrubber: Arc::new(scrubber),
            scrubbing: None,
            housekeeper,
            thread,
            by_hand,
            lock: None,
        };
        if store.options.scrub_bytes_per_s_max > 0 && store.options.threads {
            let scrubbing = Scrubbing::begin(Arc::clone(&store.scrubber)).map_err(StoreError::Thread)?;
            store.scrubbing = Some(scrubbing);
        }
        Ok(store)
    }

    /// Holds the directory's lock until all is closed, however long the disk hangs.
    pub(crate) fn holding(mut self, lock: Arc<Lock>) -> Self {
        self.lock = Some(lock);
        self
    }

    /// Proves that the write path works, by a durable append that begins after this call.
    pub fn probe(&self) -> impl Future<Output = Result<(), AppendError>> + Send + use<> {
        let read_only = self.stream.poisoned().map(|cause| AppendError::ReadOnly(cause.to_string()));
        let (sender, outcome) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let submitted = self.stream.probe(move |result| {
            // Who asked may have gone.
            let _ = sender.send(result.map_err(|error| shared.append_error(&error)));
        });
        async move {
            if let Some(error) = read_only {
                return Err(error);
            }
            submitted.map_err(|error| submit_error(&error))?;
            outcome.await.unwrap_or_else(|_| Err(closed()))
        }
    }

    /// Begins another segment after all that was submitted so far.
    pub fn seal(&self) {
        // Refused only by a stream whose queue is full, or that is closing.
        if let Err(error) = self.stream.rotate() {
            tracing::warn!(%error, "the active segment was not sealed");
        }
    }

    /// How the store fares.
    pub fn status(&self) -> VolumeStatus {
        let stream = self.stream.status();
        let free_bytes = self.options.free_bytes(&self.shared.disk, stream.room_bytes);
        let (bad, bad_bytes) = self.shared.damage.figures();
        // One at a time: who reads the index while it reads it waits for ever, as soon as a writer came in between.
        let needles = self.shared.index.read().needles();
        let dead_bytes = self.dead_bytes(&stream.files);
        VolumeStatus {
            capacity_bytes: self.options.capacity_bytes,
            used_bytes: self.shared.disk.taken_bytes(),
            free_bytes,
            needles,
            segments: stream.files.len() as u64,
            bad,
            bad_bytes,
            full: free_bytes < self.options.segment_bytes() / FULL_BELOW_SEGMENTS,
            read_only: stream.poisoned,
            stalled_ms: stream.stalled_ms,
            uncompared: self.shared.damage.is_uncompared(),
            dead_bytes,
        }
    }

    /// What compaction may bring back; a look at each segment's figures.
    fn dead_bytes(&self, files: &[FileId]) -> u64 {
        let readers: Vec<_> = files.iter().filter_map(|file| self.stream.reader(*file)).collect();
        let index = self.shared.index.read();
        let dead = readers.iter().map(|reader| {
            let (file, bytes) = (reader.file(), reader.end().saturating_sub(HEADER_BYTES));
            compact::dead_bytes(bytes, &index.held_by(file), files.first() == Some(&file))
        });
        dead.sum()
    }

    /// The first segments.
    pub fn segments(&self, at_most: usize) -> Vec<Segment> {
        let readers = self.stream.status().files.into_iter().filter_map(|file| self.stream.reader(file));
        let index = self.shared.index.read();
        readers
            .take(at_most)
            .map(|reader| {
                let held = index.held_by(reader.file());
                Segment {
                    id: reader.file(),
                    bytes: reader.end(),
                    sealed: reader.is_sealed(),
                    needles: held.needles,
                    live_bytes: held.needle_bytes,
                }
            })
            .collect()
    }

    /// Of a store without threads: writes what was submitted. Else it does nothing.
    pub fn work(&self) {
        self.stream.work();
    }

    /// Of a store without threads: what the background does in time, a mark for the idle stream, zeros and the next
    /// segment ahead, index files, and the list of damage. Else it does nothing. See [`Self::compact`] for the rest.
    pub fn keep_house(&self) {
        if let Some(jobs) = &self.by_hand {
            self.stream.idle();
            while self.stream.prepare() {}
            self.housekeeper.do_waiting(&jobs.lock());
            self.housekeeper.damage.save();
        }
    }

    /// Compacts all segments that are worth it, now and without sparing anybody. In the background the same is done at a
    /// measured pace, within seconds of a segment being worth it.
    pub fn compact(&self) {
        let goes_on = || !self.stopping.load(Ordering::Relaxed);
        while goes_on() && self.housekeeper.compact_one(&mut |_| goes_on()) {}
    }

    /// What compaction came to since the start.
    pub fn compacted(&self) -> Compacted {
        self.tally.figures()
    }

    /// Goes on with the round of scrub that is under way, and ends with it, or when `pause`, asked to wait, says no. In the
    /// background the same is done round after round.
    pub fn scrub(&self, pause: &mut dyn FnMut(Duration) -> bool) {
        if !self.scrubber.round(pause) {
            self.scrubber.save();
        }
    }

    /// How scrub fares.
    pub fn scrubbed(&self) -> Scrubbed {
        self.scrubber.figures(&self.stream)
    }

    /// The first stretches of segments known to be damaged.
    pub fn damaged_stretches(&self, at_most: usize) -> Vec<Stretch> {
        self.shared.damage.stretches(at_most)
    }

    /// The first needles known to be damaged.
    pub fn damaged_needles(&self, at_most: usize) -> Vec<NeedleId> {
        self.shared.damage.needles(at_most)
    }

    /// Finishes what is queued, leaves a mark and ends the threads. The same happens on drop.
    pub fn close(self) {
        drop(self);
    }

    /// Parts of what is to be submitted that are each small enough for one submission: half a segment.
    pub(crate) fn parts<T>(&self, all: Vec<T>, bytes_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
        let bytes_max = self.options.submission_bytes_max();
        let mut parts: Vec<Vec<T>> = Vec::new();
        let mut bytes = 0;
        for one in all {
            bytes += bytes_of(&one);
            match parts.last_mut() {
                Some(part) if bytes <= bytes_max => part.push(one),
                _ => {
                    bytes = bytes_of(&one);
                    parts.push(vec![one]);
                }
            }
        }
        parts
    }
}

/// Opens the stream, and tells the index of all that is found.
fn open_stream(
    disk: &Arc<dyn Disk>,
    options: &StoreOptions,
    shared: &Arc<Shared>,
    jobs: &Sender<Job>,
) -> Result<Stream<Needles>, StoreError> {
    let found = Arc::new(Mutex::new(Found::default()));
    let keeper = Keeper {
        disk: Arc::clone(disk),
        dir: options.dir.clone(),
        shared: Arc::clone(shared),
        jobs: jobs.clone(),
        found: Arc::clone(&found),
        index_every_bytes: options.index_every_bytes(),
        indexed_to: (FileId(0), 0),
    };
    let stream = Stream::open(Arc::clone(disk), options.stream(), keeper)?;
    let told = found.lock().finish(shared);
    told.map_err(|place| StoreError::OutOfReach { dir: options.dir.clone(), place: place.to_string() })?;
    Ok(stream)
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.scrubbing = None;
        // The thread is gone already if it panicked.
        let _ = self.jobs.send(Job::Stop);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that keeps the segments in order panicked");
        }
        self.housekeeper.damage.save();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;

    use hayrick_disk::{FaultyDisk, Op};
    use hayrick_protocol::ids::PlacementId;
    use hayrick_protocol::needle::Body;

    use super::*;

    /// How often the index is written while the status is asked for: where it hung, a tenth was enough.
    const WRITTEN: u64 = 200_000;
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn the_status_never_waits_for_itself_while_needles_arrive() {
        let options = StoreOptions::new("/needles", 64 << 20);
        let store = Arc::new(Store::open(Arc::new(FaultyDisk::new(1)), options).expect("the store opens"));
        let (asking, is_done) = (Arc::clone(&store), Arc::new(AtomicBool::default()));
        let done = Arc::clone(&is_done);
        // Left behind if it hangs.
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                asking.status();
            }
        });
        let (written, outcome) = mpsc::channel();
        thread::spawn(move || {
            for _ in 0..WRITTEN {
                drop(store.shared.index.write());
            }
            is_done.store(true, Ordering::Relaxed);
            let _ = written.send(());
        });
        outcome.recv_timeout(PATIENCE).expect("neither waits for ever");
    }

    #[test]
    fn a_store_that_hangs_while_it_closes_keeps_the_lock() {
        let disk = FaultyDisk::new(1);
        let path = Path::new("/lock");
        let lock = Arc::new(disk.lock(path).expect("nobody has it"));
        let options = StoreOptions::new("/needles", 64 << 20);
        let store = Store::open(Arc::new(disk.clone()), options).expect("the store opens").holding(lock);
        let gate = disk.gate(Op::Sync);
        let body = Body::new(b"key".to_vec(), 3);
        let needle = body.with_header(NeedleId(1), PlacementId(1), 0).concat().into();
        let appending = store.append(vec![needle]);
        let closing = thread::spawn(move || store.close());
        while disk.counts().writes == 0 {
            thread::yield_now();
        }
        assert!(disk.lock(path).is_err(), "the stream still writes");
        gate.open();
        closing.join().expect("no panic");
        disk.lock(path).expect("it was let go");
        drop(appending);
    }
}
