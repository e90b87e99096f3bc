//! One file of a stream: its header block, and its bytes behind that, preallocated.
//!
//! ```text
//! 0     magic[8]  version u16  0[6]  id u64  salt u64  capacity u64  crc32c u32      (little-endian)
//! 2048  "hayseal\0"  id u64  end u64  crc32c-with-salt u32                           (zeros until sealed)
//! 2560  "haygone\0"  id u64  crc32c-with-salt u32                                    (zeros until it is to be removed)
//! 4096  records, 8-aligned, then zeros up to the capacity
//! ```
//!
//! The first 44 bytes keep this form in every later version, so that a later version is told from damage. The seal is
//! written once all before `end` is synced: it proves the records before it, as a mark does. A file that says it is gone is
//! gone, whether or not the removal of its name outlived a crash: nothing in it counts any more.
//!
//! What the records are, and when they are synced, is left to the writer. The invariant: zeroing ahead and an append
//! never touch the same bytes at once, and nothing is zeroed that was appended.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::disk::{Disk, File};
use crate::format::{FileId, Format, salt_at};
use crate::limits::ZERO_WRITE_BYTES;

/// Bytes of the header block: where the records of a file begin.
pub const HEADER_BYTES: u64 = 4096;

const HEADER_FIELDS: usize = 40;
const SEAL_OFFSET: usize = 2048;
const SEAL_MAGIC: [u8; 8] = *b"hayseal\0";
const SEAL_FIELDS: usize = 24;

/// In a sector of its own, so that it cannot tear the seal.
const GONE_OFFSET: usize = 2560;
const GONE_MAGIC: [u8; 8] = *b"haygone\0";
const GONE_FIELDS: usize = 16;

/// Bytes of the header block that are ever written.
pub(crate) const HEADER_USED: usize = GONE_OFFSET + 512;

/// What the header block of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: FileId,
    pub(crate) salt: u64,
    pub(crate) capacity: u64,
}

/// Why a header block is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    Damaged,
    LaterVersion(u16),
}

impl Header {
    pub(crate) fn encode<F: Format>(&self) -> [u8; HEADER_FIELDS + 4] {
        let mut block = [0; HEADER_FIELDS + 4];
        block[..8].copy_from_slice(&F::MAGIC);
        block[8..10].copy_from_slice(&F::VERSION.to_le_bytes());
        block[16..24].copy_from_slice(&self.id.0.to_le_bytes());
        block[24..32].copy_from_slice(&self.salt.to_le_bytes());
        block[32..40].copy_from_slice(&self.capacity.to_le_bytes());
        let crc = crc32c::crc32c(&block[..HEADER_FIELDS]);
        block[HEADER_FIELDS..].copy_from_slice(&crc.to_le_bytes());
        block
    }

    pub(crate) fn decode<F: Format>(block: &[u8]) -> Result<Self, HeaderError> {
        let fields = block.get(..HEADER_FIELDS).ok_or(HeaderError::Damaged)?;
        let crc = block.get(HEADER_FIELDS..HEADER_FIELDS + 4).ok_or(HeaderError::Damaged)?;
        if fields[..8] != F::MAGIC || crc != crc32c::crc32c(fields).to_le_bytes() {
            return Err(HeaderError::Damaged);
        }
        let (header, version) = Self::fields(block).ok_or(HeaderError::Damaged)?;
        if version > F::VERSION {
            return Err(HeaderError::LaterVersion(version));
        }
        if header.capacity <= HEADER_BYTES { Err(HeaderError::Damaged) } else { Ok(header) }
    }

    /// The fields as they stand, with the version: nothing is verified.
    pub(crate) fn fields(block: &[u8]) -> Option<(Self, u16)> {
        let fields = block.get(..HEADER_FIELDS)?;
        let header =
            Self { id: FileId(u64_at(fields, 16)), salt: u64_at(fields, 24), capacity: u64_at(fields, 32) };
        Some((header, u16::from_le_bytes([fields[8], fields[9]])))
    }
}

fn encode_seal(id: FileId, salt: u64, end: u64) -> [u8; SEAL_FIELDS + 4] {
    let mut seal = [0; SEAL_FIELDS + 4];
    seal[..8].copy_from_slice(&SEAL_MAGIC);
    seal[8..16].copy_from_slice(&id.0.to_le_bytes());
    seal[16..24].copy_from_slice(&end.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&seal[..SEAL_FIELDS]), &salt.to_le_bytes());
    seal[SEAL_FIELDS..].copy_from_slice(&crc.to_le_bytes());
    seal
}

/// Whether there is a seal, good or not.
pub(crate) fn has_seal(block: &[u8]) -> bool {
    block.iter().skip(SEAL_OFFSET).take(SEAL_FIELDS + 4).any(|byte| *byte != 0)
}

/// The end that a seal names, if there is a good one.
pub(crate) fn decode_seal(block: &[u8], header: &Header) -> Option<u64> {
    let seal = block.get(SEAL_OFFSET..SEAL_OFFSET + SEAL_FIELDS + 4)?;
    let end = u64_at(seal, 16);
    let good = seal == encode_seal(header.id, header.salt, end);
    (good && (HEADER_BYTES..=header.capacity).contains(&end)).then_some(end)
}

fn encode_gone(id: FileId, salt: u64) -> [u8; GONE_FIELDS + 4] {
    let mut gone = [0; GONE_FIELDS + 4];
    gone[..8].copy_from_slice(&GONE_MAGIC);
    gone[8..16].copy_from_slice(&id.0.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&gone[..GONE_FIELDS]), &salt.to_le_bytes());
    gone[GONE_FIELDS..].copy_from_slice(&crc.to_le_bytes());
    gone
}

/// Whether the file says that it is gone; `None` if what stands there says nothing.
pub(crate) fn decode_gone(block: &[u8], header: &Header) -> Option<bool> {
    match block.get(GONE_OFFSET..GONE_OFFSET + GONE_FIELDS + 4) {
        Some(gone) if gone == encode_gone(header.id, header.salt) => Some(true),
        Some(gone) if gone.iter().any(|byte| *byte != 0) => None,
        _ => Some(false),
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// An open file of a stream.
pub(crate) struct AppendFile {
    header: Header,
    path: PathBuf,
    file: Arc<dyn File>,
    /// All before it is durable.
    end: AtomicU64,
    sealed: AtomicBool,
    region: Mutex<Region>,
    zeroing_ended: Condvar,
}

/// Who may write where.
#[derive(Debug, Default)]
struct Region {
    /// Appends were begun up to here.
    appended_to: u64,
    /// Zeroing needs to look only behind here.
    zeroed_to: u64,
    /// Is being zeroed right now.
    zeroing: Option<Range<u64>>,
}

/// What one look at a header block came to.
enum HeaderRead {
    /// With the end that the seal names, if it is good.
    Good {
        header: Header,
        seal: Option<u64>,
        is_gone: bool,
        is_whole: bool,
    },
    Bad(HeaderError),
    Unreadable(io::Error),
}

impl HeaderRead {
    /// Whether there is nothing wrong with it. (What looks like a later version has a checksum that says so.)
    fn is_sound(&self) -> bool {
        matches!(self, Self::Good { is_whole: true, .. } | Self::Bad(HeaderError::LaterVersion(_)))
    }
}

fn read_header<F: Format>(file: &dyn File, len: u64, id: FileId) -> HeaderRead {
    let mut block = vec![0; HEADER_USED.min(usize::try_from(len).unwrap_or(HEADER_USED))];
    if let Err(error) = file.read_exact_at(&mut block, 0) {
        return HeaderRead::Unreadable(error);
    }
    match Header::decode::<F>(&block) {
        Ok(header) if header.id == id => {
            let (seal, gone) = (decode_seal(&block, &header), decode_gone(&block, &header));
            let is_whole = gone.is_some() && (seal.is_some() || !has_seal(&block));
            HeaderRead::Good { header, seal, is_gone: gone == Some(true), is_whole }
        }
        Ok(_) => HeaderRead::Bad(HeaderError::Damaged),
        Err(error) => HeaderRead::Bad(error),
    }
}

/// A file found at start.
pub(crate) enum Loaded {
    Good(Box<AppendFile>),
    Bad(HeaderError),
    /// It says so itself.
    Gone,
}

impl AppendFile {
    /// Makes a file under a temporary name, allocates it, and gives it its name only when header and length are durable:
    /// a file that has its name is whole.
    pub(crate) fn create<F: Format>(
        disk: &dyn Disk,
        path: PathBuf,
        id: FileId,
        capacity: u64,
    ) -> io::Result<Self> {
        let header = Header { id, salt: disk.random(), capacity };
        let mut temporary = path.clone().into_os_string();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let file = match disk.create(&temporary) {
            // Left behind by an earlier try.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(&temporary)?;
                disk.create(&temporary)?
            }
            created => created?,
        };
        let made = file
            .allocate(0, capacity)
            .and_then(|()| file.write_all_at(&header.encode::<F>(), 0))
            .and_then(|()| file.sync_all())
            .and_then(|()| disk.rename(&temporary, &path));
        if let Err(error) = made {
            // Best effort: what stays behind is removed at the next try, or the next start.
            let _ = disk.remove(&temporary);
            return Err(error);
        }
        if let Err(error) = disk.sync_dir(crate::disk::parent_of(&path)) {
            // Best effort: should the name stay, it is found at the next start as the name of an empty file.
            let _ = disk.remove(&path);
            return Err(error);
        }
        Ok(Self::new(header, path, file, HEADER_BYTES, false))
    }

    /// Opens a file by its name; a header that is damaged, unreadable, or of another file, is an answer and not an error.
    pub(crate) fn load<F: Format>(disk: &dyn Disk, path: &Path, id: FileId) -> io::Result<Loaded> {
        let file = disk.open(path)?;
        let len = file.len()?;
        // A disk that answers wrongly once is asked again: without its header a file hides all that is in it.
        let first = read_header::<F>(file.as_ref(), len, id);
        let read = if first.is_sound() { first } else { read_header::<F>(file.as_ref(), len, id) };
        let (mut header, seal) = match read {
            HeaderRead::Good { is_gone: true, .. } => return Ok(Loaded::Gone),
            HeaderRead::Good { header, seal, .. } => (header, seal),
            HeaderRead::Bad(error) => return Ok(Loaded::Bad(error)),
            HeaderRead::Unreadable(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot read the header of an append file");
                return Ok(Loaded::Bad(HeaderError::Damaged));
            }
        };
        // A file that was cut by a stranger is not written to behind its end, where nothing is allocated.
        header.capacity = header.capacity.min(len);
        let end = seal.unwrap_or(HEADER_BYTES);
        Ok(Loaded::Good(Box::new(Self::new(header, path.to_owned(), file, end, seal.is_some()))))
    }

    fn new(header: Header, path: PathBuf, file: Arc<dyn File>, end: u64, sealed: bool) -> Self {
        let region = Region { appended_to: end, zeroed_to: end, zeroing: None };
        Self {
            header,
            path,
            file,
            end: AtomicU64::new(end),
            sealed: AtomicBool::new(sealed),
            region: Mutex::new(region),
            zeroing_ended: Condvar::new(),
        }
    }

    pub(crate) fn id(&self) -> FileId {
        self.header.id
    }

    pub(crate) fn salt(&self) -> u64 {
        self.header.salt
    }

    /// The salt of the record at an offset.
    pub(crate) fn salt_at(&self, offset: u64) -> u64 {
        salt_at(self.header.salt, offset)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.header.capacity
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &dyn File {
        self.file.as_ref()
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Says up to where the file is durable, once that is known or was brought about.
    pub(crate) fn set_end(&self, end: u64) {
        let mut region = self.region.lock();
        region.appended_to = end;
        region.zeroed_to = region.zeroed_to.max(end);
        self.end.store(end, Ordering::Release);
    }

    pub(crate) fn set_sealed(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    /// Writes a run of records, and waits for a piece that is being zeroed under it, if any. Not durable yet.
    pub(crate) fn write_run(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let mut region = self.region.lock();
        while region.zeroing.as_ref().is_some_and(|piece| piece.start < end) {
            self.zeroing_ended.wait(&mut region);
        }
        region.appended_to = region.appended_to.max(end);
        drop(region);
        self.file.write_all_at(bytes, offset)
    }

    /// Writes the seal; the caller syncs, and then says `set_sealed`.
    pub(crate) fn write_seal(&self, end: u64) -> io::Result<()> {
        self.file.write_all_at(&encode_seal(self.id(), self.salt(), end), SEAL_OFFSET as u64)
    }

    /// Says that nothing in it counts any more; the caller syncs, and then removes it. Who reads it goes on.
    pub(crate) fn write_gone(&self) -> io::Result<()> {
        self.file.write_all_at(&encode_gone(self.id(), self.salt()), GONE_OFFSET as u64)
    }

    /// Takes away what there may be of a seal, because records are to be appended behind it: one that could not be read at
    /// start may well be read at the next, and would hide them. The caller syncs.
    pub(crate) fn unseal(&self) -> io::Result<()> {
        self.file.write_all_at(&[0; SEAL_FIELDS + 4], SEAL_OFFSET as u64)
    }

    /// Whether the header block can be read, and says what it has to: the seal too, if there is one.
    pub(crate) fn has_good_header<F: Format>(&self) -> bool {
        // A file that is called sealed has its seal on the disk already.
        let end = self.is_sealed().then(|| self.end());
        let mut block = [0; HEADER_USED];
        let read = self.file.read_exact_at(&mut block, 0);
        read.is_ok()
            && Header::decode::<F>(&block).is_ok_and(|header| {
                let is_sealed = || decode_seal(&block, &header) == end;
                header.id == self.id() && header.salt == self.salt() && (end.is_none() || is_sealed())
            })
    }

    /// Zeroes the next piece, if it begins less than `lead` behind the append position; says whether there was one.
    ///
    /// It goes through a descriptor of its own, `file`: its sync must not take a failed write-back away from the writer's.
    pub(crate) fn zero_next_piece(&self, file: &dyn File, piece: u64, lead: u64) -> io::Result<bool> {
        let mut region = self.region.lock();
        // The piece that is being appended to is left alone, unless it is the first of the file: nobody waits for that.
        let gap = if region.appended_to == HEADER_BYTES { 0 } else { piece };
        let start = region.zeroed_to.max(region.appended_to + gap).next_multiple_of(HEADER_BYTES);
        let end = (start + piece).min(self.capacity());
        if start >= end || start >= region.appended_to + lead {
            return Ok(false);
        }
        region.zeroing = Some(start..end);
        drop(region);
        // Little by little: the sync of an append waits for all that is written and not synced, whoever wrote it.
        let mut parts = (start..end).step_by(ZERO_WRITE_BYTES);
        let result = parts.try_for_each(|part| {
            write_zeros(file, part..end.min(part + ZERO_WRITE_BYTES as u64))?;
            file.sync_data()
        });
        let mut region = self.region.lock();
        region.zeroing = None;
        region.zeroed_to = end;
        drop(region);
        self.zeroing_ended.notify_all();
        result.map(|()| true)
    }
}

/// Writes zeros over a range.
pub(crate) fn write_zeros(file: &dyn File, range: Range<u64>) -> io::Result<()> {
    static ZEROS: [u8; ZERO_WRITE_BYTES] = [0; ZERO_WRITE_BYTES];
    let mut position = range.start;
    while position < range.end {
        let piece = usize::try_from(range.end - position).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all_at(&ZEROS[..piece], position)?;
        position += piece as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        GONE_OFFSET, HEADER_BYTES, Header, HeaderError, decode_gone, decode_seal, encode_gone, encode_seal,
    };
    use crate::format::FileId;
    use crate::testing::Plain;

    const HEADER: Header = Header { id: FileId(7), salt: 0x0123_4567_89ab_cdef, capacity: 65536 };

    #[test]
    fn header_bytes_are_golden() {
        let bytes = HEADER.encode::<Plain>();
        assert_eq!(bytes[..8], *b"plaintst");
        assert_eq!(bytes[8..16], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..24], [7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..32], [0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01]);
        assert_eq!(bytes[32..40], [0, 0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(Header::decode::<Plain>(&bytes), Ok(HEADER));
    }

    #[test]
    fn any_flipped_bit_of_a_header_is_damage() {
        let good = HEADER.encode::<Plain>();
        for bit in 0..good.len() * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode::<Plain>(&bytes), Err(HeaderError::Damaged), "bit {bit}");
        }
        assert_eq!(Header::decode::<Plain>(&good[..20]), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = HEADER.encode::<Plain>();
        bytes[8] = 9;
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode::<Plain>(&bytes), Err(HeaderError::LaterVersion(9)));
    }

    #[test]
    fn a_seal_is_good_only_for_its_own_file() {
        let mut block = vec![0; 4096];
        assert_eq!(decode_seal(&block, &HEADER), None);
        block[2048..2048 + 28].copy_from_slice(&encode_seal(HEADER.id, HEADER.salt, HEADER_BYTES + 80));
        assert_eq!(decode_seal(&block, &HEADER), Some(HEADER_BYTES + 80));
        assert_eq!(decode_seal(&block, &Header { salt: 1, ..HEADER }), None);
        assert_eq!(decode_seal(&block, &Header { id: FileId(8), ..HEADER }), None);
        block[2048 + 16] ^= 1;
        assert_eq!(decode_seal(&block, &HEADER), None);
    }

    #[test]
    fn a_file_is_gone_only_by_its_own_word() {
        let mut block = vec![0; 4096];
        assert_eq!(decode_gone(&block, &HEADER), Some(false));
        assert_eq!(decode_gone(&block[..2048], &HEADER), Some(false), "a file that was cut");
        let gone = encode_gone(HEADER.id, HEADER.salt);
        assert_eq!(gone[..16], *b"haygone\0\x07\0\0\0\0\0\0\0");
        block[GONE_OFFSET..GONE_OFFSET + 20].copy_from_slice(&gone);
        assert_eq!(decode_gone(&block, &HEADER), Some(true));
        assert_eq!(decode_gone(&block, &Header { salt: 1, ..HEADER }), None);
        assert_eq!(decode_gone(&block, &Header { id: FileId(8), ..HEADER }), None);
        for bit in 0..20 * 8 {
            let mut block = block.clone();
            block[GONE_OFFSET + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_gone(&block, &HEADER), None, "bit {bit}");
        }
    }
}
