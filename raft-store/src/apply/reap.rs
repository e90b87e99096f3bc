//! Doom and reaped: the two steps in which garbage goes.

use hayrick_protocol::AppliedVersion;
use hayrick_protocol::command::{Refusal, Reply};
use hayrick_protocol::limits::REAP_BATCH_MAX;

use super::{Outcome, Rows};
use crate::state::{RowKey, State};
use crate::store::StoreError;

/// Marks rows as about to be reaped: from here on their needles need not be held, and cannot be brought back. Rows that
/// are gone or doomed already are passed over.
pub(super) fn doom(state: &mut State, rows: &mut dyn Rows, versions: &[AppliedVersion]) -> Outcome {
    bounded(versions)?;
    for version in versions {
        let Some(mut garbage) = rows.garbage(*version)? else { continue };
        if garbage.doomed {
            continue;
        }
        let (placement, needle, size) =
            (garbage.record.placement, garbage.record.needle, garbage.record.size);
        let held = state.copies.get(&placement).map(|copies| copies.garbage).unwrap_or_default();
        if held.count == 0 || held.bytes < u64::from(size) {
            return Err(StoreError::lost_count(placement).into());
        }
        garbage.doomed = true;
        rows.put_garbage(*version, &garbage)?;
        state.change_copies(placement, |copies| copies.garbage.remove(needle, size));
    }
    Ok(Reply::Done)
}

/// Takes doomed rows away; others stay.
pub(super) fn reaped(state: &mut State, rows: &mut dyn Rows, versions: &[AppliedVersion]) -> Outcome {
    bounded(versions)?;
    for version in versions {
        let Some(garbage) = rows.garbage(*version)?.filter(|garbage| garbage.doomed) else { continue };
        let size = u64::from(garbage.record.size);
        let counters = &mut state.counters;
        if counters.garbage_needles == 0 || counters.garbage_bytes < size {
            return Err(StoreError::lost_count(garbage.record.placement).into());
        }
        counters.garbage_needles -= 1;
        counters.garbage_bytes -= size;
        state.changed.insert(RowKey::Counters);
        rows.remove_garbage(*version)?;
    }
    Ok(Reply::Done)
}

fn bounded(versions: &[AppliedVersion]) -> Result<(), Refusal> {
    if versions.len() > REAP_BATCH_MAX {
        return Err(Refusal::Invalid(format!("{} rows at once; at most {REAP_BATCH_MAX}", versions.len())));
    }
    Ok(())
}
