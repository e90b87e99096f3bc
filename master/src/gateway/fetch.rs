//! The bytes of an object, from a member of its placement, verified against the index before anybody sees them.
//!
//! Owns the choice of member, the turn to the next one on an error, a bad checksum or slowness, and the
//! verification: the record's crc vouches for the block table, the table for each block. Leaves to `api/get` what
//! is asked for. Invariant: what `blocks` returns matches the record.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::messages::volume::{Read, ReadError};
use hayrick_protocol::record::ObjectRecord;
use hayrick_protocol::{VolumeId, digest, limits};
use hayrick_rpc::CallError;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::time::{Duration, Instant, sleep};
use tracing::{debug, warn};

use crate::master::Master;

/// A member that has not answered for this long gets company: the next one is asked too.
const SLOW: Duration = Duration::from_millis(100);
/// What one member may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// A member that failed is asked last for this long.
const SHUNNED: Duration = Duration::from_secs(1);

/// What this gateway remembers of members that failed it.
pub(crate) struct Fetches {
    failed: Mutex<HashMap<VolumeId, Instant>>,
}

/// Verified blocks of an object.
#[derive(Debug, Clone)]
pub(crate) struct Blocks {
    /// The data, from the first block that was asked for.
    pub(crate) data: Bytes,
    /// The whole block table.
    pub(crate) table: Bytes,
    /// Who had them.
    pub(crate) served_by: VolumeId,
}

/// No member had them: for each, why.
#[derive(Debug)]
pub(crate) struct NoCopy(pub(crate) Vec<(VolumeId, Failure)>);

/// Why one member did not have them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Failure {
    /// It may have them, and would have to be up.
    #[error("{0}")]
    Silent(String),
    /// It says that it does not have them.
    #[error("{0}")]
    Lacks(String),
    /// It has them, and they are not what they should be.
    #[error("{0}")]
    Damaged(String),
    /// It answered, with something else.
    #[error("{0}")]
    Answered(String),
}

impl NoCopy {
    /// In words.
    pub(crate) fn reasons(&self) -> String {
        let each: Vec<String> =
            self.0.iter().map(|(volume, why)| format!("volume {volume}: {why}")).collect();
        each.join("; ")
    }

    /// The members that did not answer.
    pub(crate) fn silent(&self) -> Vec<VolumeId> {
        let silent = self.0.iter().filter(|(_, why)| matches!(why, Failure::Silent(_)));
        silent.map(|(volume, _)| *volume).collect()
    }
}

impl Fetches {
    pub(crate) fn new() -> Self {
        Self { failed: Mutex::new(HashMap::new()) }
    }

    fn note_failure(&self, volume: VolumeId) {
        self.failed.lock().insert(volume, Instant::now());
    }

    fn is_shunned(&self, volume: VolumeId) -> bool {
        let mut failed = self.failed.lock();
        if failed.is_empty() {
            return false;
        }
        failed.retain(|_, at| at.elapsed() < SHUNNED);
        failed.contains_key(&volume)
    }
}

/// Which blocks of an object are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The first.
    pub(crate) first: u32,
    /// How many.
    pub(crate) count: u32,
    /// Spares asking for the table again.
    pub(crate) table: Option<Bytes>,
    /// When nobody waits for them any more.
    pub(crate) deadline: Instant,
}

/// Blocks of the object, from whichever member has them.
pub(crate) async fn blocks(
    master: &Arc<Master>,
    record: &ObjectRecord,
    wanted: &Wanted,
) -> Result<Blocks, NoCopy> {
    let mut next = candidates(master, record).into_iter();
    let mut asked = FuturesUnordered::new();
    let mut failed = Vec::new();
    let start = |volume: Option<VolumeId>| volume.map(|volume| ask(master, record, volume, wanted));
    let mut latest = next.next();
    asked.extend(start(latest));
    loop {
        tokio::select! {
            answer = asked.next(), if !asked.is_empty() => match answer {
                Some((_, Ok(blocks))) => return Ok(blocks),
                Some((volume, Err(why))) => {
                    debug!(volume = volume.0, needle = %record.needle, %why, "a read turns to the next member");
                    metrics::READS_FAILED_OVER.increment();
                    failed.push((volume, why));
                    latest = next.next();
                    asked.extend(start(latest));
                }
                None => {}
            },
            () = sleep(SLOW), if next.len() > 0 && !asked.is_empty() => {
                // Noted now: when the next one wins, nobody waits for what becomes of this one.
                latest.iter().for_each(|slow| master.gateway.fetches.note_failure(*slow));
                metrics::READS_FAILED_OVER.increment();
                latest = next.next();
                asked.extend(start(latest));
            }
            else => return Err(NoCopy(failed)),
        }
    }
}

/// The members in the order in which they are asked: those that work first, spread by needle.
fn candidates(master: &Master, record: &ObjectRecord) -> Vec<VolumeId> {
    let cluster = master.node.cluster();
    let Some(placement) = cluster.table.placement(record.placement) else { return Vec::new() };
    let mut members = placement.members.clone();
    if !members.is_empty() {
        let turn = record.needle.seq().0 as usize % members.len();
        members.rotate_left(turn);
    }
    members.sort_by_key(|member| {
        let serves = cluster.map.volumes.get(member).is_some_and(|volume| volume.state.serves_reads());
        !serves || master.gateway.fetches.is_shunned(*member)
    });
    members
}

async fn ask(
    master: &Arc<Master>,
    record: &ObjectRecord,
    volume: VolumeId,
    wanted: &Wanted,
) -> (VolumeId, Result<Blocks, Failure>) {
    let result = ask_one(master, record, volume, wanted).await;
    if result.is_err() {
        master.gateway.fetches.note_failure(volume);
    }
    (volume, result)
}

/// Blocks of the object from this member, and from no other.
pub(crate) async fn ask_one(
    master: &Arc<Master>,
    record: &ObjectRecord,
    volume: VolumeId,
    wanted: &Wanted,
) -> Result<Blocks, Failure> {
    let Wanted { first, count, ref table, deadline } = *wanted;
    let client =
        master.peers.volume(volume).ok_or_else(|| Failure::Silent("its address is not known".into()))?;
    let request =
        Read { needle: record.needle, first_block: first, blocks: count, with_table: table.is_none() };
    let answer = client.call(&request, Vec::new(), deadline.min(Instant::now() + PATIENCE)).await;
    let (reply, mut body) = answer.map_err(|error| no_reply(&error))?;
    let reply = reply.map_err(|error| {
        if error == ReadError::Damaged {
            warn!(volume = volume.0, needle = %record.needle, "a needle is damaged on this volume");
        }
        let why = error.to_string();
        match error {
            ReadError::NotFound => Failure::Lacks(why),
            ReadError::Damaged | ReadError::Disk(_) => Failure::Damaged(why),
            ReadError::Range => Failure::Answered(why),
        }
    })?;
    if body.len() != reply.data_bytes as usize + reply.table_bytes as usize {
        return Err(Failure::Answered("its answer has another length than it says".into()));
    }
    let data = body.split_to(reply.data_bytes as usize);
    let table = table.clone().unwrap_or(body);
    if reply.size != record.size || data.len() != expected_bytes(record.size, first, count) {
        let why = format!("it holds {} bytes under this needle, not {}", reply.size, record.size);
        return Err(Failure::Damaged(why));
    }
    let is_good =
        digest::table_crc(&table) == record.crc && digest::verify_blocks(&data, first as usize, &table);
    if !is_good && !planted::is(Bug::ChecksumNotVerified) {
        metrics::DAMAGED_ANSWERS.increment();
        warn!(volume = volume.0, needle = %record.needle, "a volume answered with bytes that fail their checksum");
        return Err(Failure::Damaged("its bytes do not match the checksum in the index".into()));
    }
    Ok(Blocks { data, table, served_by: volume })
}

fn no_reply(error: &CallError) -> Failure {
    match error {
        CallError::NotSent { .. }
        | CallError::Refused(_)
        | CallError::Lost { .. }
        | CallError::Deadline { .. }
        | CallError::Closing => Failure::Silent(error.to_string()),
        CallError::Overloaded
        | CallError::UnknownMethod
        | CallError::Malformed(_)
        | CallError::BadReply(_) => Failure::Answered(error.to_string()),
    }
}

/// Bytes of `count` blocks from `first` on, of an object of `size` bytes.
fn expected_bytes(size: u32, first: u32, count: u32) -> usize {
    let from = first as usize * limits::BLOCK_BYTES;
    let until = from.saturating_add((count as usize).saturating_mul(limits::BLOCK_BYTES));
    until.min(size as usize).saturating_sub(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_is_as_long_as_the_object_leaves_it() {
        assert_eq!(expected_bytes(0, 0, u32::MAX), 0);
        assert_eq!(expected_bytes(10, 0, u32::MAX), 10);
        assert_eq!(expected_bytes(70_000, 1, 1), 70_000 - 65_536);
        assert_eq!(expected_bytes(200_000, 1, 1), 65_536);
        assert_eq!(expected_bytes(10, 1, 1), 0);
    }
}
