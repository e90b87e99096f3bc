//! Looking into one segment file, offline: what is in it, and what of that is dead by what the file itself says.
//!
//! Owns what is counted and told of a file; reading it is `disk`'s, printing the caller's. Whether a needle that lives by
//! its file was dropped, or lies in a later segment too, only the volume knows that holds all of them. Invariant: the file
//! is opened read-only, and what is counted adds up: live, dead, tombstones, marks and damage are all bytes between the
//! header and the end.

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use hayrick_disk::{Disk, FileId, Found, InspectError as FileError, Inspected, Location, Seal};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::needle::{HEADER_BYTES, Header, Kind};
use thiserror::Error;

use crate::index::{Index, Known, OutOfReach};
use crate::segment::{EXTENSION, Needles};

/// Damaged stretches that a summary lists.
const LISTED_MAX: usize = 1000;

/// The index takes no higher number than this, and a header may say any; so it is told of one that it takes.
const THIS_FILE: FileId = FileId(1);

/// Why a segment cannot be looked into.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// It is none, or cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is something else.
    #[error("{} is no segment: it {what}", path.display())]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What it does instead.
        what: String,
    },
    /// The disk refused something on the way.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// How many, and the bytes on disk of all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Their bytes, padding and all.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What is in a segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its number, by its header.
    pub id: FileId,
    /// The number in its name is another one: a volume takes such a file for damaged.
    pub is_misnamed: bool,
    /// The version of its format.
    pub version: u16,
    /// Its salt.
    pub salt: u64,
    /// Bytes allocated to it, by its header.
    pub capacity_bytes: u64,
    /// Bytes that are there.
    pub file_bytes: u64,
    /// The header matches its checksum; otherwise the fields above are as they stand.
    pub header_is_good: bool,
    /// Whether and where it is sealed.
    pub seal: Seal,
    /// It says that it is gone: the next start of its volume removes it.
    pub is_gone: bool,
    /// Where the last record or damage ends.
    pub end: u64,
    /// What follows that and is neither record nor zero; empty if nothing is.
    pub tail: Range<u64>,
    /// From the first to the last block that the disk could not read.
    pub unreadable: Option<Range<u64>>,
    /// Group commits.
    pub batches: u64,
    /// Needles of which nothing in this file says that they are dead.
    pub live: Amount,
    /// Needles that a later record of this file replaced or dropped.
    pub dead: Amount,
    /// Tombstones.
    pub tombstones: Amount,
    /// Marks.
    pub marks: Amount,
    /// Stretches that are no records, though they once were.
    pub damage: Amount,
    /// The first thousand of them.
    pub damaged: Vec<Range<u64>>,
}

impl Summary {
    /// Rows that [`SegmentFile::rows`] shows.
    pub fn rows(&self) -> u64 {
        [self.live, self.dead, self.tombstones, self.marks, self.damage]
            .iter()
            .map(|amount| amount.count)
            .sum()
    }
}

/// Something that lies in a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row<'a> {
    /// A needle.
    Needle {
        /// First byte of the record.
        offset: u64,
        /// Bytes of the record.
        bytes: u64,
        /// Its header.
        header: Header,
        /// Its key.
        key: &'a [u8],
        /// Nothing in this file says that it is dead.
        is_live: bool,
    },
    /// All before it was synced.
    Mark {
        /// First byte of the record.
        offset: u64,
        /// Bytes of the record.
        bytes: u64,
    },
    /// A needle was dropped.
    Tombstone {
        /// First byte of the record.
        offset: u64,
        /// Bytes of the record.
        bytes: u64,
        /// Which needle.
        id: NeedleId,
        /// Where the cluster kept it.
        placement: PlacementId,
    },
    /// Bytes that are no record, though they once were.
    Damage {
        /// First byte.
        offset: u64,
        /// How many.
        bytes: u64,
    },
}

/// A segment file that was read through once.
pub struct SegmentFile {
    file: Inspected,
    index: Index,
    summary: Summary,
}

impl SegmentFile {
    /// Opens a file, read-only, and reads all of it.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, InspectError> {
        let file = Inspected::open::<Needles>(disk, path).map_err(name_kind)?;
        let mut count = Count { index: Index::default(), summary: summary_of(&file, path) };
        let ending = file.scan::<Needles>(None, &mut |found| count.take_in(found).map_err(io::Error::other));
        let ending = ending.map_err(|source| InspectError::Io { path: path.to_owned(), source })?;
        let Count { index, mut summary } = count;
        let held = index.held_by(THIS_FILE);
        // All needles were counted as dead: what the index names is not.
        summary.live = Amount { count: held.needles, bytes: held.needle_bytes };
        summary.dead.count -= summary.live.count;
        summary.dead.bytes -= summary.live.bytes;
        (summary.end, summary.tail, summary.unreadable) = (ending.end, ending.tail, ending.unreadable);
        Ok(Self { file, index, summary })
    }

    /// What is in it.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Reads the file once more, and shows all that the summary counts, in the order in which it lies there.
    ///
    /// The visitor's error, or its word, ends it.
    pub fn rows(&self, visit: &mut dyn FnMut(Row<'_>) -> io::Result<ControlFlow<()>>) -> io::Result<()> {
        let mut enough = false;
        let scanned = self.file.scan::<Needles>(Some(self.summary.end), &mut |found| {
            let Some(row) = self.row(&found) else { return Ok(()) };
            enough = visit(row)?.is_break();
            // A scan is ended by an error only.
            if enough { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        if enough { Ok(()) } else { scanned.map(|_| ()) }
    }

    fn row<'r>(&self, found: &Found<'r>) -> Option<Row<'r>> {
        let (at, record) = match found {
            Found::Record(at, record) => (*at, *record),
            Found::Damage(range) => {
                return Some(Row::Damage { offset: range.start, bytes: range.end - range.start });
            }
        };
        let header = Header::peek(record)?;
        let (offset, bytes) = (at.offset, u64::from(at.len));
        Some(match header.kind {
            Kind::Mark => Row::Mark { offset, bytes },
            Kind::Tombstone => Row::Tombstone { offset, bytes, id: header.id, placement: header.placement },
            Kind::Needle => {
                let is_live =
                    matches!(self.index.get(header.id), Some(Known::Live(at)) if at.offset == offset);
                Row::Needle {
                    offset,
                    bytes,
                    header,
                    key: record.get(HEADER_BYTES..header.data_at())?,
                    is_live,
                }
            }
        })
    }
}

/// What is counted while a file is read.
struct Count {
    index: Index,
    summary: Summary,
}

impl Count {
    fn take_in(&mut self, found: Found<'_>) -> Result<(), OutOfReach> {
        let summary = &mut self.summary;
        let (at, record) = match found {
            Found::Damage(range) => {
                summary.damage.add(range.end - range.start);
                if summary.damaged.len() < LISTED_MAX {
                    summary.damaged.push(range);
                }
                return Ok(());
            }
            Found::Record(at, record) => (Location { file: THIS_FILE, ..at }, record),
        };
        let header = Header::peek(record).expect("a record that was shown has a header");
        summary.batches += u64::from(header.batch_start);
        let bytes = u64::from(at.len);
        match header.kind {
            Kind::Needle => {
                summary.dead.add(bytes);
                self.index.put(header.id, at)
            }
            Kind::Tombstone => {
                summary.tombstones.add(bytes);
                self.index.put(header.id, Location { len: 0, ..at })
            }
            Kind::Mark => {
                summary.marks.add(bytes);
                Ok(())
            }
        }
    }
}

fn summary_of(file: &Inspected, path: &Path) -> Summary {
    let named = path.file_name().and_then(|name| name.to_str()?.strip_suffix(EXTENSION)?.strip_suffix('.'));
    let in_name =
        named.filter(|digits| digits.len() == 16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Summary {
        id: file.id,
        is_misnamed: in_name.is_some_and(|id| id != file.id.0),
        version: file.version,
        salt: file.salt,
        capacity_bytes: file.capacity,
        file_bytes: file.bytes,
        header_is_good: file.header_is_good,
        seal: file.seal,
        is_gone: file.is_gone,
        end: 0,
        tail: 0..0,
        unreadable: None,
        batches: 0,
        live: Amount::default(),
        dead: Amount::default(),
        tombstones: Amount::default(),
        marks: Amount::default(),
        damage: Amount::default(),
        damaged: Vec::new(),
    }
}

/// Says what a file is that is no segment, so far as it is one of ours.
fn name_kind(error: FileError) -> InspectError {
    let FileError::OtherKind { path, begins, expected } = error else { return InspectError::File(error) };
    let what = match begins.as_slice() {
        b"hrickLOG" => "is a file of a master's Raft log".to_owned(),
        b"hayindex" => "is the index file of one".to_owned(),
        begins => {
            format!("begins with \"{}\" and not with \"{}\"", begins.escape_ascii(), expected.escape_ascii())
        }
    };
    InspectError::OtherKind { path, what }
}

/// The segment files in a directory, by number.
pub fn segments_in(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let names = disk.list(dir)?;
    let is_segment = |name: &String| Path::new(name).extension().is_some_and(|ending| ending == EXTENSION);
    let mut paths: Vec<PathBuf> =
        names.iter().filter(|name| is_segment(name)).map(|name| dir.join(name)).collect();
    paths.sort();
    Ok(paths)
}
