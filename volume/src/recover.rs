//! From the stream to the index: what a start finds, and what each group commit makes durable.
//!
//! Owns the [`Keeper`], to which the append stream tells every record, and the choice between an index file and a scan
//! at start. Telling a torn tail from corruption is `disk`'s. Invariant: the index names a needle only once the needle is
//! durable, and knows of it before anybody is told that it is.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use hayrick_disk::{Disk, DurableRecords, FileId, Location, Owner};
use hayrick_protocol::needle::{Header, Kind};
use parking_lot::Mutex;

use crate::housekeeping::Job;
use crate::index::{Index, OutOfReach};
use crate::index_file::{self, IndexFile, IndexFileError, SegmentMark};
use crate::segment;
use crate::store::Shared;

/// Whom the append stream tells what becomes of the records.
pub(crate) struct Keeper {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) shared: Arc<Shared>,
    /// Where sealed segments go to get their index file.
    pub(crate) sealed: Sender<Job>,
    /// The first place that the index cannot name; it fails the start.
    pub(crate) out_of_reach: Arc<Mutex<Option<OutOfReach>>>,
}

impl Owner for Keeper {
    fn needs_scan(&mut self, file: FileId, end: u64) -> bool {
        match self.take_in(file, end) {
            Ok(()) => false,
            Err(IndexFileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => {
                tracing::warn!(segment = %file, %error, "an index file is of no use and is made anew from the data");
                true
            }
        }
    }

    fn reopened(&mut self, file: FileId) {
        match self.disk.remove(&index_path(&self.dir, file)) {
            Ok(()) => tracing::warn!(segment = %file, "a segment lost its seal, and is appended to again"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // It would be refused all the same, because it ends where the segment once did.
            Err(error) => {
                tracing::warn!(segment = %file, %error, "an index file that is void cannot be removed")
            }
        }
    }

    fn recovered(&mut self, at: Location, record: &[u8]) {
        let told = tell(&mut self.shared.index.write(), at, record);
        self.note(told);
    }

    fn damaged(&mut self, file: FileId, range: Range<u64>) {
        if self.shared.damage.stretch(file, range.clone()) {
            let (from, to) = (range.start, range.end);
            tracing::error!(segment = %file, from, to, "a stretch of a segment is damaged; it is kept, other volumes hold its needles");
        }
    }

    fn durable(&mut self, records: DurableRecords<'_>) {
        let mut index = self.shared.index.write();
        for (at, record) in records.iter() {
            if let Err(error) = tell(&mut index, at, record) {
                tracing::error!(%error, "a needle cannot be indexed");
            }
        }
    }

    fn sealed(&mut self, file: FileId, _end: u64) {
        // Nobody listens any more only when the store is closing; the next start asks again.
        let _ = self.sealed.send(Job::Index(file));
    }
}

impl Keeper {
    /// Takes in what an index file says. What was taken in before an error counts all the same: it was verified.
    fn take_in(&self, file: FileId, end: u64) -> Result<(), IndexFileError> {
        let found = open(self.disk.as_ref(), &self.dir, file, end)?;
        found.places(file, &mut |rows| {
            let told = self.shared.index.write().put_all(rows);
            self.note(told);
        })?;
        for stretch in found.damaged()? {
            self.shared.damage.stretch(file, stretch);
        }
        Ok(())
    }

    fn note(&self, told: Result<(), OutOfReach>) {
        if let Err(error) = told {
            self.out_of_reach.lock().get_or_insert(error);
        }
    }
}

/// Tells the index of a verified record.
pub(crate) fn tell(index: &mut Index, at: Location, record: &[u8]) -> Result<(), OutOfReach> {
    let Some(header) = Header::peek(record) else { return Ok(()) };
    match header.kind {
        Kind::Needle => index.put(header.id, at),
        Kind::Tombstone => index.drop_needle(header.id, at),
        Kind::Mark => Ok(()),
    }
}

/// Opens the index file of a segment whose records end at `end`.
pub(crate) fn open(
    disk: &dyn Disk,
    dir: &Path,
    segment: FileId,
    end: u64,
) -> Result<IndexFile, IndexFileError> {
    let file = disk.open(&index_path(dir, segment))?;
    let mut mark = SegmentMark { head: [0; _], end };
    let data = disk.open(&dir.join(format!("{segment}.{}", segment::EXTENSION)))?;
    data.read_exact_at(&mut mark.head, 0)?;
    IndexFile::open(file, &mark)
}

/// Where the index file of a segment lies.
pub(crate) fn index_path(dir: &Path, segment: FileId) -> PathBuf {
    dir.join(format!("{segment}.{}", index_file::EXTENSION))
}
