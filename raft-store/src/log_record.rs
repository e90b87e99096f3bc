//! The bytes of the Raft log: what a record is, and how it is told from zeros, torn bytes, another file's bytes, and
//! records of another place.
//!
//! ```text
//! offset  bytes
//!      0      1  0xA7
//!      1      1  kind
//!      2      1  flags: 1 first of its batch
//!      3      1  0
//!      4      4  length of the payload
//!      8      4  crc32c of the payload
//!     12      4  crc32c of the salt (8 bytes: the file's, XOR the offset of the record in the file) and the 12 bytes above
//!     16      …  payload, then zeros up to a multiple of 8
//! ```
//! All integers are little-endian. Payloads by kind:
//!
//! ```text
//! 1 entry      log id {term u64, node u64, index u64}, kind u8 (0 blank, 1 commands, 2 membership), its bytes
//! 2 vote       {term u64, node u64, committed u8}
//! 3 truncate   {0} or {1, log id}: entries behind it are gone
//! 4 purge      log id: entries up to it are gone
//! 5 committed  {0} or {1, log id}
//! 6 mark       nothing
//! 7 start      what held when the file was begun, each {0} or {1, …}: vote, purge, committed, last log id
//! ```
//! Each file begins with a start, so the files before it can be removed once their entries are purged, and so a file
//! that is missing between others is noticed.

use bytes::Bytes;
use hayrick_disk::{ALIGN, Format, Head, Record};
use openraft::EntryPayload;

use crate::types::{
    DecodeError, ENTRY_HEAD_BYTES, Entry, Input, LogId, MEMBERSHIP, Membership, Vote, decode_entry,
    entry_parts, put_log_id, put_log_id_option, put_vote,
};

const MAGIC: u8 = 0xa7;
const ENTRY: u8 = 1;
const VOTE: u8 = 2;
const TRUNCATE: u8 = 3;
const PURGE: u8 = 4;
const COMMITTED: u8 = 5;
const MARK: u8 = 6;
const START: u8 = 7;
const FLAG_BATCH_START: u8 = 1;
const HEADER_BYTES: usize = 16;

/// The log's [`Format`].
pub(crate) struct LogFormat;

/// What held when a file was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Start {
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

/// A record's meaning; of an entry only where it stands, as its payload is not needed to find it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Entry(LogId),
    Vote(Vote),
    Truncate(Option<LogId>),
    Purge(LogId),
    Committed(Option<LogId>),
    Mark,
    Start(Start),
}

impl Format for LogFormat {
    const MAGIC: [u8; 8] = *b"hrickLOG";
    const VERSION: u16 = 1;
    const HEADER_LEN: usize = HEADER_BYTES;

    fn seal(record: &mut [u8], salt: u64, batch_start: bool) {
        record[2] = if batch_start { FLAG_BATCH_START } else { 0 };
        let crc = header_crc(record, salt);
        record[12..16].copy_from_slice(&crc.to_le_bytes());
    }

    fn mark() -> Vec<u8> {
        header(MARK, &[]).to_vec()
    }

    fn head(bytes: &[u8], salt: u64) -> Option<Head> {
        let known = bytes.len() >= HEADER_BYTES
            && bytes[0] == MAGIC
            && (ENTRY..=START).contains(&bytes[1])
            && bytes[2] <= FLAG_BATCH_START
            && bytes[3] == 0
            && u32_at(bytes, 12) == header_crc(bytes, salt);
        let len = HEADER_BYTES.checked_add(u32_at_checked(bytes, 4)? as usize)?;
        known.then_some(Head {
            len: len.checked_next_multiple_of(ALIGN)?,
            batch_start: bytes[2] & FLAG_BATCH_START != 0,
            mark: bytes[1] == MARK,
        })
    }

    fn verify(record: &[u8], salt: u64) -> bool {
        let Some(head) = Self::head(record, salt) else { return false };
        if record.len() != head.len {
            return false;
        }
        let (payload, padding) = record[HEADER_BYTES..].split_at(u32_at(record, 4) as usize);
        crc32c::crc32c(payload) == u32_at(record, 8) && padding.iter().all(|byte| *byte == 0)
    }
}

/// An entry's record; its payload is not copied here.
pub(crate) fn entry(entry: &Entry) -> Record {
    let (head, payload) = entry_parts(entry);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + ENTRY_HEAD_BYTES);
    bytes.extend_from_slice(&header(ENTRY, &[&head, &payload]));
    bytes.extend_from_slice(&head);
    Record(vec![bytes.into(), payload])
}

pub(crate) fn vote(vote: &Vote) -> Vec<u8> {
    let mut payload = Vec::new();
    put_vote(&mut payload, vote);
    small(VOTE, &payload)
}

pub(crate) fn truncate(after: Option<&LogId>) -> Vec<u8> {
    let mut payload = Vec::new();
    put_log_id_option(&mut payload, after);
    small(TRUNCATE, &payload)
}

pub(crate) fn purge(upto: &LogId) -> Vec<u8> {
    let mut payload = Vec::new();
    put_log_id(&mut payload, upto);
    small(PURGE, &payload)
}

pub(crate) fn committed(id: Option<&LogId>) -> Vec<u8> {
    let mut payload = Vec::new();
    put_log_id_option(&mut payload, id);
    small(COMMITTED, &payload)
}

pub(crate) fn start(start: &Start) -> Vec<u8> {
    let mut payload = vec![start.vote.is_some().into()];
    if let Some(vote) = &start.vote {
        put_vote(&mut payload, vote);
    }
    put_log_id_option(&mut payload, start.purged.as_ref());
    put_log_id_option(&mut payload, start.committed.as_ref());
    put_log_id_option(&mut payload, start.last.as_ref());
    small(START, &payload)
}

/// What a verified record means.
pub(crate) fn content(record: &[u8]) -> Result<Content, DecodeError> {
    let (kind, payload) = split(record)?;
    let mut input = Input(payload);
    let content = match kind {
        ENTRY => return Ok(Content::Entry(input.log_id()?)),
        VOTE => Content::Vote(input.vote()?),
        TRUNCATE => Content::Truncate(input.log_id_option()?),
        PURGE => Content::Purge(input.log_id()?),
        COMMITTED => Content::Committed(input.log_id_option()?),
        MARK => Content::Mark,
        START => Content::Start(Start {
            vote: if input.bool()? { Some(input.vote()?) } else { None },
            purged: input.log_id_option()?,
            committed: input.log_id_option()?,
            last: input.log_id_option()?,
        }),
        _ => return Err(DecodeError),
    };
    input.end()?;
    Ok(content)
}

/// The entry of a verified record.
pub(crate) fn read_entry(record: Vec<u8>) -> Result<Entry, DecodeError> {
    let (kind, payload) = split(&record)?;
    if kind != ENTRY || payload.len() < ENTRY_HEAD_BYTES {
        return Err(DecodeError);
    }
    let end = HEADER_BYTES + payload.len();
    let record = Bytes::from(record);
    let head = record.slice(HEADER_BYTES..HEADER_BYTES + ENTRY_HEAD_BYTES);
    decode_entry(&head, record.slice(HEADER_BYTES + ENTRY_HEAD_BYTES..end))
}

/// The membership of a verified record, if it is an entry that has one.
pub(crate) fn membership(record: &[u8]) -> Option<Membership> {
    // Only such a record is copied.
    let kind = *record.get(HEADER_BYTES + ENTRY_HEAD_BYTES - 1)?;
    if record[1] != ENTRY || kind != MEMBERSHIP {
        return None;
    }
    match read_entry(record.to_vec()).ok()?.payload {
        EntryPayload::Membership(membership) => Some(membership),
        _ => None,
    }
}

fn split(record: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    let len = u32_at_checked(record, 4).ok_or(DecodeError)? as usize;
    let payload = record.get(HEADER_BYTES..).and_then(|rest| rest.get(..len)).ok_or(DecodeError)?;
    Ok((record[1], payload))
}

fn small(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut record = header(kind, &[payload]).to_vec();
    record.extend_from_slice(payload);
    record.resize(record.len().next_multiple_of(ALIGN), 0);
    record
}

fn header(kind: u8, payload: &[&[u8]]) -> [u8; HEADER_BYTES] {
    let len: usize = payload.iter().map(|part| part.len()).sum();
    let crc = payload.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
    let mut header = [0; HEADER_BYTES];
    header[0] = MAGIC;
    header[1] = kind;
    header[4..8].copy_from_slice(&u32::try_from(len).expect("entries are bounded").to_le_bytes());
    header[8..12].copy_from_slice(&crc.to_le_bytes());
    header
}

fn header_crc(record: &[u8], salt: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &record[..12])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32_at_checked(bytes, at).expect("the caller checked the length")
}

fn u32_at_checked(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use hayrick_disk::salt_at;
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Commands, LeaderId};

    const SALT: u64 = 0x1122_3344_5566_7788;

    fn log_id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 2, node_id: 3 }, index)
    }

    fn commands(bytes: &[u8]) -> Entry {
        let payload = EntryPayload::Normal(Commands(Bytes::copy_from_slice(bytes)));
        Entry { log_id: log_id(9), payload }
    }

    /// As the stream does it: chunks behind each other, zeros, seal.
    fn sealed(record: Record, batch_start: bool) -> Vec<u8> {
        let mut bytes: Vec<u8> = record.0.concat();
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        LogFormat::seal(&mut bytes, SALT, batch_start);
        bytes
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn golden_bytes() {
        let start_record =
            Start { vote: Some(Vote::new_committed(2, 3)), last: Some(log_id(9)), ..Start::default() };
        let records = [
            ("entry", sealed(entry(&commands(b"abc")), true)),
            ("vote", sealed(vote(&Vote::new(2, 3)).into(), false)),
            ("truncate", sealed(truncate(Some(&log_id(9))).into(), false)),
            ("purge", sealed(purge(&log_id(9)).into(), false)),
            ("committed", sealed(committed(None).into(), false)),
            ("mark", sealed(LogFormat::mark().into(), true)),
            ("start", sealed(start(&start_record).into(), true)),
        ];
        let text: String = records.iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/log_records.txt");
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            std::fs::write(path, &text).expect("written");
        }
        assert_eq!(text, std::fs::read_to_string(path).expect("the golden bytes"));
    }

    #[test]
    fn another_files_bytes_and_any_flipped_bit_do_not_verify() {
        let good = sealed(entry(&commands(b"some commands")), true);
        assert!(LogFormat::verify(&good, SALT));
        assert!(!LogFormat::verify(&good, SALT + 1));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!LogFormat::verify(&bad, SALT), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn entries_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..200), batch_start: bool) {
            let want = commands(&bytes);
            let record = sealed(entry(&want), batch_start);
            prop_assert!(LogFormat::verify(&record, SALT));
            let head = LogFormat::head(&record[..HEADER_BYTES], SALT).expect("sealed");
            prop_assert_eq!((head.len, head.batch_start, head.mark), (record.len(), batch_start, false));
            prop_assert_eq!(content(&record).expect("own bytes"), Content::Entry(want.log_id));
            prop_assert_eq!(read_entry(record).expect("own bytes"), want);
        }

        #[test]
        fn a_record_at_another_place_of_its_file_never_verifies(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            salt: u64,
            // Up to 32 GiB.
            places in prop::collection::vec(0..1_u64 << 32, 2..50),
        ) {
            let mut record = sealed(entry(&commands(&bytes)), true);
            let own = 8 * places[0];
            LogFormat::seal(&mut record, salt_at(salt, own), true);
            for at in places.into_iter().map(|place| 8 * place) {
                prop_assert_eq!(LogFormat::verify(&record, salt_at(salt, at)), at == own, "from {} at {}", own, at);
            }
        }

        #[test]
        fn starts_round_trip(term: u64, node: u64, index in 0..u64::MAX, which in 0u8..16) {
            let id = LogId::new(LeaderId { term, node_id: node }, index);
            let want = Start {
                vote: (which & 1 != 0).then(|| Vote::new(term, node)),
                purged: (which & 2 != 0).then_some(id),
                committed: (which & 4 != 0).then_some(id),
                last: (which & 8 != 0).then_some(id),
            };
            prop_assert_eq!(content(&start(&want)).expect("own bytes"), Content::Start(want));
        }

        #[test]
        fn garbage_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..80), kind in 0u8..9) {
            let _ = LogFormat::head(&bytes, SALT);
            let _ = LogFormat::verify(&bytes, SALT);
            if bytes.len() > 1 { bytes[1] = kind; }
            let _ = content(&bytes);
            let _ = read_entry(bytes);
        }
    }
}
