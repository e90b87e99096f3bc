//! Work that Ctrl-C ends, whatever it is busy with.
//!
//! The work has a thread of its own: starting and stopping servers and judging a history block it for up to minutes. The main
//! thread waits for signals meanwhile. The first one ends the servers of the cluster that runs and gives the work some seconds
//! to let go; the second does not wait for that. Invariant: of what lies in the directory of the report, only the cluster that was interrupted
//! is removed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::place::remove_if_there;
use crate::exit::Exit;
use crate::output;
use crate::signals::Signals;

/// A thread that is still busy then, with a search or a disk, ends with this process.
const LET_GO_TIMEOUT: Duration = Duration::from_secs(10);
/// Tasks that were let go are gone in this time; a search for an order of many requests need not be.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// The directory of the cluster that runs now, if one does.
#[derive(Clone, Default)]
pub(super) struct Underway(Arc<Mutex<Option<PathBuf>>>);

impl Underway {
    /// From now on one runs there.
    pub(super) fn begins(&self, dir: PathBuf) {
        *self.lock() = Some(dir);
    }

    /// It has been run: what lies there is evidence from now on.
    pub(super) fn ended(&self) {
        *self.lock() = None;
    }

    /// What is interrupted by a signal that comes now. To be asked at once: when its servers are ended, a run may end with
    /// an error before it is let go.
    fn interrupted(&self) -> Interrupted {
        Interrupted(self.lock().clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directory of a cluster of which nobody will know anything.
struct Interrupted(Option<PathBuf>);

impl Interrupted {
    /// Whoever waits for one of them has not to wait any more.
    fn end_servers(&self) -> Result<()> {
        match &self.0 {
            Some(dir) => Ok(hayrick_launcher::end_left_over(dir).map(drop)?),
            None => Ok(()),
        }
    }

    fn remove(&self) -> Result<()> {
        self.0.as_deref().map_or(Ok(()), remove_if_there)
    }
}

/// Does it until it is done or somebody wants it to end; `to_go_on` says what can be done then.
///
/// # Errors
/// Those of the work, and that it was interrupted.
pub(super) fn run<F>(to_go_on: &str, work: impl FnOnce(Underway) -> F + Send + 'static) -> Result<Exit>
where
    F: Future<Output = Result<Exit>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Before anything is started: from here on no signal ends this program without ending the servers.
    let mut signals = runtime.block_on(async { Signals::of_commands() })?;
    let underway = Underway::default();
    let (stop, stopped) = oneshot::channel::<()>();
    let (done, mut is_done) = oneshot::channel();
    let (handle, of_work) = (runtime.handle().clone(), underway.clone());
    let worker = thread::spawn(move || {
        let result = handle.block_on(async {
            tokio::select! {
                result = work(of_work) => Some(result),
                _ = stopped => None,
            }
        });
        // Nobody listens any more after a second signal.
        let _ = done.send(result);
    });
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = &mut is_done => Some(ended),
            () = signals.next() => None,
        }
    });
    match ended {
        Some(Ok(Some(result))) => return result,
        // The sender is gone without a word, or let go before anybody said so.
        Some(_) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => bail!("the work ended without a result"),
        },
        None => {}
    }
    output::noted("\ninterrupted; ending the servers (once more to end at once)");
    let interrupted = underway.interrupted();
    drop(stop);
    interrupted.end_servers()?;
    let let_go = runtime.block_on(async {
        tokio::select! {
            ended = &mut is_done => Some(ended.ok().flatten()),
            () = signals.next() => None,
            () = tokio::time::sleep(LET_GO_TIMEOUT) => None,
        }
    });
    end(runtime, let_go.is_some());
    // Once more, as one may have been started since; after that nobody is left who could.
    interrupted.end_servers()?;
    interrupted.remove()?;
    match let_go.flatten() {
        // The signal came too late for it to be interrupted.
        Some(Ok(exit)) => Ok(exit),
        _ => bail!("interrupted; {to_go_on}"),
    }
}

/// With the tasks go the servers that are theirs.
fn end(runtime: Runtime, let_go: bool) {
    if let_go {
        runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    } else {
        runtime.shutdown_background();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cluster_that_runs_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (evidence, running) = (dir.path().join("evidence"), dir.path().join("running"));
        for cluster in [&evidence, &running] {
            std::fs::create_dir(cluster).expect("made");
        }
        let underway = Underway::default();
        underway.begins(evidence.clone());
        underway.ended();
        underway.interrupted().remove().expect("nothing to remove");
        underway.begins(running.clone());
        let interrupted = underway.interrupted();
        // Its servers were ended, which ends it.
        underway.ended();
        interrupted.remove().expect("removed");
        assert!(evidence.exists() && !running.exists());
        interrupted.remove().expect("it is gone already");
    }

    #[test]
    fn work_that_blocks_its_thread_gives_its_result() {
        let exit = run("", |_| async {
            tokio::task::block_in_place(|| ());
            Ok(Exit::Failed)
        });
        assert_eq!(exit.expect("done"), Exit::Failed);
    }
}
