//! The command line, run to its end.

use std::process::{Command, Output};

use anyhow::{Context, Result};
use hayrick_launcher::Cluster;
use tokio::task::block_in_place;

use crate::cluster;

/// Runs `hayrick` with these arguments against all masters of the cluster; what it wrote, and its exit code.
///
/// # Errors
/// When it cannot be run, or a signal ends it.
pub fn run(cluster: &Cluster, args: &[&str]) -> Result<(String, i32)> {
    let servers: Vec<String> = cluster.client_addrs().iter().map(ToString::to_string).collect();
    let mut command = Command::new(cluster::binary()?);
    command.args(args).arg("--server").arg(servers.join(","));
    let Output { status, stdout, stderr } = block_in_place(|| command.output())?;
    let code = status.code().with_context(|| format!("{command:?} ended by a signal"))?;
    let text = [stdout, stderr].concat();
    Ok((String::from_utf8_lossy(&text).into_owned(), code))
}
