//! What each copy of an object is: read whole from one volume, and verified against the index.
//!
//! Owns the pieces it is read in, so that a large object is never whole in memory. Leaves the verification to `fetch`, which
//! reads for clients. Invariant: a copy is called verified only after every byte of it was.

use std::sync::Arc;

use hayrick_protocol::answers::explanation::{CopyShown, CopyState};
use hayrick_protocol::record::ObjectRecord;
use hayrick_protocol::{VolumeId, digest};
use tokio::time::{Instant, timeout_at};

use super::fetch::{Failure, Wanted, ask_one};
use crate::master::Master;

/// Blocks that are read at once: 1 MiB.
const PIECE_BLOCKS: u32 = 16;

/// What the volume's copy of the object is, as far as can be told by then.
pub(crate) async fn on_volume(
    master: &Arc<Master>,
    record: &ObjectRecord,
    volume: VolumeId,
    deadline: Instant,
) -> CopyShown {
    let (state, why) = match timeout_at(deadline, read_whole(master, record, volume, deadline)).await {
        Ok(Ok(())) => (CopyState::Verified, String::new()),
        Ok(Err(Failure::Lacks(why))) => (CopyState::Lacks, why),
        Ok(Err(Failure::Damaged(why))) => (CopyState::Damaged, why),
        Ok(Err(Failure::Silent(why) | Failure::Answered(why))) => (CopyState::Unreachable, why),
        Err(_) => (CopyState::Unreachable, "it has not given all of it in time".to_owned()),
    };
    CopyShown { state, why }
}

/// Whether any member of its placement has the object whole.
pub(crate) async fn is_on_a_member(master: &Arc<Master>, record: &ObjectRecord, deadline: Instant) -> bool {
    let cluster = master.node.cluster();
    let members =
        cluster.table.placement(record.placement).map(|row| row.members.clone()).unwrap_or_default();
    for member in members {
        if read_whole(master, record, member, deadline).await.is_ok() {
            return true;
        }
    }
    false
}

/// Reads and verifies all of the object on this volume.
pub(crate) async fn read_whole(
    master: &Arc<Master>,
    record: &ObjectRecord,
    volume: VolumeId,
    deadline: Instant,
) -> Result<(), Failure> {
    let blocks = u32::try_from(digest::block_count(record.size as usize)).unwrap_or(u32::MAX);
    let (mut first, mut table) = (0, None);
    loop {
        let wanted = Wanted { first, count: PIECE_BLOCKS, table, deadline };
        table = Some(ask_one(master, record, volume, &wanted).await?.table);
        first += PIECE_BLOCKS;
        if first >= blocks {
            return Ok(());
        }
    }
}
