//! openraft's state machine: entries change the overlay, who waits for them is answered, and readers see them.
//!
//! Few and small entries are applied where they come; what takes longer, and what has to wait for room, is done on a thread
//! that may block. When enough has changed, `write_behind` is told; when far too much has, apply waits for it. What a
//! command does is left to `apply`, how it is seen to `shown`, what a snapshot is to `snapshot`. Invariant:
//! entries are applied in their order; whoever got a reply finds its effect in what is shown; and a failed apply or
//! checkpoint is never followed by another.

mod raft_side;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, JoinHandle};

use hayrick_disk::Disk;
use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::ObjectKey;
use hayrick_protocol::command::{Refusal, Reply};
use hayrick_protocol::record::ObjectRecord;
use openraft::EntryPayload;
use openraft::storage::ApplyResponder;
use openraft::type_config::alias::SnapshotOf;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::{oneshot, watch};

use self::raft_side::Batch;
use crate::applied::Applied;
use crate::apply::{Rows, apply};
use crate::cluster::Cluster;
use crate::errors::OpenError;
use crate::options::Options;
use crate::shown::Shown;
use crate::snapshot::{Building, SnapshotData};
use crate::state::State;
use crate::status::Counters;
use crate::store::{Reader, Space, Store, StoreError, rename};
use crate::types::{Entry, Replies, SnapshotMeta, StoredMembership, Types};
use crate::view::{Frozen, View};
use crate::write_behind::{self, Checkpoint, Job};

/// Bytes of entries that are applied where they come: some fifty commands, a few microseconds each.
const INLINE_BYTES_MAX: usize = 8 << 10;
/// Checkpoints that may be asked for at once.
const JOBS_WAITING_MAX: usize = 64;
/// How many times what a checkpoint is due at may gather while one is written, before apply waits for it.
const BACKLOG: usize = 4;

/// The applied state as readers see it, and what changes it.
#[derive(Clone)]
pub(crate) struct Machine {
    shared: Arc<Shared>,
    /// Of the thread that writes behind. It ends with the last of these.
    jobs: mpsc::SyncSender<Job>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// A snapshot as openraft hands it around.
pub(crate) type RaftSnapshot = SnapshotOf<Types, SnapshotData>;

/// What all clones share with the thread that writes behind.
pub(crate) struct Shared {
    /// Dropped in front of the store, which is closed cleanly only without readers.
    shown: Shown,
    core: Mutex<Core>,
    /// A checkpoint came to its end, or something failed.
    room: Condvar,
    /// Why nothing is applied any more.
    failed: OnceLock<String>,
    /// How many wait for a checkpoint.
    asking: AtomicUsize,
    applied: watch::Sender<u64>,
    cluster: watch::Sender<Arc<Cluster>>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    cache_bytes: usize,
    /// Rows and bytes of the overlay at which a checkpoint is due.
    checkpoint_after: (usize, usize),
}

/// The state itself. Who holds the lock sees it between two batches.
struct Core {
    store: Arc<Store>,
    state: State,
    applied: Applied,
    /// What the file holds.
    durable: Applied,
    /// A checkpoint was asked for because it is due, and has not begun.
    due: bool,
    /// One is being written.
    writing: bool,
}

type Applicable = (Entry, Option<ApplyResponder<Types>>);

impl Machine {
    /// Opens the index in `options.dir` and starts the thread. Blocks: not for async threads.
    pub(crate) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Self, OpenError> {
        let path = options.dir.join(INDEX_FILE);
        let (store, state, applied) = Store::open(disk.as_ref(), &path, options.index_cache_bytes)?;
        let reader = store.reader().map_err(|error| error.into_open_error(&path))?;
        let shown = Shown::new(reader, state.counters);
        let (index, cluster) = (applied.index(), Arc::new(state.cluster.clone()));
        let core = Core {
            store: Arc::new(store),
            state,
            durable: applied.clone(),
            applied,
            due: false,
            writing: false,
        };
        let shared = Arc::new(Shared {
            shown,
            core: Mutex::new(core),
            room: Condvar::new(),
            failed: OnceLock::new(),
            asking: AtomicUsize::new(0),
            applied: watch::Sender::new(index),
            cluster: watch::Sender::new(cluster),
            disk,
            dir: options.dir.clone(),
            cache_bytes: options.index_cache_bytes,
            checkpoint_after: (options.checkpoint_after_rows, options.checkpoint_after_bytes),
        });
        let (jobs, waiting) = mpsc::sync_channel(JOBS_WAITING_MAX);
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("write-behind".into())
            .spawn(move || write_behind::run(&for_thread, &waiting))
            .map_err(|source| OpenError::Io { path, source })?;
        Ok(Self { shared, jobs, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// The record of a key as last applied.
    pub(crate) fn object(&self, key: &ObjectKey) -> Result<Option<ObjectRecord>, StoreError> {
        self.shared.shown.object(key)
    }

    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.shared.cluster.borrow())
    }

    /// The cluster, as it changes.
    pub(crate) fn cluster_changes(&self) -> watch::Receiver<Arc<Cluster>> {
        self.shared.cluster.subscribe()
    }

    pub(crate) fn counters(&self) -> Counters {
        self.shared.shown.counters()
    }

    /// The applied index, as it grows.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    /// Objects and garbage. Waits for the end of the batch in progress: not for async threads.
    pub(crate) fn frozen(&self) -> io::Result<Frozen> {
        let _between_batches = self.shared.core.lock();
        self.shared.check()?;
        Ok(self.shared.shown.freeze())
    }

    /// The whole state, when the batch in progress is at its end.
    pub(crate) async fn view(&self) -> io::Result<Arc<View>> {
        let shared = Arc::clone(&self.shared);
        let view = tokio::task::spawn_blocking(move || {
            let core = shared.core.lock();
            shared.check()?;
            let (state, applied) = (core.state.clone(), core.applied.clone());
            Ok(Arc::new(View { rows: shared.shown.freeze(), state, applied }))
        });
        view.await.map_err(io::Error::other)?
    }

    /// What the index file takes. Reads all of it.
    pub(crate) async fn space(&self) -> io::Result<Space> {
        let store = Arc::clone(&self.shared.core.lock().store);
        let space = tokio::task::spawn_blocking(move || store.space());
        space.await.map_err(io::Error::other)?.map_err(io::Error::other)
    }

    /// Raft's part of the applied state.
    pub(crate) fn applied_now(&self) -> Applied {
        self.shared.core.lock().applied.clone()
    }

    /// Why it takes nothing any more.
    pub(crate) fn failed(&self) -> Option<String> {
        self.shared.failed.get().cloned()
    }

    /// Makes everything applied so far durable.
    pub(crate) async fn checkpoint(&self) -> io::Result<()> {
        let (done, result) = oneshot::channel();
        let stopped = || io::Error::other("the state machine has stopped");
        let _asking = Asking::new(&self.shared);
        self.jobs.try_send(Job::Checkpoint { done }).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => io::Error::other("too many wait for a checkpoint"),
            mpsc::TrySendError::Disconnected(_) => stopped(),
        })?;
        result.await.map_err(|_| stopped())?
    }

    /// Makes everything durable and ends the thread.
    pub(crate) async fn stop(&self) -> io::Result<()> {
        let result = self.checkpoint().await;
        let (jobs, thread) = (self.jobs.clone(), self.thread.lock().take());
        let ended = tokio::task::spawn_blocking(move || {
            let _ = jobs.send(Job::Stop);
            thread.map(JoinHandle::join)
        });
        if matches!(ended.await, Ok(Some(Err(_)))) {
            return Err(io::Error::other("the thread that writes behind panicked"));
        }
        result
    }

    /// Applies a batch, at once if it is small, nobody is at it, and there is room.
    async fn take(&self, batch: Batch) -> io::Result<()> {
        if batch.bytes <= INLINE_BYTES_MAX
            && let Some(mut core) = self.shared.core.try_lock()
            && self.shared.fill() < BACKLOG
        {
            return self.apply_now(&mut core, batch.entries);
        }
        let machine = self.clone();
        let applied = tokio::task::spawn_blocking(move || {
            let mut core = machine.shared.core.lock();
            machine.wait_for_room(&mut core)?;
            machine.apply_now(&mut core, batch.entries)
        });
        applied.await.map_err(io::Error::other)?
    }

    fn wait_for_room(&self, core: &mut MutexGuard<'_, Core>) -> io::Result<()> {
        loop {
            self.shared.check()?;
            if self.shared.fill() < BACKLOG {
                return Ok(());
            }
            self.tell_if_due(core);
            self.shared.room.wait(core);
        }
    }

    fn apply_now(&self, core: &mut Core, entries: Vec<Applicable>) -> io::Result<()> {
        self.shared.check()?;
        core.apply(&self.shared, entries)?;
        self.tell_if_due(core);
        Ok(())
    }

    /// Has a checkpoint written if it is due, once the one before it came to its end.
    fn tell_if_due(&self, core: &mut Core) {
        if !core.due && !core.writing && self.shared.fill() > 0 {
            // Where there is no room for it, others that wait there have one written.
            core.due = self.jobs.try_send(Job::Due).is_ok();
        }
    }
}

/// Somebody waits for a checkpoint: there are no pauses meanwhile.
struct Asking<'a>(&'a Shared);

impl<'a> Asking<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.asking.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Name of the index file in the node's directory.
pub(crate) const INDEX_FILE: &str = "index.redb";
/// Name of a snapshot that is being installed from this very process (tests and restarts).
const INSTALL_FILE: &str = "install.new";

impl Shared {
    fn check(&self) -> io::Result<()> {
        self.failed.get().map_or(Ok(()), |failed| Err(io::Error::other(failed.clone())))
    }

    /// After a failure state and rows may disagree: nothing of it may be used or made durable.
    fn fail<T>(&self, result: Result<T, StoreError>) -> io::Result<T> {
        result.map_err(|error| {
            tracing::error!(%error, "the state machine stops");
            self.give_up(&error.to_string());
            io::Error::other(error)
        })
    }

    /// Nothing is applied or made durable any more; who waits is told.
    pub(crate) fn give_up(&self, why: &str) {
        // The first reason is the one to be told.
        let _ = self.failed.set(why.to_owned());
        self.room.notify_all();
    }

    /// How many times what makes a checkpoint due lies in the overlay.
    fn fill(&self) -> usize {
        let size = self.shown.size();
        let (rows, bytes) = self.checkpoint_after;
        (size.rows / rows.max(1)).max(size.bytes / bytes.max(1))
    }

    /// Whether a checkpoint should be written without pauses.
    pub(crate) fn is_pressed(&self) -> bool {
        self.asking.load(Ordering::SeqCst) > 0 || self.fill() > BACKLOG / 2
    }

    /// What is to be written, if anything was applied since the last checkpoint. [`Self::end_checkpoint`] has to follow.
    pub(crate) fn begin_checkpoint(&self) -> io::Result<Option<Checkpoint>> {
        let mut core = self.core.lock();
        self.check()?;
        core.due = false;
        if core.applied == core.durable {
            return Ok(None);
        }
        core.writing = true;
        let layers = self.shown.begin_write();
        let changed = std::mem::take(&mut core.state.changed);
        let small = changed.into_iter().map(|key| (key.encode(), core.state.row(key))).collect();
        let (store, applied) = (Arc::clone(&core.store), core.applied.clone());
        Ok(Some(Checkpoint { store, layers, small, applied }))
    }

    /// It was written, and is read from the file from now on; or it failed.
    pub(crate) fn end_checkpoint(
        &self,
        applied: &Applied,
        written: Result<Reader, StoreError>,
    ) -> io::Result<()> {
        let mut core = self.core.lock();
        core.writing = false;
        let reader = self.fail(written)?;
        core.durable = applied.clone();
        self.shown.written(reader);
        self.room.notify_all();
        Ok(())
    }

    fn install(&self, meta: &SnapshotMeta, data: SnapshotData) -> io::Result<()> {
        let mut core = self.core.lock();
        self.check()?;
        while core.writing {
            self.room.wait(&mut core);
            self.check()?;
        }
        let replaced = core.replace(self, meta, data);
        let reader = self.fail(replaced)?;
        tracing::info!(index = core.applied.index(), "installed a snapshot from the leader");
        self.shown.replace(reader, core.state.counters);
        self.cluster.send_replace(Arc::new(core.state.cluster.clone()));
        self.applied.send_replace(core.applied.index());
        Ok(())
    }
}

impl Core {
    /// Applies a batch, shows it, and answers who asked.
    fn apply(&mut self, shared: &Shared, mut entries: Vec<Applicable>) -> io::Result<()> {
        let mut replies = Vec::with_capacity(entries.len());
        for (entry, responder) in &mut entries {
            let reply = shared.fail(apply_commands(&mut self.state, &mut &shared.shown, entry))?;
            replies.extend(responder.take().map(|responder| (responder, reply)));
            if let EntryPayload::Membership(membership) = &entry.payload {
                self.applied.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            }
            self.applied.last = Some(entry.log_id);
        }
        self.show(shared);
        shared.applied.send_replace(self.applied.index());
        replies.into_iter().for_each(|(responder, reply)| responder.send(reply));
        Ok(())
    }

    /// Shows what is no row. Rows are seen at once.
    fn show(&mut self, shared: &Shared) {
        shared.shown.set_counters(self.state.counters);
        if std::mem::take(&mut self.state.cluster_changed) {
            shared.cluster.send_replace(Arc::new(self.state.cluster.clone()));
        }
    }

    /// Puts the snapshot's file in the place of the present one. A crash leaves the one or the other.
    fn replace(
        &mut self,
        shared: &Shared,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> Result<Reader, StoreError> {
        let applied = Applied { last: meta.last_log_id, membership: meta.last_membership.clone() };
        let building = match data {
            SnapshotData::Received(building) => *building,
            SnapshotData::View(view) => {
                let path = shared.dir.join(INSTALL_FILE);
                Building::copy(&shared.disk, &path, view)?
            }
        };
        let (store, mut state, path) = building.finish(&applied, shared.cache_bytes)?;
        if planted::is(Bug::DedupeDroppedAtSnapshot) {
            state.forget_answers();
        }
        rename(shared.disk.as_ref(), &path, &shared.dir.join(INDEX_FILE))?;
        let reader = store.reader()?;
        (self.store, self.state) = (Arc::new(store), state);
        (self.durable, self.applied) = (applied.clone(), applied);
        Ok(reader)
    }
}

/// The replies to an entry's commands.
fn apply_commands(state: &mut State, rows: &mut dyn Rows, entry: &Entry) -> Result<Replies, StoreError> {
    let EntryPayload::Normal(commands) = &entry.payload else { return Ok(Replies::default()) };
    let damaged = |_| StoreError::Damaged(format!("entry {} does not parse", entry.log_id.index));
    let commands = commands.decode().map_err(damaged)?;
    let replies = commands.into_iter().map(|command| apply(state, rows, command));
    let replies: Vec<Reply> = replies.collect::<Result<_, _>>()?;
    replies.iter().for_each(count);
    Ok(Replies(replies))
}

/// Not in `apply`, which does nothing but compute.
fn count(reply: &Reply) {
    metrics::COMMANDS_APPLIED.increment();
    match reply {
        Reply::Refused(Refusal::StalePlacement) => metrics::STALE_PLACEMENTS.increment(),
        Reply::Refused(Refusal::Fenced) => metrics::FENCED_COMMANDS.increment(),
        Reply::Refused(Refusal::PreconditionFailed) => metrics::CONDITIONS_FAILED.increment(),
        _ => {}
    }
}
