//! What broke on the way to a master, in one sentence.
//!
//! Owns the words for reqwest's errors, whose own text names the URL and then repeats one cause in the words of each layer.
//! Leaves to `retry` what a failure means. Invariant: what is said is said once, and names no layer.

use std::error::Error;
use std::io::{self, ErrorKind};

/// Why a request brought no answer, or an answer no end.
pub(crate) fn in_words(error: &reqwest::Error) -> String {
    let (kind, root) = (io_kind(error), root(error));
    if error.is_connect() {
        return match kind {
            Some(ErrorKind::ConnectionRefused) => "nobody listens there".to_owned(),
            Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
                "no way leads there from here".to_owned()
            }
            _ if error.is_timeout() => "it accepts no connection in time".to_owned(),
            _ if is_lookup(error) => format!("its name is not known: {root}"),
            _ => format!("no connection can be made: {root}"),
        };
    }
    if error.is_timeout() {
        return "nothing came from it in time".to_owned();
    }
    match kind {
        Some(ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe) => {
            "the connection was reset".to_owned()
        }
        Some(ErrorKind::UnexpectedEof) => "the connection was closed".to_owned(),
        _ if error.is_body() || error.is_decode() || error.is_request() => root,
        _ => error.to_string(),
    }
}

/// Whether nobody listens there.
pub(crate) fn is_refused(error: &reqwest::Error) -> bool {
    error.is_connect() && io_kind(error) == Some(ErrorKind::ConnectionRefused)
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

/// The system's own word, if it is at the root of it.
fn io_kind(error: &reqwest::Error) -> Option<ErrorKind> {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).last()
}

fn root(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), |cause| cause.to_string())
}

fn is_lookup(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.to_string().starts_with("dns error"))
}
