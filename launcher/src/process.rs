//! One server of the cluster: what it is started with, and the run it is in now.
//!
//! Owns arguments, environment, data directory and log file, which outlive its runs: a server that was killed and
//! started again is the same server.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use crate::child::Run;
use crate::{Error, left_over, log};

/// The file in a master's data directory that says what it is, and its line once it was removed (docs/format.md).
const MASTER_FILE: &str = "master";
const REMOVED: &str = "standing removed";
const VOLUME_FILE: &str = "volume.toml";
/// In what a volume that was removed says last, and again when it is started.
const REFUSED: [&str; 2] = ["was removed", "for good"];

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `hayrick master`
    Master,
    /// `hayrick volume`
    Volume,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Volume => "volume",
        })
    }
}

/// One server of the cluster. All methods take `&self`, so that a test can kill it while others use it.
pub struct Process {
    pub(crate) binary: PathBuf,
    pub(crate) role: Role,
    pub(crate) number: u32,
    pub(crate) http: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) log_path: PathBuf,
    pub(crate) start_timeout: Duration,
    pub(crate) stop_timeout: Duration,
    pub(crate) own_group: bool,
    pub(crate) inherits_settings: bool,
    pub(crate) state: Mutex<State>,
}

/// What changes while the process lives.
pub(crate) struct State {
    /// What the cluster's layout asks for.
    pub(crate) args: Vec<OsString>,
    /// What the test or user adds.
    extra_args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    run: Option<Arc<Run>>,
}

impl State {
    pub(crate) fn new(extra_args: Vec<OsString>, env: Vec<(OsString, OsString)>) -> Self {
        Self { args: Vec::new(), extra_args, env, run: None }
    }

    /// Takes over what was set for a former process in its place.
    pub(crate) fn take_settings_of(&mut self, former: &Self) {
        self.extra_args.clone_from(&former.extra_args);
        self.env.clone_from(&former.env);
    }
}

impl Process {
    /// `master 1`, `volume 4`: the number is the launcher's; a volume's id comes from the cluster.
    pub fn name(&self) -> String {
        format!("{} {}", self.role, self.number)
    }

    /// What it is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its number within its role, from 1; for a master this is its id.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Where it speaks HTTP: a master's client port, a volume's volume port.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Where it listens for frames.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its log file: standard error and output of all its runs.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// The last lines of the log of the current, or else the last, run.
    pub fn log_tail(&self) -> String {
        log::tail(&self.log_path, self.lock().run.as_ref().map_or(0, |run| run.log_from))
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.lock().run.as_ref().filter(|run| run.ended().is_none()).map(|run| run.pid())
    }

    /// Whether it runs; a paused process does.
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// How its last run ended; `None` while it runs or if it never did.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.lock().run.as_ref().and_then(|run| run.ended())
    }

    /// Whether its cluster removed it, and so it never runs again on its data directory: a master notes that there, of a
    /// volume it is the last that it said.
    pub fn is_removed(&self) -> bool {
        match self.role {
            Role::Master => {
                let meta = std::fs::read_to_string(self.data_dir.join(MASTER_FILE)).unwrap_or_default();
                meta.lines().any(|line| line == REMOVED)
            }
            Role::Volume => {
                let is_there = self.data_dir.join(VOLUME_FILE).exists();
                let tail = || log::tail(&self.log_path, 0);
                let says = |tail: String| {
                    let last = tail.lines().last().unwrap_or_default();
                    REFUSED.iter().all(|words| last.contains(words))
                };
                is_there && !self.is_running() && says(tail())
            }
        }
    }

    /// The line it printed when it listened in its current run.
    pub fn listening_line(&self) -> Option<String> {
        self.lock().run.as_ref().and_then(|run| run.listening_line())
    }

    /// The id it named in its `listening:` line: for a volume, the one that the cluster gave it.
    pub fn server_id(&self) -> Option<u32> {
        let line = self.listening_line()?;
        let after = line.split_once(&format!("{} ", self.role))?.1;
        after.split(',').next()?.trim().parse().ok()
    }

    /// Sets an environment variable for its next runs.
    pub fn set_env(&self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.lock().env.push((name.into(), value.into()));
    }

    /// Takes a flag and its value off what it is started with in its next runs.
    pub fn without_flag(&self, flag: &str) {
        let args = &mut self.lock().args;
        if let Some(at) = args.iter().position(|arg| arg == flag) {
            args.drain(at..args.len().min(at + 2));
        }
    }

    /// Starts it with this flag and value, in place of any other value, in its next runs.
    pub fn set_flag(&self, flag: &str, value: impl Into<OsString>) {
        self.without_flag(flag);
        self.lock().args.extend([flag.into(), value.into()]);
    }

    /// Takes back what [`Self::set_env`] set.
    pub fn unset_env(&self, name: impl Into<OsString>) {
        let name = name.into();
        self.lock().env.retain(|(set, _)| *set != name);
    }

    /// Starts it and waits for its `listening:` line: a volume has registered then, a master may still wait for others.
    ///
    /// # Errors
    /// When it cannot be started, ends, or does not listen within the builder's time.
    pub fn start(&self) -> Result<(), Error> {
        self.spawn()?;
        self.wait_listening(self.start_timeout)
    }

    /// Starts it and waits for nothing.
    ///
    /// # Errors
    /// When it runs already, or its directories or the process cannot be made.
    pub fn spawn(&self) -> Result<(), Error> {
        let mut state = self.lock();
        if let Some(run) = state.run.as_ref().filter(|run| run.ended().is_none()) {
            return Err(Error::Running { name: self.name(), pid: run.pid() });
        }
        for dir in [Some(self.data_dir.as_path()), self.log_path.parent()].into_iter().flatten() {
            std::fs::create_dir_all(dir).map_err(|source| Error::File { path: dir.to_owned(), source })?;
        }
        let (file, log_from) = log::open(&self.log_path)
            .map_err(|source| Error::File { path: self.log_path.clone(), source })?;
        let mut command = Command::new(&self.binary);
        command.arg(self.role.to_string()).args(&state.args).args(&state.extra_args);
        if !self.inherits_settings {
            for name in std::env::vars_os().map(|(name, _)| name).filter(is_setting) {
                command.env_remove(name);
            }
        }
        command.envs(state.env.iter().map(|(name, value)| (name, value)));
        if self.own_group {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        let run = Run::spawn(command, file, log_from)
            .map_err(|source| Error::Spawn { name: self.name(), source })?;
        let noted = self.note_pid(run.pid());
        state.run = Some(Arc::new(run));
        noted
    }

    /// Beside its data, for whoever has to end it when its owner is gone.
    fn note_pid(&self, pid: u32) -> Result<(), Error> {
        match self.data_dir.parent() {
            Some(dir) if self.own_group => {
                left_over::note(dir, &format!("{}-{}", self.role, self.number), pid)
            }
            _ => Ok(()),
        }
    }

    /// Waits until it has printed its `listening:` line.
    ///
    /// # Errors
    /// When it ends before, or the time is over; both show the end of its log.
    pub fn wait_listening(&self, timeout: Duration) -> Result<(), Error> {
        let run = self.current_run()?;
        run.wait_listening_or_ended(timeout);
        match (run.ended(), run.listening_line()) {
            (Some(status), _) => {
                Err(Error::Ended { name: self.name(), status, tail: log::tail(&self.log_path, run.log_from) })
            }
            (None, Some(_)) => Ok(()),
            (None, None) => Err(Error::NotListening {
                name: self.name(),
                after: timeout,
                tail: log::tail(&self.log_path, run.log_from),
            }),
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it is still running after `timeout`.
    pub fn wait_ended(&self, timeout: Duration) -> Result<ExitStatus, Error> {
        let run = self.current_run()?;
        run.wait_ended(timeout).ok_or_else(|| Error::NotEnded {
            name: self.name(),
            after: timeout,
            tail: log::tail(&self.log_path, run.log_from),
        })
    }

    /// Ends it at once with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<(), Error> {
        self.send(Signal::KILL)?;
        self.wait_ended(self.stop_timeout).map(drop)
    }

    /// Asks it to stop with SIGTERM and waits until it has; a server has ten seconds for that.
    ///
    /// # Errors
    /// When it does not run, or has not stopped in time.
    pub fn stop(&self) -> Result<ExitStatus, Error> {
        self.send(Signal::TERM)?;
        self.wait_ended(self.stop_timeout)
    }

    /// Sends SIGTERM and waits for nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate(&self) -> Result<(), Error> {
        self.send(Signal::TERM)
    }

    /// Pauses it with SIGSTOP.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<(), Error> {
        self.send(Signal::STOP)
    }

    /// Lets it go on with SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<(), Error> {
        self.send(Signal::CONT)
    }

    /// Stops it cleanly and starts it again.
    ///
    /// # Errors
    /// As [`Process::stop`] and [`Process::start`].
    pub fn restart(&self) -> Result<(), Error> {
        self.stop()?;
        self.start()
    }

    /// Sends SIGKILL and waits for nothing; who has ended already is no error.
    fn send_kill(&self) -> Result<(), Error> {
        match self.send(Signal::KILL) {
            Err(Error::NotRunning { .. }) => Ok(()),
            other => other,
        }
    }

    fn send(&self, signal: Signal) -> Result<(), Error> {
        let run = self.current_run()?;
        match run.signal(signal) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NotRunning { name: self.name() }),
            Err(source) => Err(Error::Signal { name: self.name(), source }),
        }
    }

    /// The current or last run, held apart from the lock so that waiting for it blocks nobody.
    fn current_run(&self) -> Result<Arc<Run>, Error> {
        self.lock().run.clone().ok_or_else(|| Error::NotRunning { name: self.name() })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a variable of the environment stands for a flag of Hayrick's.
fn is_setting(name: &OsString) -> bool {
    name.as_encoded_bytes().starts_with(b"HAYRICK_")
}

/// Ends all of these with SIGKILL, as a power cut does: each is signalled before the end of any is waited for.
///
/// # Errors
/// When a signal cannot be sent.
pub fn kill_at_once<'a>(processes: impl IntoIterator<Item = &'a Process>) -> Result<(), Error> {
    let running: Vec<&Process> = processes.into_iter().filter(|process| process.is_running()).collect();
    running.iter().try_for_each(|process| process.send_kill())?;
    running.iter().try_for_each(|process| process.wait_ended(process.stop_timeout).map(drop))
}
