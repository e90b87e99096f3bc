//! Why a call brought no reply, and what that says about its effect.
//!
//! Owns the errors of [`crate::Client::call`]. Invariant: an error that is surely not executed stays so; nothing of
//! that call is sent later.

use thiserror::Error;

use crate::handshake::Refusal;

/// Why a call brought no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// The peer surely did not receive it: no connection, or one that broke before a byte of it was sent.
    #[error("not sent: {why}")]
    NotSent {
        /// What happened, with the address.
        why: String,
    },
    /// The peer, or this end, would not have the connection; nothing was sent.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The connection broke, or the peer's handler died: it may have been executed.
    #[error("lost, it may have been executed: {why}")]
    Lost {
        /// What happened, with the address.
        why: String,
    },
    /// No reply in time.
    #[error("no reply within the deadline, {}", if *.sent { "it may have been executed" } else { "not sent" })]
    Deadline {
        /// Whether it may have reached the peer, now or later.
        sent: bool,
    },
    /// The peer has more requests than it takes; not executed.
    #[error("the peer is overloaded; not executed")]
    Overloaded,
    /// The peer is shutting down; not executed.
    #[error("the peer is shutting down; not executed")]
    Closing,
    /// The peer knows no such method; not executed.
    #[error("the peer does not know the method; not executed")]
    UnknownMethod,
    /// The peer could not make sense of the request; not executed.
    #[error("the peer finds the request malformed: {0}")]
    Malformed(String),
    /// The reply does not parse; the request was executed.
    #[error("the reply does not parse: {0}")]
    BadReply(String),
}

impl CallError {
    /// Whether the request had no effect and will have none.
    pub fn surely_not_executed(&self) -> bool {
        match self {
            Self::NotSent { .. }
            | Self::Refused(_)
            | Self::Deadline { sent: false }
            | Self::Overloaded
            | Self::Closing
            | Self::UnknownMethod
            | Self::Malformed(_) => true,
            Self::Lost { .. } | Self::Deadline { sent: true } | Self::BadReply(_) => false,
        }
    }
}
