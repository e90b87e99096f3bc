//! What an object is called: a key that was checked.
//!
//! Owns the rules for keys and their hash. An `ObjectKey` can only be made by validating, so whoever holds one
//! need not check again; decoding one from disk or network validates too.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::ids::PartitionId;
use crate::limits::KEY_BYTES_MAX;

/// 1–1024 bytes of UTF-8 without control characters, `.` and `..` segments, or the prefix `-/`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Nothing is left of the path.
    #[error("the key is empty: name the object, as in photos/cat.jpg")]
    Empty,
    /// More than [`KEY_BYTES_MAX`].
    #[error("the key is {0} bytes long; a key has at most {KEY_BYTES_MAX} bytes after percent-decoding")]
    TooLong(usize),
    /// Not UTF-8 after percent-decoding.
    #[error("the key is not valid UTF-8 after percent-decoding")]
    NotUtf8,
    /// A `%` without two hex digits behind it.
    #[error("the key has a malformed percent-encoding at byte {0}: write a literal % as %25")]
    BadEscape(usize),
    /// U+0000–U+001F, U+007F–U+009F.
    #[error("the key has the control character U+{0:04X}; keys are printable text")]
    Control(u32),
    /// A path segment that shells and proxies rewrite.
    #[error("the key has a `.` or `..` between slashes, which proxies rewrite; name it otherwise")]
    DotSegment,
    /// System routes live there.
    #[error("keys do not begin with `-/`: that is where the system's own routes are")]
    Reserved,
}

impl ObjectKey {
    /// Checks `text`, already percent-decoded.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong(text.len()));
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(KeyError::Control(control.into()));
        }
        if text.starts_with("-/") {
            return Err(KeyError::Reserved);
        }
        if text.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(KeyError::DotSegment);
        }
        Ok(Self(text.into()))
    }

    /// Checks the path of a request target, without its leading slash, still percent-encoded.
    pub fn from_path(encoded: &str) -> Result<Self, KeyError> {
        Self::new(&percent_decode(encoded)?)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the key stands in the hash space: xxh3-64, fixed for ever, as partitions are ranges of it.
    pub fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.0.as_bytes())
    }

    /// The partition that holds it among `partitions`, a power of two: the leading bits of the hash.
    pub fn partition(&self, partitions: u32) -> PartitionId {
        debug_assert!(partitions.is_power_of_two(), "partitions are fixed as a power of two at bootstrap");
        let bits = partitions.trailing_zeros();
        let index = if bits == 0 { 0 } else { self.hash() >> (64 - bits) };
        PartitionId(u16::try_from(index).expect("partitions are at most 65536"))
    }
}

/// Decodes `%XX`; everything else, `+` too, stands for itself.
pub fn percent_decode(encoded: &str) -> Result<String, KeyError> {
    let bytes = encoded.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let digits = bytes.get(at + 1..at + 3);
        if !digits.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)) {
            return Err(KeyError::BadEscape(at));
        }
    }
    let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8();
    Ok(decoded.map_err(|_| KeyError::NotUtf8)?.into_owned())
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

impl Serialize for ObjectKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ObjectKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_outside_the_rules_are_refused_with_the_reason() {
        assert_eq!(ObjectKey::new(""), Err(KeyError::Empty));
        assert_eq!(ObjectKey::new(&"x".repeat(1025)), Err(KeyError::TooLong(1025)));
        assert_eq!(ObjectKey::new("a\nb"), Err(KeyError::Control(10)));
        assert_eq!(ObjectKey::new("a\u{85}b"), Err(KeyError::Control(0x85)));
        assert_eq!(ObjectKey::new("-/health"), Err(KeyError::Reserved));
        for dotted in ["..", ".", "a/../b", "a/.", "./a"] {
            assert_eq!(ObjectKey::new(dotted), Err(KeyError::DotSegment), "{dotted}");
        }
        assert_eq!(ObjectKey::from_path("a%2"), Err(KeyError::BadEscape(1)));
        assert_eq!(ObjectKey::from_path("a%zz"), Err(KeyError::BadEscape(1)));
        assert_eq!(ObjectKey::from_path("%ff"), Err(KeyError::NotUtf8));
        assert_eq!(ObjectKey::from_path("%2e%2e/b"), Err(KeyError::DotSegment));
    }

    #[test]
    fn awkward_keys_are_kept_as_they_are() {
        for key in ["a", "a//b", "a/", "/", "...", "a b+c", "ü/猫", "-", "-a/b", &"k".repeat(1024)] {
            assert_eq!(ObjectKey::new(key).expect("allowed").as_str(), key);
        }
        assert_eq!(ObjectKey::from_path("a%20b+c%25").expect("allowed").as_str(), "a b+c%");
    }

    #[test]
    fn the_hash_and_partition_of_a_key_never_change() {
        let key = ObjectKey::new("cats/1").expect("a key");
        assert_eq!(key.hash(), xxhash_rust::xxh3::xxh3_64(b"cats/1"));
        assert_eq!(key.partition(4096).0, (key.hash() >> 52) as u16);
        assert_eq!(key.partition(1), PartitionId(0));
        assert_eq!(key.partition(65536).0, (key.hash() >> 48) as u16);
    }
}
