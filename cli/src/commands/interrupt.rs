//! Ctrl-C, and what asks politely in the same way: a command that has begun something puts it away first.
//!
//! Owns the waiting; what is put away, and what is told of it, is each command's own.

use std::future::pending;

use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

/// Ends when somebody wants the command to end. From the first time it is polled on, no such signal ends it by itself.
pub(crate) async fn interrupted() {
    let sent = async |kind| match signal(kind) {
        Ok(mut signal) => signal.recv().await,
        // Then it ends us, as if nobody were here.
        Err(_) => pending().await,
    };
    let interrupted = async {
        if ctrl_c().await.is_err() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        _ = sent(SignalKind::terminate()) => {}
        // The terminal is closed.
        _ = sent(SignalKind::hangup()) => {}
        () = interrupted => {}
    }
}
