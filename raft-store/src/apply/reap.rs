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
        garbage.doomed = true;
        rows.put_garbage(*version, &garbage)?;
        let record = &garbage.record;
        state.change_copies(record.placement, |copies| {
            if record.missing {
                return Some(());
            }
            copies.unheld += 1;
            copies.garbage.remove(record.needle, record.size)
        })?;
    }
    Ok(Reply::Done)
}

/// Takes doomed rows away; others stay.
pub(super) fn reaped(state: &mut State, rows: &mut dyn Rows, versions: &[AppliedVersion]) -> Outcome {
    bounded(versions)?;
    for version in versions {
        let Some(garbage) = rows.garbage(*version)?.filter(|garbage| garbage.doomed) else { continue };
        let placement = garbage.record.placement;
        state.counters.reap(&garbage.record).ok_or_else(|| StoreError::lost_count(placement))?;
        state.changed.insert(RowKey::Counters);
        state.change_copies(placement, |copies| {
            copies.unheld = copies.unheld.checked_sub(1)?;
            Some(())
        })?;
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
