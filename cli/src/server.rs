//! What all servers share: their common flags, the runtime, and the way from a signal to a clean stop.
//!
//! Invariant: the first SIGINT or SIGTERM stops cleanly within [`STOP_TIMEOUT`], the second ends the process at once.

use std::future::{self, Future};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::time::timeout;

use crate::exit::Exit;
use crate::settings::variables;
use crate::signals::{EXIT_INTERRUPTED, Signals};
use crate::{descriptors, logging, output, readiness};

/// How long a server may take to stop (cli.md).
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Flags of every server.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Common {
    /// TOML file with settings: this command's flags without the dashes in front. Flags and variables beat it; `hayrick config` prints one
    #[arg(long, env = "HAYRICK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to log to standard error: error, warn, info, debug, trace, or target=level,… [default: RUST_LOG, else warnings and our own news]
    #[arg(long, env = "HAYRICK_LOG", value_name = "FILTER")]
    log: Option<String>,
}

/// Runs a server: logs, open files, a runtime, signals caught before anything else.
pub(crate) fn run<F: Future<Output = Result<()>>>(
    common: &Common,
    serve: impl FnOnce(Signals) -> F,
) -> Result<Exit> {
    logging::start(common.log.as_deref())?;
    descriptors::raise_limit();
    variables::tell_slips();
    if let Some(path) = &common.config {
        tracing::info!(path = %path.display(), "settings are taken from this file");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .enable_all()
        .build()
        .context("cannot start the runtime's threads")?;
    let result = runtime.block_on(async { serve(Signals::of_servers()?).await });
    // What still blocks has had its time.
    runtime.shutdown_background();
    result.map(|()| Exit::Done)
}

/// Half of the cores, at least one: the other half is for what does not run on the runtime, the threads that sync and
/// apply. With a worker for each of two cores, three masters and four volumes on them stored about a fifth less.
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// A server, or several in one process, once its ports are open.
pub(crate) trait Serving {
    /// What it says on standard output then, when it may have to wait for others: its addresses, for whoever chose none.
    fn listening(&self) -> Option<String>;
    /// The HTTP ports that all have to say that they are ready.
    fn http(&self) -> Vec<SocketAddr>;
    /// What it says on standard output when they have.
    fn ready(&self) -> String;
    /// Returns when it cannot go on, with the reason.
    async fn failed(&self) -> String;
    /// Finishes what is in flight and makes everything durable.
    async fn stop(self);
}

impl Serving for hayrick_master::Running {
    fn listening(&self) -> Option<String> {
        Some(format!("listening: {}", master(self)))
    }

    fn http(&self) -> Vec<SocketAddr> {
        vec![self.client]
    }

    fn ready(&self) -> String {
        format!("ready: {}", master(self))
    }

    async fn failed(&self) -> String {
        self.failed().await
    }

    async fn stop(self) {
        self.stop().await;
    }
}

impl Serving for hayrick_volume::Running {
    fn listening(&self) -> Option<String> {
        Some(format!("listening: {}", volume(self)))
    }

    fn http(&self) -> Vec<SocketAddr> {
        vec![self.http]
    }

    fn ready(&self) -> String {
        format!("ready: {}", volume(self))
    }

    async fn failed(&self) -> String {
        self.refused().await
    }

    async fn stop(self) {
        self.stop().await;
    }
}

fn master(running: &hayrick_master::Running) -> String {
    format!("master {}, client http://{}, peer {}", running.id, running.client, running.peer)
}

fn volume(running: &hayrick_volume::Running) -> String {
    format!("volume {}, http://{}, peer {}", running.id, running.http, running.peer)
}

/// From start to stop: says when it listens and when it is ready, and waits for a signal or for the end of what it can
/// do.
pub(crate) async fn serve<S: Serving, E>(
    mut signals: Signals,
    starting: impl Future<Output = Result<S, E>>,
) -> Result<()>
where
    anyhow::Error: From<E>,
{
    let server = tokio::select! {
        started = starting => started?,
        () = signals.next() => return Ok(()),
    };
    let failure = tokio::select! {
        () = signals.next() => None,
        reason = server.failed() => Some(anyhow!(reason)),
        error = tell_when_ready(&server) => Some(error),
    };
    stop(signals, server).await?;
    failure.map_or(Ok(()), Err)
}

/// Says that the server listens, and later that it is ready. Returns only if that cannot be asked.
async fn tell_when_ready(server: &impl Serving) -> anyhow::Error {
    if let Some(text) = server.listening() {
        say(&text);
    }
    if let Err(error) = readiness::wait(&server.http()).await {
        return error;
    }
    say(&server.ready());
    future::pending().await
}

fn say(text: &str) {
    if let Err(error) = output::line(text) {
        tracing::debug!(%error, "nobody reads standard output");
    }
}

/// Stops within the time a stop may take; a second signal ends the process at once.
async fn stop(mut signals: Signals, server: impl Serving) -> Result<()> {
    tracing::info!("stopping: finishing what is in flight");
    tokio::select! {
        stopped = timeout(STOP_TIMEOUT, server.stop()) => match stopped {
            Ok(()) => Ok(()),
            Err(_) => bail!("did not stop within {STOP_TIMEOUT:?}; what was acknowledged is durable all the same"),
        },
        () = signals.next() => {
            tracing::warn!("second signal: ending at once; what was acknowledged is durable all the same");
            process::exit(EXIT_INTERRUPTED)
        }
    }
}
