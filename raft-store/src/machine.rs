//! openraft's state machine: entries go to a thread of their own, which applies them and answers.
//!
//! Owns the order of things around apply: rows are committed (without a sync) and published to readers; who changed
//! objects alone is answered before that, everybody else after it; when enough has changed, a checkpoint makes it all
//! durable. Entries that nobody here waits for, as most are on a follower, gather for a moment and share a transaction.
//! What a command does is left to `apply`, what a snapshot is to `snapshot`. Invariant: whoever got a reply finds its
//! effect in `get` once its index is applied, changes of the cluster at once; entries are applied in their order, whoever
//! has it done; and a failed apply is never followed by another, nor by a checkpoint.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use hayrick_disk::Disk;
use hayrick_protocol::command::Command;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::type_config::alias::SnapshotOf;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot, watch};

use crate::applied::Applied;
use crate::apply::{Rows, apply};
use crate::cluster::Cluster;
use crate::errors::OpenError;
use crate::options::Options;
use crate::snapshot::{Building, SnapshotData};
use crate::state::State;
use crate::status::Counters;
use crate::store::{Reader, Store, StoreError, rename};
use crate::types::{Entry, LogId, Replies, SnapshotMeta, StoredMembership, Types, entry_bytes};
use crate::view::View;

/// Entries applied in one transaction.
const APPLY_ENTRIES_MAX: usize = 256;
/// Bytes of entries applied in one transaction; a larger entry is applied alone.
const APPLY_BYTES_MAX: usize = 4 << 20;
/// How long entries gather that nobody here waits for. A reader that comes meanwhile has them applied at once.
const GATHER: Duration = Duration::from_millis(5);
/// Jobs that may wait for the thread: openraft waits for each, and readers of the whole state are few.
const JOBS_WAITING_MAX: usize = 64;

/// The applied state as readers see it, and the thread that changes it.
#[derive(Clone)]
pub(crate) struct Machine {
    shared: Arc<Shared>,
    jobs: mpsc::SyncSender<Job>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// A snapshot as openraft hands it around.
pub(crate) type RaftSnapshot = SnapshotOf<Types, SnapshotData>;

/// What was published last.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) reader: Arc<Reader>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) counters: Counters,
}

struct Shared {
    /// Dropped in front of the store, which is closed cleanly only without readers.
    published: RwLock<Published>,
    core: Mutex<Core>,
    /// What is to be applied next. Emptied only under the lock of `core`.
    gathered: Mutex<Batch>,
    /// Entries began to gather.
    gathering: Notify,
    /// Whether [`Machine::run_gatherer`] sees to it that they do not do so for ever.
    may_gather: AtomicBool,
    /// The highest index that anybody waited for.
    wanted: AtomicU64,
    /// The thread was asked to apply what gathered, and has not begun: to ask again, as every reader would, might fill the
    /// queue, in which Raft must find room.
    hurried: AtomicBool,
    applied: watch::Sender<u64>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    cache_bytes: usize,
    checkpoint_after: (u64, u64),
}

/// The state itself. Who holds the lock sees it between two batches.
struct Core {
    store: Store,
    state: State,
    applied: Applied,
    /// Rows and bytes changed since the last checkpoint.
    since_checkpoint: (u64, u64),
    failed: Option<String>,
}

/// What the thread is asked for, once it has applied what gathered.
enum Job {
    Nothing,
    Applied { done: oneshot::Sender<io::Result<()>> },
    Checkpoint { done: oneshot::Sender<io::Result<()>> },
    Install { meta: SnapshotMeta, data: SnapshotData, done: oneshot::Sender<io::Result<()>> },
    Stop,
}

type Applicable = (Entry, Option<ApplyResponder<Types>>);

impl Machine {
    /// Opens the index in `options.dir` and starts the thread. Blocks: not for async threads.
    pub(crate) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Self, OpenError> {
        let path = options.dir.join(INDEX_FILE);
        let (store, state, applied) = Store::open(disk.as_ref(), &path, options.index_cache_bytes)?;
        let reader = store.reader().map_err(|error| error.into_open_error(&path))?;
        let published = Published {
            reader: Arc::new(reader),
            cluster: Arc::new(state.cluster.clone()),
            counters: state.counters,
        };
        let shared = Arc::new(Shared {
            applied: watch::Sender::new(applied.index()),
            gathered: Mutex::default(),
            gathering: Notify::new(),
            may_gather: AtomicBool::new(false),
            wanted: AtomicU64::new(0),
            hurried: AtomicBool::new(false),
            core: Mutex::new(Core { store, state, applied, since_checkpoint: (0, 0), failed: None }),
            published: RwLock::new(published),
            disk,
            dir: options.dir.clone(),
            cache_bytes: options.index_cache_bytes,
            checkpoint_after: (options.checkpoint_after_rows, options.checkpoint_after_bytes),
        });
        let (jobs, waiting) = mpsc::sync_channel(JOBS_WAITING_MAX);
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("raft-apply".into())
            .spawn(move || run(&for_thread, &waiting))
            .map_err(|source| OpenError::Io { path, source })?;
        Ok(Self { shared, jobs, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// What requests read. Costs reference counts.
    pub(crate) fn published(&self) -> Published {
        self.shared.published.read().clone()
    }

    pub(crate) fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.shared.published.read().reader)
    }

    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.shared.published.read().cluster)
    }

    /// The applied index, as it grows.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    /// Has entries applied soon that gather, and those up to `index` at once when they come.
    pub(crate) fn want(&self, index: u64) {
        self.shared.wanted.fetch_max(index, Ordering::SeqCst);
        self.hurry();
    }

    fn hurry(&self) {
        let some_wait = !self.shared.gathered.lock().entries.is_empty();
        if some_wait && !self.shared.hurried.swap(true, Ordering::SeqCst) {
            // When there is no room, the jobs that wait have it done.
            let _ = self.jobs.try_send(Job::Nothing);
        }
    }

    /// From now on entries that nobody waits for may gather, for [`GATHER`] at most.
    pub(crate) async fn run_gatherer(self) {
        self.shared.may_gather.store(true, Ordering::SeqCst);
        loop {
            self.shared.gathering.notified().await;
            tokio::time::sleep(GATHER).await;
            self.hurry();
        }
    }

    /// Waits for the batch in progress, at worst for a checkpoint.
    pub(crate) async fn view(&self) -> io::Result<Arc<View>> {
        let shared = Arc::clone(&self.shared);
        let view = tokio::task::spawn_blocking(move || {
            let mut core = shared.core.lock();
            core.catch_up(&shared)?;
            let reader = Arc::clone(&shared.published.read().reader);
            Ok(Arc::new(View { reader, state: core.state.clone(), applied: core.applied.clone() }))
        });
        view.await.map_err(io::Error::other)?
    }

    /// Raft's part of the applied state.
    pub(crate) fn applied_now(&self) -> Applied {
        self.shared.core.lock().applied.clone()
    }

    /// Why it takes nothing any more.
    pub(crate) fn failed(&self) -> Option<String> {
        // A batch in progress says nothing of failure yet.
        self.shared.core.try_lock().and_then(|core| core.failed.clone())
    }

    /// Makes everything applied so far durable.
    pub(crate) async fn checkpoint(&self) -> io::Result<()> {
        self.job(|done| Job::Checkpoint { done }).await
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
            return Err(io::Error::other("the apply thread panicked"));
        }
        result
    }

    /// Whether what gathered may go on doing so.
    fn may_wait(&self) -> bool {
        // Whoever wants an entry says so before it looks whether that is here; so one of the two sees the other.
        let gathered = self.shared.gathered.lock();
        self.shared.may_gather.load(Ordering::SeqCst)
            && self.failed().is_none()
            && gathered.is_wanted_by_none(self.shared.wanted.load(Ordering::SeqCst))
    }

    async fn job(&self, job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job) -> io::Result<()> {
        let (done, result) = oneshot::channel();
        let stopped = || io::Error::other("the state machine has stopped");
        self.jobs.try_send(job(done)).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => io::Error::other("too many jobs wait for the state machine"),
            mpsc::TrySendError::Disconnected(_) => stopped(),
        })?;
        result.await.map_err(|_| stopped())?
    }
}

/// Name of the index file in the node's directory.
const INDEX_FILE: &str = "index.redb";
/// Name of a snapshot that is being installed from this very process (tests and restarts).
const INSTALL_FILE: &str = "install.new";

fn run(shared: &Shared, jobs: &mpsc::Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        let mut core = shared.core.lock();
        let caught_up = core.catch_up(shared);
        match job {
            Job::Nothing => {}
            Job::Applied { done } => {
                // Whoever waits is told before a checkpoint makes the next batch wait.
                let _ = done.send(caught_up);
            }
            Job::Checkpoint { done } => {
                let _ = done.send(core.checkpoint());
            }
            Job::Install { meta, data, done } => {
                let _ = done.send(core.install(shared, &meta, data));
            }
            Job::Stop => return,
        }
        let (rows, bytes) = core.since_checkpoint;
        if rows >= shared.checkpoint_after.0 || bytes >= shared.checkpoint_after.1 {
            // A failure is remembered.
            let _ = core.checkpoint();
        }
    }
}

impl Core {
    fn check(&self) -> io::Result<()> {
        self.failed.as_ref().map_or(Ok(()), |failed| Err(io::Error::other(failed.clone())))
    }

    /// After a failure state and rows may disagree: nothing of it may be used or made durable.
    fn fail<T>(&mut self, result: Result<T, StoreError>) -> io::Result<T> {
        result.map_err(|error| {
            tracing::error!(%error, "the state machine stops");
            self.failed = Some(error.to_string());
            io::Error::other(error)
        })
    }

    /// Applies what gathered.
    fn catch_up(&mut self, shared: &Shared) -> io::Result<()> {
        self.check()?;
        // In this order: who adds an entry behind the batch that is taken here asks again.
        shared.hurried.store(false, Ordering::SeqCst);
        let batch = std::mem::take(&mut *shared.gathered.lock());
        if batch.entries.is_empty() { Ok(()) } else { self.apply(shared, batch.entries) }
    }

    /// Applies a batch. Who asked for a change of objects alone is told before the batch is written and shown: the entry
    /// is committed, so nothing can come between, and whoever reads after that answer waits for `applied`, as any reader
    /// does. Who changed the cluster may look at it next without such a wait, and is told when it is shown.
    fn apply(&mut self, shared: &Shared, mut entries: Vec<Applicable>) -> io::Result<()> {
        let has_commands = entries.iter().any(|(entry, _)| matches!(entry.payload, EntryPayload::Normal(_)));
        let mut late = Vec::new();
        if has_commands {
            let Self { store, state, since_checkpoint, .. } = self;
            let result = store.write(false, |tables| {
                for (entry, responder) in &mut entries {
                    let (replies, only_objects) = apply_commands(state, tables, entry)?;
                    match responder.take() {
                        Some(responder) if only_objects => responder.send(replies),
                        Some(responder) => late.push((responder, replies)),
                        None => {}
                    }
                }
                since_checkpoint.0 += tables.rows;
                since_checkpoint.1 += tables.bytes;
                Ok(())
            });
            self.fail(result)?;
        }
        for (entry, responder) in entries {
            late.extend(responder.map(|responder| (responder, Replies::default())));
            if let EntryPayload::Membership(membership) = entry.payload {
                self.applied.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            self.applied.last = Some(entry.log_id);
        }
        if has_commands {
            self.publish(shared)?;
        }
        shared.applied.send_replace(self.applied.index());
        for (responder, replies) in late {
            responder.send(replies);
        }
        Ok(())
    }

    fn publish(&mut self, shared: &Shared) -> io::Result<()> {
        let reader = self.store.reader();
        let reader = Arc::new(self.fail(reader)?);
        let cluster =
            std::mem::take(&mut self.state.cluster_changed).then(|| Arc::new(self.state.cluster.clone()));
        let mut published = shared.published.write();
        published.reader = reader;
        published.counters = self.state.counters;
        if let Some(cluster) = cluster {
            published.cluster = cluster;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> io::Result<()> {
        self.check()?;
        let Self { store, state, applied, .. } = self;
        let result = store.write(true, |tables| tables.checkpoint(state, applied));
        self.fail(result)?;
        self.state.changed.clear();
        self.since_checkpoint = (0, 0);
        Ok(())
    }

    fn install(&mut self, shared: &Shared, meta: &SnapshotMeta, data: SnapshotData) -> io::Result<()> {
        self.check()?;
        let result = self.replace(shared, meta, data);
        self.fail(result)?;
        tracing::info!(index = self.applied.index(), "installed a snapshot from the leader");
        self.state.cluster_changed = true;
        self.publish(shared)?;
        shared.applied.send_replace(self.applied.index());
        Ok(())
    }

    /// Puts the snapshot's file in the place of the present one. A crash leaves the one or the other.
    fn replace(
        &mut self,
        shared: &Shared,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> Result<(), StoreError> {
        let applied = Applied { last: meta.last_log_id, membership: meta.last_membership.clone() };
        let building = match data {
            SnapshotData::Received(building) => *building,
            SnapshotData::View(view) => {
                let path = shared.dir.join(INSTALL_FILE);
                Building::copy(&shared.disk, &path, view)?
            }
        };
        let (built, state, path) = building.finish(&applied, shared.cache_bytes)?;
        rename(shared.disk.as_ref(), &path, &shared.dir.join(INDEX_FILE))?;
        (self.store, self.state, self.applied) = (built, state, applied);
        self.since_checkpoint = (0, 0);
        Ok(())
    }
}

/// The replies to an entry's commands, and whether it has commands, none of which changes anything but objects.
fn apply_commands(
    state: &mut State,
    rows: &mut dyn Rows,
    entry: &Entry,
) -> Result<(Replies, bool), StoreError> {
    let mut replies = Replies::default();
    let EntryPayload::Normal(commands) = &entry.payload else { return Ok((replies, false)) };
    let damaged = |_| StoreError::Damaged(format!("entry {} does not parse", entry.log_id.index));
    let mut only_objects = true;
    for command in commands.decode().map_err(damaged)? {
        only_objects &= matches!(command, Command::Commit(_) | Command::Delete(_));
        replies.0.push(apply(state, rows, command)?);
    }
    Ok((replies, only_objects))
}

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
            for entry in chunk {
                let entry = entry?;
                if !self.shared.gathered.lock().has_room(&entry.0) {
                    self.job(|done| Job::Applied { done }).await?;
                }
                self.shared.gathered.lock().push(entry);
            }
            if self.may_wait() {
                self.shared.gathering.notify_one();
            } else {
                self.job(|done| Job::Applied { done }).await?;
            }
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
        let meta = meta.clone();
        self.job(|done| Job::Install { meta, data: snapshot, done }).await
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
        self.checkpoint().await?;
        Ok(snapshot_of(view))
    }
}

/// Entries to be applied in one transaction.
#[derive(Default)]
struct Batch {
    entries: Vec<Applicable>,
    bytes: usize,
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

    /// Whether nobody here asked for any of it, nor waits to see it.
    fn is_wanted_by_none(&self, wanted: u64) -> bool {
        self.entries.iter().all(|(entry, responder)| responder.is_none() && entry.log_id.index > wanted)
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
    use futures_util::FutureExt;

    use super::*;
    use crate::types::{Commands, LeaderId};

    #[tokio::test]
    async fn any_number_of_readers_leaves_room_for_raft() {
        let disk: Arc<dyn Disk> = Arc::new(hayrick_disk::FaultyDisk::new(1));
        disk.create_dir_all("/m".as_ref()).expect("a directory");
        let options =
            Options { index_cache_bytes: 1 << 20, ..Options::new(hayrick_protocol::NodeId(1), "/m") };
        let mut machine = Machine::open(disk, &options).expect("the index opens");
        machine.shared.may_gather.store(true, Ordering::SeqCst);
        let entry = |index| {
            let log_id = LogId::new(LeaderId { term: 1, node_id: 1 }, index);
            futures_util::stream::iter([Ok((Entry { log_id, payload: EntryPayload::Blank }, None))])
        };
        machine.apply(entry(1)).await.expect("it gathers");
        let shared = Arc::clone(&machine.shared);
        let at_work = shared.core.lock();
        for _ in 0..10 * JOBS_WAITING_MAX {
            machine.want(2);
        }
        let mut applying = std::pin::pin!(machine.apply(entry(2)));
        assert!(applying.as_mut().now_or_never().is_none(), "it waits for the thread, and is not refused");
        drop(at_work);
        applying.await.expect("there was room for it");
        assert_eq!(*shared.applied.borrow(), 2);
    }

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
