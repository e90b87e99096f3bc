//! How a closed placement gains a member: a move is begun, its newcomer pulls, and is a member once it was shown complete.
//!
//! Owns the checks that need the state at the moment of the change: the placement is closed, and in the generation that was
//! examined. That the newcomer is complete was shown by whoever proposes it, and stays true as long as these hold:
//! nothing is added to a closed placement. What is done twice is done once. The table's version stays: it is about
//! who takes writes, which no move changes.

use hayrick_protocol::VolumeId;
use hayrick_protocol::cluster_map::{Placement, VolumeState};
use hayrick_protocol::command::{Examined, Refusal, Reply};
use hayrick_protocol::limits::{MOVE_BYTES_PER_S_MAX, MOVE_BYTES_PER_S_MIN, REPLICAS_MAX};

use super::Outcome;
use crate::state::State;

/// From here on the newcomer's needles of this placement are not dropped as nobody's.
pub(super) fn begin(state: &mut State, examined: Examined, newcomer: VolumeId) -> Outcome {
    let members = &closed(state, examined)?.members;
    if members.contains(&newcomer) {
        return invalid(format!("volume {newcomer} is a member of placement {} already", examined.placement));
    }
    if members.len() > usize::from(REPLICAS_MAX) {
        return invalid(format!("placement {} has {} members already", examined.placement, members.len()));
    }
    if state_of(state, newcomer).is_none_or(|state| state == VolumeState::Removed) {
        return invalid(format!(
            "there is no volume {newcomer} that could hold placement {}",
            examined.placement
        ));
    }
    match state.cluster.table.moves.get(&examined.placement) {
        Some(begun) if begun.newcomer == newcomer => {}
        Some(begun) => {
            let (placement, other) = (examined.placement, begun.newcomer);
            return invalid(format!("placement {placement} is about to gain volume {other}"));
        }
        None => state.set_move(examined.placement, Some(newcomer)),
    }
    Ok(Reply::Done)
}

/// The newcomer is a member, in the place of another one or in addition.
pub(super) fn replace(
    state: &mut State,
    examined: Examined,
    out: Option<VolumeId>,
    newcomer: VolumeId,
) -> Outcome {
    let members = &closed(state, examined)?.members;
    moving(state, examined, newcomer)?;
    let mut after: Vec<VolumeId> = members.iter().copied().filter(|member| Some(*member) != out).collect();
    if out.is_some() && after.len() == members.len() {
        return Err(Refusal::StalePlacement.into());
    }
    if after.len() >= usize::from(REPLICAS_MAX) {
        return invalid(format!("placement {} has {} members already", examined.placement, after.len()));
    }
    // It was shown complete, and may be gone for good by now.
    if !state_of(state, newcomer).is_some_and(VolumeState::serves_reads) {
        return Err(Refusal::StalePlacement.into());
    }
    after.push(newcomer);
    after.sort_unstable();
    state.set_move(examined.placement, None);
    if let Some(placement) = state.change_placement(examined.placement) {
        placement.members = after;
    }
    Ok(Reply::Done)
}

/// The newcomer's needles of this placement are nobody's again.
pub(super) fn abandon(state: &mut State, examined: Examined, newcomer: VolumeId) -> Outcome {
    closed(state, examined)?;
    moving(state, examined, newcomer)?;
    state.set_move(examined.placement, None);
    // What was found out about the newcomer is true no more: it may drop what it has pulled.
    state.change_placement(examined.placement);
    Ok(Reply::Done)
}

/// How fast copies are made from now on, whoever leads.
pub(super) fn set_rate(state: &mut State, bytes_per_s: Option<u64>) -> Outcome {
    if bytes_per_s.is_some_and(|rate| !(MOVE_BYTES_PER_S_MIN..=MOVE_BYTES_PER_S_MAX).contains(&rate)) {
        return invalid(format!(
            "copies are made at {MOVE_BYTES_PER_S_MIN} to {MOVE_BYTES_PER_S_MAX} bytes a second"
        ));
    }
    state.set_move_rate(bytes_per_s);
    Ok(Reply::Done)
}

/// The placement, if it takes no writes and is what was examined.
fn closed(state: &State, examined: Examined) -> Result<&Placement, Refusal> {
    let table = &state.cluster.table;
    let placement = table.placement(examined.placement).ok_or(Refusal::StalePlacement)?;
    if placement.generation != examined.generation || table.is_current(placement.id) {
        return Err(Refusal::StalePlacement);
    }
    Ok(placement)
}

fn moving(state: &State, examined: Examined, newcomer: VolumeId) -> Result<(), Refusal> {
    let begun = state.cluster.table.moves.get(&examined.placement);
    if begun.is_some_and(|begun| begun.newcomer == newcomer) { Ok(()) } else { Err(Refusal::StalePlacement) }
}

fn state_of(state: &State, volume: VolumeId) -> Option<VolumeState> {
    state.cluster.map.volumes.get(&volume).map(|volume| volume.state)
}

fn invalid(why: String) -> Outcome {
    Err(Refusal::Invalid(why).into())
}
