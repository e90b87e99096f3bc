//! Needles that nobody has: looked for and not found, they count for nothing that must be held, until a copy turns up.
//!
//! Owns the mark in the row that names the needle, and what it means for the counts: so all else that a placement holds can be
//! shown complete. The row stays, as does what a client sees: the key is there, and cannot be read. Both directions do
//! nothing where the row names another needle by then, or is marked so already, so that what is done twice, or late, is done
//! once. Invariant: what counts again is held by all members of its placement.

use hayrick_protocol::command::{Examined, Named, Refusal, Reply, Row};
use hayrick_protocol::limits::NAMED_BATCH_MAX;
use hayrick_protocol::record::ObjectRecord;

use super::{Outcome, Rows};
use crate::state::{RowKey, State};
use crate::store::StoreError;

/// Nobody has these.
pub(super) fn missing(state: &mut State, rows: &mut dyn Rows, needles: Vec<Named>) -> Outcome {
    bounded(&needles)?;
    for named in needles {
        mark(state, rows, named, true, |_| true)?;
    }
    Ok(Reply::Done)
}

/// All members of this placement hold these, which was found out in this generation: refused in another one, as there may be
/// other members. What else was found out in it holds no more: more must be held than whoever found it knew.
pub(super) fn found(
    state: &mut State,
    rows: &mut dyn Rows,
    examined: Examined,
    needles: Vec<Named>,
) -> Outcome {
    bounded(&needles)?;
    let placement = state.cluster.table.placement(examined.placement);
    if placement.is_none_or(|placement| placement.generation != examined.generation) {
        return Err(Refusal::StalePlacement.into());
    }
    let mut changed = false;
    for named in needles {
        changed |= mark(state, rows, named, false, |record| record.placement == examined.placement)?;
    }
    if changed {
        state.change_placement(examined.placement);
    }
    Ok(Reply::Done)
}

fn bounded(needles: &[Named]) -> Result<(), Refusal> {
    if needles.len() > NAMED_BATCH_MAX {
        return Err(Refusal::Invalid(format!(
            "{} needles at once; at most {NAMED_BATCH_MAX}",
            needles.len()
        )));
    }
    Ok(())
}

/// Marks the row that names this needle, or takes the mark away, if the record `fits`. Whether anything changed.
fn mark(
    state: &mut State,
    rows: &mut dyn Rows,
    Named { needle, by }: Named,
    missing: bool,
    fits: impl Fn(&ObjectRecord) -> bool,
) -> Result<bool, StoreError> {
    let is_meant =
        |record: &ObjectRecord| record.needle == needle && record.missing != missing && fits(record);
    match by {
        Row::Object(key) => {
            let Some(record) = rows.object(&key)?.filter(is_meant) else { return Ok(false) };
            let record = ObjectRecord { missing, ..record };
            rows.put_object(&key, &record)?;
            count_object(state, &record)?;
        }
        Row::Garbage(version) => {
            let garbage = rows.garbage(version)?.filter(|row| is_meant(&row.record));
            let Some(mut garbage) = garbage else { return Ok(false) };
            garbage.record.missing = missing;
            rows.put_garbage(version, &garbage)?;
            if !garbage.doomed {
                count_garbage(state, &garbage.record)?;
            }
        }
    }
    Ok(true)
}

/// An object whose mark is another one than it was.
fn count_object(state: &mut State, record: &ObjectRecord) -> Result<(), StoreError> {
    let missing = &mut state.counters.missing;
    let changed = if record.missing { missing.checked_add(1) } else { missing.checked_sub(1) };
    *missing = changed.ok_or_else(|| StoreError::lost_count(record.placement))?;
    state.changed.insert(RowKey::Counters);
    state.change_copies(record.placement, |copies| {
        let (from, to) = (&mut copies.live, &mut copies.missing);
        let (from, to) = if record.missing { (from, to) } else { (to, from) };
        from.remove(record.needle, record.size).map(|()| to.add(record.needle, record.size))
    })
}

/// Garbage that is not doomed, likewise.
fn count_garbage(state: &mut State, record: &ObjectRecord) -> Result<(), StoreError> {
    state.change_copies(record.placement, |copies| {
        if record.missing {
            copies.unheld += 1;
            return copies.garbage.remove(record.needle, record.size);
        }
        copies.unheld = copies.unheld.checked_sub(1)?;
        copies.garbage.add(record.needle, record.size);
        Some(())
    })
}
