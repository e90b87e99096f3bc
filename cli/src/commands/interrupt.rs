//! Ctrl-C, and what asks politely in the same way: a command that has begun something puts it away first, and ends at once
//! where it is asked again.
//!
//! Owns the waiting; what is put away, and what is told of it, is each command's own. Invariant: the second one ends the process
//! whatever that is busy with, a disk that hangs among it: nobody but a thread of its own waits for it.

use std::sync::mpsc;
use std::{process, thread};

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::output;
use crate::signals::{EXIT_INTERRUPTED, Signals};

/// Whether somebody wants it to end.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

/// What is said to who interrupts.
pub(crate) struct Words {
    /// At the first, where it takes a while to put away what was begun.
    pub(crate) first: Option<String>,
    /// At the second: what is left behind.
    pub(crate) second: String,
}

impl Interrupt {
    /// From now on.
    ///
    /// # Errors
    /// When signals cannot be caught, or no thread be started.
    pub(crate) fn catch(words: Words) -> Result<Self> {
        let (come, receiver) = watch::channel(false);
        let (caught, are_caught) = mpsc::channel();
        let of_thread = move || {
            let (runtime, signals) = match catch_signals() {
                Ok(caught) => caught,
                Err(error) => return drop(caught.send(Err(error))),
            };
            // Whoever asked waits for this: afterwards there is no moment in which one would end the process.
            if caught.send(Ok(())).is_ok() {
                wait(&runtime, signals, &come, &words);
            }
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(of_thread)
            .context("cannot start a thread for signals")?;
        are_caught.recv().context("the thread for signals ended early")??;
        Ok(Self(receiver))
    }

    pub(crate) fn has_come(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it has come.
    pub(crate) async fn comes(&mut self) {
        if self.0.wait_for(|has_come| *has_come).await.is_err() {
            // Nobody can say so any more.
            std::future::pending().await
        }
    }
}

fn catch_signals() -> Result<(Runtime, Signals)> {
    let runtime =
        Builder::new_current_thread().enable_all().build().context("cannot start a runtime for signals")?;
    let signals = runtime.block_on(async { Signals::of_commands() })?;
    Ok((runtime, signals))
}

fn wait(runtime: &Runtime, mut signals: Signals, come: &watch::Sender<bool>, words: &Words) {
    runtime.block_on(signals.next());
    if let Some(first) = &words.first {
        output::noted(&format!("\n{first}"));
    }
    come.send_replace(true);
    runtime.block_on(signals.next());
    output::noted(&format!("hayrick: {}", words.second));
    process::exit(EXIT_INTERRUPTED)
}

#[cfg(test)]
impl Interrupt {
    /// One that never comes.
    pub(crate) fn never() -> Self {
        Self(watch::channel(false).1)
    }
}
