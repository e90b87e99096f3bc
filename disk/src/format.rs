//! What a stream asks of those who stand on it: the bytes of a record ([`Format`]) and what becomes of it ([`Owner`]).
//! How records reach the disk is left to the stream. The invariant: a record is made of whole [`ALIGN`]ed words, and only
//! the stream calls [`Format::seal`], with the salt of the place that the record goes to ([`salt_at`]).

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::append_file::HEADER_BYTES;

/// Every record begins and ends at a multiple of this many bytes.
pub const ALIGN: usize = 8;

/// The salt of the record at an offset in the file with this salt: a record vouches for its place, too, so that a write
/// that the disk put at another place of the same file, or a stale copy there, is damage and no record.
///
/// Offsets are multiples of [`ALIGN`], and in files of up to 32 GiB less than 2^35. So the salts of two places in one file
/// differ in 32 bits next to each other at most, of what the checksum covers in nothing else, and CRC-32C sees every burst
/// of that length: the same record at another place of its file never parses, whatever is in it. (In a longer file, two
/// places that far apart would be taken for each other with a chance of 1 in 2^32, as records of two files are.)
#[must_use]
pub const fn salt_at(file_salt: u64, offset: u64) -> u64 {
    file_salt ^ offset
}

/// How the records of a stream look.
///
/// The header of a sealed record has a checksum that covers the salt, which is that of its place in its file
/// ([`salt_at`]): so zeros, the bytes of another file, and a record that the disk put elsewhere in its own, never parse.
/// A format only takes the salt into the checksum, as 8 bytes, little-endian. The first [`ALIGN`] bytes of a sealed record are never all zero (a magic number will do): recovery skips zeros
/// by the word.
pub trait Format: Send + Sync + 'static {
    /// The first bytes of each file of the stream.
    const MAGIC: [u8; 8];
    /// The version of the format, written in each file's header; files of a later version are refused.
    const VERSION: u16;
    /// Bytes of a record that are needed to know its length. No record is shorter.
    const HEADER_LEN: usize;
    /// Bytes of a record that its header's checksum covers, at most: what [`Self::proves_head`] may look at.
    const PROOF_LEN_MAX: usize = Self::HEADER_LEN;

    /// Finishes a record just before it is written: sets or clears the flag "first of its batch" and makes the header's
    /// checksum, salted. Called in the writer thread, on the padded record. It may run again on a record sealed before.
    fn seal(record: &mut [u8], salt: u64, batch_start: bool);

    /// An unsealed mark: a record without content, whose length is a multiple of [`ALIGN`].
    fn mark() -> Vec<u8>;

    /// Reads a header from exactly [`Self::HEADER_LEN`] bytes; `None` unless its checksum under this salt is right, so
    /// far as these bytes tell.
    fn head(bytes: &[u8], salt: u64) -> Option<Head>;

    /// Whether the header's checksum under this salt is right, where it covers more than the header: asked of the first
    /// [`Self::PROOF_LEN_MAX`] bytes of a record, or all if it is shorter, before the rest of it is read. Without this,
    /// an object full of forged heads could make recovery read without end.
    fn proves_head(bytes: &[u8], salt: u64) -> bool {
        let _ = (bytes, salt);
        true
    }

    /// Whether the whole record, of the length that its head gave, is right.
    fn verify(record: &[u8], salt: u64) -> bool;
}

/// What the header of a record tells the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the whole record with its padding, a multiple of [`ALIGN`].
    pub len: usize,
    /// It is the first record of a batch: everything before it was synced before it was written.
    pub batch_start: bool,
    /// It is a mark: always the first of a batch, and never shown to the owner.
    pub mark: bool,
}

/// A file of a stream. Ids only ever grow, and a file's name is its id: `{id:016x}.{extension}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The file.
    pub file: FileId,
    /// The first byte of the record in the file.
    pub offset: u64,
    /// Bytes of the whole record with its padding.
    pub len: u32,
}

/// A record on its way in: chunks which the writer puts one after the other and pads with zeros to [`ALIGN`].
#[derive(Clone, Debug, Default)]
pub struct Record(pub Vec<Bytes>);

impl Record {
    /// Bytes on disk, with the padding.
    #[must_use]
    pub fn padded_len(&self) -> usize {
        self.0
            .iter()
            .map(Bytes::len)
            .fold(0, usize::saturating_add)
            .checked_next_multiple_of(ALIGN)
            .unwrap_or(usize::MAX)
    }
}

impl From<Bytes> for Record {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

impl From<Vec<u8>> for Record {
    fn from(bytes: Vec<u8>) -> Self {
        Self(vec![bytes.into()])
    }
}

/// Who keeps the index of a stream's records. All calls come from `Stream::open`, in the order of the files and of the
/// records in them, and later from the writer thread; each must be quick, and none may wait for the stream.
pub trait Owner: Send + 'static {
    /// Asked in `open` of each file before it is read: up to where does the owner know what is in it, from an index file
    /// that is good and belongs to this very file? Only what follows is read. The file is durable up to there, and a record
    /// began or the file was sealed there: [`DurableRecords::start`] was such a place once, and `end` is one of a sealed
    /// file. No more than `limit`, which is where the records of a sealed file end.
    fn known_to(&mut self, file: FileId, limit: u64) -> u64 {
        let _ = (file, limit);
        HEADER_BYTES
    }

    /// A record found in `open`. It is durable. It may never have been acknowledged. Marks are not shown; what
    /// [`Self::first_records`] gave is.
    fn recovered(&mut self, at: Location, record: &[u8]);

    /// Bytes that were once durable, found unreadable in `open`: corruption, never a torn tail. They are kept as they are.
    fn damaged(&mut self, file: FileId, range: Range<u64>);

    /// What has to stand first in a new file, before any record of this batch (but after [`Self::durable`] told of all
    /// that lies in earlier files). At most `FIRST_RECORDS_BYTES_MAX` in all. It may be asked for twice for one file, after
    /// a crash.
    fn first_records(&mut self, file: FileId) -> Vec<Vec<u8>> {
        let _ = file;
        Vec::new()
    }

    /// These records were synced, just now; called before the callbacks of their submissions. Of a submission that spans
    /// two files, and then fails in the second, the first part is told of here and the submission fails all the same.
    fn durable(&mut self, records: DurableRecords<'_>);

    /// Nothing is appended to the file any more, and all up to `end` is synced. Also called in `open` after a sealed file
    /// was read.
    fn sealed(&mut self, file: FileId, end: u64) {
        let _ = (file, end);
    }
}

/// Records that were synced together, with their sealed bytes, borrowed from the writer.
#[derive(Clone, Copy)]
pub struct DurableRecords<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) start: u64,
    pub(crate) locations: &'a [Location],
}

impl<'a> DurableRecords<'a> {
    /// Each record in order.
    pub fn iter(&self) -> impl Iterator<Item = (Location, &'a [u8])> + use<'a> {
        let (bytes, start) = (self.bytes, self.start);
        self.locations.iter().map(move |at| {
            let from = usize::try_from(at.offset - start).expect("it lies in a buffer in memory");
            (*at, &bytes[from..from + at.len as usize])
        })
    }

    /// Where the first of them begins, or what [`Owner::first_records`] gave: all of the file before was synced earlier.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Where they lie.
    #[must_use]
    pub fn locations(&self) -> &'a [Location] {
        self.locations
    }
}
