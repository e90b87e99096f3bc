//! What can go wrong with a process, in words that name it and show the end of its log.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a process or a cluster did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The binary is not where it was said to be.
    #[error("there is no binary at {}; build it with `cargo build -p hayrick-cli`", path.display())]
    NoBinary {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file or directory could not be made or read.
    #[error("cannot use {}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process could not be spawned.
    #[error("cannot start {name}")]
    Spawn {
        /// The process.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The process ended although it should run.
    #[error("{name} ended with {status}; the end of its log:\n{tail}")]
    Ended {
        /// The process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        tail: String,
    },
    /// The process did not open its ports in time.
    #[error("{name} did not listen after {after:?}; the end of its log:\n{tail}")]
    NotListening {
        /// The process.
        name: String,
        /// How long it was waited for.
        after: Duration,
        /// The end of its log.
        tail: String,
    },
    /// The master did not become ready in time.
    #[error("{name} was not ready after {after:?}; its last answer: {answer}")]
    NotReady {
        /// The master.
        name: String,
        /// How long it was waited for.
        after: Duration,
        /// What it said last.
        answer: String,
    },
    /// The process did not end in time.
    #[error("{name} was still running {after:?} after it was told to stop; the end of its log:\n{tail}")]
    NotEnded {
        /// The process.
        name: String,
        /// How long it was waited for.
        after: Duration,
        /// The end of its log.
        tail: String,
    },
    /// The process is not running, so it cannot be signalled.
    #[error("{name} is not running")]
    NotRunning {
        /// The process.
        name: String,
    },
    /// The process is running already.
    #[error("{name} is running already, as pid {pid}")]
    Running {
        /// The process.
        name: String,
        /// Its process id.
        pid: u32,
    },
    /// The cluster is being stopped, so nothing is started any more.
    #[error("{name} is not started, as its cluster is being stopped")]
    Closed {
        /// The process.
        name: String,
    },
    /// The signal could not be sent.
    #[error("cannot send {name} a signal")]
    Signal {
        /// The process.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// No free port was found on loopback.
    #[error("cannot find a free port on 127.0.0.1")]
    NoPort {
        /// What the system said last.
        source: io::Error,
    },
}

impl Error {
    /// Whether the process ended because somebody else had taken its port in the meantime.
    pub(crate) fn is_port_taken(&self) -> bool {
        let Self::Ended { tail, .. } = self else { return false };
        let tail = tail.to_lowercase();
        tail.contains("address already in use") || tail.contains("address in use")
    }
}
