//! Reading needles: one `pread` for a small one, verified whole; header, table and the blocks asked for of a large one.
//!
//! Owns how a needle is read and verified. Which other volume to ask when it is damaged is the reader's. Invariants: no
//! lock is held while the disk is read; no byte of data leaves that does not match its block's checksum, nor under
//! another needle's id.

use std::io;

use bytes::Bytes;
use hayrick_disk::{Location, Reader};
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::digest;
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::limits::{BLOCK_BYTES, KEY_BYTES_MAX, VERIFY_WHOLE_BYTES_MAX};
use hayrick_protocol::messages::volume::ReadError;
use hayrick_protocol::needle::{self, HEADER_BYTES, Header, Kind};

use crate::index::Known;
use crate::store::Store;

/// Records up to this are read at once: the largest object that is verified whole, with all that is around it.
const WHOLE_RECORD_BYTES_MAX: usize = VERIFY_WHOLE_BYTES_MAX + KEY_BYTES_MAX + 256;

/// A needle found, its header verified. It stays readable whatever becomes of the needle meanwhile.
pub struct Opened {
    id: NeedleId,
    reader: Reader,
    at: Location,
    header: Header,
    /// The block table; each row is proven by its block.
    table: Bytes,
    /// The data, if it was read and verified already.
    data: Option<Bytes>,
}

impl Opened {
    /// Where the cluster keeps it.
    pub fn placement(&self) -> PlacementId {
        self.header.placement
    }

    /// Bytes of the object.
    pub fn size(&self) -> u32 {
        self.header.data_len
    }

    /// Its block table, unverified but for the blocks that were read.
    pub fn table(&self) -> &Bytes {
        &self.table
    }

    /// Whether its data is in memory, so that reading blocks never waits for the disk.
    pub fn is_in_memory(&self) -> bool {
        self.data.is_some()
    }
}

impl Store {
    /// Bytes that [`Self::open_needle`] will read at once, and keep.
    pub(crate) fn bytes_to_open(&self, id: NeedleId) -> Result<usize, ReadError> {
        let bytes = self.locate(id)?.0.len as usize;
        Ok(if bytes <= WHOLE_RECORD_BYTES_MAX { bytes } else { HEADER_BYTES + KEY_BYTES_MAX })
    }

    /// Finds a needle. A small one is read and verified whole, by one `pread`; of a large one header and table.
    pub fn open_needle(&self, id: NeedleId) -> Result<Opened, ReadError> {
        let (at, reader) = self.locate(id)?;
        let opened = if at.len as usize <= WHOLE_RECORD_BYTES_MAX {
            open_whole(reader, at, id)
        } else {
            open_large(reader, at, id)
        };
        if opened.as_ref().is_ok_and(Opened::is_in_memory) {
            self.well(id, at);
        }
        opened.map_err(|error| self.bad(id, at, error))
    }

    /// Reads blocks of an opened needle, `blocks` of them at most, and verifies them.
    pub fn read_blocks(&self, opened: &Opened, first_block: u32, blocks: u32) -> Result<Bytes, ReadError> {
        let size = opened.size() as usize;
        let block_count = digest::block_count(size);
        let first = first_block as usize;
        // An empty object has no block; asking from its beginning is in order all the same.
        if first > 0 && first >= block_count {
            return Err(ReadError::Range);
        }
        let from = (first * BLOCK_BYTES).min(size);
        let to = first.saturating_add(blocks as usize).min(block_count).saturating_mul(BLOCK_BYTES).min(size);
        if let Some(data) = &opened.data {
            return Ok(data.slice(from..to));
        }
        let mut data = vec![0; to - from];
        let offset = opened.at.offset + (opened.header.data_at() + from) as u64;
        let read = opened.reader.read_exact_at(offset, &mut data).map_err(|error| disk_error(&error));
        read.map_err(|error| self.bad(opened.id, opened.at, error))?;
        if !digest::verify_blocks(&data, first, &opened.table) && !planted::is(Bug::ChecksumNotVerified) {
            return Err(self.bad(opened.id, opened.at, ReadError::Damaged));
        }
        Ok(data.into())
    }

    /// Where a needle lies, and its segment.
    pub(crate) fn locate(&self, id: NeedleId) -> Result<(Location, Reader), ReadError> {
        let mut looked_at = None;
        loop {
            let Some(Known::Live(at)) = self.shared.index.read().get(id) else {
                return Err(ReadError::NotFound);
            };
            match self.stream.reader(at.file) {
                Some(reader) => return Ok((at, reader)),
                // Its segment was compacted just now, and it lies elsewhere.
                None if looked_at != Some(at) => looked_at = Some(at),
                None => return Err(self.bad(id, at, ReadError::Damaged)),
            }
        }
    }

    /// All of the copy that lies here was read and verified.
    pub(crate) fn well(&self, id: NeedleId, at: Location) {
        if self.shared.damage.is_well(id, at) {
            tracing::info!(needle = %id, "a needle that was damaged can be read again");
        }
    }

    /// Remembers and logs that a needle could not be read.
    pub(crate) fn bad(&self, id: NeedleId, at: Location, error: ReadError) -> ReadError {
        if self.shared.report(id, at) == Some(true) {
            tracing::error!(needle = %id, %error, "a needle cannot be read here; other volumes hold it");
        }
        error
    }
}

fn open_whole(reader: Reader, at: Location, id: NeedleId) -> Result<Opened, ReadError> {
    let record = Bytes::from(record(&reader, at, id)?);
    let header = Header::peek(&record).ok_or(ReadError::Damaged)?;
    let data = record.slice(header.data_at()..header.table_at());
    let table = record.slice(header.table_at()..header.end());
    Ok(Opened { id, reader, at, header, table, data: Some(data) })
}

fn open_large(reader: Reader, at: Location, id: NeedleId) -> Result<Opened, ReadError> {
    let mut head = [0; HEADER_BYTES + KEY_BYTES_MAX];
    reader.read_exact_at(at.offset, &mut head).map_err(|error| disk_error(&error))?;
    let header = Header::peek(&head).ok_or(ReadError::Damaged)?;
    let key = &head[HEADER_BYTES..header.data_at()];
    if !is_needle(&header, at, id) || !needle::header_matches(&head, key, reader.salt_at(at.offset)) {
        return Err(ReadError::Damaged);
    }
    let mut table = vec![0; digest::table_bytes(header.data_len as usize)];
    let table_at = at.offset + header.table_at() as u64;
    reader.read_exact_at(table_at, &mut table).map_err(|error| disk_error(&error))?;
    Ok(Opened { id, reader, at, header, table: table.into(), data: None })
}

/// Reads a whole record and verifies everything in it.
pub(crate) fn record(reader: &Reader, at: Location, id: NeedleId) -> Result<Vec<u8>, ReadError> {
    let mut record = vec![0; at.len as usize];
    reader.read_exact_at(at.offset, &mut record).map_err(|error| disk_error(&error))?;
    let parse =
        if planted::is(Bug::ChecksumNotVerified) { needle::parse_unverified_data } else { needle::parse };
    match parse(&record, reader.salt_at(at.offset)) {
        Ok(needle) if is_needle(&needle.header, at, id) => Ok(record),
        _ => Err(ReadError::Damaged),
    }
}

/// Reads header and key of a record; `None` unless they verify.
pub(crate) fn start(reader: &Reader, at: Location, id: NeedleId) -> Option<Vec<u8>> {
    let mut start = vec![0; (HEADER_BYTES + KEY_BYTES_MAX).min(at.len as usize)];
    reader.read_exact_at(at.offset, &mut start).ok()?;
    let header = Header::peek(&start)?;
    let key = start.get(HEADER_BYTES..header.data_at())?;
    if !is_needle(&header, at, id) || !needle::header_matches(&start, key, reader.salt_at(at.offset)) {
        return None;
    }
    start.truncate(header.data_at());
    Some(start)
}

fn is_needle(header: &Header, at: Location, id: NeedleId) -> bool {
    header.kind == Kind::Needle && header.id == id && header.total_len() == at.len as usize
}

fn disk_error(error: &io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Damaged,
        _ => ReadError::Disk(error.to_string()),
    }
}
