//! Gives each sealed segment its index file, in a thread of its own.
//!
//! Owns the making of the files; their bytes are `index_file`'s. The segment is read again for it, which verifies it
//! once more and needs no memory for keys while it was active. Invariant: the file appears whole or not at all (written
//! aside, synced, renamed), and only when all of the segment could be read.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};

use hayrick_disk::{Disk, FileId, Found, Stream, write_atomically};
use hayrick_protocol::needle;
use thiserror::Error;

use crate::index_file::{Contents, IndexFileError, SegmentMark};
use crate::recover::index_path;
use crate::segment::Needles;
use crate::store::Shared;

/// What the thread is asked for.
pub(crate) enum Job {
    /// An index file for this segment.
    Index(FileId),
    /// To end.
    Stop,
}

/// What the thread works with.
pub(crate) struct Indexer {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) shared: Arc<Shared>,
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
    Contents(#[from] IndexFileError),
    #[error("not all of the segment can be read")]
    Unreadable,
}

impl Indexer {
    /// Works until it is stopped.
    pub(crate) fn run(&self, jobs: &Receiver<Job>) {
        while let Ok(Job::Index(segment)) = jobs.recv() {
            let Some(stream) = self.stream.upgrade() else { return };
            match self.index(&stream, segment) {
                Ok(()) => tracing::debug!(%segment, "wrote the index file"),
                Err(_) if self.stopping.load(Ordering::Relaxed) => return,
                Err(error) => {
                    tracing::warn!(%segment, %error, "a segment has no index file; the next start reads its data instead");
                }
            }
        }
    }

    fn index(&self, stream: &Stream<Needles>, segment: FileId) -> Result<(), SealError> {
        let reader = stream.reader(segment).ok_or(SealError::Unreadable)?;
        let mut mark = SegmentMark { head: [0; _], end: reader.end() };
        reader.read_exact_at(0, &mut mark.head)?;
        let bytes = self.read(stream, segment, reader.salt())?.encode(&mark)?;
        write_atomically(self.disk.as_ref(), &index_path(&self.dir, segment), &bytes)?;
        Ok(())
    }

    fn read(&self, stream: &Stream<Needles>, segment: FileId, salt: u64) -> Result<Contents, SealError> {
        let mut contents = Contents::default();
        let mut failed = None;
        let read = stream.scan(segment, &mut |found| {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let added = match found {
                Found::Record(at, record) => match needle::parse_unverified_data(record, salt) {
                    Ok(needle) => contents.add(at, &needle),
                    Err(_) => Err(IndexFileError::Damaged),
                },
                Found::Damage(range) => {
                    self.shared.damage.stretch(segment, range.clone());
                    contents.damaged.push(range);
                    Ok(())
                }
            };
            added.map_err(|error| {
                failed = Some(error);
                io::ErrorKind::InvalidData.into()
            })
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        if !read? {
            return Err(SealError::Unreadable);
        }
        contents.sort()?;
        Ok(contents)
    }
}
