//! What all commands that ask a cluster share: which masters, and a runtime for the asking.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use hayrick_client::{Client, ClientBuilder};

/// How long what was begun on other threads, as a file that is being written, may take once the command has ended.
const THREADS_END_MAX: Duration = Duration::from_secs(10);

/// Flags of every command that asks a cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// Client ports of masters; the next is tried when one does not answer
    #[arg(
        long,
        env = "HAYRICK_SERVER",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:9090"
    )]
    server: Vec<String>,
}

impl Connect {
    /// The masters as they were named.
    pub(crate) fn masters(&self) -> &[String] {
        &self.server
    }

    /// Runs `ask` with a client of these masters.
    pub(crate) fn run<T, F: Future<Output = Result<T>>>(&self, ask: impl FnOnce(Client) -> F) -> Result<T> {
        self.run_with(|client| client, ask)
    }

    /// The same, of a client with settings.
    pub(crate) fn run_with<T, F: Future<Output = Result<T>>>(
        &self,
        set: impl FnOnce(ClientBuilder) -> ClientBuilder,
        ask: impl FnOnce(Client) -> F,
    ) -> Result<T> {
        let client = set(Client::builder(self.server.iter().map(String::as_str))).build()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let result = runtime.block_on(ask(client));
        // Not for ever: a thread may wait for standard input.
        runtime.shutdown_timeout(THREADS_END_MAX);
        result
    }
}
