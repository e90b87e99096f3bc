//! Three nodes as processes of this program, and the talk with them.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::figure::Figure;

/// One of them; killed when this is dropped.
pub(crate) struct Process {
    id: u64,
    dir: PathBuf,
    log_keep: Option<u64>,
    pub(crate) address: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Starts nodes 1, 2 and 3, which keep so many entries in their logs or as many as a master; the first one leads.
pub(crate) fn start(dir: &Path, log_keep: Option<u64>) -> Result<[Process; 3]> {
    let start = |id| Process::start(id, dir.join(id.to_string()), "127.0.0.1:0", log_keep);
    let mut group = [start(1)?, start(2)?, start(3)?];
    let addresses = group.each_ref().map(|node| node.address.clone()).join(" ");
    group[0].ask(&format!("form {addresses}"))?;
    Ok(group)
}

impl Process {
    fn start(id: u64, dir: PathBuf, address: &str, log_keep: Option<u64>) -> Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("node").arg(id.to_string()).arg(&dir).arg(address);
        command.args(log_keep.map(|entries| entries.to_string()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("it is a pipe")?;
        let output = BufReader::new(child.stdout.take().context("it is a pipe")?);
        let mut started = Self { id, dir, log_keep, address: String::new(), child, input, output };
        started.address = started.line()?;
        Ok(started)
    }

    /// Kills it with SIGKILL, and starts it anew in the same place.
    pub(crate) fn kill(self) -> Result<impl FnOnce() -> Result<Self>> {
        let (id, dir, address, log_keep) = (self.id, self.dir.clone(), self.address.clone(), self.log_keep);
        drop(self);
        Ok(move || Self::start(id, dir, &address, log_keep))
    }

    /// Has it do something, and waits for the answer.
    pub(crate) fn ask(&mut self, line: &str) -> Result<Figure> {
        self.tell(line)?;
        self.answer()
    }

    /// Has it do something; [`Self::answer`] follows.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.input, "{line}")?)
    }

    pub(crate) fn answer(&mut self) -> Result<Figure> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("node {} said {line}", self.id))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "node {} ended", self.id);
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
