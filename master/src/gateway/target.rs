//! Where a new object goes: its partition's current placement, as this master has applied it.
//!
//! Owns the choice and the words for there being none. Leaves making placements to the leader. Invariant: a
//! target names only volumes that take writes, at least `min_replicas` of them, and the generation it was seen in.

use hayrick_protocol::cluster_map::{ClusterMap, Placement, Volume, VolumeState};
use hayrick_protocol::{ObjectKey, VolumeId};
use hayrick_raft_store::Cluster;
use tokio::time::{Duration, Instant, timeout_at};

use crate::leader::start_some;
use crate::master::Master;

/// How long a write waits for a new placement that was announced.
const MOVED_PATIENCE: Duration = Duration::from_millis(500);

/// Why there is no target.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoTarget {
    /// The leader is about to commit a placement that avoids what is down, or finds out what is: look again when the state
    /// moved.
    Soon(String),
    /// Too few volumes take writes: nothing will come of waiting.
    TooFew(String),
    /// Enough volumes are there, but they are full.
    Full(String),
}

/// The placement that takes the writes of `key`.
pub(crate) fn target<'a>(cluster: &'a Cluster, key: &ObjectKey) -> Result<&'a Placement, NoTarget> {
    let Some(config) = &cluster.config else {
        return Err(NoTarget::Soon(
            "the cluster is being formed: a majority of the masters must be started".into(),
        ));
    };
    enough(&cluster.map, usize::from(config.min_replicas))?;
    let current = cluster.table.current(key.partition(config.partitions));
    match current {
        Some(placement) if placement.members.iter().all(|member| takes_writes(cluster, *member)) => {
            Ok(placement)
        }
        Some(_) => {
            Err(NoTarget::Soon("the placement is being changed to avoid a volume that is down".into()))
        }
        None => {
            Err(NoTarget::Soon("the volumes have just registered; their placements are being made".into()))
        }
    }
}

fn takes_writes(cluster: &Cluster, volume: VolumeId) -> bool {
    cluster.map.volumes.get(&volume).is_some_and(|volume| volume.state.takes_writes())
}

/// Whether enough volumes take writes.
fn enough(map: &ClusterMap, needed: usize) -> Result<(), NoTarget> {
    let volumes: Vec<&Volume> =
        map.volumes.values().filter(|volume| volume.state != VolumeState::Removed).collect();
    let up = volumes.iter().filter(|volume| volume.state.takes_writes()).count();
    if up >= needed {
        return Ok(());
    }
    let in_state = |state| -> Vec<String> {
        volumes.iter().filter(|volume| volume.state == state).map(|volume| volume.id.to_string()).collect()
    };
    let suspect = in_state(VolumeState::Suspect);
    if up + suspect.len() >= needed {
        return Err(NoTarget::Soon(format!(
            "{} of {} volumes do not answer as they should ({}), which may pass: a write needs {needed} copies (--min-replicas); \
             try again",
            suspect.len(),
            volumes.len(),
            suspect.join(", "),
        )));
    }
    let full = in_state(VolumeState::Full);
    if up + full.len() >= needed {
        return Err(NoTarget::Full(format!(
            "{} of {} volumes are full ({}): a write needs {needed} copies; add a volume, or delete objects: their space comes back by itself once they are reaped and compacted",
            full.len(),
            volumes.len(),
            full.join(", "),
        )));
    }
    if volumes.len() < needed {
        return Err(NoTarget::TooFew(format!(
            "{} volumes have registered: a write needs {needed} copies (--min-replicas); start more with `hayrick volume`",
            volumes.len(),
        )));
    }
    let out: Vec<String> = volumes
        .iter()
        .filter(|volume| !volume.state.takes_writes())
        .map(|volume| format!("{} is {}", volume.id, volume.state))
        .collect();
    Err(NoTarget::TooFew(format!(
        "{} of {} volumes take no writes ({}): a write needs {needed} copies (--min-replicas); {}",
        out.len(),
        volumes.len(),
        out.join(", "),
        start_some(needed - up),
    )))
}

/// Waits until a write of `key` has a target.
pub(crate) async fn wait(master: &Master, key: &ObjectKey, deadline: Instant) -> Result<Placement, NoTarget> {
    let mut progress = master.node.watch();
    loop {
        progress.mark_unchanged();
        let reason = match target(&master.node.cluster(), key) {
            Ok(placement) => return Ok(placement.clone()),
            Err(reason @ NoTarget::Soon(_)) => reason,
            Err(reason) => return Err(reason),
        };
        if !matches!(timeout_at(deadline, progress.changed()).await, Ok(Ok(()))) {
            return Err(reason);
        }
    }
}

/// Waits until this master has applied that `placement` is not its partition's current one in this generation any
/// more; not for long, as the change may be on its way for ever.
pub(crate) async fn moved(master: &Master, placement: &Placement, deadline: Instant) {
    let mut progress = master.node.watch();
    let deadline = deadline.min(Instant::now() + MOVED_PATIENCE);
    loop {
        progress.mark_unchanged();
        let cluster = master.node.cluster();
        let current = cluster.table.current(placement.partition);
        let is_same =
            current.is_some_and(|now| (now.id, now.generation) == (placement.id, placement.generation));
        if !is_same || !matches!(timeout_at(deadline, progress.changed()).await, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use VolumeState::{Down, Full, Suspect, Up};
    use hayrick_protocol::InstanceId;

    use super::*;

    fn of(states: &[VolumeState], needed: usize) -> Result<(), NoTarget> {
        let volumes = states.iter().zip(1..).map(|(state, id)| {
            let volume = Volume {
                id: VolumeId(id),
                instance: InstanceId([0; 16]),
                addr: String::new(),
                peer: String::new(),
                zone: String::new(),
                capacity_bytes: 1,
                state: *state,
            };
            (volume.id, volume)
        });
        enough(&ClusterMap { version: 1, volumes: volumes.collect() }, needed)
    }

    #[test]
    fn a_write_waits_for_what_may_pass_and_is_told_at_once_what_does_not() {
        assert_eq!(of(&[Up, Down, Up], 2), Ok(()));
        let soon = of(&[Up, Suspect, Full], 2);
        assert!(matches!(&soon, Err(NoTarget::Soon(text)) if text.contains("(2)")), "{soon:?}");
        let full = of(&[Up, Full, Full], 2);
        assert!(
            matches!(&full, Err(NoTarget::Full(text)) if text.contains("2 of 3 volumes are full (2, 3)")),
            "{full:?}"
        );
        for (states, missing) in [
            ([Up, Down, Down], "start one of them"),
            ([Suspect, Down, Down], "start 2 of them"),
            ([Down; 3], "start 2 of them"),
        ] {
            let few = of(&states, 2);
            assert!(matches!(&few, Err(NoTarget::TooFew(text)) if text.ends_with(missing)), "{few:?}");
        }
        let new = of(&[Up], 2);
        assert!(
            matches!(&new, Err(NoTarget::TooFew(text)) if text.contains("1 volumes have registered")),
            "{new:?}"
        );
    }
}
