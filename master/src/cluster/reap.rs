//! Garbage: what overwrites and deletes made dead is dropped once its grace is over.
//!
//! Owns the grace, which is cut short for what lies on a volume that is nearly full, and the order: rows are doomed by a commit, then deleted on every member that is neither down nor
//! read-only, then removed by a commit. What a member that is down or read-only still has is an orphan when it takes
//! deletes again. Leaves which needles are garbage to apply. Invariants: time is this leader's own monotonic clock,
//! counted from when it saw the garbage; a row is removed only after every member that is neither down nor read-only
//! dropped the needle durably.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::cluster_map::{VolumeState, VolumeStatus};
use hayrick_protocol::command::Command;
use hayrick_protocol::limits::REAP_BATCH_MAX;
use hayrick_protocol::messages::volume::{AppendError, Delete};
use hayrick_protocol::record::Garbage;
use hayrick_protocol::{AppliedVersion, NeedleId, VolumeId};
use hayrick_raft_store::Cluster;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, warn};

use crate::master::Master;
use crate::options::Options;

/// The grace is measured to a part of this.
const SAMPLES: u32 = 64;
/// At most so long between two passes, so that a volume that fills up is not kept waiting.
const TICK_MAX: Duration = Duration::from_secs(5);
/// A volume that has less than this part of its capacity left is nearly full.
const NEARLY_FULL_PART: u64 = 10;
/// Pause between two batches, so that reaping never crowds out writes: at most 20 000 rows a second.
const PACE: Duration = Duration::from_millis(50);
/// What dropping a batch on a volume, or one commit, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A garbage row and the version that made it.
type Row = (AppliedVersion, Garbage);

/// Reaps for as long as this master leads.
pub(crate) async fn run(master: &Arc<Master>) {
    let grace = if planted::is(Bug::ReapBeforeGrace) { Duration::ZERO } else { grace(&master.options) };
    let mut ages = Ages::default();
    let mut ticks = interval((grace / SAMPLES).clamp(Duration::from_millis(250), TICK_MAX));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let counters = master.node.status().counters;
        if counters.garbage_needles == 0 {
            ages = Ages::default();
            continue;
        }
        let now = Instant::now();
        ages.sample(counters.version, now);
        let cluster = master.node.cluster();
        let status = |id| master.heartbeats.seen(id).map(|seen| seen.status);
        let due = Due {
            old: ages.old(grace, now),
            early: ages.older_than(longest_request(&master.options), now),
            nearly_full: nearly_full(&cluster, status),
        };
        pass(master, &due).await;
    }
}

/// How long garbage is kept at least, from when this leader saw it.
pub(crate) fn grace(options: &Options) -> Duration {
    options.reap_after.max(longest_request(options))
}

/// That garbage is kept longer than was set, where it is.
pub(crate) fn tell_if_raised(options: &Options) {
    let (set, grace) = (options.reap_after, grace(options));
    if set < grace {
        tracing::warn!(
            "--reap-after {set:?} is less than twice --request-timeout: garbage is kept for {grace:?}"
        );
    }
}

/// So long a request may yet read, or bring back, what was dead when it began.
fn longest_request(options: &Options) -> Duration {
    2 * options.request_timeout
}

/// Volumes that have little room left, what compaction will bring included.
fn nearly_full(cluster: &Cluster, status: impl Fn(VolumeId) -> Option<VolumeStatus>) -> BTreeSet<VolumeId> {
    let is_nearly_full = |id: &VolumeId| {
        status(*id).is_some_and(|status| {
            let left = status.free_bytes.saturating_add(status.dead_bytes);
            left < status.capacity_bytes / NEARLY_FULL_PART
        })
    };
    let there = cluster.map.volumes.values().filter(|volume| volume.state.serves_reads());
    there.map(|volume| volume.id).filter(is_nearly_full).collect()
}

/// Which garbage is to go.
struct Due {
    /// All up to this version.
    old: AppliedVersion,
    /// Up to this version what lies on a volume that is nearly full.
    early: AppliedVersion,
    nearly_full: BTreeSet<VolumeId>,
}

impl Due {
    /// Nothing behind this is due.
    fn last(&self) -> AppliedVersion {
        if self.nearly_full.is_empty() { self.old } else { self.old.max(self.early) }
    }

    fn is(&self, cluster: &Cluster, (version, row): &Row) -> bool {
        row.doomed
            || *version <= self.old
            || *version <= self.last() && members(cluster, row).any(|id| self.nearly_full.contains(&id))
    }
}

/// When this leader first saw each version of the state.
#[derive(Default)]
struct Ages {
    samples: VecDeque<(AppliedVersion, Instant)>,
    old: AppliedVersion,
}

impl Ages {
    fn sample(&mut self, version: AppliedVersion, now: Instant) {
        if self.samples.back().is_none_or(|(last, _)| *last < version) {
            self.samples.push_back((version, now));
        }
    }

    /// Every change up to this one was seen at least `grace` ago.
    fn old(&mut self, grace: Duration, now: Instant) -> AppliedVersion {
        while let Some((version, _)) = self.samples.front().filter(|(_, at)| now.duration_since(*at) >= grace)
        {
            self.old = *version;
            self.samples.pop_front();
        }
        self.old
    }

    /// Every change up to this one was seen at least so long ago, which is no more than the grace.
    fn older_than(&self, age: Duration, now: Instant) -> AppliedVersion {
        let old = self.samples.iter().take_while(|(_, at)| now.duration_since(*at) >= age);
        old.last().map_or(self.old, |(version, _)| *version)
    }
}

/// Goes through garbage once: what is doomed already, and what is due.
async fn pass(master: &Master, due: &Due) {
    let mut after = AppliedVersion::default();
    let mut failing = BTreeSet::new();
    loop {
        let Some(rows) = read(master, after).await else { return };
        let Some((last, _)) = rows.last() else { return };
        let cluster = master.node.cluster();
        let is_due = |row: &&Row| due.is(&cluster, row);
        // Rows come in the order of their versions: none behind is due either.
        if !rows.iter().any(|row| is_due(&row)) && rows.iter().all(|(at, _)| *at > due.last()) {
            return;
        }
        let fresh: Vec<_> =
            rows.iter().filter(is_due).filter(|(_, row)| !row.doomed).map(|(at, _)| *at).collect();
        if !fresh.is_empty() && !commit(master, Command::Doom(fresh)).await {
            return;
        }
        // Read again: only what is doomed now cannot come back to life.
        let Some(doomed) = read(master, after).await else { return };
        let doomed: Vec<Row> = doomed.into_iter().filter(|(at, row)| row.doomed && at <= last).collect();
        if !reap(master, &doomed, &mut failing).await {
            return;
        }
        after = *last;
        sleep(PACE).await;
    }
}

/// A batch of garbage behind `after`.
async fn read(master: &Master, after: AppliedVersion) -> Option<Vec<Row>> {
    let node = master.node.clone();
    let rows = spawn_blocking(move || node.garbage(after, REAP_BATCH_MAX)).await.ok()?;
    rows.inspect_err(|error| warn!(%error, "garbage cannot be read")).ok()
}

/// Drops one batch of doomed rows everywhere and removes them; false when it is no use to go on now. Volumes that fail
/// are not asked again in this pass.
async fn reap(master: &Master, rows: &[Row], failing: &mut BTreeSet<VolumeId>) -> bool {
    let cluster = master.node.cluster();
    let asked = holders(&cluster, rows).into_iter().filter(|(volume, _)| !failing.contains(volume));
    let answers = join_all(asked.map(|(volume, needles)| async move {
        let dropped = drop_on(master, volume, needles).await;
        (volume, dropped)
    }))
    .await;
    failing.extend(answers.into_iter().filter(|(_, dropped)| !dropped).map(|(volume, _)| volume));
    let gone: Vec<_> = rows
        .iter()
        .filter(|(_, row)| members(&cluster, row).all(|volume| !failing.contains(&volume)))
        .map(|(version, _)| *version)
        .collect();
    let objects = gone.len() as u64;
    let reaped = gone.is_empty() || commit(master, Command::Reaped(gone)).await;
    metrics::OBJECTS_REAPED.add(if reaped { objects } else { 0 });
    reaped
}

/// Which needles each volume is to drop.
fn holders(cluster: &Cluster, rows: &[Row]) -> BTreeMap<VolumeId, Vec<NeedleId>> {
    let mut holders = BTreeMap::<_, Vec<_>>::new();
    for (_, row) in rows {
        for volume in members(cluster, row) {
            holders.entry(volume).or_default().push(row.record.needle);
        }
    }
    holders
}

/// The members that must drop a row's needle before the row goes.
fn members<'a>(cluster: &'a Cluster, row: &Garbage) -> impl Iterator<Item = VolumeId> + 'a {
    let placement = cluster.table.placement(row.record.placement);
    let members = placement.map(|placement| placement.members.as_slice()).unwrap_or_default();
    members.iter().copied().filter(|id| {
        cluster
            .map
            .volumes
            .get(id)
            .is_some_and(|volume| !matches!(volume.state, VolumeState::Down | VolumeState::Removed))
    })
}

/// Whether the volume dropped them, or can drop nothing any more.
async fn drop_on(master: &Master, volume: VolumeId, needles: Vec<NeedleId>) -> bool {
    let Some(client) = master.peers.volume(volume) else { return false };
    let answer = client.call(&Delete { needles }, Vec::new(), Instant::now() + PATIENCE).await;
    match answer.map(|(reply, _)| reply) {
        // A volume that became read-only keeps everything; it is as good as down here.
        Ok(Ok(()) | Err(AppendError::ReadOnly(_))) => true,
        Ok(Err(error)) => {
            debug!(volume = volume.0, %error, "garbage was not dropped; trying again later");
            false
        }
        Err(error) => {
            debug!(volume = volume.0, %error, "garbage was not dropped; trying again later");
            false
        }
    }
}

async fn commit(master: &Master, command: Command) -> bool {
    match master.node.propose(vec![command], Instant::now() + PATIENCE).await {
        Ok(_) => true,
        Err(error) => {
            debug!(%error, "reaping waits");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::cluster_map::{ClusterMap, Placement, Volume};
    use hayrick_protocol::record::{Headers, ObjectRecord};
    use hayrick_protocol::{EpochId, Generation, InstanceId, ObjectKey, PartitionId, PlacementId, Seq};
    use hayrick_raft_store::Table;

    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    #[test]
    fn garbage_is_old_only_a_grace_after_this_leader_saw_it() {
        let start = Instant::now();
        let second = |s| start + Duration::from_secs(s);
        let mut ages = Ages::default();
        ages.sample(AppliedVersion(5), second(0));
        ages.sample(AppliedVersion(9), second(10));
        ages.sample(AppliedVersion(9), second(50));
        assert_eq!(ages.old(GRACE, second(59)), AppliedVersion(0));
        assert_eq!(ages.old(GRACE, second(60)), AppliedVersion(5));
        assert_eq!(ages.old(GRACE, second(69)), AppliedVersion(5));
        assert_eq!(ages.old(GRACE, second(70)), AppliedVersion(9), "counted from when it was first seen");
        assert!(ages.samples.is_empty());
    }

    #[test]
    fn some_is_old_before_the_grace_is_over_for_who_needs_the_room() {
        let start = Instant::now();
        let second = |s| start + Duration::from_secs(s);
        let (mut ages, early) = (Ages::default(), Duration::from_secs(10));
        ages.sample(AppliedVersion(5), second(0));
        ages.sample(AppliedVersion(9), second(20));
        assert_eq!(ages.older_than(early, second(9)), AppliedVersion(0));
        assert_eq!(ages.older_than(early, second(29)), AppliedVersion(5));
        assert_eq!(ages.older_than(early, second(30)), AppliedVersion(9));
        assert_eq!(ages.old(GRACE, second(70)), AppliedVersion(5));
        assert_eq!(ages.older_than(early, second(70)), AppliedVersion(9));
        assert_eq!(ages.old(GRACE, second(90)), AppliedVersion(9));
        assert_eq!(ages.older_than(early, second(90)), AppliedVersion(9), "what is old is older than that");
    }

    #[test]
    fn what_lies_on_a_volume_that_is_nearly_full_goes_early_and_nothing_else_does() {
        let (cluster, garbage) = cluster_and_garbage();
        let due = |full: &[u32]| Due {
            old: AppliedVersion(2),
            early: AppliedVersion(7),
            nearly_full: full.iter().copied().map(VolumeId).collect(),
        };
        let at = |version| (AppliedVersion(version), garbage.clone());
        for (version, full, is_due) in
            [(2, &[][..], true), (3, &[], false), (7, &[3], true), (8, &[3], false), (7, &[9], false)]
        {
            assert_eq!(due(full).is(&cluster, &at(version)), is_due, "version {version}, full {full:?}");
        }
        let doomed = Garbage { doomed: true, ..garbage.clone() };
        assert!(due(&[]).is(&cluster, &(AppliedVersion(99), doomed)), "what is doomed goes on");
        let left = |free_bytes, dead_bytes| {
            let status =
                VolumeStatus { capacity_bytes: 1000, free_bytes, dead_bytes, ..VolumeStatus::default() };
            nearly_full(&cluster, |id| (id == VolumeId(1)).then(|| status.clone()))
        };
        assert_eq!(left(99, 0), [VolumeId(1)].into());
        assert_eq!(left(99, 1), [].into(), "compaction will bring enough");
    }

    #[test]
    fn needles_are_dropped_on_every_member_that_is_not_down() {
        let (cluster, garbage) = cluster_and_garbage();
        let needle = garbage.record.needle;
        let found = holders(&cluster, &[(AppliedVersion(2), garbage)]);
        assert_eq!(found, [(VolumeId(1), vec![needle]), (VolumeId(3), vec![needle])].into());
    }

    /// Four volumes, of which the second is down and the fourth removed, and garbage of a placement with all of them.
    fn cluster_and_garbage() -> (Cluster, Garbage) {
        let volume = |id, state| Volume {
            id: VolumeId(id),
            instance: InstanceId::UNKNOWN,
            addr: String::new(),
            peer: String::new(),
            zone: String::new(),
            capacity_bytes: 1,
            state,
        };
        let states = [VolumeState::Up, VolumeState::Down, VolumeState::Suspect, VolumeState::Removed];
        let volumes = (1..).zip(states).map(|(id, state)| (VolumeId(id), volume(id, state))).collect();
        let row = Placement {
            id: PlacementId(7),
            partition: PartitionId(0),
            members: (1..=4).map(VolumeId).collect(),
            generation: Generation(1),
        };
        let table = Table { version: 1, placements: [(row.id, row)].into(), ..Table::default() };
        let cluster = Cluster {
            map: Arc::new(ClusterMap { version: 1, volumes }),
            table: Arc::new(table),
            ..Cluster::default()
        };
        let needle = NeedleId::new(EpochId(1), Seq(1));
        let record = ObjectRecord {
            needle,
            placement: PlacementId(7),
            size: 1,
            crc: 0,
            md5: [0; 16],
            version: AppliedVersion(1),
            modified_ms: 0,
            missing: false,
            headers: Headers::default(),
        };
        let key = ObjectKey::new("k").expect("a key");
        (cluster, Garbage { key, record, doomed: false, by_delete: true })
    }
}
