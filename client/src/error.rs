//! What can come back instead of an answer, told apart by what it means for the caller.

use hayrick_protocol::key::KeyError;
use http::StatusCode;

use crate::broken::in_words;

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The list of masters is empty.
    #[error("name at least one master, as HOST:PORT")]
    NoMasters,
    /// A master's address is no address.
    #[error("{addr:?} is not the address of a master; write HOST:PORT, as in 127.0.0.1:9090")]
    BadAddress {
        /// What was given.
        addr: String,
    },
    /// The HTTP machinery could not be set up.
    #[error("cannot set up HTTP")]
    Http(#[source] reqwest::Error),
}

/// A request did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such object.
    #[error("{key}: there is no such key")]
    NotFound {
        /// The key asked for.
        key: String,
    },
    /// The condition did not hold; nothing was changed.
    #[error("{message}")]
    PreconditionFailed {
        /// The server's words.
        message: String,
    },
    /// The object is still what the condition of the read names; there is nothing new to be read.
    #[error("{key}: not modified")]
    NotModified {
        /// The key asked for.
        key: String,
    },
    /// An undelete found nothing that was deleted and not reaped.
    #[error("{message}")]
    NothingToBringBack {
        /// The server's words, which name the key.
        message: String,
    },
    /// An undelete found something newer under the key; nothing was changed.
    #[error("{message}")]
    Taken {
        /// The server's words, which name the key.
        message: String,
    },
    /// A write may have happened, or may still happen. Read the key before deciding what to do.
    #[error("outcome unknown: {message}")]
    Unknown {
        /// The server's words, or how the connection broke.
        message: String,
    },
    /// The server refused; for a write that means: no effect, now or later.
    #[error("{message} (status {status})")]
    Refused {
        /// The HTTP status code.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The object is larger than the cluster takes (`--max-object-size`); nothing was stored.
    #[error("{message}")]
    TooLarge {
        /// The server's words, which say how large an object may be.
        message: String,
    },
    /// The volumes are full; nothing was stored.
    #[error("{message}")]
    NoRoom {
        /// The server's words, which say what would make room.
        message: String,
    },
    /// What was to be sent could not be read to its end; nothing was stored.
    #[error("what was to be stored could not be read: {message}")]
    Source {
        /// Why not.
        message: String,
    },
    /// The bytes are not those that the ETag stands for: something on the way or on a disk has changed them. After a PUT the
    /// object is stored so.
    #[error("{key}: damaged: the bytes have the MD5 {found:?}, where {expected:?} is right")]
    Damaged {
        /// The object's key.
        key: String,
        /// The right MD5, in hex.
        expected: String,
        /// The other.
        found: String,
    },
    /// No master answered; a write had no effect.
    #[error("no master answers: {}", list_tried(.tried))]
    NoMaster {
        /// Each master that was tried, and what happened.
        tried: Vec<(String, String)>,
    },
    /// The text is no key.
    #[error("bad key")]
    Key(#[from] KeyError),
    /// A header value, such as the content type, has characters that HTTP does not take.
    #[error("{name}: {value:?} {why}")]
    BadHeader {
        /// The header.
        name: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No key begins with this prefix, or it cannot be listed so.
    #[error("{prefix:?} cannot be listed: {message}")]
    BadPrefix {
        /// What was given.
        prefix: String,
        /// What is wrong with it.
        message: String,
    },
    /// The body of an answer broke off, so what was read of it is not the whole object.
    #[error("the body broke off before its end: {0}")]
    Body(String),
    /// The answer is not what http-api.md says.
    #[error("the answer of {master} cannot be understood: {message}")]
    BadAnswer {
        /// Who answered.
        master: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    /// Of a body that broke off.
    pub(crate) fn body(error: &reqwest::Error) -> Self {
        Self::Body(in_words(error))
    }

    /// Whether a write may have happened all the same.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Whether the same may work a moment later, and nothing has happened yet: no master could answer, or serve.
    pub fn is_temporary(&self) -> bool {
        const TEMPORARY: [StatusCode; 2] = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        match self {
            Self::NoMaster { .. } => true,
            Self::Refused { status, .. } => TEMPORARY.iter().any(|temporary| temporary.as_u16() == *status),
            _ => false,
        }
    }

    /// The HTTP status, where an answer came at all.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::NotFound { .. } | Self::NothingToBringBack { .. } => Some(StatusCode::NOT_FOUND.as_u16()),
            Self::Taken { .. } => Some(StatusCode::CONFLICT.as_u16()),
            Self::PreconditionFailed { .. } => Some(StatusCode::PRECONDITION_FAILED.as_u16()),
            Self::NotModified { .. } => Some(StatusCode::NOT_MODIFIED.as_u16()),
            Self::TooLarge { .. } => Some(StatusCode::PAYLOAD_TOO_LARGE.as_u16()),
            Self::NoRoom { .. } => Some(StatusCode::INSUFFICIENT_STORAGE.as_u16()),
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

fn list_tried(tried: &[(String, String)]) -> String {
    tried.iter().map(|(master, why)| format!("{master}: {why}")).collect::<Vec<_>>().join("; ")
}
