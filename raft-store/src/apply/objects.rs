//! Commit, delete and undelete: the commands that a client's request ends in.

use std::time::{SystemTime, UNIX_EPOCH};

use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::AppliedVersion;
use hayrick_protocol::command::{Applied, Commit, Delete, Precondition, Refusal, Reply, Undelete};
use hayrick_protocol::record::{Garbage, ObjectRecord};

use super::{Outcome, Rows};
use crate::state::{RowKey, State};
use crate::store::StoreError;

/// The key names the needle, if the placement still takes writes as it did when the needle was appended.
pub(super) fn commit(state: &mut State, rows: &mut dyn Rows, commit: Commit) -> Outcome {
    let config = state.cluster.config.ok_or(Refusal::NotFormed)?;
    let current = state.cluster.table.current(commit.key.partition(config.partitions));
    let is_current =
        current.is_some_and(|now| now.id == commit.placement && now.generation == commit.generation);
    if !is_current && !planted::is(Bug::StalePlacementAccepted) {
        return Err(Refusal::StalePlacement.into());
    }
    let old = rows.object(&commit.key)?;
    if !holds(&commit.precondition, old.as_ref()) {
        return Err(Refusal::PreconditionFailed.into());
    }
    let version = next_version(state);
    let now_ms = if planted::is(Bug::ApplyReadsClock) { own_clock_ms() } else { commit.now_ms };
    let record = ObjectRecord {
        needle: commit.needle(),
        placement: commit.placement,
        size: commit.size,
        crc: commit.crc,
        md5: commit.md5,
        version,
        // The record keeps 48 bits; a clock beyond the year 10 000 is no reason to differ from what is read back.
        modified_ms: now_ms & 0xffff_ffff_ffff,
        missing: false,
        headers: commit.headers,
    };
    rows.put_object(&commit.key, &record)?;
    state.counters.objects += 1;
    state.counters.object_bytes += u64::from(record.size);
    state.change_copies(record.placement, |copies| {
        copies.live.add(record.needle, record.size);
        Some(())
    })?;
    let replaced = old.is_some();
    if let Some(old) = old {
        discard(
            state,
            rows,
            version,
            Garbage { key: commit.key, record: old, doomed: false, by_delete: false },
        )?;
    }
    Ok(Reply::Applied(Applied { version, replaced }))
}

/// What apply must never look at.
fn own_clock_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The key goes; its needle is garbage from here on. Of what is not there no condition is weighed (RFC 9110, section
/// 13.2.1).
pub(super) fn delete(state: &mut State, rows: &mut dyn Rows, delete: &Delete) -> Outcome {
    let old = rows.object(&delete.key)?.ok_or(Refusal::NotFound)?;
    if !holds(&delete.precondition, Some(&old)) {
        return Err(Refusal::PreconditionFailed.into());
    }
    let version = next_version(state);
    rows.remove_object(&delete.key)?;
    let garbage = Garbage { key: delete.key.clone(), record: old, doomed: false, by_delete: true };
    discard(state, rows, version, garbage)?;
    Ok(Reply::Applied(Applied { version, replaced: true }))
}

/// What a delete took away is the key's again, unless it is about to be reaped or another object has the key. In all but its
/// version the record is the one that was deleted: its needle never went.
pub(super) fn undelete(state: &mut State, rows: &mut dyn Rows, undelete: &Undelete) -> Outcome {
    let deleted = rows.garbage(undelete.garbage)?;
    let deleted = deleted.filter(|row| row.by_delete && !row.doomed && row.key == undelete.key);
    let deleted = deleted.ok_or(Refusal::NotFound)?;
    if rows.object(&undelete.key)?.is_some() {
        return Err(Refusal::PreconditionFailed.into());
    }
    let version = next_version(state);
    rows.put_object(&undelete.key, &ObjectRecord { version, ..deleted.record.clone() })?;
    rows.remove_garbage(undelete.garbage)?;
    reclaim(state, &deleted.record)?;
    Ok(Reply::Applied(Applied { version, replaced: false }))
}

fn holds(precondition: &Precondition, old: Option<&ObjectRecord>) -> bool {
    match precondition {
        Precondition::None => true,
        Precondition::Absent => old.is_none(),
        Precondition::Present => old.is_some(),
        Precondition::Matches(tags) => old.is_some_and(|old| tags.contains(&old.md5)),
    }
}

fn next_version(state: &mut State) -> AppliedVersion {
    state.changed.insert(RowKey::Counters);
    state.counters.version.0 += 1;
    state.counters.version
}

/// Moves a record that no key names any more to garbage, under the version of the change that did it.
fn discard(
    state: &mut State,
    rows: &mut dyn Rows,
    version: AppliedVersion,
    garbage: Garbage,
) -> Result<(), StoreError> {
    rows.put_garbage(version, &garbage)?;
    let record = &garbage.record;
    let (needle, size) = (record.needle, record.size);
    state.counters.discard(record).ok_or_else(|| StoreError::lost_count(record.placement))?;
    state.change_copies(record.placement, |copies| {
        if record.missing {
            copies.unheld += 1;
            return copies.missing.remove(needle, size);
        }
        copies.garbage.add(needle, size);
        copies.live.remove(needle, size)
    })
}

/// The other way: counts as an object again what counted as garbage that is not doomed.
fn reclaim(state: &mut State, record: &ObjectRecord) -> Result<(), StoreError> {
    let (needle, size) = (record.needle, record.size);
    state.counters.reclaim(record).ok_or_else(|| StoreError::lost_count(record.placement))?;
    state.change_copies(record.placement, |copies| {
        if record.missing {
            copies.unheld = copies.unheld.checked_sub(1)?;
            copies.missing.add(needle, size);
            return Some(());
        }
        copies.live.add(needle, size);
        copies.garbage.remove(needle, size)
    })
}
