//! One Raft node behind a small API: all that others see of this crate.
//!
//! Owns the order in which log, state machine, network and proposer are started and stopped; `reading` has what is read of the
//! state, `members` who takes part. What commands mean is
//! told in `apply`. Invariant: an error that says "not proposed" is only given when nothing was handed to Raft.

mod members;
mod reading;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hayrick_disk::Disk;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::NodeId;
use hayrick_protocol::command::{Command, Reply};
use hayrick_protocol::held::{Held, LogPosition, Vote};
use hayrick_protocol::messages::master::{ProposeError, ReadIndexError};
use openraft::errors::{InitializeError as RaftInitializeError, LinearizableReadError, RaftError};
use openraft::{BasicNode, Config, Raft, ReadPolicy, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::errors::{InitializeError, OpenError, Timeout};
use crate::keeper::Keeper;
use crate::log::Log;
use crate::machine::Machine;
use crate::membership::Membership;
use crate::network::{self, Network, Transits};
use crate::observe;
use crate::options::{LOG_FILE_BYTES_MIN, Options};
use crate::panics;
use crate::proposer::Proposer;
use crate::snapshot::{self, Receiver};
use crate::status::{Progress, Role, Status};
use crate::transport::Transport;
use crate::types::{Types, position};
use crate::unheard::{self, Silent};

/// A snapshot is given up by its sender, chunk by chunk, not by the clock.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// One master's part in a Raft group. Cheap to clone; all clones are the same node.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    raft: Raft<Types, Machine>,
    machine: Machine,
    log: Log,
    held_at_start: Held,
    receiver: Arc<Receiver>,
    proposer: Proposer,
    membership: Membership,
    progress: watch::Receiver<Progress>,
    leaving: Arc<AtomicBool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Node {
    /// Opens the directory (creating it if need be), recovers log and state, and starts Raft.
    pub async fn open(
        options: Options,
        disk: Arc<dyn Disk>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, OpenError> {
        panics::remember();
        let config = raft_config(&options)?;
        let (for_files, disk_of_files) = (options.clone(), Arc::clone(&disk));
        let opened = tokio::task::spawn_blocking(move || open_files(&disk_of_files, &for_files)).await;
        let (log, machine) = opened.map_err(|error| OpenError::Raft(error.to_string()))??;
        // An index that was installed from a snapshot may be ahead of a log that does not say so yet.
        let mut held_at_start = log.held();
        held_at_start.last = held_at_start.last.max(machine.applied_now().last.as_ref().map(position));
        let transits = Transits::default();
        let (silent, leaving) = (Silent::default(), Arc::new(AtomicBool::new(false)));
        let network = Network {
            transport,
            append_timeout: options.election.end.max(Duration::from_secs(2)),
            chunk_bytes: options.snapshot_chunk_bytes,
            transits: Arc::clone(&transits),
            silent: Arc::clone(&silent),
        };
        let raft = Raft::new(options.node.0, config, network, log.clone(), machine.clone()).await;
        let raft = raft.map_err(|error| OpenError::Raft(error.to_string()))?;
        // Before it answers for the first time it tells of no members, and who asks once believes that there are none. That
        // it stopped at once, if so, is told by `watch`.
        let _ = raft.with_raft_state(|_| ()).await;
        let proposer = Proposer::default();
        let (told, progress) = watch::channel(observe::progress(&raft, 0));
        let keeper = Keeper {
            raft: raft.clone(),
            machine: machine.clone(),
            log: log.clone(),
            transits,
            options: options.clone(),
        };
        let tasks = vec![
            tokio::spawn(proposer.clone().run(raft.clone(), options.election.end)),
            tokio::spawn(observe::run(raft.clone(), machine.clone(), told)),
            tokio::spawn(keeper.run()),
            tokio::spawn(unheard::run(raft.clone(), silent, Arc::clone(&leaving), options.election.end)),
        ];
        let receiver = Arc::new(Receiver::new(disk, &options.dir));
        let membership = Membership::new(raft.clone(), options.node, options.election.end);
        let tasks = Mutex::new(tasks);
        let inner = Inner {
            options,
            raft,
            machine,
            log,
            held_at_start,
            receiver,
            proposer,
            membership,
            progress,
            leaving,
            tasks,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether neither log nor state has anything yet: no vote, no entry, no snapshot.
    pub fn is_pristine(&self) -> bool {
        self.inner.log.is_pristine() && self.inner.machine.applied_now().last.is_none()
    }

    /// What the disk held when the node was opened.
    pub fn held_at_start(&self) -> Held {
        self.inner.held_at_start
    }

    /// What the disk holds now.
    pub fn held(&self) -> Held {
        self.inner.log.held()
    }

    /// What `id` has acknowledged to this node as its leader; `None` elsewhere.
    pub fn acknowledged_by(&self, id: NodeId) -> Option<(Vote, LogPosition)> {
        observe::acknowledged_by(&self.inner.raft, id)
    }

    /// From now on it may stand for election. Before that it answers nobody's vote of its own accord, but what
    /// [`Self::handle`] is given.
    pub fn stand_for_election(&self) {
        self.inner.raft.runtime_config().elect(true);
    }

    /// From now on it does not stand for election any more.
    pub fn stay_out_of_elections(&self) {
        self.inner.raft.runtime_config().elect(false);
    }

    /// It is about to be shut down, and others may be, too: that nobody answers it is in order from now on.
    pub fn leave(&self) {
        self.inner.leaving.store(true, Ordering::Relaxed);
    }

    /// Forms the Raft group of these masters (id → peer address). Idempotent, and safe on several of them at once as
    /// long as all are given the same. Does nothing on a node that is not pristine.
    pub async fn initialize(&self, masters: BTreeMap<NodeId, String>) -> Result<(), InitializeError> {
        let masters: BTreeMap<u64, BasicNode> =
            masters.into_iter().map(|(id, addr)| (id.0, BasicNode { addr })).collect();
        match self.inner.raft.initialize(masters).await {
            Ok(()) | Err(RaftError::APIError(RaftInitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(RaftInitializeError::NotInMembers(_))) => {
                Err(InitializeError::NotAMember)
            }
            Err(RaftError::Fatal(error)) => Err(InitializeError::Stopped(error.to_string())),
        }
    }

    /// A Raft request from another master; the answer goes back as it is. Bytes that do not parse are refused in words.
    pub async fn handle(&self, kind: u8, body: Bytes) -> Result<Bytes, String> {
        network::handle(&self.inner.raft, &self.inner.receiver, kind, body).await
    }

    /// Replicates the commands, in this order and in one entry, and gives apply's reply to each. Leader only.
    ///
    /// `NotLeader`, `NoQuorum` and `Overloaded` mean that nothing was proposed; everything else that is not success is
    /// `Unknown`. Commands that arrive while an entry is in flight share the next one.
    pub async fn propose(
        &self,
        commands: Vec<Command>,
        deadline: Instant,
    ) -> Result<Vec<Reply>, ProposeError> {
        let progress = *self.inner.progress.borrow();
        if progress.role != Role::Leader {
            return Err(ProposeError::NotLeader { leader: progress.leader });
        }
        if !self.has_quorum() {
            return Err(ProposeError::NoQuorum);
        }
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.proposer.propose(&commands, deadline, || self.has_quorum()).await
    }

    /// An index which every read that arrived before this call must have applied; confirmed by a round to a majority
    /// that started after this call. Leader only; never answered from a lease.
    pub async fn read_index(&self, deadline: Instant) -> Result<u64, ReadIndexError> {
        if planted::is(Bug::ReadWithoutReadIndex) && self.inner.progress.borrow().role == Role::Leader {
            return Ok(*self.inner.machine.applied().borrow());
        }
        let round = self.inner.raft.get_read_log_id(ReadPolicy::ReadIndex);
        match tokio::time::timeout_at(deadline, round).await {
            Ok(Ok((read, _))) => Ok(read.index()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                Err(ReadIndexError::NotLeader { leader: forward.leader_id.map(NodeId) })
            }
            Ok(Err(RaftError::Fatal(_))) => Err(ReadIndexError::NotLeader { leader: None }),
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) | Err(_) => {
                Err(ReadIndexError::NoQuorum)
            }
        }
    }

    /// Waits until the entry is applied here.
    pub async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), Timeout> {
        let mut applied = self.inner.machine.applied();
        let reached = applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Timeout),
        }
    }

    /// Leader, role and term, and whether the cluster changed, as they do.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.inner.progress.clone()
    }

    /// Everything worth showing.
    pub fn status(&self) -> Status {
        let Inner { options, raft, machine, log, .. } = &*self.inner;
        observe::status(options, raft, machine, log)
    }

    /// How long the oldest part of the log that is on its way to the disk has been so; zero when all is durable.
    pub fn unsynced_for(&self) -> Duration {
        self.inner.log.unsynced_for()
    }

    /// Stops Raft, makes log and state durable and ends the threads. Other clones answer with errors afterwards.
    pub async fn shutdown(self) {
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::error!(%error, "Raft did not stop as it should");
        }
        let tasks = std::mem::take(&mut *self.inner.tasks.lock());
        for task in tasks {
            task.abort();
            // It ends by being aborted.
            let _ = task.await;
        }
        if let Err(error) = self.inner.machine.stop().await {
            tracing::warn!(%error, "the state was not made durable; the log has it");
        }
        self.inner.log.flush().await;
    }

    /// Whether this node has heard of a majority lately, or as a follower of a leader. Only a proposal shows whether
    /// that is still true. Takes microseconds.
    pub fn has_quorum(&self) -> bool {
        planted::is(Bug::ReadWithoutReadIndex)
            || observe::has_quorum(&self.inner.raft, self.inner.options.election.end)
    }
}

fn raft_config(options: &Options) -> Result<Arc<Config>, OpenError> {
    if options.log_file_bytes < LOG_FILE_BYTES_MIN {
        let (found, least) = (options.log_file_bytes, LOG_FILE_BYTES_MIN);
        return Err(OpenError::Options(format!(
            "log files of {found} bytes are too small; set {least} or more"
        )));
    }
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: format!("hayrick group {}", options.group),
        heartbeat_interval: ms(options.heartbeat),
        election_timeout_min: ms(options.election.start),
        election_timeout_max: ms(options.election.end),
        install_snapshot_timeout: ms(SNAPSHOT_TIMEOUT),
        // Snapshots and purging are the keeper's.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        enable_elect: options.elects,
        // A leader that resumes its old term after a restart takes the term's first entry, and not its own last one, for
        // the least that a read must see: reads would go back behind what it acknowledged before. A new term is cheap.
        enable_leader_restore: Some(false),
        // Without it, a leader that meets a follower whose disk lost what it had acknowledged panics in a debug build, and in
        // another never sends it anything again, while it counts as having it all. The follower should never have started;
        // but where it did, the sooner it has its log again the better.
        allow_log_reversion: Some(true),
        backoff: "50ms 100ms 200ms ...500ms".into(),
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| OpenError::Options(error.to_string()))
}

fn open_files(disk: &Arc<dyn Disk>, options: &Options) -> Result<(Log, Machine), OpenError> {
    open_files_with(disk, options, Log::open)
}

/// Opens log and state, and sees whether they belong together.
pub(crate) fn open_files_with(
    disk: &Arc<dyn Disk>,
    options: &Options,
    open_log: impl FnOnce(Arc<dyn Disk>, &Path, &Options) -> Result<Log, OpenError>,
) -> Result<(Log, Machine), OpenError> {
    let dir = options.dir.join("log");
    let io = |source| OpenError::Io { path: dir.clone(), source };
    disk.create_dir_all(&dir).map_err(io)?;
    snapshot::remove_leftovers(disk.as_ref(), &options.dir).map_err(io)?;
    let log = open_log(Arc::clone(disk), &dir, options)?;
    let machine = Machine::open(Arc::clone(disk), options)?;
    let (purged, applied) = (log.purged(), machine.applied_now().last);
    if let Some(applied) = applied.filter(|_| log.is_pristine()) {
        // With the entries the vote is gone, and this node might give it twice.
        let what = format!("the index holds what entry {} made, and there is no log at all", applied.index);
        return Err(OpenError::Damaged { path: dir, what });
    }
    if purged.map(|id| id.index) > applied.map(|id| id.index) {
        let what = format!(
            "the log begins behind entry {}, the index ends at {}",
            purged.map_or(0, |id| id.index),
            applied.map_or(0, |id| id.index)
        );
        return Err(OpenError::Damaged { path: options.dir.clone(), what });
    }
    Ok((log, machine))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use hayrick_disk::FaultyDisk;
    use openraft::EntryPayload;
    use openraft::storage::RaftStateMachine;

    use super::*;
    use crate::types::{Entry, LeaderId, LogId};

    #[tokio::test]
    async fn an_index_without_its_log_is_refused() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
        disk.create_dir_all("/raft".as_ref()).expect("a sound disk");
        let options = Options { index_cache_bytes: 1 << 20, ..Options::new(NodeId(1), "/raft") };
        let mut machine = Machine::open(Arc::clone(&disk), &options).expect("a new index");
        let log_id = LogId::new(LeaderId { term: 1, node_id: 1 }, 0);
        let entry = Entry { log_id, payload: EntryPayload::Blank };
        machine.apply(stream::iter([Ok((entry, None))])).await.expect("applied");
        machine.stop().await.expect("durable");
        drop(machine);
        let opened = tokio::task::spawn_blocking(move || open_files(&disk, &options)).await.expect("it ends");
        assert!(matches!(opened, Err(OpenError::Damaged { .. })), "it may have voted");
    }

    #[test]
    fn log_files_too_small_for_what_is_written_at_once_are_refused() {
        let options = Options { log_file_bytes: LOG_FILE_BYTES_MIN - 1, ..Options::new(NodeId(1), "/raft") };
        assert!(matches!(raft_config(&options), Err(OpenError::Options(_))));
        assert!(raft_config(&Options::new(NodeId(1), "/raft")).is_ok());
    }
}
