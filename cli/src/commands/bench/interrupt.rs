//! Ctrl-C: the first one lets the run end early and clean up, the second ends it at once.

use std::process;

use anyhow::Result;
use tokio::sync::watch;

use crate::output;
use crate::server::{EXIT_INTERRUPTED, Signals};

/// Whether somebody wants it to end.
#[derive(Debug, Clone)]
pub(super) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// From now on; `left` says what is left behind by a second signal.
    pub(super) fn catch(left: String) -> Result<Self> {
        let mut signals = Signals::catch()?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            signals.next().await;
            output::noted("\ninterrupted; cleaning up (once more to end at once)");
            sender.send_replace(true);
            signals.next().await;
            output::noted(&left);
            process::exit(EXIT_INTERRUPTED)
        });
        Ok(Self(receiver))
    }

    pub(super) fn has_come(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it has come.
    pub(super) async fn comes(&mut self) {
        if self.0.wait_for(|has_come| *has_come).await.is_err() {
            // Nobody can say so any more.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
impl Interrupt {
    /// One that never comes.
    pub(super) fn never() -> Self {
        Self(watch::channel(false).1)
    }
}
