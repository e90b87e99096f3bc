//! How a store is laid out: what is set, and what follows from that.
//!
//! Owns the sizes of segments, of what is kept in reserve and of the queue before the disk. Invariant: whatever the capacity is, there
//! are eight segments or more, and two of them are kept in reserve.

use std::path::PathBuf;
use std::time::Duration;

use hayrick_disk::{Disk, FILE_BYTES_MIN};

use crate::quota::Quota;
use crate::segment::EXTENSION;

/// Largest segment: offsets within one are kept in 32 bits of 8-byte words.
pub const SEGMENT_BYTES_MAX: u64 = 16 << 30;

/// Bytes of needles that may wait for the writer. What is more is refused as busy: it would wait for seconds.
const QUEUE_BYTES_MAX: usize = 256 << 20;

/// Needles that may wait for the writer.
const QUEUE_NEEDLES_MAX: usize = 64 << 10;

/// How often a segment gets an index file before it is sealed, at most.
const INDEXES_PER_SEGMENT: u64 = 8;

/// How a store is laid out.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The directory of the segments; created if need be.
    pub dir: PathBuf,
    /// Bytes that all segments and their index files together may take, the reserve among them.
    pub capacity_bytes: u64,
    /// Bytes of a segment; made smaller where the capacity holds fewer than eight of them.
    pub segment_bytes: u64,
    /// The piece in which the next bytes are zeroed in the background; 0 for none.
    pub zero_ahead_bytes: u64,
    /// The segment that is appended to gets an index file of its beginning each time it has grown by so many bytes, or by
    /// an eighth, if that is more: a start reads little more of it.
    pub index_every_bytes: u64,
    /// How long the stream is idle before it leaves a mark.
    pub idle_mark_after: Duration,
    /// Bytes of a segment that compaction goes through in a second, as long as space is not short; with 0 there is none
    /// in the background.
    pub compact_bytes_per_s: u64,
    /// Bytes that scrub reads in a second, at most: it is slower where a round is shorter than `scrub_round` at that rate.
    /// With 0 there is none in the background.
    pub scrub_bytes_per_s_max: u64,
    /// How long scrub takes to verify everything once, if that is not too fast.
    pub scrub_round: Duration,
    /// Whether the store has threads of its own. Without, for tests that must do the same each time, the work of all of
    /// them is done by [`Store::work`] and [`Store::keep_house`].
    pub threads: bool,
}

impl StoreOptions {
    /// Segments of 1 GiB, zeroed ahead by 4 MiB, marks after 20 ms, compaction of 64 MiB a second, scrub of 50 MiB a second
    /// at most, and once a week.
    pub fn new(dir: impl Into<PathBuf>, capacity_bytes: u64) -> Self {
        Self {
            dir: dir.into(),
            capacity_bytes,
            segment_bytes: 1 << 30,
            zero_ahead_bytes: 4 << 20,
            index_every_bytes: 64 << 20,
            idle_mark_after: Duration::from_millis(20),
            compact_bytes_per_s: 64 << 20,
            scrub_bytes_per_s_max: 50 << 20,
            scrub_round: Duration::from_secs(7 * 24 * 3600),
            threads: true,
        }
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.min(self.capacity_bytes / 8).clamp(FILE_BYTES_MIN, SEGMENT_BYTES_MAX)
    }

    /// Each time all of the index file is written again. So it is not written more often in larger segments.
    pub(super) fn index_every_bytes(&self) -> u64 {
        self.index_every_bytes.max(self.segment_bytes() / INDEXES_PER_SEGMENT)
    }

    /// What needles never take: room for two segments, so that compaction has space to work in, or 1 % if that is more.
    fn reserve_bytes(&self) -> u64 {
        (2 * self.segment_bytes()).max(self.capacity_bytes / 100)
    }

    /// What may be submitted together: half of what a stream takes.
    pub(crate) fn submission_bytes_max(&self) -> usize {
        usize::try_from(self.segment_bytes() / 4).unwrap_or(usize::MAX)
    }

    /// Room in the segments there are, and in those that may yet be made without touching the reserve.
    pub(crate) fn free_bytes(&self, disk: &Quota, room_bytes: u64) -> u64 {
        let segment_bytes = self.segment_bytes();
        // A file system that does not answer has, for all that is known, no room.
        let free = disk.free_bytes(&self.dir).unwrap_or(0);
        let to_take = free.saturating_sub(self.reserve_bytes());
        room_bytes + to_take / segment_bytes * segment_bytes
    }

    pub(super) fn stream(&self) -> hayrick_disk::Options {
        let mut options = hayrick_disk::Options::new(&self.dir, EXTENSION);
        options.file_bytes = self.segment_bytes();
        options.zero_ahead_bytes = self.zero_ahead_bytes;
        options.idle_mark_after = self.idle_mark_after;
        options.queue_bytes_max = QUEUE_BYTES_MAX;
        options.queue_records_max = QUEUE_NEEDLES_MAX;
        options.reserve_bytes = self.reserve_bytes();
        options.keeps_reserve = true;
        options.records_stand_alone = true;
        options.threads = self.threads;
        options
    }
}
