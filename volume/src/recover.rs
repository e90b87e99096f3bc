//! From the stream to the index: what a start finds, and what each group commit makes durable.
//!
//! Owns the [`Keeper`], to which the append stream tells every record, and the choice between an index file and a scan
//! at start. Telling a torn tail from corruption is `disk`'s. Invariant: the index names a needle only once the needle is
//! durable, and knows of it before anybody is told that it is.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use hayrick_disk::{Disk, DurableRecords, File, FileId, HEADER_BYTES, Location, Owner};
use hayrick_metrics as metrics;
use hayrick_protocol::needle::{Header, Kind};
use parking_lot::Mutex;

use crate::housekeeping::Job;
use crate::index::{OutOfReach, Place};
use crate::index_file::{self, IndexFile, IndexFileError, SegmentMark};
use crate::segment;
use crate::store::Shared;

/// Whom the append stream tells what becomes of the records.
pub(crate) struct Keeper {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) shared: Arc<Shared>,
    /// Where segments go to get their index file.
    pub(crate) jobs: Sender<Job>,
    /// What a start finds.
    pub(crate) found: Arc<Mutex<Found>>,
    /// The segment that is appended to gets another index file of its beginning when it has grown by so many bytes.
    pub(crate) index_every_bytes: u64,
    /// Up to where that was asked for, or was there at the start, and in which segment.
    pub(crate) indexed_to: (FileId, u64),
}

/// Records that were found and that the index is not told of yet: it is quicker to tell it of many.
#[derive(Default)]
pub(crate) struct Found {
    places: Vec<Place>,
    /// The first place that the index cannot name; it fails the start.
    out_of_reach: Option<OutOfReach>,
}

/// So many are told at once.
const FOUND_AT_ONCE: usize = 64 << 10;

impl Found {
    /// Tells the index of the rest. An error if it could not take in everything.
    pub(crate) fn finish(&mut self, shared: &Shared) -> Result<(), OutOfReach> {
        self.tell(shared);
        self.places = Vec::new();
        self.out_of_reach.take().map_or(Ok(()), Err)
    }

    fn add(&mut self, place: Place, shared: &Shared) {
        self.places.push(place);
        if self.places.len() >= FOUND_AT_ONCE {
            self.tell(shared);
        }
    }

    fn tell(&mut self, shared: &Shared) {
        self.places.sort_unstable_by_key(|(id, _)| *id);
        let told = shared.index.write().put_all(&self.places);
        self.note(told);
        self.places.clear();
    }

    fn note(&mut self, told: Result<(), OutOfReach>) {
        self.out_of_reach = self.out_of_reach.or(told.err());
    }
}

impl Owner for Keeper {
    fn known_to(&mut self, file: FileId, limit: u64) -> u64 {
        let end = self.take_in(file, limit).unwrap_or_else(|error| {
            if !error.is_missing() {
                tracing::warn!(segment = %file, %error, "an index file is of no use and is made anew from the data");
            }
            HEADER_BYTES
        });
        self.indexed_to = (file, end);
        end
    }

    fn recovered(&mut self, at: Location, record: &[u8]) {
        if let Some(place) = place(at, record) {
            self.found.lock().add(place, &self.shared);
        }
    }

    fn damaged(&mut self, file: FileId, range: Range<u64>) {
        if self.shared.damage.stretch(file, range.clone()) {
            let (from, to) = (range.start, range.end);
            tracing::error!(segment = %file, from, to, "a stretch of a segment is damaged; it is kept, other volumes hold its needles");
        }
    }

    fn durable(&mut self, records: DurableRecords<'_>) {
        metrics::SYNCS.increment();
        let mut index = self.shared.index.write();
        for (id, at) in records.iter().filter_map(|(at, record)| place(at, record)) {
            if let Err(error) = index.put(id, at) {
                tracing::error!(%error, "a needle cannot be indexed");
            }
        }
        drop(index);
        if let Some(first) = records.locations().first() {
            self.grown(first.file, records.start());
        }
    }

    fn sealed(&mut self, file: FileId, _end: u64) {
        metrics::SEGMENTS_SEALED.increment();
        // Nobody listens any more only when the store is closing; the next start asks again.
        let _ = self.jobs.send(Job::Index(file, None));
    }
}

impl Keeper {
    /// A batch begins here, and all before it is synced.
    fn grown(&mut self, file: FileId, end: u64) {
        let (indexed, indexed_to) = self.indexed_to;
        let from = if indexed == file { indexed_to } else { HEADER_BYTES };
        if end.saturating_sub(from) >= self.index_every_bytes {
            self.indexed_to = (file, end);
            // As in `sealed`.
            let _ = self.jobs.send(Job::Index(file, Some(end)));
        }
    }

    /// Takes in what an index file says, and up to where that goes. What was taken in before an error counts all the same:
    /// it was verified.
    fn take_in(&self, file: FileId, limit: u64) -> Result<u64, IndexFileError> {
        let found = open_any(self.disk.as_ref(), &self.dir, file, limit)?;
        let damaged = found.damaged()?;
        if !damaged.is_empty() && found.end() < limit {
            // From a time when the segment was sealed. It is gone through again, as it may be mended.
            return Ok(HEADER_BYTES);
        }
        found.places(file, &mut |rows| {
            let told = self.shared.index.write().put_all(rows);
            self.found.lock().note(told);
        })?;
        for stretch in damaged {
            self.shared.damage.stretch(file, stretch);
        }
        Ok(found.end())
    }
}

/// What the index is to be told of a verified record.
pub(crate) fn place(at: Location, record: &[u8]) -> Option<Place> {
    let header = Header::peek(record)?;
    match header.kind {
        Kind::Needle => Some((header.id, at)),
        Kind::Tombstone => Some((header.id, Location { len: 0, ..at })),
        Kind::Mark => None,
    }
}

/// Opens the index file of a segment whose records end at `end`.
pub(crate) fn open(
    disk: &dyn Disk,
    dir: &Path,
    segment: FileId,
    end: u64,
) -> Result<IndexFile, IndexFileError> {
    let (file, mark) = open_both(disk, dir, segment, end)?;
    IndexFile::open(file, &mark)
}

/// Opens the index file of a segment, or of its beginning: one that ends no later than `limit`.
pub(crate) fn open_any(
    disk: &dyn Disk,
    dir: &Path,
    segment: FileId,
    limit: u64,
) -> Result<IndexFile, IndexFileError> {
    let (file, mark) = open_both(disk, dir, segment, limit)?;
    IndexFile::open_any(file, &mark)
}

/// An index file that may be any, and what it has to fit.
fn open_both(
    disk: &dyn Disk,
    dir: &Path,
    segment: FileId,
    end: u64,
) -> io::Result<(Arc<dyn File>, SegmentMark)> {
    let file = disk.open(&index_path(dir, segment))?;
    let mut mark = SegmentMark { head: [0; _], end };
    let data = disk.open(&dir.join(format!("{segment}.{}", segment::EXTENSION)))?;
    data.read_exact_at(&mut mark.head, 0)?;
    Ok((file, mark))
}

/// Removes index files that a killed process left half made, and those whose segment is gone.
pub(crate) fn remove_orphans(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let names = if disk.exists(dir)? { disk.list(dir)? } else { Vec::new() };
    let segments: BTreeSet<_> = names.iter().filter_map(|name| id_of(name, segment::EXTENSION)).collect();
    for name in &names {
        let orphan = id_of(name, index_file::EXTENSION).is_some_and(|id| !segments.contains(&id));
        let half_made =
            name.strip_suffix(".new").is_some_and(|name| id_of(name, index_file::EXTENSION).is_some());
        if !orphan && !half_made {
            continue;
        }
        match disk.remove(&dir.join(name)) {
            Ok(()) => tracing::info!(%name, "removed an index file that is of no use"),
            Err(error) => tracing::warn!(%name, %error, "an index file that is of no use cannot be removed"),
        }
    }
    Ok(())
}

/// The segment in a file's name.
pub(crate) fn id_of(name: &str, extension: &str) -> Option<FileId> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let id = FileId(u64::from_str_radix(digits, 16).ok()?);
    (id.to_string() == digits).then_some(id)
}

/// Where the index file of a segment lies.
pub(crate) fn index_path(dir: &Path, segment: FileId) -> PathBuf {
    dir.join(format!("{segment}.{}", index_file::EXTENSION))
}
