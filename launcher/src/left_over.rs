//! Servers that outlived their owner: it was killed before it could end them.
//!
//! A server in a process group of its own is out of reach of the terminal, so its process id is noted in the directory of its
//! cluster. Owns these notes, and ends whom they name. Invariant: a signal only goes to a process that is noted in a directory and whose
//! `--data` lies there, however it is spelled, as a process id may long be somebody else's.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{Deadline, Error};

/// A process that was killed is gone in this time, unless the kernel waits for a disk.
const GONE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the process ids of a cluster are noted, in files called as its servers are.
fn notes(dir: &Path) -> PathBuf {
    dir.join("pids")
}

/// Notes that this process is the server of this name of the cluster in `dir`.
pub(crate) fn note(dir: &Path, name: &str, pid: u32) -> Result<(), Error> {
    let notes = notes(dir);
    let path = notes.join(name);
    let written = fs::create_dir_all(&notes).and_then(|()| fs::write(&path, format!("{pid}\n")));
    written.map_err(|source| Error::File { path, source })
}

/// Ends, with SIGKILL, each server of the cluster in `dir` that still runs, whoever started it, and waits until they are
/// gone. Gives their names and process ids: `master-1 (process 4711)`. Of clusters of
/// [`own_process_groups`](crate::Builder::own_process_groups) only, and of these only as long as their owner is gone, or
/// is this process.
///
/// # Errors
/// When the notes cannot be read, or a process cannot be ended.
pub fn end_left_over(dir: &Path) -> Result<Vec<String>, Error> {
    let notes = notes(dir);
    let entries = match fs::read_dir(&notes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| Error::File { path: notes, source })?,
    };
    let mut ended: Vec<(String, Pid, OwnedFd)> = Vec::new();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(pid) = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()) else {
            continue;
        };
        let Some(pid) = Pid::from_raw(pid) else { continue };
        if let Some(process) = end(pid, dir).map_err(|source| Error::Signal { name: name.clone(), source })? {
            ended.push((name, pid, process));
        }
    }
    ended.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let deadline = Deadline::after(GONE_TIMEOUT);
    for (_, _, process) in &ended {
        wait_gone(process, deadline.remaining().unwrap_or_default());
    }
    Ok(ended.into_iter().map(|(name, pid, _)| format!("{name} (process {pid})")).collect())
}

/// Waits until all of its threads have ended, and so its ports are free and its files closed: its command line is gone before.
fn wait_gone(process: &OwnedFd, timeout: Duration) {
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
    // A signal that comes in between makes the wait shorter, and who binds the ports next says so.
    let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout));
}

/// Sends SIGKILL to a server of the cluster in `dir`; nothing if it is none.
fn end(pid: Pid, dir: &Path) -> io::Result<Option<OwnedFd>> {
    // Held before the look at its command line, so that the signal goes to the process that was looked at.
    let process: OwnedFd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        opened => opened?,
    };
    if !names(pid, dir) {
        return Ok(None);
    }
    match pidfd_send_signal(&process, Signal::KILL) {
        Err(Errno::SRCH) => Ok(None),
        sent => Ok(sent.map(|()| Some(process))?),
    }
}

/// Whether this process keeps its data in `dir`. The command line of one that has ended is empty.
fn names(pid: Pid, dir: &Path) -> bool {
    let (process, dir) = (PathBuf::from(format!("/proc/{pid}")), fs::canonicalize(dir));
    let (Ok(line), Ok(cwd), Ok(dir)) =
        (fs::read(process.join("cmdline")), fs::read_link(process.join("cwd")), dir)
    else {
        return false;
    };
    let mut words = line.split(|byte| *byte == 0);
    let data = words.find(|word| *word == b"--data").and(words.next());
    let Some(data) = data.map(|data| cwd.join(OsStr::from_bytes(data))) else { return false };
    // Somebody may have removed it under the server; the directory of the cluster is there.
    let lies_in = fs::canonicalize(&data).or_else(|_| fs::canonicalize(data.parent().unwrap_or(&data)));
    lies_in.is_ok_and(|lies_in| lies_in.starts_with(dir))
}
