//! A needle's bytes, the same in memory, on the wire and on disk.
//!
//! ```text
//! offset  bytes
//!      0      2  magic 0x5248 ("HR")
//!      2      1  format version in the upper half (1), flags in the lower: 1 batch start, 2 mark,
//!                4 tombstone
//!      3      4  crc32c, salted, over the header without this field and over the key
//!      7      8  needle id
//!     15      4  placement id
//!     19      2  key length
//!     21      4  data length
//!     25      4  created at, seconds since 1970
//!     29      k  key
//!   29+k      d  data
//!      …    4·b  block table: crc32c of each 64 KiB of data
//!      …   0..7  zeros up to a multiple of 8
//! ```
//! All numbers are little-endian. That is at most 40 bytes besides key and data for an object of one block.
//!
//! Owns the layout and its checks. On the wire the salt is 0; a volume, having verified a needle, salts the header
//! anew with its segment's random number XOR the offset in the segment, so that zeros, recycled bytes, other segments'
//! bytes, and the needle itself at another place never parse. A
//! *mark* is a header with no key and no data and the id 0; it says that all before it was synced. A *tombstone* is a
//! header with no key and no data and the id of a needle; it says that the needle was dropped.
//! Invariant: `parse` accepts only what was written whole; it never panics and allocates nothing.

use bytes::Bytes;
use thiserror::Error;

use crate::digest;
use crate::ids::{NeedleId, PlacementId};
use crate::limits::{KEY_BYTES_MAX, OBJECT_BYTES_MAX};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 29;
/// Records begin at multiples of this.
pub const ALIGN: usize = 8;
/// The salt of a needle on the wire.
pub const WIRE_SALT: u64 = 0;

const MAGIC: [u8; 2] = *b"HR";
const FORMAT: u8 = 1;
const FLAG_BATCH_START: u8 = 1;
const FLAG_MARK: u8 = 2;
const FLAG_TOMBSTONE: u8 = 4;

/// A needle's header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which needle.
    pub id: NeedleId,
    /// Where the cluster keeps it.
    pub placement: PlacementId,
    /// Bytes of its key.
    pub key_len: u16,
    /// Bytes of its data.
    pub data_len: u32,
    /// Seconds since 1970, by the gateway's clock; for people, nothing is decided by it.
    pub created_s: u32,
    /// First record of a group commit: all before it was synced when it was written.
    pub batch_start: bool,
    /// What the record is.
    pub kind: Kind,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A needle.
    Needle,
    /// All before it was synced.
    Mark,
    /// The needle of this id was dropped.
    Tombstone,
}

impl Header {
    /// Offset of the data within the needle.
    pub fn data_at(&self) -> usize {
        HEADER_BYTES + usize::from(self.key_len)
    }

    /// Offset of the block table within the needle.
    pub fn table_at(&self) -> usize {
        self.data_at() + self.data_len as usize
    }

    /// Offset of the padding within the needle.
    pub fn end(&self) -> usize {
        self.table_at() + digest::table_bytes(self.data_len as usize)
    }

    /// Bytes of the whole needle with its padding.
    pub fn total_len(&self) -> usize {
        Self::total_len_of(self.key_len, self.data_len)
    }

    /// The same of a needle that holds so many bytes under a key of so many.
    pub fn total_len_of(key_len: u16, data_len: u32) -> usize {
        let end =
            HEADER_BYTES + usize::from(key_len) + data_len as usize + digest::table_bytes(data_len as usize);
        end.next_multiple_of(ALIGN)
    }

    /// The header's bytes, with the checksum for `salt`.
    pub fn encode(&self, key: &[u8], salt: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&MAGIC);
        let kind = match self.kind {
            Kind::Needle => 0,
            Kind::Mark => FLAG_MARK,
            Kind::Tombstone => FLAG_TOMBSTONE,
        };
        bytes[2] = FORMAT << 4 | kind | if self.batch_start { FLAG_BATCH_START } else { 0 };
        bytes[7..15].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[15..19].copy_from_slice(&self.placement.0.to_le_bytes());
        bytes[19..21].copy_from_slice(&self.key_len.to_le_bytes());
        bytes[21..25].copy_from_slice(&self.data_len.to_le_bytes());
        bytes[25..29].copy_from_slice(&self.created_s.to_le_bytes());
        let crc = header_crc(&bytes, key, salt);
        bytes[3..7].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// As [`Self::peek`], with a word on why not.
    pub fn read(bytes: &[u8]) -> Result<Self, NeedleError> {
        if let Some(header) = Self::peek(bytes) {
            return Ok(header);
        }
        match bytes {
            // Without its whole header nothing can be told of it.
            [m0, m1, flags, ..]
                if bytes.len() >= HEADER_BYTES && [*m0, *m1] == MAGIC && flags >> 4 != FORMAT =>
            {
                Err(NeedleError::Format(flags >> 4))
            }
            _ => Err(NeedleError::NoHeader),
        }
    }

    /// Reads the fields of a header whose checksum is not looked at yet (it covers the key, which lies behind).
    /// `None` when these bytes cannot begin a needle.
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if bytes[..2] != MAGIC || bytes[2] >> 4 != FORMAT {
            return None;
        }
        let kind = match bytes[2] & 0x0f & !FLAG_BATCH_START {
            0 => Kind::Needle,
            FLAG_MARK => Kind::Mark,
            FLAG_TOMBSTONE => Kind::Tombstone,
            _ => return None,
        };
        let header = Self {
            id: NeedleId(u64::from_le_bytes(bytes[7..15].try_into().expect("8 bytes"))),
            placement: PlacementId(u32::from_le_bytes(bytes[15..19].try_into().expect("4 bytes"))),
            key_len: u16::from_le_bytes(bytes[19..21].try_into().expect("2 bytes")),
            data_len: u32::from_le_bytes(bytes[21..25].try_into().expect("4 bytes")),
            created_s: u32::from_le_bytes(bytes[25..29].try_into().expect("4 bytes")),
            batch_start: bytes[2] & FLAG_BATCH_START != 0,
            kind,
        };
        let bare = header.key_len == 0 && header.data_len == 0;
        let fits = match kind {
            Kind::Needle => {
                header.id.0 != 0
                    && (1..=KEY_BYTES_MAX).contains(&usize::from(header.key_len))
                    && header.data_len as usize <= OBJECT_BYTES_MAX
            }
            Kind::Mark => header.id.0 == 0 && bare,
            Kind::Tombstone => header.id.0 != 0 && bare,
        };
        fits.then_some(header)
    }
}

/// A whole needle, verified, with its parts borrowed from the bytes it was parsed from.
#[derive(Debug, Clone, Copy)]
pub struct Needle<'a> {
    /// Its header.
    pub header: Header,
    /// Its key, as bytes: a volume does not look into it.
    pub key: &'a [u8],
    /// Its data.
    pub data: &'a [u8],
    /// Its block table.
    pub table: &'a [u8],
}

/// Why bytes are no needle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NeedleError {
    /// Magic, version or lengths are off.
    #[error(
        "these bytes do not begin with a needle's header, or its id or its lengths are beyond what there is"
    )]
    NoHeader,
    /// Another version of Hayrick made them.
    #[error(
        "the needle has format version {0}, and this build knows {FORMAT}: run the same version everywhere"
    )]
    Format(u8),
    /// The bytes end before the needle does.
    #[error("the needle is {needed} bytes long, but only {have} are there")]
    Short {
        /// Bytes of the whole needle.
        needed: usize,
        /// Bytes at hand.
        have: usize,
    },
    /// The header's checksum is off.
    #[error("the header of needle {0} does not match its checksum")]
    HeaderChecksum(NeedleId),
    /// A block's checksum is off.
    #[error("the data of needle {0} does not match its checksums")]
    DataChecksum(NeedleId),
}

/// Parses the needle at the start of `bytes` and verifies every checksum in it.
pub fn parse(bytes: &[u8], salt: u64) -> Result<Needle<'_>, NeedleError> {
    let needle = parse_unverified_data(bytes, salt)?;
    if digest::verify_blocks(needle.data, 0, needle.table) {
        Ok(needle)
    } else {
        Err(NeedleError::DataChecksum(needle.header.id))
    }
}

/// Parses the needle at the start of `bytes` and verifies its header, not its data: for who verifies the data
/// itself, block by block.
pub fn parse_unverified_data(bytes: &[u8], salt: u64) -> Result<Needle<'_>, NeedleError> {
    let header = Header::read(bytes)?;
    if bytes.len() < header.total_len() {
        return Err(NeedleError::Short { needed: header.total_len(), have: bytes.len() });
    }
    let key = &bytes[HEADER_BYTES..header.data_at()];
    if !header_matches(bytes, key, salt) {
        return Err(NeedleError::HeaderChecksum(header.id));
    }
    let data = &bytes[header.data_at()..header.table_at()];
    let table = &bytes[header.table_at()..header.end()];
    Ok(Needle { header, key, data, table })
}

/// Whether the header at the start of `bytes`, with the key behind it, matches its checksum.
pub fn header_matches(bytes: &[u8], key: &[u8], salt: u64) -> bool {
    bytes
        .first_chunk::<HEADER_BYTES>()
        .is_some_and(|header| header[3..7] == header_crc(header, key, salt).to_le_bytes())
}

/// Gives the needle (or mark) at the start of `record` the checksum for `salt` and the flag for its place in the
/// batch. The bytes were verified before: this vouches for them anew.
///
/// # Panics
/// When `record` does not begin with a header: the caller made or verified it.
pub fn seal(record: &mut [u8], salt: u64, batch_start: bool) {
    let header = Header { batch_start, ..Header::peek(record).expect("only needles and marks are sealed") };
    let encoded = header.encode(&record[HEADER_BYTES..header.data_at()], salt);
    record[..HEADER_BYTES].copy_from_slice(&encoded);
}

/// An unsealed mark, with its padding.
pub fn mark() -> Vec<u8> {
    bare(NeedleId(0), PlacementId(0), Kind::Mark)
}

/// An unsealed tombstone of `id`, with its padding.
pub fn tombstone(id: NeedleId, placement: PlacementId) -> Vec<u8> {
    bare(id, placement, Kind::Tombstone)
}

fn bare(id: NeedleId, placement: PlacementId, kind: Kind) -> Vec<u8> {
    let header = Header {
        id,
        placement,
        key_len: 0,
        data_len: 0,
        created_s: 0,
        batch_start: kind == Kind::Mark,
        kind,
    };
    let mut bytes = header.encode(&[], WIRE_SALT).to_vec();
    bytes.resize(header.total_len(), 0);
    bytes
}

/// A needle being made: everything behind the header, encoded once, so that a retry under another id only makes
/// another header.
#[derive(Debug, Clone)]
pub struct Body {
    /// Key, data, block table and padding.
    bytes: Bytes,
    key_len: u16,
    data_len: u32,
    crc: u32,
}

impl Body {
    /// Encodes `data` under `key`. `bytes` holds the key already and the data behind it: the body that was
    /// received is never copied.
    ///
    /// # Panics
    /// When `bytes` is shorter than the key, or key or data are over their limits: the caller took them in under
    /// those.
    pub fn new(mut bytes: Vec<u8>, key_len: usize) -> Self {
        let data_len = bytes.len().checked_sub(key_len).expect("the key lies before the data");
        assert!(
            (1..=KEY_BYTES_MAX).contains(&key_len),
            "a key has 1 to {KEY_BYTES_MAX} bytes, not {key_len}"
        );
        assert!(
            data_len <= OBJECT_BYTES_MAX,
            "an object has at most {OBJECT_BYTES_MAX} bytes, not {data_len}"
        );
        let table = digest::block_table(&bytes[key_len..]);
        bytes.extend_from_slice(&table);
        bytes.resize((HEADER_BYTES + bytes.len()).next_multiple_of(ALIGN) - HEADER_BYTES, 0);
        Self {
            bytes: bytes.into(),
            key_len: u16::try_from(key_len).expect("checked above"),
            data_len: u32::try_from(data_len).expect("checked above"),
            crc: digest::table_crc(&table),
        }
    }

    /// Bytes of the object.
    pub fn data_len(&self) -> u32 {
        self.data_len
    }

    /// The object's checksum, as the index holds it.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The object's bytes.
    pub fn data_bytes(&self) -> Bytes {
        let from = usize::from(self.key_len);
        self.bytes.slice(from..from + self.data_len as usize)
    }

    /// The needle in two pieces, as it goes over the wire: header, and all that follows it.
    pub fn with_header(&self, id: NeedleId, placement: PlacementId, created_s: u32) -> [Bytes; 2] {
        let header = Header {
            id,
            placement,
            key_len: self.key_len,
            data_len: self.data_len,
            created_s,
            batch_start: false,
            kind: Kind::Needle,
        };
        let key = &self.bytes[..usize::from(self.key_len)];
        [Bytes::copy_from_slice(&header.encode(key, WIRE_SALT)), self.bytes.clone()]
    }
}

/// crc32c over the salt, the header without its checksum, and the key.
fn header_crc(header: &[u8; HEADER_BYTES], key: &[u8], salt: u64) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &header[..3]);
    let crc = crc32c::crc32c_append(crc, &header[7..]);
    crc32c::crc32c_append(crc, key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(key: &[u8], data: &[u8], id: u64) -> Vec<u8> {
        let body = Body::new([key, data].concat(), key.len());
        body.with_header(NeedleId(id), PlacementId(3), 1_700_000_000).concat()
    }

    #[test]
    fn golden_bytes() {
        let bytes = encoded(b"cats/1", b"meow", 7 << 32 | 9);
        assert_eq!(
            hex::encode(&bytes),
            "4852108b81a91c09000000070000000300000006000400000000f15365636174732f31\
             6d656f77b2aacebb0000000000"
        );
    }

    #[test]
    fn overhead_is_at_most_40_bytes() {
        for data_len in 1..64 {
            let bytes = encoded(b"k", &vec![1; data_len], 1);
            assert!(bytes.len() - 1 - data_len <= 40);
            assert_eq!(bytes.len() % ALIGN, 0);
        }
    }

    #[test]
    fn a_mark_parses_as_a_mark_only_under_its_salt() {
        let mut bytes = mark();
        seal(&mut bytes, 77, true);
        assert_eq!(parse(&bytes, 77).expect("sealed under this salt").header.kind, Kind::Mark);
        assert!(parse(&bytes, 78).is_err());
    }

    #[test]
    fn a_tombstone_names_its_needle() {
        let mut bytes = tombstone(NeedleId(5), PlacementId(6));
        seal(&mut bytes, 77, true);
        let header = parse(&bytes, 77).expect("sealed under this salt").header;
        assert_eq!(
            (header.id, header.placement, header.kind),
            (NeedleId(5), PlacementId(6), Kind::Tombstone)
        );
        assert!(header.batch_start);
    }

    #[test]
    fn another_version_is_told_from_what_is_no_needle() {
        let mut bytes = encoded(b"k", b"data", 1);
        bytes[2] = 2 << 4;
        assert_eq!(Header::read(&bytes), Err(NeedleError::Format(2)));
        assert_eq!(parse(&bytes, WIRE_SALT).err(), Some(NeedleError::Format(2)));
        assert_eq!(Header::read(&bytes[..HEADER_BYTES - 1]), Err(NeedleError::NoHeader));
        bytes[0] = 0;
        assert_eq!(Header::read(&bytes), Err(NeedleError::NoHeader));
    }

    #[test]
    fn zeros_never_parse() {
        assert_eq!(parse(&[0; 4096], 0).err(), Some(NeedleError::NoHeader));
    }

    proptest! {
        #[test]
        fn needles_round_trip(key in "[a-z]{1,40}", data in prop::collection::vec(any::<u8>(), 0..200_000), id in 1u64.., salt: u64, start: bool) {
            let mut bytes = encoded(key.as_bytes(), &data, id);
            seal(&mut bytes, salt, start);
            let needle = parse(&bytes, salt).expect("what was encoded parses");
            prop_assert_eq!(needle.header.id, NeedleId(id));
            prop_assert_eq!(needle.header.batch_start, start);
            prop_assert_eq!((needle.key, needle.data), (key.as_bytes(), &data[..]));
            prop_assert_eq!(needle.header.total_len(), bytes.len());
        }

        #[test]
        fn a_flipped_bit_is_seen(data in prop::collection::vec(any::<u8>(), 0..300), at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = encoded(b"key", &data, 1);
            let at = at.index(Header::peek(&bytes).expect("own header").end());
            bytes[at] ^= 1 << bit;
            prop_assert!(parse(&bytes, WIRE_SALT).is_err(), "a flip at {} went unseen", at);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), salt: u64) {
            let mut bytes = bytes;
            prop_assert!(parse(&bytes, salt).is_err());
            if bytes.len() > 2 {
                bytes[..2].copy_from_slice(&MAGIC);
                bytes[2] = FORMAT << 4;
                prop_assert!(parse(&bytes, salt).is_err());
            }
        }
    }
}
