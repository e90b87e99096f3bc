//! Needles as three gateways make them, and stores full of them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::needle::Body;
use hayrick_volume::{Segment, Store};
use rand::RngCore;
use tokio::time::sleep;

/// Needles that a gateway sends together while a store is being filled, and how many such batches are on their way.
const BATCH: u64 = 512;
const BATCHES_IN_FLIGHT: usize = 32;
/// The epoch of needles that are not part of a filling; those have the three before it.
const LOAD_EPOCH: u64 = 4;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The id of the n-th needle of a filling: of each epoch, one volume of four holds three seqs in four.
pub(crate) fn id(n: u64) -> NeedleId {
    let (epoch, seq) = (1 + n % 3, n / 3);
    NeedleId(epoch << 32 | (seq + seq / 3))
}

/// Bytes of the keys of a filling.
pub(crate) const KEY_BYTES: usize = 16;

/// The n-th needle of a filling, under a key of [`KEY_BYTES`], in one of 4096 placements.
fn needle(n: u64, size_bytes: usize) -> Bytes {
    let key = format!("photos/{n:09}");
    debug_assert_eq!(key.len(), KEY_BYTES);
    let body = Body::new([key.as_bytes(), &vec![n as u8; size_bytes]].concat(), key.len());
    let placement = PlacementId(1 + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as u32);
    body.with_header(id(n), placement, 1_700_000_000).concat().into()
}

/// Appends the first `count` needles.
pub(crate) async fn fill(store: &Arc<Store>, count: u64, size_bytes: usize) -> Result<()> {
    let mut in_flight = VecDeque::new();
    let mut next = 0;
    while next < count || !in_flight.is_empty() {
        if next < count && in_flight.len() < BATCHES_IN_FLIGHT {
            let batch = next..(next + BATCH).min(count);
            next = batch.end;
            in_flight.push_back(store.append(batch.map(|n| needle(n, size_bytes)).collect()));
        } else if let Some(batch) = in_flight.pop_front() {
            batch.await.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
    }
    Ok(())
}

/// Appends one needle, after all that was submitted before, a seal too; it is durable when this ends.
pub(crate) async fn append_one(store: &Store, needle: Bytes) -> Result<()> {
    store.append(vec![needle]).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(())
}

/// Waits until each sealed segment has its index file.
pub(crate) async fn wait_for_index_files(store: &Store, dir: &Path) -> Result<()> {
    loop {
        if sealed(store).iter().all(|segment| index_file_ends_at(dir, segment) == Some(segment.bytes)) {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Up to where in its segment an index file goes: one from before the seal is about the beginning only.
fn index_file_ends_at(dir: &Path, segment: &Segment) -> Option<u64> {
    let mut file = File::open(dir.join(format!("{}.idx", segment.id))).ok()?;
    let mut end = [0; 8];
    file.seek(SeekFrom::End(-16)).and_then(|_| file.read_exact(&mut end)).ok()?;
    Some(u64::from_le_bytes(end))
}

pub(crate) fn sealed(store: &Store) -> Vec<Segment> {
    store.segments(usize::MAX).into_iter().filter(|segment| segment.sealed).collect()
}

/// The files of a directory: name and length.
pub(crate) fn files(dir: &Path) -> Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len()));
    }
    Ok(files)
}

/// Needles of one size with the same bytes, each with an id of its own. Their checksums were made by the gateway, so here
/// they are made once; the volume verifies them every time.
pub(crate) struct Load {
    body: Body,
    next_id: AtomicU64,
}

impl Load {
    pub(crate) fn new(size_bytes: usize) -> Self {
        let key = b"photos/000000000";
        let mut bytes = vec![0; key.len() + size_bytes];
        rand::rng().fill_bytes(&mut bytes);
        bytes[..key.len()].copy_from_slice(key);
        Self { body: Body::new(bytes, key.len()), next_id: AtomicU64::new(LOAD_EPOCH << 32) }
    }

    /// One more.
    pub(crate) fn needle(&self) -> Bytes {
        let id = NeedleId(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.body.with_header(id, PlacementId(1), 1_700_000_000).concat().into()
    }
}
