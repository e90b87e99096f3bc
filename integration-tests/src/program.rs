//! A program as a user starts it at a terminal: its output is read, Ctrl-C ends it.
//!
//! Owns one child and the lines it wrote; what they mean is left to the claims. Invariant: a program that is dropped
//! is told to stop before it is killed, so that it can end the children of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// How long a program that is dropped may take to end itself.
const DROP_TIMEOUT: Duration = Duration::from_secs(15);
const DROP_PAUSE: Duration = Duration::from_millis(50);

/// A running program.
pub struct Program {
    child: Child,
    lines: Arc<Lines>,
}

#[derive(Default)]
struct Lines {
    written: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Program {
    /// Starts it; `command` says with what.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let lines = Arc::<Lines>::default();
        lines.follow(child.stdout.take().context("standard output is a pipe")?);
        lines.follow(child.stderr.take().context("standard error is a pipe")?);
        Ok(Self { child, lines })
    }

    /// Waits for a line that starts so, and returns all that was written until then.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait_line(&self, start: &str, timeout: Duration) -> Result<Vec<String>> {
        let is_there = |lines: &[String]| lines.iter().any(|line| line.starts_with(start));
        let guard = self.lines.lock();
        let waited = self.lines.changed.wait_timeout_while(guard, timeout, |lines| !is_there(lines));
        let lines = waited.unwrap_or_else(PoisonError::into_inner).0.clone();
        ensure!(is_there(&lines), "no line {start:?} within {timeout:?}: {lines:#?}");
        Ok(lines)
    }

    /// All that it has written so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends Ctrl-C and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn interrupt(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.end_by(Signal::INT, timeout).await
    }

    /// Sends another signal and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn end_by(&mut self, signal: Signal, timeout: Duration) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), signal)?;
        let lines = Arc::clone(&self.lines);
        wait::until("the program has ended", timeout, async || {
            let ended = self.child.try_wait()?;
            ended.with_context(|| format!("it runs; it wrote {:#?}", lines.lock()))
        })
        .await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // It is not reaped yet, so its id is still its own. Both fail only where it is gone, which is what is wanted.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        // Nobody sends: receiving is how a plain thread pauses.
        let (_keep, pause) = mpsc::channel::<()>();
        for _ in 0..DROP_TIMEOUT.as_millis() / DROP_PAUSE.as_millis() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            let _ = pause.recv_timeout(DROP_PAUSE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(self: &Arc<Self>, output: impl Read + Send + 'static) {
        let lines = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                lines.lock().push(line);
                lines.changed.notify_all();
            }
        });
    }
}

/// Whether a process with this id runs and was told of `path` by its arguments.
pub fn runs_with(pid: u32, path: &Path) -> bool {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&arguments).contains(path.to_string_lossy().as_ref())
}
