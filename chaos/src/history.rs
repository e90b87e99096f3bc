//! What clients asked and what they were told.
//!
//! An operation has a beginning and an end on one clock, that of the process which runs all clients. What a client cannot
//! know is kept as such: an operation whose outcome is unknown may take effect at any time after its beginning, or never.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// Seconds since the run began.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.seconds())
    }
}

/// Bytes, by their MD5: what the store calls ETag. Two values with the same bytes are the same value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Value(pub [u8; 16]);

impl Value {
    /// From an ETag, without its quotes.
    pub fn from_etag(etag: &str) -> Option<Self> {
        let mut value = [0; 16];
        hex::decode_to_slice(etag, &mut value).ok()?;
        Some(Self(value))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

impl From<Value> for String {
    fn from(value: Value) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for Value {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::from_etag(&text).ok_or_else(|| format!("{text:?} is no MD5 in hex"))
    }
}

/// When a write shall take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Always.
    Always,
    /// Only where there is no object.
    Absent,
    /// Only where the object still is this.
    Matches(Value),
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// The bytes of `key`.
    Get {
        /// Of which key.
        key: String,
    },
    /// What is known of `key`, without its bytes.
    Head {
        /// Of which key.
        key: String,
    },
    /// Store these bytes.
    Put {
        /// Under which key.
        key: String,
        /// Which bytes.
        value: Value,
        /// How many.
        size_bytes: u64,
        /// When.
        condition: Condition,
    },
    /// Delete the object.
    Delete {
        /// Of which key.
        key: String,
        /// When; never [`Condition::Absent`].
        condition: Condition,
    },
    /// All keys that begin so; there are never more than fit into one page.
    List {
        /// How they begin.
        prefix: String,
    },
    /// Bring back what the last DELETE took away.
    Undelete {
        /// Of which key.
        key: String,
    },
}

impl Call {
    /// The one key that it is about; none for a list.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Get { key }
            | Self::Head { key }
            | Self::Put { key, .. }
            | Self::Delete { key, .. }
            | Self::Undelete { key } => Some(key),
            Self::List { .. } => None,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// GET and HEAD: there is an object, and it is this. Of a GET the bytes were compared with the ETag.
    Found(Value),
    /// GET and HEAD: there is none. DELETE: there was none (404).
    Absent,
    /// PUT: stored.
    Stored,
    /// DELETE: deleted.
    Deleted,
    /// PUT and DELETE: the condition does not hold (412); no effect.
    ConditionFailed,
    /// List: exactly these.
    Listed(Vec<String>),
    /// GET: bytes that are not those of the ETag. List: a key of another prefix, or twice, or out of order. Never allowed.
    Wrong {
        /// What is wrong with them.
        why: String,
    },
    /// Failed for sure: a write has no effect, now or later; a read says nothing.
    Refused {
        /// The HTTP status; 0 where no master was reached.
        status: u16,
        /// The words.
        why: String,
    },
    /// Nobody can say: a write may take effect at any time from its beginning on, once, or never.
    Unknown {
        /// The words.
        why: String,
    },
    /// Undelete: what the last DELETE took away is there again.
    BroughtBack,
    /// Undelete: there is nothing (404): never was, or was reaped; no effect.
    NothingToBringBack,
    /// Undelete: an object has the key (409); no effect.
    Taken,
}

impl Answer {
    /// Whether nobody knows what came of it.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// One request of one client. A client has one under way at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Which client.
    pub client: u32,
    /// Through which master, from 1.
    pub master: u32,
    /// When it was begun.
    pub begun: Moment,
    /// When its answer was there, or was given up for.
    pub ended: Moment,
    /// What was asked.
    pub call: Call,
    /// What came of it.
    pub answer: Answer,
}

impl Operation {
    /// The one key that it is about; none for a list.
    pub fn key(&self) -> Option<&str> {
        self.call.key()
    }

    /// Whether it would change something.
    pub fn is_write(&self) -> bool {
        matches!(self.call, Call::Put { .. } | Call::Delete { .. } | Call::Undelete { .. })
    }
}

/// All that was asked, in no order, of contended keys and of write-once keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Every operation.
    pub operations: Vec<Operation>,
    /// Of each value that a client made up: what it is, for people (`client 3, number 41, 512 bytes`).
    pub values: BTreeMap<Value, String>,
}
