//! Looking once more at what seems damaged, and reporting what is: the stretch, and the live needles in it.
//!
//! Owns which needles lie in a stretch. Who comes upon damage (scrub, compaction, the making of an index file) asks here.
//! Invariants: only what failed twice is reported, so that a disk that answers badly once costs no copy; nothing stays
//! reported of a segment that went meanwhile.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hayrick_disk::{Disk, FileId, Found, Location, Reader, Stream};
use hayrick_protocol::ids::NeedleId;

use crate::index::Known;
use crate::index_file::{IndexFile, IndexFileError};
use crate::recover;
use crate::segment::Needles;
use crate::store::Shared;

/// Bytes of a stretch that are read in one go.
const PIECE_BYTES: u64 = 1 << 20;

/// What it takes to look.
#[derive(Clone)]
pub(crate) struct Examiner {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) shared: Arc<Shared>,
    /// Set when the store closes.
    pub(crate) stopping: Arc<AtomicBool>,
}

/// What is damaged indeed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Examined {
    /// Stretches, those that touch each other as one.
    pub(crate) damaged: Vec<Range<u64>>,
    /// Live needles in them.
    pub(crate) needles: Vec<NeedleId>,
}

impl Examiner {
    /// Reads these stretches of a segment once more, reports what is damaged still, and shows the records that are whole.
    pub(crate) fn examine(
        &self,
        stream: &Stream<Needles>,
        segment: FileId,
        suspects: &[Range<u64>],
        show: &mut dyn FnMut(Location, &[u8]),
    ) -> Examined {
        let mut damaged: Vec<Range<u64>> = Vec::new();
        for suspect in suspects {
            let mut at = suspect.start;
            while at < suspect.end && !self.stopping.load(Ordering::Relaxed) {
                let to = suspect.end.min(at + PIECE_BYTES);
                let next = stream.scan_piece(segment, at..to, &mut |found| {
                    match found {
                        Found::Record(at, record) => show(at, record),
                        Found::Damage(range) => push(&mut damaged, range),
                    }
                    Ok(())
                });
                // It fails only when the segment is gone, or has become shorter: then there is nothing to report.
                match next {
                    Ok(next) if next > at => at = next,
                    _ => break,
                }
            }
        }
        self.report(stream, segment, damaged)
    }

    fn report(&self, stream: &Stream<Needles>, segment: FileId, damaged: Vec<Range<u64>>) -> Examined {
        let damage = &self.shared.damage;
        let mut needles =
            if damaged.is_empty() { Vec::new() } else { self.needles_in(stream, segment, &damaged) };
        for range in &damaged {
            if damage.stretch(segment, range.clone()) {
                if !self.names_all_in(stream, segment) {
                    damage.is_unsure();
                }
                let (from, to) = (range.start, range.end);
                tracing::error!(%segment, from, to, "a stretch of a segment is damaged; it is kept, other volumes hold its needles");
            }
        }
        needles.retain(|id| {
            let Some(Known::Live(at)) = self.shared.index.read().get(*id) else { return false };
            if at.file != segment {
                return false;
            }
            let reported = self.shared.report(*id, at);
            if reported == Some(true) {
                tracing::error!(needle = %id, %segment, "a needle is damaged; other volumes hold it");
            }
            reported.is_some()
        });
        if stream.reader(segment).is_none() {
            // Compacted meanwhile: all that lives was read well, and lies elsewhere.
            damage.let_go(segment);
            return Examined::default();
        }
        Examined { damaged, needles }
    }

    /// The live needles whose records begin in these ranges.
    fn needles_in(&self, stream: &Stream<Needles>, segment: FileId, ranges: &[Range<u64>]) -> Vec<NeedleId> {
        if let Ok(Some(found)) = self.by_index_file(stream, segment, ranges) {
            return found;
        }
        let (mut all, mut from) = (Vec::new(), Some(NeedleId(0)));
        while let Some(id) = from {
            let (found, next) = self.shared.index.read().named_in(segment, ranges, id);
            all.extend(found.into_iter().filter(|(_, at)| at.len > 0).map(|(id, _)| id));
            from = next;
        }
        all
    }

    /// The same from the rows of the index file: quicker than a look at all needles of the volume. `None` where rows may be
    /// missing.
    fn by_index_file(
        &self,
        stream: &Stream<Needles>,
        segment: FileId,
        ranges: &[Range<u64>],
    ) -> Result<Option<Vec<NeedleId>>, IndexFileError> {
        let Some(file) = self.whole_index_file(stream, segment)? else { return Ok(None) };
        let is_in = |at: &Location| ranges.iter().any(|range| range.contains(&at.offset));
        let mut found = Vec::new();
        file.places(segment, &mut |rows| {
            let needles = rows.iter().filter(|(_, at)| at.len > 0 && is_in(at));
            let index = self.shared.index.read();
            found.extend(needles.filter(|(id, at)| index.names(*id, *at)).map(|(id, _)| *id));
        })?;
        Ok(Some(found))
    }

    /// The index file of a sealed segment; `None` where it was made of what was damaged already.
    fn whole_index_file(
        &self,
        stream: &Stream<Needles>,
        segment: FileId,
    ) -> Result<Option<IndexFile>, IndexFileError> {
        let Some(reader) = stream.reader(segment).filter(Reader::is_sealed) else { return Ok(None) };
        let file = recover::open(self.disk.as_ref(), &self.dir, segment, reader.end())?;
        Ok(if file.damaged()?.is_empty() { Some(file) } else { None })
    }

    /// Whether a sealed segment lacks an index file that names all in it.
    pub(crate) fn lacks_index_file(&self, stream: &Stream<Needles>, segment: FileId) -> bool {
        stream.reader(segment).is_some_and(|reader| reader.is_sealed()) && !self.names_all_in(stream, segment)
    }

    /// Whether there is one.
    pub(crate) fn names_all_in(&self, stream: &Stream<Needles>, segment: FileId) -> bool {
        matches!(self.whole_index_file(stream, segment), Ok(Some(_)))
    }
}

fn push(damaged: &mut Vec<Range<u64>>, range: Range<u64>) {
    match damaged.last_mut().filter(|last| last.end == range.start) {
        Some(last) => last.end = range.end,
        None => damaged.push(range),
    }
}
