//! Compaction: what lives in a sealed segment is appended again, and then the segment goes.
//!
//! Owns which segment is worth it, and that nothing is lost on the way. A needle is moved as any append is written: it is
//! on its way under the lock that orders appends and drops, and the index names the copy only once it is durable.
//!
//! A tombstone moves too, as long as there is an older segment, where the needle that it dropped may still lie; in the
//! oldest one it goes with the segment. So the space of a tombstone (32 bytes) comes back last, and needles that were
//! dropped never come back, not even when the removal of a segment is lost in a crash. Nor do those go that were pulled again
//! after a drop: their tombstones are of no use any more, and go with their segments. One that is moved comes behind no
//! needle that it would drop, as it is submitted only while the index names it and nothing of its needle is on its way.
//!
//! Invariants: a segment is removed only when no row of the index names anything in it, and after all that was moved is
//! durable; a segment in which anything is known to be damaged, or cannot be read when it is gone through, is kept, and
//! reported, unless that was made up for (`made_up`): then it goes first, whatever its share of dead bytes.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use hayrick_disk::{FileId, Found, HEADER_BYTES, Location, Reader, Record, Stream};
use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::digest;
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::messages::volume::{AppendError, Appended};
use hayrick_protocol::needle::{self, Kind};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::time::Instant;

use crate::append::submit_error;
use crate::examine::Examiner;
use crate::index::{Held, Known};
use crate::recover::index_path;
use crate::seal::remove_if_there;
use crate::segment::{EXTENSION, Needles};
use crate::store::{Shared, StoreOptions};

/// A segment with at least this share of dead bytes is compacted.
const DEAD_PERCENT_MIN: u64 = 30;
/// The same when there is no room for another segment. No sooner: what is moved for little is moved often.
const DEAD_PERCENT_MIN_SHORT: u64 = 5;
/// Bytes of needles that are moved together: an append waits until so many are decided upon, written and synced.
const BATCH_BYTES_MAX: usize = 64 << 10;
/// How often a segment is gone through, when needles in it were just being replaced.
const PASSES_MAX: u32 = 3;
/// How long a segment that could not be compacted is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(600);
/// How long a queue that is full is given before a batch is submitted again.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// What compaction came to since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments that went.
    pub segments: u64,
    /// Bytes that came back by that, those of what was moved not counted.
    pub bytes: u64,
}

/// The same, as it grows.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    segments: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    pub(crate) fn figures(&self) -> Compacted {
        Compacted {
            segments: self.segments.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Why a segment was not removed. What was moved out of it is in its new place all the same.
#[derive(Debug, Error)]
pub(crate) enum Kept {
    #[error("the store is closing")]
    Stopping,
    #[error("it is not a sealed segment of this store")]
    NotSealed,
    #[error("a part of it cannot be read; it is kept as it is, other volumes hold what is in there")]
    Damaged,
    #[error("some of its needles are just being replaced")]
    InUse,
    #[error("its needles cannot be moved: {0}")]
    Append(#[from] AppendError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Waits for that long; says whether to go on.
pub(crate) type Pause<'a> = dyn FnMut(Duration) -> bool + 'a;

/// What compaction works with.
pub(crate) struct Compactor {
    pub(crate) options: StoreOptions,
    pub(crate) shared: Arc<Shared>,
    pub(crate) examiner: Examiner,
    pub(crate) stream: Weak<Stream<Needles>>,
    pub(crate) tally: Arc<Tally>,
    /// Segments that were kept, and until when they are left alone.
    pub(crate) kept: Mutex<HashMap<FileId, Instant>>,
}

impl Compactor {
    /// Compacts the segment that is worth it most, if any is. Whether another may be.
    pub(crate) fn compact_one(&self, pause: &mut Pause<'_>) -> bool {
        let Some(stream) = self.stream.upgrade() else { return false };
        let Some(Candidate { segment, dead_bytes, is_pressing }) = self.candidate(&stream) else {
            return false;
        };
        // Who waits for space is not to wait for the pace that spares those who append: nobody can.
        let mut no_pause = |duration: Duration| pause(if is_pressing { Duration::ZERO } else { duration });
        match self.compact(&stream, segment, &mut no_pause) {
            Ok(()) => {
                tracing::info!(%segment, dead_bytes, "compacted a segment");
                // What failed for want of room may well succeed now.
                self.kept.lock().clear();
                true
            }
            Err(Kept::Stopping) => false,
            Err(error) => {
                tracing::warn!(%segment, %error, "a segment was not compacted");
                self.kept.lock().insert(segment, Instant::now() + LEFT_ALONE);
                true
            }
        }
    }

    /// The segment with the largest share of dead bytes, if that is large enough.
    fn candidate(&self, stream: &Stream<Needles>) -> Option<Candidate> {
        let status = stream.status();
        // Nothing can be moved any more, or a segment may have more in it than is known.
        if status.poisoned.is_some() || self.shared.damage.is_full() {
            return None;
        }
        let free_bytes = self.options.free_bytes(&self.shared.disk, status.room_bytes);
        let is_pressing = free_bytes < self.options.segment_bytes();
        let percent_min = if is_pressing { DEAD_PERCENT_MIN_SHORT } else { DEAD_PERCENT_MIN };
        let now = Instant::now();
        self.kept.lock().retain(|_, until| *until > now);
        let kept = self.kept.lock();
        let index = self.shared.index.read();
        let oldest = status.files.first().copied();
        let worth = |segment: FileId| {
            let reader = stream.reader(segment).filter(|reader| reader.is_sealed())?;
            let bytes = reader.end() - HEADER_BYTES;
            let dead_bytes = dead_bytes(bytes, &index.held_by(segment), Some(segment) == oldest);
            if self.shared.damage.is_to_go(segment) {
                // Whatever it costs: some of it cannot be read, and nobody needs that.
                return Some((u64::MAX, segment, dead_bytes));
            }
            // One without records is all dead.
            let dead_permille = (dead_bytes * 1000).checked_div(bytes).unwrap_or(1000);
            (dead_permille >= percent_min * 10).then_some((dead_permille, segment, dead_bytes))
        };
        let left_alone =
            |segment: &FileId| kept.contains_key(segment) || self.shared.damage.has_stretches_in(*segment);
        let segments = status.files.into_iter().filter(|segment| !left_alone(segment));
        // Of equals the oldest: its tombstones go for good.
        let best =
            segments.filter_map(worth).max_by_key(|(permille, segment, _)| (*permille, Reverse(*segment)));
        best.map(|(_, segment, dead_bytes)| Candidate { segment, dead_bytes, is_pressing })
    }

    /// Moves what is needed out of a sealed segment, and removes it.
    pub(crate) fn compact(
        &self,
        stream: &Stream<Needles>,
        segment: FileId,
        pause: &mut Pause<'_>,
    ) -> Result<(), Kept> {
        let reader = stream.reader(segment).filter(|reader| reader.is_sealed()).ok_or(Kept::NotSealed)?;
        let bytes = reader.end();
        let mut moved_bytes = 0;
        if planted::is(Bug::CompactUnlinksFirst) {
            // It can be read as long as it is open.
            let path = self.options.dir.join(format!("{segment}.{EXTENSION}"));
            remove_if_there(&*self.shared.disk, &path)?;
            pause(Duration::from_secs(3));
        }
        for _ in 0..PASSES_MAX {
            let held = self.shared.index.read().held_by(segment);
            if held == Held::default() {
                self.remove(stream, segment)?;
                self.tally.segments.fetch_add(1, Ordering::Relaxed);
                self.tally.bytes.fetch_add(bytes.saturating_sub(moved_bytes), Ordering::Relaxed);
                metrics::COMPACTIONS.increment();
                metrics::BYTES_RECLAIMED.add(bytes.saturating_sub(moved_bytes));
                return Ok(());
            }
            moved_bytes += self.move_all(stream, &reader, pause)?;
        }
        Err(Kept::InUse)
    }

    /// Goes through a segment once; the bytes moved.
    fn move_all(
        &self,
        stream: &Stream<Needles>,
        reader: &Reader,
        pause: &mut Pause<'_>,
    ) -> Result<u64, Kept> {
        let segment = reader.file();
        let is_oldest = stream.status().files.first() == Some(&segment);
        let (mut batch, mut moved_bytes, mut paced_to) = (Batch::default(), 0, 0);
        let (mut forgotten, mut failed, mut suspects, mut hidden) =
            (Vec::new(), None, Vec::new(), Vec::new());
        let scanned = stream.scan(segment, &mut |found| {
            let (at, record) = match found {
                Found::Record(at, record) => (at, record),
                Found::Damage(range) => {
                    let is_made_up = self.shared.damage.is_made_up(segment, &range);
                    if is_made_up { &mut hidden } else { &mut suspects }.push(range);
                    return Ok(());
                }
            };
            if at.offset - paced_to >= BATCH_BYTES_MAX as u64 {
                let goes_on = pause(self.pace(at.offset - paced_to));
                paced_to = at.offset;
                if !goes_on {
                    failed = Some(Kept::Stopping);
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
            let needle =
                needle::parse_unverified_data(record, reader.salt_at(at.offset)).map_err(io::Error::other)?;
            if !self.shared.index.read().names(needle.header.id, at) {
                return Ok(());
            }
            if needle.header.kind == Kind::Tombstone && is_oldest {
                forgotten.push((needle.header.id, at));
                return Ok(());
            }
            if !batch.moves.is_empty() && batch.bytes + record.len() > self.batch_bytes_max() {
                moved_bytes += batch.bytes as u64;
                if let Err(error) = self.move_batch(stream, std::mem::take(&mut batch), pause) {
                    failed = Some(error);
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
            batch.push(at, &needle, record);
            Ok(())
        });
        if !suspects.is_empty() {
            self.examiner.examine(stream, segment, &suspects, &mut |_, _| {});
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
        let all_was_read = scanned?;
        moved_bytes += batch.bytes as u64;
        self.move_batch(stream, batch, pause)?;
        // What could not be read at all is among what was found damaged.
        if !suspects.is_empty() || !all_was_read && hidden.is_empty() {
            return Err(Kept::Damaged);
        }
        if !hidden.is_empty() {
            forgotten.extend(self.settle_hidden(stream, reader, &hidden, pause)?);
        }
        let mut index = self.shared.index.write();
        forgotten.into_iter().for_each(|(id, at)| index.forget(id, at));
        Ok(moved_bytes)
    }

    /// How long going through so many bytes is to take.
    fn pace(&self, bytes: u64) -> Duration {
        let microseconds = bytes.saturating_mul(1_000_000) / self.options.compact_bytes_per_s.max(1);
        Duration::from_micros(microseconds)
    }

    fn batch_bytes_max(&self) -> usize {
        BATCH_BYTES_MAX.min(self.options.submission_bytes_max())
    }

    /// Appends what is still where it was found, and waits until it is durable.
    pub(crate) fn move_batch(
        &self,
        stream: &Stream<Needles>,
        batch: Batch,
        pause: &mut Pause<'_>,
    ) -> Result<(), Kept> {
        let mut moves = batch.moves;
        while !moves.is_empty() {
            let (sender, outcome) = mpsc::sync_channel(1);
            let mut flights = self.shared.in_flight.lock();
            let index = self.shared.index.read();
            moves.retain(|one| match &one.needle {
                Some(appended) => {
                    index.get(appended.needle) == Some(Known::Live(one.at))
                        && flights.is_free(appended.needle)
                }
                // One that was pulled again lies behind its tombstone, and is not to be dropped by a copy of that.
                None => index.names(one.id, one.at) && flights.is_free(one.id),
            });
            drop(index);
            let needles: Vec<Appended> = moves.iter().filter_map(|one| one.needle).collect();
            let records = moves.iter().map(|one| Record::from(one.bytes.clone())).collect();
            let (shared, of_batch) = (Arc::clone(&self.shared), needles.clone());
            let submitted = stream.submit_from_reserve(records, move |result| {
                let result = shared.in_reach(result);
                shared.in_flight.settle(&of_batch, &result);
                // Who moves them waits for this alone.
                let _ = sender.send(result);
            });
            match submitted {
                Ok(()) => {
                    for one in &moves {
                        if let Some(appended) = &one.needle {
                            flights.begin(appended.needle, one.bytes.clone(), Vec::new());
                        }
                    }
                    drop(flights);
                    stream.work();
                    let closed = |_| Kept::Stopping;
                    return Ok(outcome.recv().map_err(closed)??);
                }
                Err(hayrick_disk::SubmitError::QueueFull { .. }) => {
                    drop(flights);
                    if !pause(QUEUE_PAUSE) {
                        return Err(Kept::Stopping);
                    }
                }
                Err(error) => return Err(submit_error(&error).into()),
            }
        }
        Ok(())
    }

    /// Removes a segment that nothing is named in.
    fn remove(&self, stream: &Stream<Needles>, segment: FileId) -> Result<(), Kept> {
        if planted::is(Bug::SegmentsStayOpen) {
            std::mem::forget(stream.reader(segment));
        }
        stream.remove_file(segment)?;
        self.shared.index.write().let_go(segment);
        // Of what nothing lives in.
        self.shared.damage.let_go(segment);
        // Without its segment an index file says nothing, and is removed at the next start.
        if let Err(error) = remove_if_there(&*self.shared.disk, &self.index_path(segment)) {
            tracing::warn!(%segment, %error, "the index file of a segment that went cannot be removed");
        }
        Ok(())
    }

    fn index_path(&self, segment: FileId) -> PathBuf {
        index_path(&self.options.dir, segment)
    }
}

/// A segment worth compacting.
struct Candidate {
    segment: FileId,
    dead_bytes: u64,
    /// There is no room for another segment.
    is_pressing: bool,
}

/// What of a segment's `bytes` holds nothing that is needed.
pub(crate) fn dead_bytes(bytes: u64, held: &Held, is_oldest: bool) -> u64 {
    bytes.saturating_sub(needed_bytes(held, is_oldest))
}

/// Bytes that would have to be moved.
fn needed_bytes(held: &Held, is_oldest: bool) -> u64 {
    let tombstone_bytes = needle::tombstone(NeedleId(0), PlacementId(0)).len() as u64;
    held.needle_bytes + if is_oldest { 0 } else { held.tombstones * tombstone_bytes }
}

/// Needles and tombstones on their way to another place.
#[derive(Default)]
pub(crate) struct Batch {
    moves: Vec<Move>,
    bytes: usize,
}

struct Move {
    id: NeedleId,
    at: Location,
    bytes: Bytes,
    /// `None` of a tombstone.
    needle: Option<Appended>,
}

impl Batch {
    /// One in the place of that which lies here.
    pub(crate) fn push_tombstone(&mut self, id: NeedleId, at: Location, bytes: Bytes) {
        self.bytes += bytes.len();
        self.moves.push(Move { id, at, bytes, needle: None });
    }

    fn push(&mut self, at: Location, needle: &needle::Needle<'_>, record: &[u8]) {
        let is_needle = needle.header.kind == Kind::Needle;
        let appended =
            is_needle.then(|| Appended { needle: needle.header.id, crc: digest::table_crc(needle.table) });
        self.bytes += record.len();
        self.moves.push(Move {
            id: needle.header.id,
            at,
            bytes: Bytes::copy_from_slice(record),
            needle: appended,
        });
    }
}

#[cfg(test)]
mod tests;
