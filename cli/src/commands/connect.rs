//! What all commands that ask a cluster share: which masters, and a runtime for the asking.

use std::future::Future;

use anyhow::{Context, Result};
use hayrick_client::Client;

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
        let client = Client::new(self.server.iter().map(String::as_str))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        runtime.block_on(ask(client))
    }
}
