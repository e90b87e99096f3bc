//! What can come back instead of an answer, told apart by what it means for the caller.

use hayrick_protocol::key::KeyError;
use http::StatusCode;

use crate::broken::in_words;

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
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
#[derive(Debug, thiserror::Error)]
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
    #[error("{name}: {value:?} cannot be sent as an HTTP header")]
    BadHeader {
        /// The header.
        name: &'static str,
        /// What was given.
        value: String,
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

    /// The HTTP status, where an answer came at all.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::NotFound { .. } | Self::NothingToBringBack { .. } => Some(StatusCode::NOT_FOUND.as_u16()),
            Self::Taken { .. } => Some(StatusCode::CONFLICT.as_u16()),
            Self::PreconditionFailed { .. } => Some(StatusCode::PRECONDITION_FAILED.as_u16()),
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

fn list_tried(tried: &[(String, String)]) -> String {
    tried.iter().map(|(master, why)| format!("{master}: {why}")).collect::<Vec<_>>().join("; ")
}
