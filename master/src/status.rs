//! What `/-/status` shows, and whether this master is ready.
//!
//! Owns the names, which are a contract. Everything is this master's own view: its applied state, the heartbeats it
//! heard, the masters it greeted; but for what is moved, which the leader tells it (`moves`).

mod copies;
mod moves;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hayrick_metrics::{self as metrics, Gauge};
use hayrick_protocol::cluster_map::{ClusterConfig, Volume, VolumeState};
use hayrick_protocol::{NodeId, PlacementId};
use hayrick_raft_store::{Cluster, Copies, ReadError, Role, Status};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use self::copies::Counts;
pub(crate) use self::moves::Heard;
use crate::cluster::members::UNREACHABLE_AFTER;
use crate::leader;
use crate::master::Master;

/// A master that misses so many heartbeats of the leader counts as unreachable, where that is the longer time.
const HEARTBEATS_MISSED: u32 = 3;

/// A volume that takes writes, and that this master has not heard for so long, is out of its reach. Long enough for volumes to
/// find a master that was just started.
const OUT_OF_REACH_AFTER: Duration = Duration::from_secs(5);

/// What a scrape waits for the index.
const GAUGES_PATIENCE: Duration = Duration::from_millis(300);

/// The cluster as this master sees it.
pub(crate) async fn status(master: &Master) -> Result<Value, ReadError> {
    let cluster = master.node.cluster();
    let status = master.node.status();
    let copies = master.node.copies().await?;
    let options = &master.options;
    let config = cluster.config.unwrap_or(ClusterConfig {
        cluster: cluster.id(),
        partitions: options.partitions,
        replicas: options.replicas,
        min_replicas: options.min_replicas,
    });
    let counts = Counts::of(&cluster, &copies, config.replicas);
    let told = moves::told(master).await;
    // The leader of that term: by now there may be another.
    let takes_part = master.admission.is_admitted();
    let named = status.leader.filter(|leader| takes_part && leader::can_be_asked(master, *leader));
    let masters = masters(master, &cluster, &status, named);
    let away = masters_away(leader::reachable(master).is_none().then(|| leader::why_none(master)), &masters);
    let others = waiting(master, &cluster, &config, &counts, told.as_ref().map(|told| &told.waiting[..]));
    let waiting: Vec<String> = away.into_iter().chain(others).collect();
    let told = told.unwrap_or_default();
    let counters = &status.counters;
    Ok(json!({
        "cluster": config.cluster.to_string(),
        "node": options.id.0,
        "version": env!("CARGO_PKG_VERSION"),
        "leader": named.map(|id| id.0),
        "term": status.term,
        "committed": status.committed,
        "applied": status.applied,
        "replicas": config.replicas,
        "min_replicas": config.min_replicas,
        "partitions": config.partitions,
        "objects": counters.objects,
        "object_bytes": counters.object_bytes,
        "masters": masters,
        "volumes": cluster.map.volumes.values().map(|it| volume(master, it)).collect::<Vec<_>>(),
        "copies": counts.objects_json(),
        "placements_by_copies": counts.placements_json(),
        "under_replicated": counts.under(config.replicas),
        "garbage": { "needles": counters.garbage_needles, "bytes": counters.garbage_bytes },
        "orphans": { "bytes": master.repair.dead_bytes(&cluster) },
        "missing": { "objects": counters.missing },
        "move_rate": if told.move_rate > 0 { told.move_rate } else { master.move_bytes_per_s() },
        "moves": told.running.iter().map(moves::shown).collect::<Vec<_>>(),
        "repair": moves::summary(&told),
        "waiting": waiting,
        "log": {
            "first": status.log.first, "last": status.log.last,
            "files": status.log.files, "bytes": status.log.bytes,
        },
        "placements": cluster.table.placements.len(),
    }))
}

/// How this master and its cluster fare, for `/-/metrics`. What has to be asked of the index is left out while that hangs.
pub(crate) async fn gauges(master: &Arc<Master>) -> Vec<(&'static Gauge, f64)> {
    let (cluster, status) = (master.node.cluster(), master.node.status());
    let counters = &status.counters;
    let states = || cluster.map.volumes.values().map(|volume| volume.state);
    let away = states().filter(|state| matches!(state, VolumeState::Suspect | VolumeState::Down)).count();
    let mut gauges = vec![
        (&metrics::RAFT_IS_LEADER, f64::from(u8::from(master.leads()))),
        (&metrics::RAFT_TERM, status.term as f64),
        (&metrics::RAFT_COMMITTED, status.committed as f64),
        (&metrics::RAFT_APPLIED, status.applied as f64),
        (&metrics::OBJECTS, counters.objects as f64),
        (&metrics::OBJECT_BYTES, counters.object_bytes as f64),
        (&metrics::MISSING, counters.missing as f64),
        (&metrics::GARBAGE_BYTES, counters.garbage_bytes as f64),
        (&metrics::VOLUMES_WRITABLE, states().filter(|state| state.takes_writes()).count() as f64),
        (&metrics::VOLUMES_AWAY, away as f64),
    ];
    if let (Some(copies), Some(config)) = (copies_soon(master).await, cluster.config) {
        let counts = Counts::of(&cluster, &copies, config.replicas);
        gauges.push((&metrics::UNDER_REPLICATED, counts.under(config.replicas) as f64));
    }
    gauges.extend(metrics::of_process());
    gauges
}

/// What is left to read is left to one at a time: where the index hangs, scrapes do not pile up before it.
async fn copies_soon(master: &Arc<Master>) -> Option<BTreeMap<PlacementId, Copies>> {
    let place = Arc::clone(&master.gateway.scrapes).try_acquire_owned().ok()?;
    let asked = Arc::clone(master);
    let looking = tokio::spawn(async move {
        let copies = asked.node.copies().await;
        drop(place);
        copies
    });
    timeout(GAUGES_PATIENCE, looking).await.ok()?.ok()?.ok()
}

/// Why this master cannot serve linearizable reads and writes, as far as can be told without asking anybody.
pub(crate) fn ready(master: &Master) -> Result<(), String> {
    if let Some(reason) = master.admission.failure() {
        return Err(reason);
    }
    let cluster = master.node.cluster();
    if leader::reachable(master).is_none() {
        return Err(leader::why_none(master));
    }
    let Some(config) = cluster.config else {
        return Err("no cluster is formed yet: the leader is about to; try again in a second".to_owned());
    };
    if !master.is_registered() {
        return Err(format!(
            "master {} is not registered with the cluster yet: it asks the leader to take note of its data directory",
            master.options.id
        ));
    }
    if !master.node.voters().contains(&master.options.id) {
        return Err(format!(
            "master {} has no vote yet: it receives the log, and gets one once it has caught up",
            master.options.id
        ));
    }
    not_placed(&cluster, &config)?;
    let taking = cluster.map.volumes.values().filter(|volume| volume.state.takes_writes());
    let (up, silent): (Vec<_>, Vec<_>) =
        taking.partition(|volume| master.heartbeats.silent_for(volume.id) < OUT_OF_REACH_AFTER);
    out_of_reach(up.len(), silent.len(), config.min_replicas)?;
    if !master.gateway.epochs.is_open() {
        return Err("this master has no epoch open yet: it asks the leader for one".to_owned());
    }
    Ok(())
}

/// Others hear these volumes: the leader said that they take writes.
fn out_of_reach(heard: usize, silent: usize, min_replicas: u8) -> Result<(), String> {
    if heard >= usize::from(min_replicas) || silent == 0 {
        return Ok(());
    }
    Err(format!(
        "{silent} of the {} volumes that take writes have not been heard by this master for {} s: look at the network between \
         it and them; other masters reach them",
        heard + silent,
        OUT_OF_REACH_AFTER.as_secs()
    ))
}

fn not_placed(cluster: &Cluster, config: &ClusterConfig) -> Result<(), String> {
    let taking = cluster.map.volumes.values().filter(|volume| volume.state.takes_writes()).count();
    if taking < usize::from(config.min_replicas) {
        let full = cluster.map.volumes.values().filter(|volume| volume.state == VolumeState::Full).count();
        let remedy = match full {
            0 => "start more".to_owned(),
            _ => format!("{full} are full: delete objects, or add volumes"),
        };
        return Err(format!(
            "{taking} volumes take writes, and a write needs {} copies (--min-replicas); {remedy}",
            config.min_replicas
        ));
    }
    let placed = cluster.table.current.iter().filter(|current| current.is_some()).count();
    if placed < config.partitions as usize {
        return Err(format!(
            "{placed} of {} partitions have a placement; the first ones wait for {} volumes, at most 10 s",
            config.partitions, config.replicas
        ));
    }
    Ok(())
}

/// `leader` is the one that can be asked.
fn masters(master: &Master, cluster: &Cluster, status: &Status, leader: Option<NodeId>) -> Vec<Value> {
    let now = Instant::now();
    // A heartbeat of the leader's own may be late as well.
    let within = UNREACHABLE_AFTER.max(master.options.heartbeat.saturating_mul(HEARTBEATS_MISSED));
    let members = status.voters.iter().chain(&status.learners);
    members
        .map(|member| {
            let id = member.node;
            let own = id == master.options.id;
            let seen =
                if own { Some(now) } else { master.members.last_heard(id) }.map(|at| now.duration_since(at));
            let reached_ms = reached_ms(status, id, seen.map(millis));
            let known = cluster.masters.get(&id);
            json!({
                "id": id.0,
                "peer": known.map_or(member.address.as_str(), |known| known.peer.as_str()),
                "client": known.map_or("", |known| known.client.as_str()),
                "role": match reached_ms.is_some_and(|ms| u128::from(ms) < within.as_millis()) {
                    true => role(status, id, leader == Some(id)),
                    false => "unreachable",
                },
                // Known to the leader only, but for its own and a master's own.
                "lag": lag(status, id),
                "seen_ms": seen.map(millis),
                "reached_ms": reached_ms,
            })
        })
        .collect()
}

/// How long ago `id` was reached. To the leader that is who takes its log: one that can be heard and not be reached lags
/// for ever, and must not look like any other.
fn reached_ms(status: &Status, id: NodeId, seen_ms: Option<u64>) -> Option<u64> {
    if status.role != Role::Leader || status.node == id {
        return seen_ms;
    }
    status.followers.iter().find(|follower| follower.node == id)?.last_heard_ms
}

/// Of one that can be reached.
fn role(status: &Status, id: NodeId, leads: bool) -> &'static str {
    if leads && (id != status.node || status.role == Role::Leader) {
        "leader"
    } else if status.learners.iter().any(|learner| learner.node == id) {
        "learner"
    } else {
        "follower"
    }
}

fn lag(status: &Status, id: NodeId) -> Option<u64> {
    if status.leader == Some(id) {
        return Some(0);
    }
    if status.node == id {
        return Some(status.committed.saturating_sub(status.applied));
    }
    status.followers.iter().find(|follower| follower.node == id)?.lag_entries
}

fn volume(master: &Master, volume: &Volume) -> Value {
    let seen = master.heartbeats.seen(volume.id);
    let seen_ms = seen.as_ref().map(|seen| millis(Instant::now().duration_since(seen.at)));
    let status = seen.map(|seen| seen.status).unwrap_or_default();
    json!({
        "id": volume.id.0,
        "addr": volume.addr,
        "peer": volume.peer,
        "state": volume.state.to_string(),
        "zone": volume.zone,
        "capacity": volume.capacity_bytes,
        "used": status.used_bytes,
        "free": status.free_bytes,
        "needles": status.needles,
        "bad": status.bad,
        "seen_ms": seen_ms,
    })
}

/// What does not get better by itself: of this master, of what it has applied, and of what the leader `told`.
fn waiting(
    master: &Master,
    cluster: &Cluster,
    config: &ClusterConfig,
    counts: &Counts,
    told: Option<&[String]>,
) -> Vec<String> {
    let not_ready = master.admission.failure().into_iter().chain(not_placed(cluster, config).err());
    let missing = missing(master.node.status().counters.missing);
    let own = not_ready.chain(counts.unreadable(cluster)).chain(missing);
    match told {
        Some(told) => own.chain(told.iter().cloned()).collect(),
        None => own.chain([moves::NOT_REACHED.to_owned()]).collect(),
    }
}

/// What is to be done for masters: without a leader what it needs, else those that are not there.
fn masters_away(no_leader: Option<String>, masters: &[Value]) -> Option<String> {
    let away = masters.iter().filter(|it| it["role"] == "unreachable");
    let away: Vec<String> = away.map(|it| it["id"].to_string()).collect();
    let only_away = (!away.is_empty()).then(|| {
        format!(
            "not all masters are there ({} cannot be reached): start them; where one is lost, replace it: `hayrick master \
             remove ID`, and a new one with --join",
            away.join(", ")
        )
    });
    no_leader.or(only_away)
}

/// That so many objects are missing, if any are.
fn missing(objects: u64) -> Option<String> {
    let (are, them) = if objects == 1 { ("object is", "it") } else { ("objects are", "them") };
    (objects > 0).then(|| {
        format!(
            "{objects} {are} missing: no volume that is up has {them}; start the volumes that had {them}, store {them} again, or \
             delete {them}"
        )
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hayrick_protocol::cluster_map::{ClusterMap, Placement, VolumeState};
    use hayrick_protocol::{ClusterId, Generation, InstanceId, PartitionId, PlacementId, VolumeId};
    use hayrick_raft_store::{Counters, Follower, LogStatus, Table};

    use super::*;

    #[test]
    fn masters_that_are_away_are_waited_for() {
        let masters = [json!({ "id": 1, "role": "leader" }), json!({ "id": 2, "role": "unreachable" })];
        assert_eq!(masters_away(None, &masters[..1]), None);
        let why = masters_away(None, &masters).expect("one is away");
        assert!(why.contains("(2 cannot be reached)") && why.contains("start them"), "{why}");
        assert_eq!(masters_away(Some("why".to_owned()), &masters).as_deref(), Some("why"));
    }

    #[test]
    fn a_master_that_hears_too_few_volumes_is_not_ready() {
        assert_eq!(out_of_reach(2, 2, 2), Ok(()), "a write finds its copies");
        assert_eq!(out_of_reach(1, 0, 2), Ok(()), "there are no others, which is told elsewhere");
        let why = out_of_reach(1, 3, 2).expect_err("others reach them");
        assert!(
            why.starts_with("3 of the 4 volumes") && why.contains("network between it and them;"),
            "{why}"
        );
    }

    fn cluster() -> Cluster {
        let volume = |id, state| Volume {
            id: VolumeId(id),
            instance: InstanceId::UNKNOWN,
            addr: String::new(),
            peer: String::new(),
            zone: String::new(),
            capacity_bytes: 1,
            state,
        };
        let states = [VolumeState::Up, VolumeState::Full, VolumeState::Down, VolumeState::Up];
        let volumes = (1..).zip(states).map(|(id, state)| (VolumeId(id), volume(id, state))).collect();
        let row = |id: u32, members: &[u32]| {
            let members = members.iter().copied().map(VolumeId).collect();
            (
                PlacementId(id),
                Placement {
                    id: PlacementId(id),
                    partition: PartitionId(0),
                    members,
                    generation: Generation(1),
                },
            )
        };
        let placements = [row(1, &[1, 2, 4]), row(2, &[1, 2, 3]), row(3, &[3])].into();
        Cluster {
            map: Arc::new(ClusterMap { version: 1, volumes }),
            table: Arc::new(Table {
                version: 1,
                current: vec![Some(PlacementId(1)), None],
                placements,
                ..Table::default()
            }),
            ..Cluster::default()
        }
    }

    #[test]
    fn who_is_heard_but_does_not_take_the_leaders_log_is_not_reached() {
        let follower = |id, last_heard_ms| Follower { node: NodeId(id), lag_entries: Some(0), last_heard_ms };
        let mut status = Status {
            node: NodeId(1),
            leader: Some(NodeId(1)),
            term: 1,
            role: Role::Leader,
            committed: 0,
            applied: 0,
            has_quorum: true,
            voters: Vec::new(),
            learners: Vec::new(),
            followers: vec![follower(2, Some(9000)), follower(3, None)],
            counters: Counters::default(),
            log: LogStatus::default(),
            stopped: None,
        };
        let reached = |status: &Status, id| reached_ms(status, NodeId(id), Some(5));
        assert_eq!([1, 2, 3, 4].map(|id| reached(&status, id)), [Some(5), Some(9000), None, None]);
        // Another one has no log that they could take.
        status.role = Role::Follower;
        assert_eq!([1, 2, 3].map(|id| reached(&status, id)), [Some(5); 3]);
    }

    #[test]
    fn a_partition_without_a_placement_is_waited_for() {
        let config =
            ClusterConfig { cluster: ClusterId::UNKNOWN, partitions: 2, replicas: 3, min_replicas: 2 };
        assert!(
            not_placed(&cluster(), &config).expect_err("partition 1 has none").contains("1 of 2 partitions")
        );
        let config = ClusterConfig { min_replicas: 3, ..config };
        assert!(
            not_placed(&cluster(), &config).expect_err("two are too few").contains("2 volumes take writes")
        );
    }
}
