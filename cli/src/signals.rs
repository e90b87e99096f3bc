//! The signals by which somebody wants a program to end.
//!
//! Owns which they are, for servers and for commands; what is done then is each one's own. Invariant: from the moment they are
//! caught on, none of them ends the process by itself.

use std::future::poll_fn;
use std::task::Poll;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell shows for a process that SIGINT ended.
pub(crate) const EXIT_INTERRUPTED: i32 = 130;

/// Signals that are caught as long as this lives, and, as nothing gives them back, until the process ends.
pub(crate) struct Signals(Vec<Signal>);

impl Signals {
    /// Ctrl-C and SIGTERM: a server outlives the terminal that it was started from, if it is told to.
    ///
    /// # Errors
    /// When the system does not let them be caught.
    pub(crate) fn of_servers() -> Result<Self> {
        Self::catch(&[SignalKind::interrupt(), SignalKind::terminate()])
    }

    /// The same, and that the terminal is closed, unless the command was started to outlive that (`nohup`).
    ///
    /// # Errors
    /// When the system does not let them be caught.
    pub(crate) fn of_commands() -> Result<Self> {
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        kinds.extend((!is_hangup_ignored(&status)).then(SignalKind::hangup));
        Self::catch(&kinds)
    }

    fn catch(kinds: &[SignalKind]) -> Result<Self> {
        let caught = kinds.iter().map(|kind| signal(*kind)).collect::<Result<_, _>>();
        Ok(Self(caught.context("cannot catch signals")?))
    }

    /// Returns with the next one.
    pub(crate) async fn next(&mut self) {
        poll_fn(|context| match self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

/// Whether a process of this status, as Linux writes it, ignores that its terminal is closed: the first bit of the mask of
/// those that are ignored.
fn is_hangup_ignored(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_started_to_outlive_its_terminal_does() {
        assert!(is_hangup_ignored("Name:\thayrick\nSigIgn:\t0000000000001001\n"));
        assert!(!is_hangup_ignored("Name:\thayrick\nSigIgn:\t0000000000001000\n"));
        assert!(!is_hangup_ignored(""));
    }
}
