//! Listing the needles of some placements, with their keys, a page at a time.
//!
//! A list goes through the segments as they ascend, and through each by placement and id. What lies in a segment is told by
//! its index file, of which only the blocks of these placements are read; behind where that ends (the segment is appended
//! to, or was sealed just now) by the data; and by the data alone where there is no good index file. What is shown is what
//! the index names in that segment at the time, so a needle that was moved is left to the later one.
//!
//! Invariant: every needle that was durable when the first page was asked for, and is not dropped before the last one, is
//! shown, or a page fails, or its stretch or itself is known to be damaged. That holds whatever is appended, sealed,
//! indexed and compacted between and during pages, because
//!
//! 1. the segment that the index names for a needle never becomes an earlier one: copies are made behind all that there is,
//!    the index goes by what lies furthest down the stream, and a segment goes only when nothing in it is named. A restart
//!    finds the copies again;
//! 2. when a list comes to a segment, a needle that it has not shown lies in that one, or in a later. At first that is
//!    every one. When it passes a segment with the needle's place in the order there, the needle either lies in it, and is
//!    shown (3), or lies in a later one. Of those the list comes to the first that there is: segments that are made meanwhile
//!    have higher numbers than all others, so none comes in between, and what went since held nothing any more;
//! 3. what is named in a segment when a list has come to it lies before the end that was durable then, and so either in what
//!    the index file is about or in what is read behind it. The end is asked for after the index file was opened, which
//!    never ends behind it, and the index is told of a needle only when that end covers it. What is moved into the segment
//!    later comes from an earlier one, which the list has passed: it was shown there.
//!
//! So a list ends when it has passed the last segment that there is by then: what is not shown would have to lie behind.

use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, Range};

use hayrick_disk::{FileId, Found, HEADER_BYTES, Location, Reader};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::key::ObjectKey;
use hayrick_protocol::limits::LIST_PAGE_NEEDLES_MAX;
use hayrick_protocol::messages::volume::{ListPosition, Listed, Listing, ReadError};
use hayrick_protocol::needle::{self, Kind};

use crate::housekeeping::Job;
use crate::index::Known;
use crate::index_file::IndexFileError;
use crate::recover;
use crate::store::Store;

/// Segments that one page looks into: a few reads in each, so that one of a volume with thousands of them, in few of which
/// there is anything, does not take longer than its reader waits.
const PAGE_SEGMENTS_MAX: usize = 64;

/// Once so many bytes of data were read for a page, where there is no index file, it ends with the segment: about what lies
/// behind the index file of a beginning at most.
const PAGE_SCANNED_BYTES_MAX: u64 = 64 << 20;

impl Store {
    /// A page of the list of what lies here of these placements, of at most `limit` needles and never more than
    /// [`LIST_PAGE_NEEDLES_MAX`]; strictly behind `from`. A needle is in one page, or in two when it is moved meanwhile.
    /// Those that are known to be damaged, or are about to be dropped, are in none. Tickets of earlier offers end.
    ///
    /// # Errors
    /// When not all can be seen; stretches that are known to be damaged aside.
    pub fn list_page(
        &self,
        placements: &[PlacementId],
        from: ListPosition,
        limit: usize,
    ) -> Result<Listing, ReadError> {
        self.tickets.end();
        self.page_of(placements, from, limit)
    }

    /// The same, for who does not count on it.
    pub(crate) fn page_of(
        &self,
        placements: &[PlacementId],
        from: ListPosition,
        limit: usize,
    ) -> Result<Listing, ReadError> {
        let mut wanted = placements.to_vec();
        wanted.sort_unstable();
        self.page(Wanted::Of(&wanted), from, limit)
    }

    /// The same, of whatever is wanted.
    pub(crate) fn page(
        &self,
        wanted: Wanted<'_>,
        from: ListPosition,
        limit: usize,
    ) -> Result<Listing, ReadError> {
        let limit = limit.clamp(1, LIST_PAGE_NEEDLES_MAX);
        let mut page = Page { needles: Vec::new(), scanned_bytes: 0 };
        let (mut next, mut looked_into) = (from, 0);
        loop {
            // Looked for again, because what is moved meanwhile goes to segments that are made meanwhile.
            let files = self.stream.status().files.into_iter();
            let files: Vec<_> = files.filter(|file| file.0 >= next.segment).collect();
            if files.is_empty() {
                return Ok(Listing { needles: page.needles, next: None });
            }
            for file in files {
                let behind = if file.0 == next.segment { next } else { begin_of(file.0) };
                let room = limit - page.needles.len();
                self.list_segment(behind, wanted, room, &mut page)
                    .map_err(|error| ReadError::Disk(format!("segment {file}: {error}")))?;
                looked_into += 1;
                if page.needles.len() == limit {
                    let next = page.needles.last().map(position);
                    return Ok(Listing { needles: page.needles, next });
                }
                next = begin_of(file.0 + 1);
                if looked_into >= PAGE_SEGMENTS_MAX || page.scanned_bytes >= PAGE_SCANNED_BYTES_MAX {
                    return Ok(Listing { needles: page.needles, next: Some(next) });
                }
            }
        }
    }

    /// Adds the first needles of a segment behind this position to a page, `room` of them at most.
    fn list_segment(
        &self,
        behind: ListPosition,
        wanted: Wanted<'_>,
        room: usize,
        page: &mut Page,
    ) -> io::Result<()> {
        let file = FileId(behind.segment);
        // Without a reader its header is damaged, and all of it among the damaged stretches; or it was compacted just now.
        let Some(reader) = self.stream.reader(file) else { return Ok(()) };
        let mut rows = Rows { store: self, behind, room, rows: BTreeMap::new() };
        let (from, end) = self.list_indexed(&reader, wanted, &mut rows);
        let seen = if from < end { self.list_data(&reader, from..end, wanted, &mut rows) } else { Ok(()) };
        page.scanned_bytes += end - from;
        page.needles.extend(rows.rows.into_values());
        match seen {
            // It was compacted meanwhile: what was in there lies in a later one.
            Err(_) if self.stream.reader(file).is_none() => Ok(()),
            seen => seen,
        }
    }

    /// Adds what the index file of a segment says. Where it ends, and where the data does that is durable.
    fn list_indexed(&self, reader: &Reader, wanted: Wanted<'_>, rows: &mut Rows<'_>) -> (u64, u64) {
        let (file, dir) = (reader.file(), &self.options.dir);
        // It may be one that is newer than an end asked for before.
        let found = recover::open_any(self.shared.disk.as_ref(), dir, file, u64::MAX);
        let end = reader.end();
        let ends_at = found.and_then(|found| {
            if found.end() > end {
                return Err(IndexFileError::OtherSegment);
            }
            let behind = (rows.behind.placement, rows.behind.needle);
            found.keys(wanted, behind, &mut |placement, id, key| rows.add(placement, id, key))?;
            // Of a stretch that was damaged when it was made, it does not name the needles; now they may be readable.
            let is_all = self.knows_of_all(file, &found.damaged()?);
            Ok(if is_all { found.end() } else { HEADER_BYTES })
        });
        match ends_at {
            Ok(ends_at) => (ends_at, end),
            Err(error) => {
                if !error.is_missing() {
                    tracing::warn!(segment = %file, %error, "an index file is of no use and is made anew from the data");
                    if reader.is_sealed() {
                        // Refused only when the store is closing; the next list finds it again.
                        let _ = self.jobs.send(Job::Index(file, None));
                    }
                }
                (HEADER_BYTES, end)
            }
        }
    }

    /// Adds what the data of a range says. Damage in it that nobody knew of is reported; where it could not be read at all, that
    /// is an error.
    fn list_data(
        &self,
        reader: &Reader,
        range: Range<u64>,
        wanted: Wanted<'_>,
        rows: &mut Rows<'_>,
    ) -> io::Result<()> {
        let mut add = |at: Location, record: &[u8]| {
            let needle =
                needle::parse_unverified_data(record, reader.salt_at(at.offset)).map_err(io::Error::other)?;
            // A tombstone has a placement, too, and a needle that lives nevertheless may lie behind it.
            let is_needle = needle.header.kind == Kind::Needle;
            if is_needle && wanted.has(needle.header.placement) {
                // The next may come before it.
                let _ = rows.add(needle.header.placement, needle.header.id, needle.key);
            }
            Ok::<_, io::Error>(())
        };
        let (file, mut suspects) = (reader.file(), Vec::new());
        let all_was_read = self.stream.scan_range(file, range, &mut |found| match found {
            Found::Record(at, record) => add(at, record),
            Found::Damage(range) => {
                suspects.push(range);
                Ok(())
            }
        })?;
        // What could not be read is among the damage, unless a second try read it.
        if self.knows_of_all(file, &suspects) {
            return Ok(());
        }
        // Reported now, if it is damaged indeed. So who asks again, as a disk may yet read what it did not, does not wait for
        // scrub to come by.
        self.housekeeper.indexer.examiner.examine(&self.stream, file, &suspects, &mut |_, _| {});
        if all_was_read && self.knows_of_all(file, &suspects) {
            return Ok(());
        }
        let Range { start, end } = suspects.first().cloned().unwrap_or_default();
        Err(io::Error::other(format!("bytes {start} to {end}, or more, cannot be read well; ask again")))
    }

    /// Whether all of these stretches are known to be damaged.
    fn knows_of_all(&self, file: FileId, stretches: &[Range<u64>]) -> bool {
        if stretches.is_empty() {
            return true;
        }
        let known = self.shared.damage.stretches_in(file);
        let is_in = |one: &Range<u64>, known: &Range<u64>| known.start <= one.start && one.end <= known.end;
        stretches.iter().all(|one| known.iter().any(|known| is_in(one, known)))
    }
}

/// Of which placements needles are listed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Of all, whoever knows them.
    All,
    /// Of these, which ascend.
    Of(&'a [PlacementId]),
}

impl Wanted<'_> {
    /// Whether this placement is among them.
    pub(crate) fn has(self, placement: PlacementId) -> bool {
        match self {
            Self::All => true,
            Self::Of(placements) => placements.binary_search(&placement).is_ok(),
        }
    }

    /// Whether any from this one to that one is.
    pub(crate) fn has_any(self, from: PlacementId, to: PlacementId) -> bool {
        match self {
            Self::All => true,
            Self::Of(placements) => {
                let first = placements.partition_point(|placement| *placement < from);
                placements.get(first).is_some_and(|placement| *placement <= to)
            }
        }
    }
}

/// Before all that lies in a segment: no needle has the id 0.
fn begin_of(segment: u64) -> ListPosition {
    ListPosition { segment, ..ListPosition::default() }
}

/// Where a needle stands in a list.
pub(crate) fn position(listed: &Listed) -> ListPosition {
    ListPosition { segment: listed.segment, placement: listed.placement, needle: listed.needle }
}

/// A page being made.
struct Page {
    needles: Vec<Listed>,
    /// Bytes of data that were read for it.
    scanned_bytes: u64,
}

/// The first needles of a segment behind a position, in whatever order they are found.
struct Rows<'a> {
    store: &'a Store,
    behind: ListPosition,
    room: usize,
    rows: BTreeMap<(PlacementId, NeedleId), Listed>,
}

impl Rows<'_> {
    /// Adds a needle, if it lies here. Breaks off when nothing behind it is wanted.
    fn add(&mut self, placement: PlacementId, id: NeedleId, key: &[u8]) -> ControlFlow<()> {
        let row = (placement, id);
        let is_full = self.rows.len() >= self.room;
        if is_full && self.rows.last_key_value().is_some_and(|(last, _)| *last < row) {
            return ControlFlow::Break(());
        }
        if row > (self.behind.placement, self.behind.needle)
            && !self.rows.contains_key(&row)
            && let Some(at) = self.place(id)
            && let Some(key) = object_key(id, key)
        {
            let segment = at.file.0;
            self.rows.insert(row, Listed { segment, placement, needle: id, bytes: at.len, key });
            if is_full {
                self.rows.pop_last();
            }
        }
        ControlFlow::Continue(())
    }

    /// Where the needle lies in this segment; `None`: elsewhere, or nowhere, or about to be, or its copy is known to be
    /// damaged.
    fn place(&self, id: NeedleId) -> Option<Location> {
        let shared = &self.store.shared;
        if self.store.is_dropping(id) {
            return None;
        }
        let Some(Known::Live(at)) = shared.index.read().get(id) else { return None };
        (at.file.0 == self.behind.segment && !shared.damage.is_bad(id, at)).then_some(at)
    }
}

/// The key of an object. No gateway made a needle with any other, so that no object is lost with it.
fn object_key(id: NeedleId, key: &[u8]) -> Option<ObjectKey> {
    let key = std::str::from_utf8(key).ok().and_then(|key| ObjectKey::new(key).ok());
    if key.is_none() {
        tracing::debug!(needle = %id, "a needle with a key that no object has is not listed");
    }
    key
}
