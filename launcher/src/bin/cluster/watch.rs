//! What becomes of the processes of a running cluster: tells of each that ends or runs again.
//!
//! Owns what was told already. Starting again what has ended is main's, on SIGUSR1.

use std::os::unix::process::ExitStatusExt;
use std::process::{self, ExitStatus};

use hayrick_launcher::{Cluster, Process, Role};
use rustix::process::Signal;

/// The processes, and the ids they were last seen with.
pub(crate) struct Watch<'a> {
    seen: Vec<(&'a Process, Option<u32>)>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        Self { seen: cluster.processes().map(|process| (process, process.pid())).collect() }
    }

    /// Prints what has changed since the last look.
    pub(crate) fn look(&mut self) {
        for (process, seen) in &mut self.seen {
            let now = process.pid();
            match (*seen, now) {
                (Some(pid), None) => tell_end(process, pid),
                (before, Some(pid)) if before != now => {
                    println!("\n{} runs again, as pid {pid}", process.name())
                }
                _ => {}
            }
            *seen = now;
        }
    }
}

fn tell_end(process: &Process, pid: u32) {
    let Some(status) = process.exit_status() else { return };
    if process.is_removed() {
        println!("\n{}", removed(process));
        return;
    }
    println!("\n{} (pid {pid}) ended: {}; the others run on.", process.name(), in_words(status));
    // The log of one that somebody killed has nothing to say about it.
    if !killed(status) {
        println!("The end of its log, {}:\n{}", process.log_path().display(), process.log_tail());
    }
    println!("Start it again: {}", again());
}

/// What became of a server that an operator took out: it is not started again.
pub(crate) fn removed(process: &Process) -> String {
    let (name, data) = (process.name(), process.data_dir().display());
    let instead = if process.role() == Role::Volume { ": without it a new volume starts there" } else { "" };
    format!(
        "{name} was removed from the cluster and has ended; the others run on. Its id never comes back, and its data in {data} \
         is of no use any more{instead}."
    )
}

/// The command that starts again whatever has ended.
pub(crate) fn again() -> String {
    format!("kill -USR1 {}", process::id())
}

fn killed(status: ExitStatus) -> bool {
    [Signal::KILL, Signal::TERM, Signal::INT].iter().any(|signal| status.signal() == Some(signal.as_raw()))
}

fn in_words(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}
