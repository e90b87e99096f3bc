//! Logs of the servers, on standard error: text on a terminal, in colours where it takes them, one JSON object a line
//! otherwise.
//!
//! Owns the filter: `--log`, then `HAYRICK_LOG`, then `RUST_LOG`, then our own `info` and of others what is a warning:
//! the libraries below tell at `info` what nobody who runs a server needs.

use std::io::{self, IsTerminal};

use anyhow::Result;
use tracing_subscriber::EnvFilter;

use crate::exit::WrongUse;
use crate::screen;

const DEFAULT: &str = "warn,hayrick=info";

/// Starts logging with the filter that `--log` names.
pub(crate) fn start(filter: Option<&str>) -> Result<()> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.is_empty());
    let default = format!("{DEFAULT},{}", hayrick_raft_store::LOG_FILTER);
    let filter = filter.or(from_environment.as_deref()).unwrap_or(&default);
    let filter = EnvFilter::try_new(filter).map_err(|_| {
        let text = "is not a log filter; write a level (error, warn, info, debug, trace) or target=level,…";
        WrongUse(format!("{filter:?} {text}"))
    })?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if io::stderr().is_terminal() {
        logs.with_target(false).with_ansi(screen::takes_colours(&io::stderr())).init();
    } else {
        logs.json().flatten_event(true).init();
    }
    Ok(())
}
