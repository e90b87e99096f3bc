//! Looking into one file of a stream by itself: what its header block says, and what lies behind that.
//!
//! For people and tools, on a file that may belong to a running process, or be damaged, cut, or none of ours; recovery is
//! `recover`'s, and what a record means is the caller's. The invariant: nothing is written, and nothing is shown as a
//! record that does not verify where it is under the salt in the file's header. So even a damaged header is believed as
//! far as records verify under its salt.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::append_file::{
    HEADER_BYTES, HEADER_USED, Header, HeaderError, decode_gone, decode_seal, has_seal,
};
use crate::disk::{Disk, File};
use crate::format::{ALIGN, FileId, Format};
use crate::limits::SCAN_WINDOW_BYTES;
use crate::scan::{self, Found, Tail};

/// Why a file cannot be looked into.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The disk refused something.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It ends within its header.
    #[error("{} has {bytes} bytes: not even the whole header of a file of this kind", path.display())]
    Cut {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
    },
    /// It does not begin as a file of this kind does.
    #[error(
        "{} is not of this kind: it begins with \"{}\" and not with \"{}\"",
        path.display(), begins.escape_ascii(), expected.escape_ascii()
    )]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// Its first bytes, 8 at most.
        begins: Vec<u8>,
        /// What those of such a file are.
        expected: [u8; 8],
    },
    /// A later version wrote it.
    #[error(
        "{} has format version {found}, and this build knows versions up to {known}: look at it with the newer build",
        path.display()
    )]
    LaterVersion {
        /// The file.
        path: PathBuf,
        /// The version in its header.
        found: u16,
        /// The latest that is known here.
        known: u16,
    },
}

/// What a header block says of the end of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// Nothing: it is appended to, or was when its process ended.
    None,
    /// There is one, and it does not match its checksum.
    Damaged,
    /// They end here.
    At(u64),
}

/// A file that was opened to be looked at.
pub struct Inspected {
    /// Its id, by its header.
    pub id: FileId,
    /// Its salt.
    pub salt: u64,
    /// The version of its format.
    pub version: u16,
    /// Bytes allocated to it, by its header.
    pub capacity: u64,
    /// Bytes that are there.
    pub bytes: u64,
    /// The header matches its checksum. Otherwise the fields above are as they stand.
    pub header_is_good: bool,
    /// Whether and where it is sealed.
    pub seal: Seal,
    /// It says that it is gone: the next start removes it.
    pub is_gone: bool,
    file: Arc<dyn File>,
}

/// How the records of a file end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The end of the last record or damage.
    pub end: u64,
    /// What follows it and is neither record nor zero: a torn tail, or just on its way to the disk. Empty if there is none.
    pub tail: Range<u64>,
    /// From the first to the last block that the disk could not read.
    pub unreadable: Option<Range<u64>>,
}

impl Inspected {
    /// Opens a file, read-only, and reads its header block.
    pub fn open<F: Format>(disk: &dyn Disk, path: &Path) -> Result<Self, InspectError> {
        let io_error = |source| InspectError::Io { path: path.to_owned(), source };
        let file = disk.open_read_only(path).map_err(io_error)?;
        let bytes = file.len().map_err(io_error)?;
        let mut block = vec![0; HEADER_USED.min(usize::try_from(bytes).unwrap_or(HEADER_USED))];
        file.read_exact_at(&mut block, 0).map_err(io_error)?;
        let known = F::VERSION;
        let header_is_good = match Header::decode::<F>(&block) {
            Ok(_) => true,
            Err(HeaderError::LaterVersion(found)) => {
                return Err(InspectError::LaterVersion { path: path.to_owned(), found, known });
            }
            Err(HeaderError::Damaged) => false,
        };
        let other_kind = || {
            let begins = block.iter().copied().take(F::MAGIC.len()).collect();
            InspectError::OtherKind { path: path.to_owned(), begins, expected: F::MAGIC }
        };
        let Some((header, version)) = Header::fields(&block) else {
            let begins_well = F::MAGIC.starts_with(&block[..block.len().min(F::MAGIC.len())]);
            let cut = InspectError::Cut { path: path.to_owned(), bytes };
            return Err(if begins_well { cut } else { other_kind() });
        };
        // Where the seal may lie is bounded by the capacity, which is believed only of a good header.
        let bounds = if header_is_good { header } else { Header { capacity: bytes, ..header } };
        let seal = match decode_seal(&block, &bounds) {
            Some(end) => Seal::At(end),
            None if has_seal(&block) => Seal::Damaged,
            None => Seal::None,
        };
        let is_gone = decode_gone(&block, &header) == Some(true);
        let Header { id, salt, capacity } = header;
        let inspected = Self { id, salt, version, capacity, bytes, header_is_good, seal, is_gone, file };
        let is_ours = header_is_good || block.starts_with(&F::MAGIC) || inspected.begins_with_record::<F>();
        if is_ours { Ok(inspected) } else { Err(other_kind()) }
    }

    /// Shows the records, marks among them, and the damage, up to the end that the seal names or the file has. With
    /// `up_to`, an end that was found before, all in front of that and nothing else.
    pub fn scan<F: Format>(
        &self,
        up_to: Option<u64>,
        visit: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
    ) -> io::Result<Ending> {
        let there = if self.header_is_good { self.capacity.min(self.bytes) } else { self.bytes };
        let (end, proof) = match (up_to, self.seal) {
            (Some(end), _) | (None, Seal::At(end)) => (end, Tail::Proven),
            (None, Seal::Damaged) => (there, Tail::ProvenThenZeros),
            (None, Seal::None) => (there, Tail::MayBeTorn),
        };
        let limit = end.min(there).max(HEADER_BYTES);
        let place = (self.file.as_ref(), self.id, self.salt);
        let scanned = scan::scan_all::<F>(place, HEADER_BYTES..limit, proof, &mut |found, _| visit(found))?;
        let mut ending =
            Ending { end: scanned.end, tail: scanned.end..scanned.end, unreadable: scanned.unreadable };
        if proof == Tail::Proven && limit < end {
            // The file was cut.
            visit(Found::Damage(limit..end))?;
            ending = Ending { end, tail: end..end, ..ending };
        } else if proof == Tail::MayBeTorn && scanned.end < limit {
            let content = scan::content(self.file.as_ref(), scanned.end..limit);
            ending.tail.end = content.end;
            ending.unreadable = ending.unreadable.or(content.unreadable);
        }
        Ok(ending)
    }

    /// Whether a record verifies near the beginning: then this is one of our files, whatever became of its header.
    fn begins_with_record<F: Format>(&self) -> bool {
        let limit = self.bytes.min(HEADER_BYTES + SCAN_WINDOW_BYTES as u64) / ALIGN as u64 * ALIGN as u64;
        let place = (self.file.as_ref(), self.id, self.salt);
        let mut found_one = false;
        let scanned =
            scan::scan_all::<F>(place, HEADER_BYTES..limit, Tail::Proven, &mut |found, _| match found {
                // Enough is known.
                Found::Record(..) => {
                    found_one = true;
                    Err(io::ErrorKind::Interrupted.into())
                }
                Found::Damage(_) => Ok(()),
            });
        scanned.is_err() && found_one
    }
}
