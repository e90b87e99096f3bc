//! The contract of the command line: each row has a test of its name (`rows.rs`), and docs/cli.md shows the same rows.
//!
//! All of them use one cluster of three masters and four volumes, with the program as a user starts it; what starts and ends
//! the cluster is here.

mod files;
mod rows;
mod servers;
mod system;

use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::cluster;
use hayrick_integration_tests::shown_rows::{self, Shown};
use hayrick_launcher::Cluster;
use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::OnceCell;
use tokio::task::block_in_place;

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
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let runtime = Runtime::new()?;
    // Started by the first row.
    let contract = Arc::new(OnceCell::new());
    let mut trials: Vec<Trial> =
        ROWS.iter().map(|row| trial(row, Arc::clone(&contract), runtime.handle())).collect();
    trials.push(Trial::test("the_document_shows_these_rows", || {
        told(shown_rows::are_in("cli.md", "cli", &shown()))
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(contract) = contract.get() {
        cluster::no_panics(&contract.cluster)?;
    }
    Ok(conclusion.exit_code())
}

async fn start() -> Result<Contract> {
    let cluster = cluster::start(VOLUMES).await?;
    let masters: Vec<String> = cluster.client_addrs().iter().map(ToString::to_string).collect();
    Ok(Contract { server: masters.join(","), cluster, dir: tempfile::tempdir()? })
}

fn trial(row: &'static rows::Row, contract: Arc<OnceCell<Contract>>, runtime: &Handle) -> Trial {
    let runtime = runtime.clone();
    Trial::test(row.name, move || {
        told(runtime.block_on(async {
            let contract = contract.get_or_try_init(start).await?;
            block_in_place(|| (row.test)(contract))
        }))
    })
}

fn shown() -> Vec<Shown> {
    let of = |row: &rows::Row| Shown {
        section: row.section,
        asked: row.asked,
        answered: row.answered,
        test: row.name,
    };
    ROWS.iter().map(of).collect()
}

fn told(result: Result<()>) -> Result<(), Failed> {
    result.map_err(|error| Failed::from(format!("{error:?}")))
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
