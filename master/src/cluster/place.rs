//! Where partitions lie: the leader keeps the table in step with the volumes that take writes.
//!
//! Owns when a table is computed and how it is committed. Leaves which table to `placement`, and what is true to
//! apply, which refuses changes that were computed from an older map or table. Invariant: one computation at a time,
//! and none at all while nothing changed.

use std::sync::Arc;
use std::time::Duration;

use hayrick_metrics as metrics;
use hayrick_placement::Candidate;
use hayrick_protocol::cluster_map::{ClusterConfig, ClusterMap, TableChange, Volume};
use hayrick_protocol::command::{Command, Refusal, Reply};
use hayrick_protocol::{PartitionId, VolumeId};
use hayrick_raft_store::{Cluster, Table};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::master::Master;

/// How often the map is looked at; who changes it in a hurry calls [`Place::replan`] right away.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The first table waits this long for all `replicas` volumes.
const FIRST_TABLE_PATIENCE: Duration = Duration::from_secs(10);
/// Changes in one command: some 300 KB.
const CHANGES_MAX: usize = 16_384;
/// What committing one command may take.
const COMMIT_PATIENCE: Duration = Duration::from_secs(3);
/// Computations in a row when the state moves meanwhile; the next look goes on.
const ATTEMPTS: usize = 5;

/// The computation, one at a time.
pub(crate) struct Place {
    turn: Mutex<Turn>,
}

struct Turn {
    /// Since when this master leads.
    leads_since: Instant,
    /// What the table in force was last found to fit.
    fits: Option<(Vec<Candidate>, u64)>,
}

/// Keeps the table in step for as long as this master leads.
pub(crate) async fn run(master: &Arc<Master>) {
    *master.place.turn.lock().await = Turn { leads_since: Instant::now(), fits: None };
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut settled = None;
    loop {
        ticks.tick().await;
        let cluster = master.node.cluster();
        let versions = Some((cluster.map.version, cluster.table.version));
        if settled != versions {
            settled = versions.filter(|_| !is_empty(&cluster.table));
            if !master.place.replan(master).await {
                settled = None;
            }
        }
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { turn: Mutex::new(Turn { leads_since: Instant::now(), fits: None }) }
    }

    /// Computes the table and commits what differs, if anything that matters changed. False when there is more to do.
    pub(crate) async fn replan(&self, master: &Arc<Master>) -> bool {
        let mut turn = self.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let cluster = master.node.cluster();
            let Some(config) = cluster.config else { return false };
            let candidates = candidates(&cluster.map);
            let waited = turn.leads_since.elapsed();
            let known =
                turn.fits.as_ref().is_some_and(|fits| *fits == (candidates.clone(), cluster.table.version));
            if known || !is_due(candidates.len(), &config, is_empty(&cluster.table), waited) {
                return true;
            }
            let computed = compute(Arc::clone(&cluster), config, candidates.clone()).await;
            let Some(computed) = computed else { return false };
            if computed.is_empty() {
                turn.fits = Some((candidates, cluster.table.version));
                return true;
            }
            info!(partitions = computed.len(), volumes = candidates.len(), "new placements");
            metrics::TABLES_PROPOSED.increment();
            if !commit(master, &cluster, computed).await {
                return false;
            }
        }
        debug!("the map moves faster than tables are committed; looking again");
        false
    }
}

/// The volumes that may be named by new placements.
pub(crate) fn candidates(map: &ClusterMap) -> Vec<Candidate> {
    map.volumes.values().filter(|volume| volume.state.takes_writes()).map(candidate).collect()
}

/// A volume as the ring sees it.
pub(crate) fn candidate(volume: &Volume) -> Candidate {
    Candidate { id: volume.id, weight: volume.capacity_bytes.max(1), zone: volume.zone.clone() }
}

/// Of each partition, who takes its writes.
pub(crate) fn current_members(table: &Table, config: &ClusterConfig) -> Vec<Vec<VolumeId>> {
    let members = |partition| table.current(PartitionId(partition)).map(|row| row.members.clone());
    let partitions = (0..=u16::MAX).take(config.partitions as usize);
    partitions.map(|partition| members(partition).unwrap_or_default()).collect()
}

/// Whether so many candidates are a reason for a table.
fn is_due(candidates: usize, config: &ClusterConfig, first: bool, waited: Duration) -> bool {
    let all = candidates >= usize::from(config.replicas);
    let enough = candidates >= usize::from(config.min_replicas);
    if first { all || (enough && waited >= FIRST_TABLE_PATIENCE) } else { enough }
}

fn is_empty(table: &Table) -> bool {
    table.current.iter().all(Option::is_none)
}

/// What the table wants changed; `None` when that could not be told.
async fn compute(
    cluster: Arc<Cluster>,
    config: ClusterConfig,
    candidates: Vec<Candidate>,
) -> Option<Vec<TableChange>> {
    let computed = spawn_blocking(move || {
        let current = current_members(&cluster.table, &config);
        let wanted = hayrick_placement::table(&candidates, config.partitions, config.replicas, &current);
        hayrick_placement::changes(&current, &wanted)
    });
    computed.await.inspect_err(|error| warn!(%error, "the table could not be computed")).ok()
}

/// Commits the changes, in parts when there are many; false when it is no use to try again at once.
async fn commit(master: &Master, cluster: &Cluster, changes: Vec<TableChange>) -> bool {
    let map_version = cluster.map.version;
    let mut table_version = cluster.table.version;
    for changes in changes.chunks(CHANGES_MAX) {
        let changes = changes.to_vec();
        let command = Command::ChangeTable { map_version, table_version, changes };
        match master.node.propose(vec![command], Instant::now() + COMMIT_PATIENCE).await.as_deref() {
            Ok([Reply::Done]) => table_version = master.node.cluster().table.version,
            Ok([Reply::Refused(Refusal::StaleTable)]) => return true,
            Ok([Reply::Refused(refusal)]) => {
                warn!(%refusal, "new placements were refused");
                return false;
            }
            Ok(_) => {
                warn!("new placements were refused: the answer does not fit the request");
                return false;
            }
            Err(error) => {
                debug!(%error, "new placements were not committed; looking again");
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hayrick_protocol::cluster_map::{Placement, VolumeState};
    use hayrick_protocol::ids::InstanceId;
    use hayrick_protocol::{ClusterId, Generation, PlacementId};

    use super::*;

    const CONFIG: ClusterConfig =
        ClusterConfig { cluster: ClusterId::UNKNOWN, partitions: 4096, replicas: 3, min_replicas: 2 };

    #[test]
    fn the_first_table_waits_for_all_replicas_but_not_for_ever() {
        let soon = Duration::from_secs(1);
        assert!(!is_due(2, &CONFIG, true, soon));
        assert!(is_due(3, &CONFIG, true, soon));
        assert!(is_due(2, &CONFIG, true, FIRST_TABLE_PATIENCE));
        assert!(!is_due(1, &CONFIG, true, FIRST_TABLE_PATIENCE));
    }

    #[test]
    fn with_too_few_volumes_the_table_is_left_as_it_is() {
        assert!(is_due(2, &CONFIG, false, Duration::ZERO));
        assert!(!is_due(1, &CONFIG, false, Duration::from_secs(99)));
    }

    #[test]
    fn only_volumes_that_take_writes_are_candidates() {
        let volume = |id, state| Volume {
            id: VolumeId(id),
            instance: InstanceId::UNKNOWN,
            addr: String::new(),
            peer: String::new(),
            zone: "a".to_owned(),
            capacity_bytes: 0,
            state,
        };
        let states = [
            VolumeState::Up,
            VolumeState::Suspect,
            VolumeState::Down,
            VolumeState::Full,
            VolumeState::ReadOnly,
            VolumeState::Draining,
            VolumeState::Removed,
        ];
        let volumes = (1..).zip(states).map(|(id, state)| (VolumeId(id), volume(id, state))).collect();
        let found = candidates(&ClusterMap { version: 1, volumes });
        assert_eq!(found, [Candidate { id: VolumeId(1), weight: 1, zone: "a".to_owned() }]);
    }

    #[tokio::test]
    async fn a_table_that_fits_has_no_changes() {
        let volumes: Vec<Candidate> =
            (1..=4).map(|id| Candidate { id: VolumeId(id), weight: 1 << 30, zone: String::new() }).collect();
        let first = compute(Arc::new(Cluster::default()), CONFIG, volumes.clone()).await;
        let first = first.expect("it is computed");
        assert_eq!(first.len(), 4096, "without a table every partition changes");
        assert!(first.iter().all(|change| change.members.len() == 3));

        let fitting = Arc::new(cluster_with(first));
        let changes = compute(Arc::clone(&fitting), CONFIG, volumes.clone()).await;
        assert_eq!(changes.expect("it is computed"), []);
        let without = compute(fitting, CONFIG, volumes[1..].to_vec()).await.expect("it is computed");
        assert!(!without.is_empty() && without.len() < 4096, "only what volume 1 held changes");
    }

    /// A cluster whose table is these changes, applied.
    fn cluster_with(changes: Vec<TableChange>) -> Cluster {
        let rows = (1..).map(PlacementId).zip(changes).map(|(id, change)| Placement {
            id,
            partition: change.partition,
            members: change.members,
            generation: Generation(1),
        });
        let placements: BTreeMap<PlacementId, Placement> = rows.map(|row| (row.id, row)).collect();
        let mut current = vec![None; CONFIG.partitions as usize];
        for row in placements.values() {
            current[usize::from(row.partition.0)] = Some(row.id);
        }
        Cluster {
            table: Arc::new(Table { version: 1, current, placements, ..Table::default() }),
            ..Cluster::default()
        }
    }
}
