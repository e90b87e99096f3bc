//! One run of one process, from its spawn to its end.
//!
//! Owns the child and two threads: one reads its standard output and finds the `listening:` line, one waits for its end.
//! Invariant: signals and the reaping of the child take turns under one lock, so that a signal never meets a
//! process id that somebody else has got in the meantime.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// What a server prints on standard output once its ports are open; it may wait for others before it is ready.
const LISTENING_PREFIX: &str = "listening:";

/// One run of one process.
pub(crate) struct Run {
    pid: Pid,
    shared: Arc<Shared>,
    /// How long the log was when this run began.
    pub(crate) log_from: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    listening_line: Option<String>,
    ended: Option<ExitStatus>,
}

impl Run {
    /// Spawns the command; standard error and output go to `log`.
    pub(crate) fn spawn(mut command: Command, log: File, log_from: u64) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?);
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let stdout = child.stdout.take().expect("standard output was asked for as a pipe");
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let reader = Arc::clone(&shared);
        std::thread::spawn(move || reader.read_output(stdout, log));
        let waiter = Arc::clone(&shared);
        std::thread::spawn(move || waiter.wait_for_end(child, pid));
        Ok(Self { pid, shared, log_from })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(crate) fn listening_line(&self) -> Option<String> {
        self.shared.lock().listening_line.clone()
    }

    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.shared.lock().ended
    }

    /// Waits until the process listens or has ended, whichever comes first.
    pub(crate) fn wait_listening_or_ended(&self, timeout: Duration) {
        self.shared.wait(timeout, |state| state.listening_line.is_some() || state.ended.is_some());
    }

    /// Waits until the process has ended.
    pub(crate) fn wait_ended(&self, timeout: Duration) -> Option<ExitStatus> {
        self.shared.wait(timeout, |state| state.ended.is_some());
        self.ended()
    }

    /// Sends a signal; `false` if the process has ended already.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        let state = self.shared.lock();
        if state.ended.is_some() {
            return Ok(false);
        }
        kill_process(self.pid, signal)?;
        Ok(true)
    }
}

impl Drop for Run {
    /// Nothing that was started outlives its owner. A stopped (SIGSTOP) process dies of SIGKILL as well.
    fn drop(&mut self) {
        // It may only fail because the process is gone, which is what is wanted.
        let _ = self.signal(Signal::KILL);
        self.wait_ended(Duration::from_secs(5));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, timeout: Duration, until: impl Fn(&State) -> bool) {
        let guard = self.lock();
        let waited = self.changed.wait_timeout_while(guard, timeout, |state| !until(state));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn read_output(&self, stdout: ChildStdout, mut log: File) {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            // A log that cannot be written must not stop the reading, or the child would block on a full pipe.
            let _ = writeln!(log, "{line}");
            if line.starts_with(LISTENING_PREFIX) {
                self.lock().listening_line = Some(line);
                self.changed.notify_all();
            }
        }
    }

    fn wait_for_end(&self, mut child: Child, pid: Pid) {
        // Wait without reaping: until the lock is held, the process id must stay ours.
        while let Err(error) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            if error != rustix::io::Errno::INTR {
                break;
            }
        }
        let mut state = self.lock();
        state.ended = Some(child.wait().unwrap_or_default());
        drop(state);
        self.changed.notify_all();
    }
}
