//! How a node's requests reach other masters; implemented by `master/` over the peer port.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hayrick_protocol::NodeId;
use thiserror::Error;

/// Carries Raft requests. Kinds and bodies are this crate's own; the other end gives them to
/// [`Node::handle`](crate::Node::handle).
pub trait Transport: Send + Sync + 'static {
    /// Sends a request to master `to` at its peer `address` and waits for the reply, at most until `deadline`.
    ///
    /// It may be called often and from many tasks; connections are kept by the implementation.
    fn send(
        &self,
        to: NodeId,
        address: String,
        kind: u8,
        body: Bytes,
        deadline: tokio::time::Instant,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransportError {
    /// The other master cannot be reached: no use in trying again at once.
    #[error("master cannot be reached: {0}")]
    Unreachable(String),
    /// No reply within the deadline, or the connection broke.
    #[error("no reply: {0}")]
    NoReply(String),
    /// The other master answered that it cannot do it: what [`Node::handle`](crate::Node::handle) gave as its error.
    #[error("the other master answered: {0}")]
    Refused(String),
}
