//! The bytes of a backup: a header, the rows of one view in pieces, and an end that sums them up.
//!
//! ```text
//! header: offset  bytes
//!              0      8  magic "hrickBAK"
//!              8      2  version (1)
//!             10      6  zeros
//!             16     16  cluster
//!             32     24  the last entry that is in it: term u64, node u64, index u64
//!             56      8  when it was taken, ms since 1970
//!             64      4  partitions
//!             68      2  replicas u8, min_replicas u8
//!             70      2  zeros
//!             72      4  crc32c of the 72 bytes before
//! piece:       0      4  bytes of rows n, at most 32 MiB; 0 in the last one
//!              4      4  crc32c of what follows
//!              8      4  crc32c of the piece's number u64, from 0, and the 8 bytes before
//!             12      n  rows as `view` tells them, none of them cut
//! last piece: 12     32  rows u64, their bytes u64, xxh3-128 of them
//! ```
//! All integers are little-endian. Owns both directions. Invariants: whatever bytes come, decoding never panics and buffers a
//! piece at most; bytes that end too early are told from bytes that are wrong.

use hayrick_protocol::ClusterId;
use hayrick_protocol::cluster_map::ClusterConfig;
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use crate::inspect::EntryId;
use crate::store::TableId;
use crate::types::Input;
use crate::view::take_row;

const MAGIC: &[u8; 8] = b"hrickBAK";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 76;
const PIECE_HEAD_BYTES: usize = 12;
const END_BYTES: usize = 32;
/// A piece ends with the row that makes it a megabyte, and a row is bounded by the entry that made it.
pub(super) const PIECE_BYTES_MAX: usize = 32 << 20;

/// Why bytes are no backup that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BackupError {
    /// They are something else.
    #[error("it is no backup: it begins with \"{0}\"")]
    OtherKind(String),
    /// A later version made it.
    #[error("it has format version {0}, and this build knows 1: use the newer build")]
    LaterVersion(u16),
    /// They end too early.
    #[error("it was cut off: it ends after {0} bytes, and a whole backup has an end that says so")]
    Cut(u64),
    /// They are not what was written.
    #[error("it is damaged at byte {at}: {what}")]
    Damaged {
        /// Where the part begins that does not verify.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

/// What a backup says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What was fixed when the cluster was formed.
    pub config: ClusterConfig,
    /// The last entry that is in it.
    pub applied: EntryId,
    /// When it was taken, in milliseconds since 1970, by the clock of the master.
    pub taken_ms: u64,
}

/// What all of it adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Rows of all tables.
    pub rows: u64,
    /// Their bytes, heads and all.
    pub bytes: u64,
    /// xxh3-128 of them: the state hash at that entry.
    pub hash: u128,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.config.cluster.0);
        for number in [self.applied.term, self.applied.node, self.applied.index, self.taken_ms] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.config.partitions.to_le_bytes());
        out.extend_from_slice(&[self.config.replicas, self.config.min_replicas, 0, 0]);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let (fields, crc) = bytes.split_at(HEADER_BYTES - 4);
        if Input(crc).u32().ok()? != crc32c::crc32c(fields) {
            return None;
        }
        let mut input = Input(&fields[16..]);
        let cluster = ClusterId(input.bytes(16).ok()?.try_into().ok()?);
        let (term, node, index) = (input.u64().ok()?, input.u64().ok()?, input.u64().ok()?);
        let (taken_ms, partitions) = (input.u64().ok()?, input.u32().ok()?);
        let (replicas, min_replicas) = (input.u8().ok()?, input.u8().ok()?);
        let config = ClusterConfig { cluster, partitions, replicas, min_replicas };
        Some(Self { config, applied: EntryId { term, node, index }, taken_ms })
    }
}

/// What makes a sum, row by row.
#[derive(Default)]
pub(super) struct Summing {
    rows: u64,
    bytes: u64,
    hasher: Box<Xxh3>,
}

impl Summing {
    /// Counts whole rows; how many objects are among them. `None` if they do not parse.
    pub(super) fn add(&mut self, rows: &[u8]) -> Option<u64> {
        let mut input = Input(rows);
        let mut objects = 0;
        while let Some(row) = take_row(&mut input).ok()? {
            self.rows += 1;
            objects += u64::from(row.table == TableId::Objects);
        }
        self.bytes += rows.len() as u64;
        self.hasher.update(rows);
        Some(objects)
    }

    pub(super) fn sum(&self) -> Sum {
        Sum { rows: self.rows, bytes: self.bytes, hash: self.hasher.digest128() }
    }
}

/// A piece with these rows.
pub(super) fn piece(number: u64, rows: &[u8]) -> Vec<u8> {
    let len = u32::try_from(rows.len()).expect("pieces are bounded");
    framed(number, len, rows)
}

/// The last piece.
pub(super) fn end(number: u64, sum: &Sum) -> Vec<u8> {
    let mut payload = [sum.rows.to_le_bytes(), sum.bytes.to_le_bytes()].concat();
    payload.extend_from_slice(&sum.hash.to_le_bytes());
    framed(number, 0, &payload)
}

fn framed(number: u64, len: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PIECE_HEAD_BYTES + payload.len());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let crc = head_crc(number, &out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
    out
}

fn head_crc(number: u64, head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), head)
}

/// What comes next in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// What it says of itself; the first part.
    Header(Header),
    /// Rows, verified.
    Rows(Vec<u8>),
    /// Its end, verified: nothing follows.
    End(Sum),
}

/// Takes a backup apart as its bytes come.
#[derive(Default)]
pub struct Decoder {
    waiting: Vec<u8>,
    /// Bytes that were taken apart.
    at: u64,
    header: Option<Header>,
    number: u64,
    summing: Summing,
    objects: u64,
    end: Option<Sum>,
}

impl Decoder {
    /// Takes bytes in; [`Self::next`] has to be called until there is nothing, before the next ones come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next part; none if more bytes are needed for it.
    pub fn next_part(&mut self) -> Result<Option<Part>, BackupError> {
        if self.end.is_some() {
            return if self.waiting.is_empty() {
                Ok(None)
            } else {
                Err(self.damaged("it ends there, and more bytes follow"))
            };
        }
        if self.header.is_none() { self.header() } else { self.piece() }
    }

    /// What it was, when no more bytes come: what it said of itself, what it added up to, and the objects in it.
    pub fn finish(self) -> Result<(Header, Sum, u64), BackupError> {
        match (self.header, self.end) {
            (Some(header), Some(sum)) => Ok((header, sum, self.objects)),
            _ => Err(BackupError::Cut(self.at + self.waiting.len() as u64)),
        }
    }

    fn header(&mut self) -> Result<Option<Part>, BackupError> {
        let begins = &self.waiting[..self.waiting.len().min(MAGIC.len())];
        if !MAGIC.starts_with(begins) {
            return Err(BackupError::OtherKind(begins.escape_ascii().to_string()));
        }
        let Some(bytes) = self.waiting.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version > VERSION {
            return Err(BackupError::LaterVersion(version));
        }
        let header =
            Header::decode(bytes).ok_or_else(|| self.damaged("the header does not match its checksum"))?;
        self.header = Some(header);
        self.took(HEADER_BYTES);
        Ok(Some(Part::Header(header)))
    }

    fn piece(&mut self) -> Result<Option<Part>, BackupError> {
        let Some(head) = self.waiting.first_chunk::<PIECE_HEAD_BYTES>() else { return Ok(None) };
        let number =
            |from: usize| u32::from_le_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
        let (len, crc, own) = (number(0) as usize, number(4), number(8));
        if own != head_crc(self.number, &head[..8]) || len > PIECE_BYTES_MAX {
            return Err(
                self.damaged("the size and the checksum of a block of rows are to be there, and are not")
            );
        }
        let is_end = len == 0;
        let bytes = PIECE_HEAD_BYTES + if is_end { END_BYTES } else { len };
        let Some(payload) = self.waiting.get(PIECE_HEAD_BYTES..bytes) else { return Ok(None) };
        if crc32c::crc32c(payload) != crc {
            return Err(self.damaged("the block of rows that begins there does not match its checksum"));
        }
        let part = if is_end { self.take_end(bytes)? } else { self.take_rows(bytes)? };
        self.number += 1;
        self.took(bytes);
        Ok(Some(part))
    }

    fn take_rows(&mut self, bytes: usize) -> Result<Part, BackupError> {
        let rows = self.waiting[PIECE_HEAD_BYTES..bytes].to_vec();
        let objects = self.summing.add(&rows).ok_or_else(|| {
            self.damaged("the block that begins there is whole, and holds no rows of an index")
        })?;
        self.objects += objects;
        Ok(Part::Rows(rows))
    }

    fn take_end(&mut self, bytes: usize) -> Result<Part, BackupError> {
        let sum = self.summing.sum();
        if self.waiting[..bytes] != end(self.number, &sum) {
            return Err(self.damaged("the rows before it are not those that the end sums up"));
        }
        self.end = Some(sum);
        Ok(Part::End(sum))
    }

    fn took(&mut self, bytes: usize) {
        self.waiting.drain(..bytes);
        self.at += bytes as u64;
    }

    fn damaged(&self, what: &'static str) -> BackupError {
        BackupError::Damaged { at: self.at, what }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        let config =
            ClusterConfig { cluster: ClusterId([9; 16]), partitions: 4096, replicas: 3, min_replicas: 2 };
        Header { config, applied: EntryId { term: 7, node: 2, index: 812 }, taken_ms: 1_700_000_000_000 }
    }

    /// One object's row, as `view` tells it.
    fn row(key: &[u8]) -> Vec<u8> {
        let len = u32::try_from(key.len()).expect("small").to_le_bytes();
        [&[1], &len[..], &[3, 0, 0, 0], key, b"val"].concat()
    }

    fn backup(pieces: &[Vec<u8>]) -> Vec<u8> {
        let mut summing = Summing::default();
        let mut bytes = header().encode();
        for (number, rows) in (0..).zip(pieces) {
            summing.add(rows).expect("whole rows");
            bytes.extend(piece(number, rows));
        }
        bytes.extend(end(pieces.len() as u64, &summing.sum()));
        bytes
    }

    fn decode(bytes: &[u8], at_once: usize) -> Result<(Header, Sum, u64, Vec<u8>), BackupError> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for bytes in bytes.chunks(at_once) {
            decoder.feed(bytes);
            while let Some(part) = decoder.next_part()? {
                if let Part::Rows(rows) = part {
                    found.extend(rows);
                }
            }
        }
        decoder.finish().map(|(header, sum, objects)| (header, sum, objects, found))
    }

    fn example() -> Vec<u8> {
        backup(&[[row(b"a"), row(b"b")].concat(), row(b"c")])
    }

    #[test]
    fn golden_bytes() {
        let hex: String = example().iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("backup {hex}\n");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/backup.txt");
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            std::fs::write(path, &text).expect("written");
        }
        assert_eq!(text, std::fs::read_to_string(path).expect("the golden bytes"));
    }

    #[test]
    fn what_is_cut_anywhere_is_told_from_what_is_damaged() {
        let whole = example();
        for end in 0..whole.len() {
            assert_eq!(decode(&whole[..end], 7).expect_err("it was cut"), BackupError::Cut(end as u64));
        }
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = decode(&bad, 64).expect_err("a bit was flipped");
            assert!(!matches!(error, BackupError::Cut(_)), "bit {bit}: {error}");
        }
        let longer = [&whole[..], b"x"].concat();
        assert!(matches!(decode(&longer, 9), Err(BackupError::Damaged { .. })));
    }

    #[test]
    fn damage_is_told_by_its_place_in_words_of_the_file() {
        let (whole, head) = (example(), HEADER_BYTES);
        let first = [row(b"a"), row(b"b")].concat().len() + PIECE_HEAD_BYTES;
        let second = row(b"c").len() + PIECE_HEAD_BYTES;
        let told = |at: usize| {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            decode(&bad, 64).expect_err("a bit was flipped").to_string()
        };
        let damaged = |at: usize, what: &str| format!("it is damaged at byte {at}: {what}");
        assert_eq!(told(70), damaged(0, "the header does not match its checksum"));
        let block = "the block of rows that begins there does not match its checksum";
        assert_eq!(told(head + PIECE_HEAD_BYTES), damaged(head, block));
        assert_eq!(told(head + first + PIECE_HEAD_BYTES + 1), damaged(head + first, block));
        let size = "the size and the checksum of a block of rows are to be there, and are not";
        assert_eq!(told(head + first + second), damaged(head + first + second, size));
        let longer = decode(&[&whole[..], b"x"].concat(), 64).expect_err("it goes on").to_string();
        assert_eq!(longer, damaged(whole.len(), "it ends there, and more bytes follow"));
    }

    #[test]
    fn pieces_that_are_sound_but_not_in_their_place_are_seen() {
        let (first, second) = (row(b"a"), row(b"b"));
        let (whole, head) = (backup(&[first.clone(), second]), HEADER_BYTES);
        let len = PIECE_HEAD_BYTES + first.len();
        let swapped = [
            &whole[..head],
            &whole[head + len..head + 2 * len],
            &whole[head..head + len],
            &whole[head + 2 * len..],
        ];
        assert!(matches!(decode(&swapped.concat(), 64), Err(BackupError::Damaged { .. })));
        let missing = [&whole[..head + len], &whole[head + 2 * len..]].concat();
        assert!(matches!(decode(&missing, 64), Err(BackupError::Damaged { .. })));
    }

    #[test]
    fn something_else_and_a_later_version_are_refused_by_name() {
        let other = decode(b"hayindex and more", 4).expect_err("something else");
        assert!(other.to_string().contains("no backup: it begins with \"hayi\""), "{other}");
        let mut later = example();
        later[8] = 2;
        assert_eq!(decode(&later, 999), Err(BackupError::LaterVersion(2)));
    }

    proptest! {
        #[test]
        fn backups_round_trip_however_they_come(
            keys in prop::collection::vec(prop::collection::vec("[a-z]{1,9}", 1..5), 0..5), at_once in 1usize..200,
        ) {
            let rows = |keys: &Vec<String>| keys.iter().flat_map(|key| row(key.as_bytes())).collect::<Vec<u8>>();
            let pieces: Vec<Vec<u8>> = keys.iter().map(rows).collect();
            let (found, sum, objects, bytes) = decode(&backup(&pieces), at_once).expect("own bytes");
            prop_assert_eq!(found, header());
            prop_assert_eq!(bytes, pieces.concat());
            let count: usize = keys.iter().map(Vec::len).sum();
            prop_assert_eq!((sum.rows, objects), (count as u64, count as u64));
        }

        #[test]
        fn garbage_never_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..300), at_once in 1usize..64, keep in 0usize..200,
        ) {
            let mut ruined = example();
            ruined.truncate(keep);
            ruined.extend(&bytes);
            let _ = decode(&ruined, at_once);
            let _ = decode(&bytes, at_once);
        }

        #[test]
        fn rows_that_do_not_parse_are_damage(bytes in prop::collection::vec(any::<u8>(), 1..60)) {
            let mut ruined = header().encode();
            ruined.extend(piece(0, &bytes));
            let _ = decode(&ruined, 16);
        }
    }
}
