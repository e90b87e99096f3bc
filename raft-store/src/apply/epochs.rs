//! Epochs: opened for gateways, fenced for good.

use hayrick_protocol::command::{Refusal, Reply};
use hayrick_protocol::limits::EPOCHS_OPEN_PER_MASTER_MAX;
use hayrick_protocol::{EpochId, NodeId};

use super::Outcome;
use crate::cluster::OpenEpoch;
use crate::sessions::Session;
use crate::state::{RowKey, State};

/// A new epoch, or the one that was opened with the same nonce. At a master's start, all it had before are fenced in the
/// same breath; beyond the limit, its oldest is. A start that is repeated after its epoch was fenced gets a new one like any
/// repetition, but fences nothing: what is open by then may be a later start's.
pub(super) fn open(state: &mut State, master: NodeId, at_start: bool, nonce: u64) -> Outcome {
    if state.cluster.removed.contains(&master) {
        return Err(Refusal::MasterRemoved.into());
    }
    let wanted = OpenEpoch { master, nonce };
    if let Some((epoch, _)) = state.cluster.epochs.iter().find(|(_, open)| **open == wanted) {
        return Ok(Reply::EpochOpened(*epoch));
    }
    let number = state.next.epoch.checked_add(1);
    let number = number.ok_or_else(|| Refusal::Invalid("every epoch id was handed out".into()))?;
    let mut of_master: Vec<EpochId> =
        state.cluster.epochs.iter().filter(|(_, open)| open.master == master).map(|(id, _)| *id).collect();
    let starts = at_start && state.is_new_start(master, nonce);
    let kept = if starts { 0 } else { EPOCHS_OPEN_PER_MASTER_MAX - 1 };
    of_master.truncate(of_master.len().saturating_sub(kept));
    for old in of_master {
        state.close_session(old);
    }
    state.next.epoch = number;
    state.changed.insert(RowKey::Counters);
    let epoch = EpochId(number);
    state.open_session(epoch, Session::new(wanted));
    Ok(Reply::EpochOpened(epoch))
}

/// From here on no command of the epoch is accepted. Fencing what is not open does nothing.
pub(super) fn fence(state: &mut State, epoch: EpochId) -> Outcome {
    state.close_session(epoch);
    Ok(Reply::Done)
}
