//! Gives each sealed segment its index file, in the background.
//!
//! Owns the making of the files; their bytes are `index_file`'s. The segment is read again for it, which verifies it
//! once more and needs no memory for keys while it was active. Invariant: the file appears whole or not at all (written
//! aside, synced, renamed), and only when all of the segment could be read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use hayrick_disk::{Disk, FileId, Found, Stream};
use hayrick_protocol::needle;
use thiserror::Error;

use crate::examine::Examiner;
use crate::index_file::{SegmentMark, Writer};
use crate::recover::index_path;
use crate::segment::Needles;

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
    #[error("not all of the segment can be read")]
    Unreadable,
}

impl Indexer {
    /// Writes the index file of a segment. A failure is logged: without the file, a start reads the data.
    pub(crate) fn index(&self, segment: FileId) {
        let Some(stream) = self.stream.upgrade() else { return };
        match self.make(&stream, segment) {
            Ok(()) => tracing::debug!(%segment, "wrote the index file"),
            Err(_) if self.stopping.load(Ordering::Relaxed) => {}
            // It was compacted meanwhile.
            Err(_) if stream.reader(segment).is_none() => {}
            Err(error) => {
                tracing::warn!(%segment, %error, "a segment has no index file; the next start reads its data instead");
            }
        }
    }

    fn make(&self, stream: &Stream<Needles>, segment: FileId) -> Result<(), SealError> {
        let path = index_path(&self.dir, segment);
        let temporary = PathBuf::from(format!("{}.new", path.display()));
        // Left behind by an earlier try.
        remove_if_there(self.disk.as_ref(), &temporary)?;
        let made = self.write(stream, segment, &temporary).and_then(|()| {
            self.disk.rename(&temporary, &path)?;
            Ok(self.disk.sync_dir(&self.dir)?)
        });
        if made.is_err() {
            // Best effort: the next start removes it.
            let _ = self.disk.remove(&temporary);
        }
        made
    }

    /// Reads the segment, and writes and syncs its index file under this name.
    fn write(&self, stream: &Stream<Needles>, segment: FileId, path: &Path) -> Result<(), SealError> {
        let reader = stream.reader(segment).ok_or(SealError::Unreadable)?;
        let mut mark = SegmentMark { head: [0; _], end: reader.end() };
        reader.read_exact_at(0, &mut mark.head)?;
        let file = self.disk.create(path)?;
        let mut writer = Writer::new(file.as_ref(), mark)?;
        let mut suspects = Vec::new();
        let all_was_read = stream.scan(segment, &mut |found| {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match found {
                Found::Record(at, record) => {
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
        if !suspects.is_empty() && !is_damaged_still() || !all_was_read {
            return Err(SealError::Unreadable);
        }
        writer.finish()?;
        Ok(file.sync_all()?)
    }
}

/// Removes a file, unless there is none.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
