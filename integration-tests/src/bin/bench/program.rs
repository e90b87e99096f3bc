//! A program of another crate that measures something in a process of its own and prints one line of JSON: this crate
//! must not look at what it measures.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// What such a program prints.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) baseline: Option<f64>,
}

/// An example of some crate, and where it may work.
pub(crate) struct Program {
    path: PathBuf,
    pub(crate) dir: PathBuf,
}

impl Program {
    /// The example of this name, which lies beside this program.
    pub(crate) fn example(name: &str, dir: &Path) -> Result<Self> {
        let own = std::env::current_exe().context("cannot find this program")?;
        Ok(Self { path: own.with_file_name("examples").join(name), dir: dir.join(name) })
    }

    /// Runs a command to its end, in a directory that goes with it; on one core if `core` names one.
    pub(crate) fn once(&self, command: &str, args: &[String], core: Option<usize>) -> Result<Figure> {
        let dir = self.dir.join(command);
        let mut running = self.begin(command, &dir, args, core)?;
        let status = running.process.0.wait()?;
        ensure!(status.success(), "{} {command} ended with {status}", self.path.display());
        std::fs::remove_dir_all(dir)?;
        Ok(running.figure)
    }

    /// Runs a command until it prints what it found.
    pub(crate) fn start(&self, command: &str, dir: &Path, args: &[String]) -> Result<Running> {
        self.begin(command, dir, args, None)
    }

    fn begin(&self, command: &str, dir: &Path, args: &[String], core: Option<usize>) -> Result<Running> {
        std::fs::create_dir_all(&self.dir)?;
        let mut start = match core {
            Some(core) => {
                let mut start = Command::new("taskset");
                start.arg("-c").arg(core.to_string()).arg(&self.path);
                start
            }
            None => Command::new(&self.path),
        };
        start.arg(command).arg(dir).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = start.spawn().with_context(|| format!("cannot start {}", self.path.display()))?;
        let mut process = Process(child);
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().context("it is a pipe")?).read_line(&mut line)?;
        ensure!(!line.is_empty(), "{} {command} found nothing", self.path.display());
        let figure = serde_json::from_str(&line).with_context(|| format!("{command} printed {line}"))?;
        Ok(Running { process, figure })
    }
}

/// The program, having found something.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) figure: Figure,
}

/// A process, killed when this is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
