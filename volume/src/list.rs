//! Listing the needles of some placements, with their keys.
//!
//! Owns where a list comes from: of a sealed segment from the blocks of its index file that name these placements, of the
//! segment that is appended to (and of one that has no good index file) from its data. Invariant: every needle that was
//! durable when the list began, and is not dropped before it ends, is shown, or the list fails, or its stretch is among
//! the damaged ones.

use std::io;

use hayrick_disk::{FileId, Found};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::messages::volume::ReadError;
use hayrick_protocol::needle::{self, Kind};

use crate::housekeeping::Job;
use crate::index::Known;
use crate::recover;
use crate::store::Store;

/// Whom a list shows placement, needle and key.
type Visit<'a> = dyn FnMut(PlacementId, NeedleId, &[u8]) + 'a;

impl Store {
    /// Shows the needles of these placements, a segment at a time. One that lay in two places may be shown twice.
    pub fn list(&self, placements: &[PlacementId], visit: &mut Visit<'_>) -> Result<(), ReadError> {
        let mut wanted = placements.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let mut next = FileId(0);
        loop {
            // Looked for again, because what is moved meanwhile goes to segments that are made meanwhile.
            let files = self.stream.status().files.into_iter().filter(|file| *file >= next);
            let files: Vec<_> = files.collect();
            let Some(last) = files.last() else { return Ok(()) };
            next = FileId(last.0 + 1);
            for file in files {
                self.list_segment(file, &wanted, visit)
                    .map_err(|error| ReadError::Disk(error.to_string()))?;
            }
        }
    }

    fn list_segment(&self, file: FileId, wanted: &[PlacementId], visit: &mut Visit<'_>) -> io::Result<()> {
        // Without a reader its header is damaged, and all of it among the damaged stretches.
        let Some(reader) = self.stream.reader(file) else { return Ok(()) };
        let is_here = |id| match self.shared.index.read().get(id) {
            Some(Known::Live(at)) => at.file == file,
            Some(Known::Dropped) | None => false,
        };
        let mut show = |placement, id, key: &[u8]| {
            if is_here(id) {
                visit(placement, id, key);
            }
        };
        if reader.is_sealed() {
            let found = recover::open(self.shared.disk.as_ref(), &self.options.dir, file, reader.end());
            match found.and_then(|found| found.keys(wanted, &mut show)) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_missing() => {}
                Err(error) => {
                    tracing::warn!(segment = %file, %error, "an index file is of no use and is made anew from the data");
                    // Refused only when the store is closing; the next list finds it again.
                    let _ = self.jobs.send(Job::Index(file, None));
                }
            }
        }
        let all_was_read = self.stream.scan(file, &mut |found| {
            let Found::Record(at, record) = found else { return Ok(()) };
            let needle =
                needle::parse_unverified_data(record, reader.salt_at(at.offset)).map_err(io::Error::other)?;
            // A tombstone has a placement, too, and a needle that lives nevertheless may lie behind it.
            let is_needle = needle.header.kind == Kind::Needle;
            if is_needle && wanted.binary_search(&needle.header.placement).is_ok() {
                show(needle.header.placement, needle.header.id, needle.key);
            }
            Ok(())
        });
        let all_was_read = match all_was_read {
            // It was compacted meanwhile: what was in there lies in a later one.
            Err(_) if self.stream.reader(file).is_none() => return Ok(()),
            all_was_read => all_was_read?,
        };
        if all_was_read {
            Ok(())
        } else {
            Err(io::Error::other(format!("not all of segment {file} can be read")))
        }
    }
}
