//! The contract of the command line: each row has a test of its name (`rows.rs`), and docs/cli.md shows the same rows.
//!
//! All of them use one cluster of three masters and four volumes, with the program as a user starts it, one after the other.

mod files;
mod rows;
mod servers;
mod system;

use std::process::{Command, ExitCode, Output, Stdio};

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::cluster;
use hayrick_launcher::Cluster;
use tempfile::TempDir;

use crate::rows::ROWS;

/// One more than copies, so that one can be drained.
const VOLUMES: u32 = 4;

/// What all rows use.
pub(crate) struct Contract {
    pub(crate) cluster: Cluster,
    /// The masters, as `--server` takes them.
    pub(crate) server: String,
    /// Where commands are given.
    pub(crate) dir: TempDir,
}

/// What a command left.
pub(crate) struct Left {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn main() -> Result<ExitCode> {
    hayrick_integration_tests::rows::run("cli", ROWS, start, |it| cluster::no_panics(&it.cluster))
}

async fn start() -> Result<Contract> {
    let cluster = cluster::start(VOLUMES).await?;
    let masters: Vec<String> = cluster.client_addrs().iter().map(ToString::to_string).collect();
    Ok(Contract { server: masters.join(","), cluster, dir: tempfile::tempdir()? })
}

impl Contract {
    /// The program with these arguments, in the directory; it knows the masters.
    pub(crate) fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(cluster::binary()?);
        command.args(args).current_dir(self.dir.path()).env("HAYRICK_SERVER", &self.server);
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Result<Left> {
        left(self.command(args)?.output()?)
    }

    /// Runs it to its end, which is to be this; what it printed.
    pub(crate) fn ends(&self, code: i32, args: &[&str]) -> Result<String> {
        let left = self.run(args)?;
        ensure!(
            left.code == code,
            "hayrick {}: {} and not {code}\n{}{}",
            args.join(" "),
            left.code,
            left.out,
            left.err
        );
        Ok(left.out)
    }

    /// Writes a file for it.
    pub(crate) fn file(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().context("within the directory")?)?;
        Ok(std::fs::write(path, text)?)
    }

    /// Reads one that it wrote.
    pub(crate) fn read(&self, name: &str) -> Result<String> {
        std::fs::read_to_string(self.dir.path().join(name)).with_context(|| name.to_owned())
    }
}

pub(crate) fn left(output: Output) -> Result<Left> {
    Ok(Left {
        code: output.status.code().context("it was killed")?,
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
