//! Who belongs to the cluster: its forming, its masters, its volumes.

use hayrick_protocol::cluster_map::{ClusterConfig, Master, Volume, VolumeState};
use hayrick_protocol::command::{Refusal, RegisterVolume, Reply, StateChange};
use hayrick_protocol::limits::{
    MASTERS_MAX, MASTERS_REMOVED_MAX, NAME_BYTES_MAX, PARTITIONS_MAX, REPLICAS_MAX, VOLUMES_MAX,
};
use hayrick_protocol::{NodeId, VolumeId};

use super::Outcome;
use crate::state::{RowKey, State};

/// Fixes what a cluster is, once. Whoever comes later learns of the one there is.
pub(super) fn form_cluster(state: &mut State, config: ClusterConfig) -> Outcome {
    if let Some(formed) = state.cluster.config {
        return Ok(Reply::ClusterFormed(formed.cluster));
    }
    if !config.partitions.is_power_of_two() || config.partitions > PARTITIONS_MAX {
        return invalid(format!(
            "{} partitions; a power of two up to {PARTITIONS_MAX} is needed",
            config.partitions
        ));
    }
    let copies = 1..=REPLICAS_MAX;
    if !copies.contains(&config.replicas) || !(1..=config.replicas).contains(&config.min_replicas) {
        let (replicas, min) = (config.replicas, config.min_replicas);
        return invalid(format!("{replicas} replicas, at least {min}; 1 to {REPLICAS_MAX} are possible"));
    }
    if !config.cluster.is_known() {
        return invalid("the cluster needs a name".into());
    }
    state.cluster.config = Some(config);
    state.change_table().current = vec![None; config.partitions as usize];
    state.changed.extend([RowKey::Config, RowKey::Counters, RowKey::MapVersion, RowKey::TableVersion]);
    Ok(Reply::ClusterFormed(config.cluster))
}

/// A master's addresses. Its id stays with the data directory that came with it first.
pub(super) fn register_master(state: &mut State, master: Master) -> Outcome {
    bounded_name(&master.client)?;
    bounded_name(&master.peer)?;
    if state.cluster.removed.contains(&master.id) {
        return Err(Refusal::MasterRemoved.into());
    }
    match state.cluster.masters.get(&master.id) {
        Some(known) if known.instance != master.instance => {
            return Err(Refusal::OtherInstance(known.instance).into());
        }
        Some(known) if *known == master => return Ok(Reply::Done),
        None if state.cluster.masters.len() >= MASTERS_MAX => {
            return invalid(format!("there are {MASTERS_MAX} masters already"));
        }
        _ => {}
    }
    state.change_masters(master.id).insert(master.id, master);
    Ok(Reply::Done)
}

/// A master's end: nothing of its epochs is accepted any more, and its id never comes back, whatever directory brings it.
pub(super) fn remove_master(state: &mut State, master: NodeId) -> Outcome {
    if state.cluster.removed.contains(&master) {
        return Ok(Reply::Done);
    }
    if state.cluster.removed.len() >= MASTERS_REMOVED_MAX {
        return invalid(format!("{MASTERS_REMOVED_MAX} masters were removed already"));
    }
    if state.cluster.masters.keys().eq([&master]) {
        return invalid(format!("master {master} is the last one"));
    }
    state.remove_master(master);
    Ok(Reply::Done)
}

/// A volume's id: the one its data directory has, or the next. The map's version moves only if something changed.
pub(super) fn register_volume(state: &mut State, request: RegisterVolume) -> Outcome {
    bounded_name(&request.addr)?;
    bounded_name(&request.peer)?;
    bounded_name(&request.zone)?;
    let volumes = &state.cluster.map.volumes;
    if let Some(claimed) = request.volume.and_then(|id| volumes.get(&id))
        && claimed.instance != request.instance
    {
        return Err(Refusal::OtherInstance(claimed.instance).into());
    }
    let known = volumes.values().find(|volume| volume.instance == request.instance);
    let (id, volume_state) = match (known, request.volume) {
        (Some(known), claimed) if claimed.is_some_and(|id| id != known.id) => {
            return invalid(format!(
                "this data directory is volume {}, not {}",
                known.id,
                claimed.unwrap_or(known.id)
            ));
        }
        (Some(known), _) if known.state == VolumeState::Removed => {
            return invalid(format!("volume {} was removed for good: give it an empty directory", known.id));
        }
        (Some(known), _) => (known.id, known.state),
        (None, Some(id)) => return invalid(format!("this cluster has no volume {id}")),
        (None, None) if volumes.len() >= VOLUMES_MAX => {
            return invalid(format!("there are {VOLUMES_MAX} volumes already"));
        }
        (None, None) => (VolumeId(state.next.volume + 1), VolumeState::Up),
    };
    let volume = Volume {
        id,
        instance: request.instance,
        addr: request.addr,
        peer: request.peer,
        zone: request.zone,
        capacity_bytes: request.capacity_bytes,
        state: volume_state,
    };
    if known == Some(&volume) {
        return Ok(Reply::VolumeRegistered(id));
    }
    state.next.volume = state.next.volume.max(id.0);
    state.changed.insert(RowKey::Counters);
    state.change_map(id).insert(id, volume);
    state.raise_map_version();
    Ok(Reply::VolumeRegistered(id))
}

/// What the leader decided of volumes. Nothing of it when a part makes no sense; a volume whose state moved meanwhile is
/// passed over, as the decision was about another state. A removed volume stays removed.
pub(super) fn set_volume_states(state: &mut State, changes: &[StateChange]) -> Outcome {
    for StateChange { volume, from, to } in changes {
        if !state.cluster.map.volumes.contains_key(volume) {
            return invalid(format!("there is no volume {volume}"));
        }
        if *from == VolumeState::Removed && *to != VolumeState::Removed {
            return invalid(format!("volume {volume} was removed for good"));
        }
    }
    let mut changed = false;
    for StateChange { volume: id, from, to } in changes {
        let is_as_decided =
            state.cluster.map.volumes.get(id).is_some_and(|volume| volume.state == *from && from != to);
        if is_as_decided && let Some(volume) = state.change_map(*id).get_mut(id) {
            volume.state = *to;
            changed = true;
        }
    }
    if changed {
        state.raise_map_version();
    }
    Ok(Reply::Done)
}

fn bounded_name(name: &str) -> Result<(), Refusal> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Refusal::Invalid(format!("a name of {} bytes; at most {NAME_BYTES_MAX}", name.len())));
    }
    Ok(())
}

fn invalid(why: String) -> Outcome {
    Err(Refusal::Invalid(why).into())
}
