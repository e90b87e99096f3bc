//! `POST /-/volumes/{id}/drain`, `…/undrain`, `…/remove`: what an operator decides of volumes, all with `?dry-run`.
//!
//! Owns which decision makes sense when, and what it will cost. Leaves the moving to the leader's `repair`. Every one of
//! them may be repeated: what is so already is a success. Invariant: nothing is decided that would leave an object without a
//! copy that can be read, or stop writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use hayrick_protocol::cluster_map::{ClusterConfig, Placement, VolumeState};
use hayrick_protocol::command::{Command, Reply, StateChange};
use hayrick_protocol::{PlacementId, VolumeId};
use hayrick_raft_store::{Cluster, Copies};
use hayrick_web::Problem;
use http::StatusCode;
use serde_json::json;

use super::problem::{bad_request, conflict, not_now, not_proposed, unknown_change};
use super::system::{json_answer, json_text};
use super::{Head, plain, switch};
use crate::gateway::read_index::{NotLinearizable, linearize};
use crate::leader;
use crate::master::Master;

/// How often the decision is made anew because the volume's state moved meanwhile.
const ATTEMPTS: usize = 5;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Drain,
    Undrain,
    Remove,
}

/// Answers it.
pub(super) async fn answer(
    master: &Arc<Master>,
    request: &Head,
    id: &str,
    verb: Verb,
) -> Result<Response, Problem> {
    let id = match id.parse() {
        Ok(id) if id > 0 => VolumeId(id),
        _ => return Err(bad_request(format!("{id:?} is not the id of a volume; ids are numbers from 1"))),
    };
    let is_rehearsal = switch(request, "dry-run")?;
    let deadline = super::deadline(master);
    for _ in 0..ATTEMPTS {
        linearize(master, deadline).await.map_err(|NotLinearizable(text)| not_now(text))?;
        let copies = master.node.copies().await.map_err(|error| not_now(error.to_string()))?;
        let cluster = master.node.cluster();
        let held = held(&cluster, &copies, id, &|other| is_whole(master, &cluster, other));
        let to = decide(&cluster, id, verb, &held)?;
        let minutes = held.bytes / master.move_bytes_per_s().max(1) / 60;
        if is_rehearsal {
            let shown = json!({
                "volume": id.0, "changes": to.is_some(), "placements": held.placements, "needles": held.needles,
                "bytes": held.bytes, "minutes": minutes,
            });
            return Ok(json_answer(json_text(&shown)));
        }
        let Some((from, to)) = to else { return Ok(plain(StatusCode::OK, done(id, verb, &held, minutes))) };
        let command = Command::SetVolumeStates(vec![StateChange { volume: id, from, to }]);
        // Not repeated when unknown: what comes after that would say that nothing was changed.
        let replies = leader::propose_until(master, vec![command], deadline, false).await;
        match replies.map_err(|error| not_proposed(master, &error))?.as_slice() {
            // The state may have moved before this came: looked at again.
            [Reply::Done] => {}
            [Reply::Refused(refusal)] => return Err(conflict(refusal.to_string())),
            _ => return Err(unknown_change("apply's reply does not fit the command")),
        }
    }
    Err(not_now(format!("volume {id} comes and goes at the moment, and nothing was changed; try again")))
}

/// How long something takes, for people.
pub(super) fn about(minutes: u64) -> String {
    match minutes {
        0 => "less than a minute".to_owned(),
        1 => "about a minute".to_owned(),
        _ => format!("about {minutes} minutes"),
    }
}

/// What lies on a volume.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    placements: u64,
    needles: u64,
    bytes: u64,
    /// Live objects that no other member surely has and can give now.
    only_here: u64,
    /// Partitions that it takes writes of.
    current: u64,
    /// Objects that no volume had when they were looked for; it may be the one that has them.
    missing: u64,
}

fn held(
    cluster: &Cluster,
    copies: &BTreeMap<PlacementId, Copies>,
    volume: VolumeId,
    is_whole: &dyn Fn(VolumeId) -> bool,
) -> Held {
    let missing = copies.values().map(|copies| copies.missing.count).sum();
    let mut held = Held { missing, ..Held::default() };
    let is_on = |row: &&Placement| row.members.contains(&volume);
    for row in cluster.table.placements.values().filter(is_on) {
        held.current += u64::from(cluster.table.is_current(row.id));
        let copies = copies.get(&row.id).filter(|copies| !copies.is_nothing() || copies.missing.count > 0);
        let Some(copies) = copies else { continue };
        held.placements += 1;
        held.needles += copies.live.count + copies.garbage.count;
        held.bytes += copies.live.bytes + copies.garbage.bytes;
        if !row.members.iter().any(|member| *member != volume && is_whole(*member)) {
            held.only_here += copies.live.count;
        }
    }
    held
}

/// Whether the volume is there, and says of nothing that is wrong with what it holds.
fn is_whole(master: &Master, cluster: &Cluster, volume: VolumeId) -> bool {
    let state = cluster.map.volumes.get(&volume).map(|volume| volume.state);
    let reads = state.is_some_and(|state| state.serves_reads() && state != VolumeState::Draining);
    let seen = master.heartbeats.seen(volume);
    reads && seen.is_some_and(|seen| seen.status.bad == 0 && !seen.status.uncompared)
}

/// From which state to which; `None` where it is so already.
fn decide(
    cluster: &Cluster,
    id: VolumeId,
    verb: Verb,
    held: &Held,
) -> Result<Option<(VolumeState, VolumeState)>, Problem> {
    let Some(volume) = cluster.map.volumes.get(&id) else {
        let known: Vec<String> = cluster.map.volumes.keys().map(VolumeId::to_string).collect();
        let text = format!("there is no volume {id}; there are {}", known.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, text));
    };
    let state = volume.state;
    let to = match (verb, state) {
        (Verb::Remove, VolumeState::Removed) | (Verb::Drain, VolumeState::Draining) => return Ok(None),
        (_, VolumeState::Removed) => {
            return Err(conflict(format!("volume {id} was removed for good; start it with an empty --data")));
        }
        (Verb::Undrain, VolumeState::Draining) => VolumeState::Up,
        (Verb::Undrain, _) => return Ok(None),
        (Verb::Drain, VolumeState::Suspect | VolumeState::Down) => {
            return Err(conflict(format!(
                "volume {id} is {state}, and cannot give what it holds; start it, or, if it never comes back, remove it: what \
                 it held is copied from the others"
            )));
        }
        (Verb::Drain, VolumeState::Up | VolumeState::Full | VolumeState::ReadOnly) => {
            others_take_writes(cluster, id)?;
            VolumeState::Draining
        }
        (Verb::Remove, VolumeState::Draining | VolumeState::Down) if held.only_here > 0 => {
            return Err(conflict(format!(
                "{} of the objects on volume {id} may be on no other volume that is up, whole and compared with the index; \
                 start the others, or this one, and wait until `hayrick status` tells of nothing bad",
                held.only_here
            )));
        }
        (Verb::Remove, VolumeState::Draining | VolumeState::Down) if held.missing > 0 => {
            return Err(conflict(format!(
                "{} objects are missing, and volume {id} may have them: start it and wait until `hayrick status` tells of none, or, if \
                 they are lost, delete them or store them again; `hayrick check` names them",
                held.missing
            )));
        }
        (Verb::Remove, VolumeState::Down) => VolumeState::Removed,
        (Verb::Remove, VolumeState::Draining) if held.placements == 0 && held.current == 0 => {
            VolumeState::Removed
        }
        (Verb::Remove, VolumeState::Draining) => {
            return Err(conflict(format!(
                "{} placements are still on volume {id}; `hayrick status` shows how far draining is",
                held.placements.max(held.current)
            )));
        }
        (Verb::Remove, _) => {
            return Err(conflict(format!(
                "volume {id} is {state}: drain it first, so that nothing has a copy less"
            )));
        }
    };
    Ok(Some((state, to)))
}

/// Without this volume, every object must have all its copies.
fn others_take_writes(cluster: &Cluster, id: VolumeId) -> Result<(), Problem> {
    let volumes = cluster.map.volumes.values();
    let others = volumes.filter(|volume| volume.id != id && volume.state.takes_writes()).count();
    let needed = cluster.config.map_or(1, |config: ClusterConfig| usize::from(config.replicas));
    if others < needed {
        return Err(conflict(format!(
            "beside volume {id} there are {others} volumes that take writes, and each object has {needed} copies (--replicas); \
             start another one first"
        )));
    }
    Ok(())
}

fn done(id: VolumeId, verb: Verb, held: &Held, minutes: u64) -> String {
    match verb {
        Verb::Drain if held.placements == 0 && held.current == 0 => {
            format!(
                "volume {id} is drained: nothing is on it that anybody counts on; stop it, and remove it\n"
            )
        }
        Verb::Drain => format!(
            "volume {id} is being drained: {} placements, {} MiB, {} at --move-rate; `hayrick status` shows \
             how far it is\n",
            held.placements,
            held.bytes.div_ceil(1 << 20),
            about(minutes)
        ),
        Verb::Undrain => format!("volume {id} is not being drained\n"),
        Verb::Remove => format!("volume {id} is removed for good\n"),
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::cluster_map::{ClusterMap, Volume};
    use hayrick_protocol::digest::SetDigest;
    use hayrick_protocol::{ClusterId, Generation, InstanceId, PartitionId};
    use hayrick_raft_store::Table;

    use super::*;

    fn cluster(states: &[VolumeState]) -> Cluster {
        let volume = |(id, state): (u32, &VolumeState)| Volume {
            id: VolumeId(id),
            instance: InstanceId::UNKNOWN,
            addr: String::new(),
            peer: String::new(),
            zone: String::new(),
            capacity_bytes: 1,
            state: *state,
        };
        let volumes = (1..).zip(states).map(volume).map(|volume| (volume.id, volume)).collect();
        let row = |id, members: &[u32]| Placement {
            id: PlacementId(id),
            partition: PartitionId(0),
            members: members.iter().copied().map(VolumeId).collect(),
            generation: Generation(1),
        };
        let rows = [row(1, &[1, 2]), row(2, &[1, 3]), row(3, &[1, 2])];
        let placements = rows.map(|row| (row.id, row)).into();
        Cluster {
            config: Some(ClusterConfig {
                cluster: ClusterId([1; 16]),
                partitions: 1,
                replicas: 3,
                min_replicas: 2,
            }),
            map: Arc::new(ClusterMap { version: 1, volumes }),
            table: Arc::new(Table { placements, ..Table::default() }),
            ..Cluster::default()
        }
    }

    /// The first two placements hold five objects each.
    fn held_in(cluster: &Cluster, volume: u32) -> Held {
        let copies = Copies { live: SetDigest { count: 5, bytes: 50, sum: 1 }, ..Copies::default() };
        let is_up = |id| cluster.map.volumes.get(&id).is_some_and(|volume| volume.state.serves_reads());
        held(cluster, &[(PlacementId(1), copies), (PlacementId(2), copies)].into(), VolumeId(volume), &is_up)
    }

    fn decided(states: &[VolumeState], verb: Verb) -> Result<Option<VolumeState>, String> {
        let cluster = cluster(states);
        let decided = decide(&cluster, VolumeId(1), verb, &held_in(&cluster, 1));
        decided.map(|change| change.map(|(_, to)| to)).map_err(|problem| problem.text)
    }

    use VolumeState::{Down, Draining, Full, Removed, Up};

    #[test]
    fn what_lies_on_a_volume_is_counted_and_what_lies_only_there() {
        let held = |states| held_in(&cluster(states), 1);
        assert_eq!(held(&[Up, Up, Up]), Held { placements: 2, needles: 10, bytes: 100, ..Held::default() });
        assert_eq!(held(&[Up, Up, Down]).only_here, 5);
        assert_eq!(held_in(&cluster(&[Up, Up, Up]), 4), Held::default());
    }

    #[test]
    fn a_volume_is_drained_while_others_take_writes() {
        assert_eq!(decided(&[Up, Up, Up, Up], Verb::Drain), Ok(Some(Draining)));
        assert_eq!(decided(&[Full, Up, Up, Up], Verb::Drain), Ok(Some(Draining)));
        assert_eq!(decided(&[Draining, Up, Up], Verb::Drain), Ok(None));
        assert!(decided(&[Up, Up, Up], Verb::Drain).expect_err("too few").contains("--replicas"));
        assert!(decided(&[Down, Up, Up], Verb::Drain).expect_err("it gives nothing").contains("is down"));
        assert_eq!(decided(&[Draining, Up, Up], Verb::Undrain), Ok(Some(Up)));
        assert_eq!(decided(&[Up, Up, Up], Verb::Undrain), Ok(None));
    }

    #[test]
    fn a_volume_is_removed_only_when_nothing_is_lost_by_it() {
        assert_eq!(decided(&[Down, Up, Up], Verb::Remove), Ok(Some(Removed)));
        assert_eq!(decided(&[Removed, Up, Up], Verb::Remove), Ok(None));
        assert!(
            decided(&[Down, Up, Down], Verb::Remove)
                .expect_err("copies would be gone")
                .contains("5 of the objects")
        );
        assert!(decided(&[Up, Up, Up], Verb::Remove).expect_err("it is in use").contains("drain it first"));
        assert!(
            decided(&[Draining, Up, Up], Verb::Remove).expect_err("it is not empty").contains("2 placements")
        );
        assert!(
            decided(&[Removed, Up, Up], Verb::Drain).expect_err("it is gone").contains("removed for good")
        );
        let empty = cluster(&[Draining, Up, Up]);
        let change = decide(&empty, VolumeId(1), Verb::Remove, &Held::default());
        assert_eq!(change.map_err(|problem| problem.text), Ok(Some((Draining, Removed))));
        // It may have what nobody else has.
        for state in [Draining, Down] {
            let held = Held { missing: 3, ..Held::default() };
            let refused = decide(&cluster(&[state, Up, Up]), VolumeId(1), Verb::Remove, &held);
            assert!(
                refused.is_err_and(|problem| problem.text.starts_with("3 objects are missing")),
                "{state}"
            );
        }
    }
}
