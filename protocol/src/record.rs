//! What the index holds for each key, laid out by hand: 51 bytes without user headers (the budget is 60).
//!
//! ```text
//! offset  bytes
//!      0      1  format version in the upper half (1), flags in the lower: 1 headers follow, 2 missing
//!      1      8  needle id
//!      9      4  placement id
//!     13      4  size
//!     17      4  crc32c of the block table
//!     21     16  MD5
//!     37      8  version
//!     45      6  modified, ms since 1970
//!     51      …  headers, if flagged: each {name code u8, (0: length u8, name), length u16, value}
//! ```
//! A garbage row is {flags u8: 1 doomed, 2 by a delete; key length u16; key; record}.
//!
//! Owns these bytes and which headers are kept. Leaves tables and transactions to `raft-store`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::{AppliedVersion, NeedleId, PlacementId};
use crate::key::ObjectKey;
use crate::limits::HEADERS_BYTES_MAX;

/// Bytes of a record without headers.
pub const RECORD_BYTES: usize = 51;

const FORMAT: u8 = 1;
const FLAG_HEADERS: u8 = 1;
const FLAG_MISSING: u8 = 2;
const FLAG_DOOMED: u8 = 1;
const FLAG_DELETED: u8 = 2;

/// Headers with a code of one byte: their index here plus one. Only ever append.
const KNOWN_HEADERS: [&str; 6] = [
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
];
const META_PREFIX: &str = "hayrick-meta-";

/// A live object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// The needle that holds its bytes.
    pub needle: NeedleId,
    /// Where that needle lies.
    pub placement: PlacementId,
    /// Bytes.
    pub size: u32,
    /// crc32c of the block table.
    pub crc: u32,
    /// MD5 of the bytes: the ETag.
    pub md5: [u8; 16],
    /// The change of the index that made it.
    pub version: AppliedVersion,
    /// When, in ms since 1970, by the gateway's clock.
    pub modified_ms: u64,
    /// No volume that was up had its needle when that was looked for: it counts for nothing that must be held, until a copy
    /// is found.
    pub missing: bool,
    /// Headers that are kept and returned.
    pub headers: Headers,
}

/// Kept headers: lower-case names from the kept set, visible-ASCII values, at most
/// [`HEADERS_BYTES_MAX`] together. Checked when they are decoded too: a record cannot hold others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(String, String)>")]
pub struct Headers(Vec<(String, String)>);

impl TryFrom<Vec<(String, String)>> for Headers {
    type Error = HeadersError;

    fn try_from(entries: Vec<(String, String)>) -> Result<Self, HeadersError> {
        Self::new(entries)
    }
}

/// Why headers are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeadersError {
    /// Over the limit.
    #[error("the kept headers have {0} bytes in names and values; at most {HEADERS_BYTES_MAX} are kept")]
    TooLarge(usize),
    /// Not one of the kept names.
    #[error("the header {0:?} is not one that is kept")]
    NotKept(String),
}

/// Whether a header with this lower-case name is kept.
pub fn is_kept_header(name: &str) -> bool {
    KNOWN_HEADERS.contains(&name) || (name.starts_with(META_PREFIX) && name.len() <= usize::from(u8::MAX))
}

impl Headers {
    /// Checks names and sizes.
    pub fn new(entries: Vec<(String, String)>) -> Result<Self, HeadersError> {
        let bytes: usize = entries.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > HEADERS_BYTES_MAX {
            return Err(HeadersError::TooLarge(bytes));
        }
        match entries.iter().find(|(name, _)| !is_kept_header(name)) {
            Some((name, _)) => Err(HeadersError::NotKept(name.clone())),
            None => Ok(Self(entries)),
        }
    }

    /// Names and values, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of the header with this lower-case name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A needle that an overwrite or delete made dead. Its key in the table is the version that killed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// The object it was.
    pub key: ObjectKey,
    /// Its last record.
    pub record: ObjectRecord,
    /// About to be reaped; cannot be undeleted.
    pub doomed: bool,
    /// Killed by a delete, not by an overwrite.
    pub by_delete: bool,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Shorter or longer than it says.
    #[error("the record's length is off")]
    Length,
    /// Written by another version.
    #[error("record format {0} is not known here")]
    Format(u8),
    /// Text that is not UTF-8, a key or a kept header.
    #[error("the record's text does not parse")]
    Text,
}

impl ObjectRecord {
    /// The bytes laid out above.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_BYTES);
        self.encode_into(&mut out);
        out
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        let headers = if self.headers.is_empty() { 0 } else { FLAG_HEADERS };
        let missing = if self.missing { FLAG_MISSING } else { 0 };
        out.push(FORMAT << 4 | headers | missing);
        out.extend_from_slice(&self.needle.0.to_le_bytes());
        out.extend_from_slice(&self.placement.0.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&self.md5);
        out.extend_from_slice(&self.version.0.to_le_bytes());
        out.extend_from_slice(&self.modified_ms.to_le_bytes()[..6]);
        for (name, value) in self.headers.iter() {
            match KNOWN_HEADERS.iter().position(|known| *known == name) {
                Some(at) => out.push(u8::try_from(at + 1).expect("few headers are known")),
                None => {
                    out.extend_from_slice(&[0, u8::try_from(name.len()).expect("checked in new")]);
                    out.extend_from_slice(name.as_bytes());
                }
            }
            out.extend_from_slice(&u16::try_from(value.len()).expect("checked in new").to_le_bytes());
            out.extend_from_slice(value.as_bytes());
        }
    }

    /// Reads what [`Self::encode`] made, all of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut input = Input(bytes);
        let first = input.take::<1>()?[0];
        if first >> 4 != FORMAT || first & 0x0f > (FLAG_HEADERS | FLAG_MISSING) {
            return Err(RecordError::Format(first));
        }
        let mut record = Self {
            needle: NeedleId(u64::from_le_bytes(input.take()?)),
            placement: PlacementId(u32::from_le_bytes(input.take()?)),
            size: u32::from_le_bytes(input.take()?),
            crc: u32::from_le_bytes(input.take()?),
            md5: input.take()?,
            version: AppliedVersion(u64::from_le_bytes(input.take()?)),
            modified_ms: input.u48()?,
            missing: first & FLAG_MISSING != 0,
            headers: Headers::default(),
        };
        if first & FLAG_HEADERS != 0 {
            record.headers = input.headers()?;
        }
        if input.0.is_empty() { Ok(record) } else { Err(RecordError::Length) }
    }
}

impl Garbage {
    /// The bytes laid out above.
    pub fn encode(&self) -> Vec<u8> {
        let key = self.key.as_str().as_bytes();
        let mut out = Vec::with_capacity(3 + key.len() + RECORD_BYTES);
        let flags = if self.doomed { FLAG_DOOMED } else { 0 } | if self.by_delete { FLAG_DELETED } else { 0 };
        out.push(flags);
        out.extend_from_slice(&u16::try_from(key.len()).expect("keys are at most 1024 bytes").to_le_bytes());
        out.extend_from_slice(key);
        self.record.encode_into(&mut out);
        out
    }

    /// Reads what [`Self::encode`] made, all of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut input = Input(bytes);
        let flags = input.take::<1>()?[0];
        if flags > (FLAG_DOOMED | FLAG_DELETED) {
            return Err(RecordError::Format(flags));
        }
        let key_len = u16::from_le_bytes(input.take()?);
        let key = ObjectKey::new(input.text(key_len.into())?).map_err(|_| RecordError::Text)?;
        Ok(Self {
            key,
            record: ObjectRecord::decode(input.0)?,
            doomed: flags & FLAG_DOOMED != 0,
            by_delete: flags & FLAG_DELETED != 0,
        })
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u48(&mut self) -> Result<u64, RecordError> {
        let mut wide = [0; 8];
        wide[..6].copy_from_slice(&self.take::<6>()?);
        Ok(u64::from_le_bytes(wide))
    }

    fn text(&mut self, len: usize) -> Result<&'a str, RecordError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(RecordError::Length)?;
        self.0 = rest;
        std::str::from_utf8(head).map_err(|_| RecordError::Text)
    }

    fn headers(&mut self) -> Result<Headers, RecordError> {
        let mut entries = Vec::new();
        while !self.0.is_empty() {
            let name = match self.take::<1>()?[0] {
                0 => {
                    let len = self.take::<1>()?[0];
                    self.text(len.into())?
                }
                code => KNOWN_HEADERS.get(usize::from(code) - 1).ok_or(RecordError::Text)?,
            };
            let len = u16::from_le_bytes(self.take()?);
            entries.push((name.to_owned(), self.text(len.into())?.to_owned()));
        }
        Headers::new(entries).map_err(|_| RecordError::Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(headers: Vec<(String, String)>) -> ObjectRecord {
        ObjectRecord {
            needle: NeedleId(7 << 32 | 9),
            placement: PlacementId(77),
            size: 4,
            crc: 0xdead_beef,
            md5: [0x11; 16],
            version: AppliedVersion(812),
            modified_ms: 1_700_000_000_123,
            missing: false,
            headers: Headers::new(headers).expect("kept headers"),
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = record(vec![("content-type".into(), "image/png".into())]).encode();
        assert_eq!(
            hex::encode(&bytes),
            "1109000000070000004d00000004000000efbeadde11111111111111111111111111111111\
             2c030000000000007b68e5cf8b01010900696d6167652f706e67"
        );
        assert_eq!(record(vec![]).encode().len(), RECORD_BYTES);
        assert_eq!(ObjectRecord { missing: true, ..record(vec![]) }.encode()[0], 0x12);
    }

    #[test]
    fn only_kept_headers_are_kept() {
        assert!(matches!(Headers::new(vec![("cookie".into(), "x".into())]), Err(HeadersError::NotKept(_))));
        let large = vec![("hayrick-meta-a".into(), "x".repeat(2048))];
        assert!(matches!(Headers::new(large), Err(HeadersError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn records_and_garbage_round_trip(
            size: u32, md5: [u8; 16], modified_ms in 0u64..1 << 48, doomed: bool, by_delete: bool, missing: bool,
            key in "[a-zä/]{1,30}[b]", values in prop::collection::vec("[ -~]{0,40}", 0..4),
        ) {
            let headers = values.into_iter().enumerate().map(|(i, value)| {
                (if i == 0 { "content-type".to_owned() } else { format!("hayrick-meta-{i}") }, value)
            }).collect();
            let record = ObjectRecord { size, md5, modified_ms, missing, ..record(headers) };
            prop_assert_eq!(&ObjectRecord::decode(&record.encode()).expect("own bytes"), &record);
            let garbage = Garbage { key: ObjectKey::new(&key).expect("a key"), record, doomed, by_delete };
            prop_assert_eq!(Garbage::decode(&garbage.encode()).expect("own bytes"), garbage);
        }

        #[test]
        fn garbage_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = ObjectRecord::decode(&bytes);
            let _ = Garbage::decode(&bytes);
        }
    }
}
