//! New current placements: the leader computed them, and here they are checked and recorded.

use std::collections::BTreeSet;

use hayrick_protocol::cluster_map::{Placement, TableChange, VolumeState};
use hayrick_protocol::command::{Examined, Refusal, Reply};
use hayrick_protocol::limits::{FORGET_BATCH_MAX, REPLICAS_MAX};
use hayrick_protocol::{Generation, PartitionId, PlacementId};

use super::Outcome;
use crate::state::{RowKey, State};

/// Changes current members of partitions, all of it or nothing; refused if map or table moved since it was computed.
pub(super) fn change(
    state: &mut State,
    map_version: u64,
    table_version: u64,
    changes: Vec<TableChange>,
) -> Outcome {
    if (map_version, table_version) != (state.cluster.map.version, state.cluster.table.version) {
        return Err(Refusal::StaleTable.into());
    }
    check(state, &changes)?;
    let mut changed = false;
    for change in changes {
        changed |= change_one(state, change);
    }
    if changed {
        state.change_table().version += 1;
        state.changed.insert(RowKey::TableVersion);
    }
    Ok(Reply::Done)
}

fn check(state: &State, changes: &[TableChange]) -> Result<(), Refusal> {
    let invalid = |why: String| Err(Refusal::Invalid(why));
    let mut partitions = BTreeSet::new();
    for TableChange { partition, members } in changes {
        if usize::from(partition.0) >= state.cluster.table.current.len() {
            return invalid(format!("there is no partition {partition}"));
        }
        if !partitions.insert(partition) {
            return invalid(format!("partition {partition} is changed twice"));
        }
        if members.len() > usize::from(REPLICAS_MAX) {
            return invalid(format!("partition {partition} would have {} members", members.len()));
        }
        if !members.is_sorted_by(|a, b| a < b) {
            return invalid(format!("the members of partition {partition} are not distinct and ascending"));
        }
        let usable = |id| state.cluster.map.volumes.get(id).is_some_and(|v| v.state != VolumeState::Removed);
        if let Some(unknown) = members.iter().find(|id| !usable(*id)) {
            return invalid(format!("partition {partition} would have volume {unknown}, which there is not"));
        }
    }
    let added = u32::try_from(changes.len()).unwrap_or(u32::MAX);
    if state.next.placement.checked_add(added).is_none() {
        return invalid("every placement id was handed out".into());
    }
    Ok(())
}

/// Makes the placement with these members current: a former one if there was, else a new row. Whether anything changed.
fn change_one(state: &mut State, change: TableChange) -> bool {
    let partition = change.partition;
    let current = state.cluster.table.current(partition);
    // Another one may have come to the same members by moves.
    if current.is_some_and(|current| current.members == change.members) {
        return false;
    }
    let old = current.map(|placement| placement.id);
    let new = match state.placement_of(partition, &change.members) {
        _ if change.members.is_empty() => None,
        Some(former) => {
            state.change_placement(former);
            // Who takes writes gains no member.
            end_move(state, former);
            Some(former)
        }
        None => {
            state.next.placement += 1;
            state.changed.insert(RowKey::Counters);
            let id = PlacementId(state.next.placement);
            state.add_placement(Placement {
                id,
                partition,
                members: change.members,
                generation: Generation(1),
            });
            Some(id)
        }
    };
    if old == new {
        return false;
    }
    if let Some(old) = old {
        state.change_placement(old);
    }
    set_current(state, partition, new);
    true
}

/// Forgets closed placements that hold nothing, and of which nothing is about to be dropped: what a volume has of them is
/// nobody's. A move into one ends with it. Whatever is otherwise than it was examined stays.
pub(super) fn forget(state: &mut State, placements: &[Examined]) -> Outcome {
    if placements.len() > FORGET_BATCH_MAX {
        let many = placements.len();
        return Err(Refusal::Invalid(format!("{many} placements at once; at most {FORGET_BATCH_MAX}")).into());
    }
    for Examined { placement: id, generation } in placements {
        let table = &state.cluster.table;
        let is_as_examined =
            table.placement(*id).is_some_and(|placement| placement.generation == *generation);
        if is_as_examined && !table.is_current(*id) && !state.copies.contains_key(id) {
            end_move(state, *id);
            state.remove_placement(*id);
        }
    }
    Ok(Reply::Done)
}

fn end_move(state: &mut State, placement: PlacementId) {
    if state.cluster.table.moves.contains_key(&placement) {
        state.set_move(placement, None);
    }
}

fn set_current(state: &mut State, partition: PartitionId, placement: Option<PlacementId>) {
    if let Some(current) = state.change_table().current.get_mut(usize::from(partition.0)) {
        *current = placement;
    }
    state.changed.insert(RowKey::Current(partition));
}
