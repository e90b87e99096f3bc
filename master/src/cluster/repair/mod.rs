//! Repair: closed placements that lost a member, or never had enough, gain one; and volumes that are there are looked after
//! (`care`): what they lack they pull again, what is dead they drop.
//!
//! Owns when it is looked for work, what runs at the same time, and what is shown of it. Which copies are to be made is told
//! in `plan`, how in `group`. Invariants: a volume that is down is given `--repair-after` to come back, on this leader's own
//! clock from when it saw it down; a volume pulls one group at a time; what failed rests before it is tried again.

mod care;
mod copying;
pub(crate) mod foresee;
mod group;
mod mend;
mod missing;
mod pace;
mod plan;
mod progress;
mod replaced;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hayrick_protocol::cluster_map::VolumeState;
use hayrick_protocol::command::{Command, Examined};
use hayrick_protocol::limits::BATCH_COMMANDS_MAX;
use hayrick_protocol::messages::moves::{MoveKind, Moves};
use hayrick_protocol::{PlacementId, VolumeId};
use hayrick_raft_store::Cluster;
use parking_lot::Mutex;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use self::copying::Trouble;
use self::pace::Pace;
use self::plan::{Group, Known, Plan, Size};
use self::progress::{Meter, Progress};
use crate::master::Master;

/// Between two looks for work.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Groups that are moved at the same time.
const GROUPS_MAX: usize = 8;
/// What was planned is planned again after this, though nothing has changed: the free bytes may have.
const PLAN_HOLDS: Duration = Duration::from_secs(5);
/// What failed is tried again after this; where the cluster has only changed meanwhile, after that.
const REST: Duration = Duration::from_secs(15);
const REST_OF_CHANGE: Duration = Duration::from_secs(1);
/// A volume that failed to pull is not asked again sooner: by then it is known whether it is down.
const FAILURE_PAUSE: Duration = Duration::from_secs(4);
/// One that failed so often in a row, though it is up, is left out for this long, and others are asked.
const FAILURES_MAX: u32 = 4;
const AVOIDED_FOR: Duration = Duration::from_secs(60);
/// Reasons that are told.
const REASONS_MAX: usize = 100;
/// What a commit may take.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

/// What is shared with whoever asks how it goes.
pub(crate) struct Repair {
    pace: Pace,
    shown: Mutex<Shown>,
    /// Raised when a move ends: something may have died by it.
    ended: AtomicU64,
    /// Volumes that are not waited for any more.
    gone: Mutex<BTreeSet<VolumeId>>,
    /// Who gives needles up, one at a time.
    giving_up: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Shown {
    moves: Moves,
    waiting: Vec<String>,
    /// What volumes that are up wait for.
    caring: Vec<String>,
    /// Bytes that were found dead in the last look at a volume, and that it has not dropped.
    dead: BTreeMap<VolumeId, u64>,
}

impl Repair {
    pub(crate) fn new(bytes_per_s: u64) -> Self {
        Self {
            pace: Pace::new(bytes_per_s),
            shown: Mutex::default(),
            ended: AtomicU64::new(0),
            gone: Mutex::default(),
            giving_up: tokio::sync::Mutex::default(),
        }
    }

    /// Bytes that lie on volumes, that nothing counts on, and that have not been dropped yet, as far as was looked. On the leader;
    /// elsewhere it is 0.
    pub(crate) fn dead_bytes(&self, cluster: &Cluster) -> u64 {
        let is_there = |id| cluster.map.volumes.get(id).is_some_and(|it| it.state != VolumeState::Removed);
        self.shown.lock().dead.iter().filter(|(id, _)| is_there(*id)).map(|(_, bytes)| bytes).sum()
    }

    /// What is moved, and why some placements are not repaired and what to do. On the leader; elsewhere it is nothing.
    pub(crate) fn told(&self) -> Moves {
        let shown = self.shown.lock();
        let mut waiting: Vec<String> = shown.waiting.iter().chain(&shown.caring).cloned().collect();
        let more = waiting.len().saturating_sub(REASONS_MAX);
        waiting.truncate(REASONS_MAX);
        if more > 0 {
            waiting.push(format!("and {more} more of that kind"));
        }
        Moves { waiting, ..shown.moves.clone() }
    }
}

/// A group that came to its end, or did not.
type Ended = (Arc<Progress>, Result<(), Trouble>);

/// Repairs, and looks after volumes, for as long as this master leads.
pub(crate) async fn run(master: &Arc<Master>) {
    let _shown = Clears(master);
    tokio::join!(make_copies(master), care::run(master), missing::search(master));
}

async fn make_copies(master: &Arc<Master>) {
    let mut duty = Duty::default();
    // They end with this, and go on while it is looked for more.
    let mut running = JoinSet::<Ended>::new();
    let all = Arc::new(Mutex::new(Meter::new()));
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(ended) = running.join_next() => match ended {
                Ok(ended) => {
                    duty.ended(ended);
                    master.repair.ended.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    // Which group it was is not known: all are planned anew.
                    warn!(%error, "a repair broke off, which is a defect; beginning all of them anew");
                    running.shutdown().await;
                    duty.running.clear();
                }
            },
        }
        master.repair.pace.set(master.move_bytes_per_s());
        if duty.running.is_empty() {
            // How fast it goes has nothing to do with what was before.
            *all.lock() = Meter::new();
        }
        for group in duty.look(master).await {
            let progress = Arc::new(Progress::new(group, Arc::clone(&all)));
            duty.running.push(Arc::clone(&progress));
            let master = Arc::clone(master);
            running.spawn(async move {
                let result = group::run(&master, progress.group(), &progress).await;
                (progress, result)
            });
        }
        let moves = progress::told(&duty.running, &duty.wanted, &all.lock(), master.move_bytes_per_s());
        let mut shown = master.repair.shown.lock();
        (shown.moves, shown.waiting) = (moves, duty.waiting(master.options.repair_after));
    }
}

/// Nobody is told of the moves of a leader that leads no more.
struct Clears<'a>(&'a Arc<Master>);

impl Drop for Clears<'_> {
    fn drop(&mut self) {
        *self.0.repair.shown.lock() = Shown::default();
        self.0.repair.gone.lock().clear();
    }
}

/// What the leader remembers between two looks.
#[derive(Default)]
struct Duty {
    has_looked: bool,
    missing_since: BTreeMap<VolumeId, Instant>,
    running: Vec<Arc<Progress>>,
    /// What failed, until when it rests, and why, if that is worth telling.
    resting: BTreeMap<PlacementId, (Instant, Option<String>)>,
    /// How often in a row each volume failed to pull since it is up.
    failures: BTreeMap<VolumeId, Failures>,
    /// Why what was planned last waits.
    plan_waits: Vec<String>,
    /// What was planned last, whether it runs or not.
    wanted: BTreeMap<PlacementId, Size>,
    /// What was planned for last, and until when there is no need to do it again.
    planned: Option<(Arc<Cluster>, BTreeSet<VolumeId>, Instant)>,
}

/// Pulls of a volume that failed in a row.
struct Failures {
    times: u32,
    last: Instant,
    /// The process that failed, as far as it was heard of; another one begins anew.
    process: Option<u64>,
}

impl Duty {
    /// What is to be begun now.
    async fn look(&mut self, master: &Arc<Master>) -> Vec<Group> {
        let cluster = master.node.cluster();
        let Some(config) = cluster.config else { return Vec::new() };
        let now = Instant::now();
        self.resting.retain(|_, (until, _)| *until > now);
        let process = |id: &VolumeId| master.heartbeats.seen(*id).map(|seen| seen.process);
        self.failures.retain(|id, failures| {
            let is_up = cluster.map.volumes.get(id).is_some_and(|volume| volume.state == VolumeState::Up);
            failures.process.get_or_insert(process(id).unwrap_or_default());
            is_up && failures.process == process(id) && now.duration_since(failures.last) < AVOIDED_FOR
        });
        let gone = self.gone(master, &cluster, now);
        master.repair.gone.lock().clone_from(&gone);
        replaced::remove(master, &cluster, &gone).await;
        let is_new = self.planned.as_ref().is_none_or(|(known, ..)| !Arc::ptr_eq(known, &cluster));
        if !is_new && self.planned.as_ref().is_some_and(|(_, was, until)| *was == gone && now < *until) {
            return Vec::new();
        }
        self.planned = Some((Arc::clone(&cluster), gone.clone(), now + PLAN_HOLDS));
        self.plan_waits.clear();
        self.wanted.clear();
        if !has_work(&cluster, config.replicas, &gone) {
            self.resting.clear();
            return Vec::new();
        }
        let Ok(copies) = master.node.copies().await else { return Vec::new() };
        let (free_bytes, avoided) = (self.free_bytes(master, &cluster), self.avoided());
        let planning = Arc::clone(&cluster);
        let plan = spawn_blocking(move || {
            let known = Known { gone: &gone, avoided: &avoided, free_bytes: &free_bytes };
            plan::plan(&planning, &copies, config.replicas, &known)
        });
        let Ok(Plan { groups, wanted, abandoned, waiting }) = plan.await else { return Vec::new() };
        self.wanted = wanted;
        self.plan_waits = waiting.iter().map(|(reason, placements)| reason.text(*placements)).collect();
        abandon(master, &self.unmoved(abandoned)).await;
        let is_rebalance = |group: &Group| group.kind == MoveKind::Rebalance;
        let moves = groups.iter().chain(self.running.iter().map(|progress| progress.group()));
        if cluster.rebalances && waiting.is_empty() && !moves.into_iter().any(is_rebalance) {
            end_rebalance(master).await;
        }
        self.take(groups)
    }

    /// Volumes that are not waited for. One that is being drained is judged by its heartbeats alone: its state is the
    /// operator's.
    fn gone(&mut self, master: &Master, cluster: &Cluster, now: Instant) -> BTreeSet<VolumeId> {
        let options = &master.options;
        let is_silent = |id| {
            master.heartbeats.seen(id).is_none_or(|seen| now.duration_since(seen.at) >= options.down_after)
        };
        let volumes = cluster.map.volumes.values();
        let missing = volumes.filter(|volume| match volume.state {
            VolumeState::Down => true,
            VolumeState::Draining => is_silent(volume.id),
            _ => false,
        });
        let missing: BTreeSet<VolumeId> = missing.map(|volume| volume.id).collect();
        self.missing_since.retain(|id, _| missing.contains(id));
        let is_first_look = !std::mem::replace(&mut self.has_looked, true);
        let given_up = if is_first_look { given_up(cluster, &missing) } else { BTreeSet::new() };
        let mut gone: BTreeSet<VolumeId> = missing
            .into_iter()
            .filter(|id| {
                let began = if given_up.contains(id) { now.checked_sub(options.repair_after) } else { None };
                let since = *self.missing_since.entry(*id).or_insert(began.unwrap_or(now));
                now.duration_since(since) >= options.repair_after
            })
            .collect();
        let removed = cluster.map.volumes.values().filter(|volume| volume.state == VolumeState::Removed);
        gone.extend(removed.map(|volume| volume.id));
        gone
    }

    fn avoided(&self) -> BTreeSet<VolumeId> {
        let often = self.failures.iter().filter(|(_, failures)| failures.times >= FAILURES_MAX);
        often.map(|(id, _)| *id).collect()
    }

    /// What volumes may take yet, without what is on its way to them.
    fn free_bytes(&self, master: &Master, cluster: &Cluster) -> BTreeMap<VolumeId, u64> {
        let seen = cluster.map.volumes.keys().filter_map(|id| Some((*id, master.heartbeats.seen(*id)?)));
        let mut free: BTreeMap<VolumeId, u64> = seen.map(|(id, seen)| (id, seen.status.free_bytes)).collect();
        for progress in &self.running {
            let group = progress.group();
            free.entry(group.newcomer).and_modify(|free| *free = free.saturating_sub(group.bytes));
        }
        free
    }

    /// Those that no group is at work on.
    fn unmoved(&self, abandoned: Vec<(Examined, VolumeId)>) -> Vec<(Examined, VolumeId)> {
        let running = self.at_work();
        abandoned.into_iter().filter(|(examined, _)| !running.contains(&examined.placement)).collect()
    }

    /// The groups that can be begun: of each volume one at a time, without what is at work or rests.
    fn take(&self, groups: Vec<Group>) -> Vec<Group> {
        let at_work = self.at_work();
        let now = Instant::now();
        let failed = self.failures.iter().filter(|(_, of)| now.duration_since(of.last) < FAILURE_PAUSE);
        let at_it = self.running.iter().map(|progress| progress.group().newcomer);
        let mut busy: BTreeSet<VolumeId> = at_it.chain(failed.map(|(id, _)| *id)).collect();
        let mut taken = Vec::new();
        for mut group in groups {
            group.placements.retain(|(examined, _)| {
                !at_work.contains(&examined.placement) && !self.resting.contains_key(&examined.placement)
            });
            let sizes =
                group.placements.iter().filter_map(|(examined, _)| self.wanted.get(&examined.placement));
            (group.needles, group.bytes) =
                sizes.fold((0, 0), |sum, size| (sum.0 + size.needles, sum.1 + size.bytes));
            let has_place = self.running.len() + taken.len() < GROUPS_MAX;
            if !group.placements.is_empty() && has_place && busy.insert(group.newcomer) {
                taken.push(group);
            }
        }
        taken
    }

    fn at_work(&self) -> BTreeSet<PlacementId> {
        let placements = self.running.iter().flat_map(|progress| &progress.group().placements);
        placements.map(|(examined, _)| examined.placement).collect()
    }

    fn ended(&mut self, (progress, result): Ended) {
        self.running.retain(|running| !Arc::ptr_eq(running, &progress));
        self.planned = None;
        let group = progress.group();
        let now = Instant::now();
        let rest = match result {
            Ok(()) => {
                self.failures.remove(&group.newcomer);
                return;
            }
            Err(Trouble::Changed) => {
                debug!(volume = group.newcomer.0, "a repair ended early");
                (now + REST_OF_CHANGE, None)
            }
            Err(trouble) => {
                info!(volume = group.newcomer.0, %trouble, "a repair waits");
                if matches!(trouble, Trouble::Full(_) | Trouble::Puller(..) | Trouble::Source(..)) {
                    let first = Failures { times: 0, last: now, process: None };
                    let failures = self.failures.entry(group.newcomer).or_insert(first);
                    (failures.times, failures.last) = (failures.times + 1, now);
                }
                (now + REST, Some(trouble.to_string()))
            }
        };
        self.resting.extend(group.placements.iter().map(|(examined, _)| (examined.placement, rest.clone())));
    }

    fn waiting(&self, repair_after: Duration) -> Vec<String> {
        let now = Instant::now();
        let patient = self.missing_since.iter().filter_map(|(id, since)| {
            let left = repair_after.checked_sub(now.duration_since(*since)).filter(|left| !left.is_zero())?;
            let seconds = left.as_secs() + 1;
            Some(format!(
                "volume {id} is down: what it holds is copied to others in {seconds} s (--repair-after), unless it comes back"
            ))
        });
        let mut by_reason = BTreeMap::<&str, u64>::new();
        for reason in self.resting.values().filter_map(|(_, reason)| reason.as_ref()) {
            *by_reason.entry(reason).or_default() += 1;
        }
        let resting =
            by_reason.iter().map(|(reason, count)| format!("repair of {count} placements: {reason}"));
        patient.chain(self.plan_waits.iter().cloned()).chain(resting).collect()
    }
}

/// Of the volumes that are missing when a leader begins, those that a former leader had given up: it began to make up for them,
/// and that goes on without a pause. Where it may have been for another reason, nobody is told from it.
fn given_up(cluster: &Cluster, missing: &BTreeSet<VolumeId>) -> BTreeSet<VolumeId> {
    let replicas = cluster.config.map_or(usize::MAX, |config| usize::from(config.replicas));
    let drains = |id: &VolumeId| {
        cluster.map.volumes.get(id).is_some_and(|volume| volume.state == VolumeState::Draining)
    };
    let moving = cluster.table.moves.keys().filter_map(|id| cluster.table.placement(*id));
    let mut given_up = BTreeSet::new();
    for row in moving.filter(|row| row.members.len() >= replicas && !row.members.iter().any(drains)) {
        let mut gone = row.members.iter().filter(|id| missing.contains(id));
        if let (Some(one), None, false) = (gone.next(), gone.next(), cluster.rebalances) {
            given_up.insert(*one);
        }
    }
    given_up
}

/// Whether any placement may need something: told without looking at what each holds.
fn has_work(cluster: &Cluster, replicas: u8, gone: &BTreeSet<VolumeId>) -> bool {
    let state = |id: &VolumeId| cluster.map.volumes.get(id).map(|volume| volume.state);
    let leaves = |id: &VolumeId| gone.contains(id) || state(id) == Some(VolumeState::Draining);
    let lacks = |members: &[VolumeId]| members.len() < usize::from(replicas) || members.iter().any(leaves);
    cluster.rebalances
        || !cluster.table.moves.is_empty()
        || cluster
            .table
            .placements
            .values()
            .any(|placement| lacks(&placement.members) && !cluster.table.is_current(placement.id))
}

/// All closed placements lie where their partitions do.
async fn end_rebalance(master: &Arc<Master>) {
    let deadline = Instant::now() + COMMIT_PATIENCE;
    match master.node.propose(vec![Command::Rebalance(false)], deadline).await {
        Ok(_) => info!("rebalanced: every placement lies where its partition does"),
        Err(error) => debug!(%error, "the end of rebalancing is not committed yet"),
    }
}

async fn abandon(master: &Arc<Master>, abandoned: &[(Examined, VolumeId)]) {
    for batch in abandoned.chunks(BATCH_COMMANDS_MAX) {
        let commands = batch
            .iter()
            .map(|(placement, newcomer)| Command::AbandonMove { placement: *placement, newcomer: *newcomer });
        let deadline = Instant::now() + COMMIT_PATIENCE;
        if let Err(error) = master.node.propose(commands.collect(), deadline).await {
            debug!(%error, "moves are not given up yet");
            return;
        }
        master.repair.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::cluster_map::{ClusterConfig, ClusterMap, Move, Placement, Volume};
    use hayrick_protocol::{ClusterId, Generation, InstanceId, PartitionId};
    use hayrick_raft_store::Table;

    use super::VolumeState::{Down, Draining, Up};
    use super::*;

    /// Volumes 1 to 4, and placements with these members that are about to gain a fifth.
    fn moving(states: [VolumeState; 4], placements: &[&[u32]]) -> Cluster {
        let volume = |(id, state)| Volume {
            id: VolumeId(id),
            instance: InstanceId::UNKNOWN,
            addr: String::new(),
            peer: String::new(),
            zone: String::new(),
            capacity_bytes: 1,
            state,
        };
        let volumes = (1..).zip(states).map(volume).map(|volume| (volume.id, volume)).collect();
        let mut table = Table::default();
        for (id, members) in (1..).map(PlacementId).zip(placements) {
            let members = members.iter().copied().map(VolumeId).collect();
            let row = Placement { id, partition: PartitionId(0), members, generation: Generation(2) };
            table.placements.insert(id, row);
            table.moves.insert(id, Move { newcomer: VolumeId(5) });
        }
        let config =
            ClusterConfig { cluster: ClusterId([1; 16]), partitions: 1, replicas: 3, min_replicas: 2 };
        Cluster {
            config: Some(config),
            map: Arc::new(ClusterMap { version: 1, volumes }),
            table: Arc::new(table),
            ..Cluster::default()
        }
    }

    #[test]
    fn a_new_leader_gives_those_up_that_the_former_one_made_up_for() {
        let found = |cluster: &Cluster| {
            let down = cluster.map.volumes.values().filter(|volume| volume.state == Down);
            let found = given_up(cluster, &down.map(|volume| volume.id).collect());
            found.iter().map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(found(&moving([Down, Up, Up, Up], &[&[1, 2, 3]])), [1]);
        let both: &[&[u32]] = &[&[1, 2, 3], &[2, 3, 4]];
        assert_eq!(found(&moving([Down, Down, Up, Up], both)), [2], "1 may have fallen with the leader");
        assert_eq!(found(&moving([Up, Up, Up, Up], both)), [0; 0]);
        assert_eq!(found(&moving([Down, Draining, Up, Up], &[&[1, 2, 3]])), [0; 0], "that is why it moves");
        assert_eq!(found(&moving([Down, Up, Up, Up], &[&[1, 2]])), [0; 0], "it lacks a copy anyway");
        let mut rebalances = moving([Up, Down, Up, Up], both);
        rebalances.rebalances = true;
        assert_eq!(found(&rebalances), [0; 0]);
    }
}
