//! Gives each sealed segment its index file, in the background; and the segment that is appended to one of its beginning,
//! time and again, so that a start reads only what lies behind that.
//!
//! Owns the making of the files; their bytes are `index_file`'s. A sealed segment is read again for it, which verifies it
//! once more and needs no memory for keys while it was active. Of one that is appended to, what has come since the last
//! time is read, and what was written then is taken over.
//!
//! Invariants: the file appears whole or not at all (written aside, synced, renamed), and only when all that it is about
//! could be read; that was synced before, so an index file proves it as a seal does. One of a beginning is never about
//! damage: a start looks at that itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hayrick_disk::{Disk, FileId, Found, HEADER_BYTES, Reader, Stream};
use hayrick_protocol::needle;
use parking_lot::{Condvar, Mutex};
use thiserror::Error;

use crate::examine::Examiner;
use crate::index_file::{IndexFile, IndexFileError, SegmentMark, Writer};
use crate::recover::{self, index_path};
use crate::segment::Needles;

/// Bytes of a beginning that are read between two pauses.
const PACE_BYTES: u64 = 256 << 10;
/// A hundred megabytes a second at most: nobody waits for it, and appends go on beside it.
const PACE_PAUSE: Duration = Duration::from_millis(2);

/// What it takes to write them.
pub(crate) struct Indexer {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) examiner: Examiner,
    pub(crate) stream: Weak<Stream<Needles>>,
    /// Set when the store closes: what is unfinished is left to the next start.
    pub(crate) stopping: Arc<AtomicBool>,
}

/// Why there is no index file.
#[derive(Debug, Error)]
enum SealError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Beginning(#[from] IndexFileError),
    #[error("not all of the segment can be read")]
    Unreadable,
}

impl Indexer {
    /// Writes the index file of a sealed segment, or, with an end, of the beginning of one that is not sealed: up to where
    /// a batch began and all before was synced. A failure is logged: without the file, a start reads the data.
    pub(crate) fn index(&self, segment: FileId, end: Option<u64>) {
        let Some(stream) = self.stream.upgrade() else { return };
        let Some(reader) = stream.reader(segment) else { return };
        if end.is_some() && reader.is_sealed() {
            // All of it is asked for already.
            return;
        }
        if end.is_none() && self.is_made(&reader) {
            // It was asked for by several, or by one for whom the disk answered wrongly once.
            return;
        }
        match self.make(&stream, &reader, end) {
            Ok(()) => tracing::debug!(%segment, ?end, "wrote the index file"),
            Err(_) if self.stopping.load(Ordering::Relaxed) => {}
            // It was compacted or sealed meanwhile.
            Err(_) if stream.reader(segment).is_none_or(|now| end.is_some() && now.is_sealed()) => {}
            Err(error) => {
                tracing::warn!(%segment, ?end, %error, "a segment has no index file; the next start reads its data instead");
            }
        }
    }

    fn make(&self, stream: &Stream<Needles>, reader: &Reader, end: Option<u64>) -> Result<(), SealError> {
        let path = index_path(&self.dir, reader.file());
        let temporary = PathBuf::from(format!("{}.new", path.display()));
        // Left behind by an earlier try.
        remove_if_there(self.disk.as_ref(), &temporary)?;
        let made = match end {
            None => self.write(stream, reader, (None, reader.end()), &temporary),
            Some(end) => self.write(stream, reader, (self.beginning(reader.file(), end), end), &temporary),
        };
        let made = made.and_then(|()| {
            self.disk.rename(&temporary, &path)?;
            Ok(self.disk.sync_dir(&self.dir)?)
        });
        if made.is_err() {
            // Best effort: the next start removes it.
            let _ = self.disk.remove(&temporary);
        }
        made
    }

    /// Whether there is a good index file of all of a sealed segment.
    fn is_made(&self, reader: &Reader) -> bool {
        let found = recover::open(self.disk.as_ref(), &self.dir, reader.file(), reader.end());
        found.is_ok_and(|found| {
            found.verify(0, u64::MAX).is_ok() && found.damaged().is_ok_and(|all| all.is_empty())
        })
    }

    /// The index file that was written of the beginning of a segment, if it is good.
    fn beginning(&self, segment: FileId, end: u64) -> Option<IndexFile> {
        let found = recover::open_any(self.disk.as_ref(), &self.dir, segment, end).ok()?;
        let is_good = found.verify(0, u64::MAX).is_ok() && found.damaged().is_ok_and(|all| all.is_empty());
        is_good.then_some(found)
    }

    /// Reads a segment up to `end`, or what an index file of its beginning does not say of that, and writes and syncs its
    /// index file under this name.
    fn write(
        &self,
        stream: &Stream<Needles>,
        reader: &Reader,
        (beginning, end): (Option<IndexFile>, u64),
        path: &Path,
    ) -> Result<(), SealError> {
        let segment = reader.file();
        let mut mark = SegmentMark { head: [0; _], end };
        reader.read_exact_at(0, &mut mark.head)?;
        let file = self.disk.create(path)?;
        let mut writer = Writer::new(file.as_ref(), mark)?;
        let mut from = HEADER_BYTES;
        if let Some(beginning) = beginning {
            writer.take_over(&beginning)?;
            from = beginning.end();
        }
        let (mut suspects, mut paced_to) = (Vec::new(), from);
        let is_beginning = !reader.is_sealed();
        let all_was_read = stream.scan_range(segment, from..end, &mut |found| {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match found {
                Found::Record(at, record) => {
                    if at.offset - paced_to >= PACE_BYTES {
                        paced_to = at.offset;
                        if is_beginning && reader.is_sealed() {
                            // All of it is asked for now, and comes next.
                            return Err(io::ErrorKind::Interrupted.into());
                        }
                        pause();
                    }
                    let needle = needle::parse_unverified_data(record, reader.salt_at(at.offset))
                        .map_err(io::Error::other)?;
                    writer.add(at, &needle)
                }
                Found::Damage(range) => {
                    writer.add_damage(&range)?;
                    suspects.push(range);
                    Ok(())
                }
            }
        })?;
        let is_damaged_still =
            || self.examiner.examine(stream, segment, &suspects, &mut |_, _| {}).damaged == suspects;
        let is_sealed = end == reader.end() && reader.is_sealed();
        let is_settled = suspects.is_empty() || is_damaged_still() && is_sealed;
        if !is_settled || !all_was_read {
            return Err(SealError::Unreadable);
        }
        writer.finish()?;
        Ok(file.sync_all()?)
    }
}

/// Lets appends go first.
fn pause() {
    Condvar::new().wait_for(&mut Mutex::new(()).lock(), PACE_PAUSE);
}

/// Removes a file, unless there is none.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
