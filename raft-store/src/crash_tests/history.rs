//! One life of a master: what openraft and the keeper do to log and state, in the orders in which they do it, drawn at
//! random, and told to the model with the steps at which it was acknowledged.
//!
//! Owns the rules of Raft that both may rely on: what is committed is never truncated, the log is purged behind a durable
//! state, a log that contradicts a snapshot is truncated before that is installed. What may be found after a crash is told in
//! `model`. Invariant: but for the disk nothing is left to chance or threads, so a seed gives the same steps again.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use hayrick_disk::{Disk, Failure, Fault, FaultyDisk, Op};
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use openraft::{RaftLogReader, RaftSnapshotBuilder};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::cluster::{Cluster, stray};
use super::model::{Model, Record};
use super::{DIR, Found, assert_state, contents, feed, open};
use crate::log::Log;
use crate::machine::Machine;
use crate::snapshot::{Building, SnapshotData};
use crate::types::{Entry, LogId, SnapshotMeta, Types, Vote};

/// What is done in one life.
const VERBS: usize = 6;

pub(super) struct History<'a> {
    disk: &'a FaultyDisk,
    cluster: &'a Cluster,
    model: Model,
    random: StdRng,
    log: Log,
    machine: Machine,
    /// Entries that were ever known to be committed, and those that this process has applied.
    committed: u64,
    applied: u64,
    fails: bool,
    log_failed: bool,
    machine_failed: bool,
    transfers: u64,
}

impl<'a> History<'a> {
    pub(super) fn new(
        disk: &'a FaultyDisk,
        cluster: &'a Cluster,
        found: Found,
        model: Model,
        committed: u64,
        random: StdRng,
    ) -> Self {
        let applied = found.applied.map_or(0, |index| index + 1);
        Self {
            disk,
            cluster,
            model,
            random,
            log: found.log,
            machine: found.machine,
            committed: committed.max(applied),
            applied,
            fails: false,
            log_failed: false,
            machine_failed: false,
            transfers: 0,
        }
    }

    /// Something of this life will fail, perhaps.
    pub(super) fn order_fault(&mut self) -> Fault {
        self.fails = true;
        let ops =
            [Op::Write, Op::Write, Op::Sync, Op::Sync, Op::Allocate, Op::Create, Op::Rename, Op::SyncDir];
        let op = *ops.choose(&mut self.random).expect("there are some");
        let nth = if matches!(op, Op::Write | Op::Sync) { 1..30 } else { 1..4 };
        let failures = [Failure::Broken, Failure::Full];
        let failures: Vec<_> = failures.into_iter().filter(|how| op.failures().contains(how)).collect();
        let failure = *failures.choose(&mut self.random).expect("each can be broken");
        let fault = Fault::new(op, self.random.random_range(nth), failure);
        self.disk.order(fault.clone());
        fault
    }

    pub(super) async fn live(mut self) -> Self {
        self.finish_an_install().await;
        if self.model.now.vote.is_none() {
            // Nobody gets anything from a leader that has not voted.
            self.vote().await;
        }
        for _ in 0..VERBS {
            match self.random.random_range(0..19) {
                0 => self.vote().await,
                1..6 => self.append().await,
                6..9 => self.apply().await,
                9 => self.truncate().await,
                10 => self.checkpoint().await,
                11 | 12 => self.purge().await,
                13 => self.build_snapshot().await,
                14 => self.install().await,
                15 => self.work_beside_a_checkpoint().await,
                16 => self.log.prepare(),
                17 if !self.fails => self = self.restart().await,
                _ => self.assert_shown().await,
            }
        }
        self.assert_that_what_failed_takes_nothing().await;
        self
    }

    /// As openraft does it at its start: a log that ends in front of the state is purged up to there.
    async fn finish_an_install(&mut self) {
        if let Some(last) = self.last_applied().map(|last| self.cluster.id(last))
            && self.model.now.last() < Some(last)
        {
            self.purge_upto(last).await;
            self.work().await;
        }
    }

    /// What is shown is what was applied, whatever of it is in the file.
    async fn assert_shown(&self) {
        if let Some(last) = self.last_applied() {
            assert_state(&self.machine, self.cluster, last).await;
        }
    }

    /// Ends the process, whose disk is gone: what still waits must not hold anything.
    pub(super) async fn end(self) -> (Model, u64, StdRng) {
        self.work().await;
        (self.model, self.committed, self.random)
    }

    fn steps(&self) -> u64 {
        self.disk.counts().steps
    }

    /// Has the log written what waits, and what that brings about.
    async fn work(&self) {
        self.log.work();
        let metrics = tokio::runtime::Handle::current().metrics();
        while metrics.num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits for what the log was asked.
    async fn written(&self, asked: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let mut asked = pin!(asked);
        if let Some(done) = asked.as_mut().now_or_never() {
            return done;
        }
        self.work().await;
        asked.await
    }

    /// The log is told something, and says that it is durable.
    async fn tell_log(&mut self, records: Vec<Record>, asked: impl Future<Output = io::Result<()>>) -> bool {
        let steps = self.steps();
        records.into_iter().for_each(|record| self.model.tell_log(record, steps));
        let done = self.written(asked).await;
        match &done {
            Ok(()) => self.model.log_acked(self.steps()),
            Err(error) => {
                assert!(self.fails, "the log failed: {error}");
                self.log_failed = true;
            }
        }
        done.is_ok()
    }

    /// The state of what is applied is made durable by this.
    async fn make_durable<T>(&mut self, index: u64, asked: impl Future<Output = io::Result<T>>) -> Option<T> {
        let which = self.model.begin_state(index, self.steps());
        match asked.await {
            Ok(done) => {
                self.model.state_acked(which, self.steps());
                Some(done)
            }
            Err(error) => {
                assert!(self.fails, "the state machine failed: {error}");
                self.machine_failed = true;
                None
            }
        }
    }

    async fn vote(&mut self) {
        if self.log_failed {
            return;
        }
        let vote = match self.model.now.vote {
            Some(old) if !old.committed && self.random.random() => {
                Vote::new_committed(old.leader_id.term, old.leader_id.node_id)
            }
            old => Vote::new(old.map_or(0, |old| old.leader_id.term) + 1, self.random.random_range(1..6)),
        };
        let mut log = self.log.clone();
        self.tell_log(vec![Record::Vote(vote)], async move { log.save_vote(&vote).await }).await;
    }

    /// Of the leader, or of one that will be deposed.
    async fn append(&mut self) {
        let next = self.model.now.end();
        let count = self.random.random_range(1..8);
        let entries: Vec<Entry> = if self.agrees_until() < next {
            let term = self.model.now.last().map_or(0, |id| id.leader_id.term);
            (next..next + count).map(|index| stray(&mut self.random, term, index)).collect()
        } else {
            match self.cluster.deposed_at(next).filter(|_| self.random.random()) {
                Some(term) => {
                    (next..next + count).map(|index| stray(&mut self.random, term, index)).collect()
                }
                None => (next..next + count).filter_map(|index| self.cluster.entry(index).cloned()).collect(),
            }
        };
        if entries.is_empty() || self.log_failed {
            return;
        }
        let mut log = self.log.clone();
        let records = entries.iter().cloned().map(Record::Entry).collect();
        let append = async move {
            let (done, flushed) = Types::oneshot();
            log.append(entries, IOFlushed::signal(done)).await?;
            flushed.await.expect("the callback runs")
        };
        self.tell_log(records, append).await;
    }

    /// Up to where the log is what the cluster committed.
    fn agrees_until(&self) -> u64 {
        self.cluster.agrees_until(self.model.now.purged, &self.model.now.entries)
    }

    /// What is not known to be committed may go.
    async fn truncate(&mut self) {
        let keep = self.random.random_range(self.committed_here()..=self.model.now.entries.len());
        self.truncate_to(keep).await;
    }

    /// How many of the log's entries are known to be committed.
    fn committed_here(&self) -> usize {
        let until = self.agrees_until().min(self.committed);
        self.model.now.entries.iter().take_while(|entry| entry.log_id.index < until).count()
    }

    async fn truncate_to(&mut self, keep: usize) -> bool {
        let now = &self.model.now;
        if keep == now.entries.len() || self.log_failed {
            return !self.log_failed;
        }
        let after = keep.checked_sub(1).map_or(now.purged, |last| Some(now.entries[last].log_id));
        let mut log = self.log.clone();
        let truncate = async move { log.truncate_after(after).await };
        self.tell_log(vec![Record::Truncate(after)], truncate).await
    }

    async fn apply(&mut self) {
        let until = self.agrees_until();
        if self.applied >= until || self.log_failed || self.machine_failed {
            return;
        }
        let until = self.random.random_range(self.applied + 1..=until);
        let entries = self.log.try_get_log_entries(self.applied..until).await.expect("readable");
        assert_eq!(entries.len() as u64, until - self.applied, "a gap between log and state");
        self.log.save_committed(Some(self.cluster.id(until - 1))).await.expect("in memory");
        self.committed = self.committed.max(until);
        feed(&mut self.machine, &entries).await.expect("nothing of it is written");
        self.applied = until;
    }

    async fn checkpoint(&mut self) {
        if let Some(last) = self.last_applied() {
            let machine = self.machine.clone();
            self.make_durable(last, async move { machine.checkpoint().await }).await;
        }
    }

    /// None also where nothing is made durable any more.
    fn last_applied(&self) -> Option<u64> {
        self.applied.checked_sub(1).filter(|_| !self.machine_failed)
    }

    /// As the keeper does it. Nobody waits for the purge itself.
    async fn purge(&mut self) {
        self.checkpoint().await;
        let first = self.model.now.purged.map_or(0, |id| id.index + 1);
        let Some(last) = self.last_applied().filter(|last| *last >= first) else { return };
        let upto = self.random.random_range(first..=last);
        self.purge_upto(self.cluster.id(upto)).await;
        if self.random.random() {
            self.work().await;
        }
    }

    async fn purge_upto(&mut self, upto: LogId) {
        if !self.log_failed {
            self.model.tell_log(Record::Purge(upto), self.steps());
            if let Err(error) = self.log.purge(upto).await {
                assert!(self.fails, "the log failed: {error}");
                self.log_failed = true;
            }
        }
    }

    async fn build_snapshot(&mut self) {
        let Some(last) = self.last_applied() else { return };
        let mut machine = self.machine.clone();
        let build = async move { machine.build_snapshot().await };
        let Some(built) = self.make_durable(last, build).await else { return };
        assert_eq!(built.meta, meta(self.cluster, last));
        let SnapshotData::View(view) = built.snapshot else { panic!("its own state") };
        assert_eq!(view.hash().expect("readable"), self.cluster.hash(last));
    }

    /// What another master has that is ahead.
    async fn install(&mut self) {
        if self.committed >= self.cluster.len() || self.log_failed || self.machine_failed {
            return;
        }
        let far = self.cluster.len().min(self.committed + 6);
        let index = self.random.random_range(self.committed..far);
        let shared: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let view = Arc::clone(self.cluster.view(index));
        self.transfers += 1;
        let snapshot = if self.random.random() {
            let path = Path::new(DIR).join(format!("receive-{:016x}.new", self.transfers));
            match Building::copy(&shared, &path, view) {
                Ok(building) => SnapshotData::Received(Box::new(building)),
                Err(error) => return assert!(self.fails, "it cannot be received: {error}"),
            }
        } else {
            SnapshotData::View(view)
        };
        let now = &self.model.now;
        let own = now.entries.iter().find(|entry| entry.log_id.index == index);
        let contradicts = own.is_some_and(|entry| entry.log_id != self.cluster.id(index));
        if contradicts && !self.truncate_to(self.committed_here()).await {
            return;
        }
        let (mut machine, meta) = (self.machine.clone(), meta(self.cluster, index));
        let install = async move { machine.install_snapshot(&meta, snapshot).await };
        if self.make_durable(index, install).await.is_some() {
            (self.applied, self.committed) = (index + 1, index + 1);
            self.purge_upto(self.cluster.id(index)).await;
            assert_state(&self.machine, self.cluster, index).await;
        }
    }

    /// Others go on while a checkpoint hangs.
    async fn work_beside_a_checkpoint(&mut self) {
        // What is durable already is not written again.
        self.apply().await;
        let Some(last) = self.last_applied().filter(|_| !self.fails) else { return };
        let anything_new = self.model.durable() < Some(last);
        let which = self.model.begin_state(last, self.steps());
        let gate = self.disk.gate(Op::Sync.on("index.redb"));
        let machine = self.machine.clone();
        let mut checkpoint = pin!(async move { machine.checkpoint().await });
        let mut done = checkpoint.as_mut().now_or_never();
        if anything_new && done.is_none() {
            gate.wait_for_arrival();
            for _ in 0..3 {
                match self.random.random_range(0..4) {
                    0 => self.vote().await,
                    1 => self.append().await,
                    2 => self.truncate().await,
                    _ => self.apply().await,
                }
            }
            assert_state(&self.machine, self.cluster, self.applied - 1).await;
        }
        gate.open();
        if done.is_none() {
            done = Some(checkpoint.await);
        }
        done.expect("it came to its end").expect("a sound disk");
        self.model.state_acked(which, self.steps());
        assert_state(&self.machine, self.cluster, self.applied - 1).await;
    }

    /// As a master is stopped and started.
    async fn restart(mut self) -> Self {
        let machine = self.machine.clone();
        let stop = async move { machine.stop().await };
        match self.last_applied() {
            Some(last) => drop(self.make_durable(last, stop).await),
            None => stop.await.expect("a sound disk"),
        }
        let log = self.log.clone();
        let flush = async move {
            log.flush().await;
            Ok(())
        };
        self.tell_log(Vec::new(), flush).await;
        drop((self.log, self.machine));
        let (mut log, machine) = open(self.disk);
        assert_eq!(contents(&mut log).await, self.model.now);
        assert_eq!(machine.applied_now().last.map(|id| id.index + 1).unwrap_or_default(), self.applied);
        Self { log, machine, ..self }
    }

    /// What failed once acknowledges nothing more.
    async fn assert_that_what_failed_takes_nothing(&mut self) {
        if self.log_failed {
            let (mut log, vote) = (self.log.clone(), Vote::new(u64::MAX, 1));
            self.written(async move { log.save_vote(&vote).await }).await.expect_err("no vote");
        }
        if self.machine_failed {
            self.machine.checkpoint().await.expect_err("no checkpoint");
            let next = self.cluster.entry(self.applied).cloned();
            feed(&mut self.machine, next.as_slice()).await.expect_err("no entry is applied");
        }
    }
}

fn meta(cluster: &Cluster, index: u64) -> SnapshotMeta {
    let applied = &cluster.view(index).applied;
    SnapshotMeta { last_log_id: applied.last, last_membership: applied.membership.clone() }
}
