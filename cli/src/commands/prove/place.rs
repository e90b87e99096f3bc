//! The directory of the report, which one process at a time works in.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hayrick_chaos::{bugs, mixes};
use hayrick_protocol::size;

use crate::exit::WrongUse;
use crate::output;

/// Locked while a process works in the directory; says which.
const LOCK: &str = ".lock";
/// Where the clusters lie while they run, and those that somebody will want to look at.
const RUNNING: &str = "running";
/// Where the runs of a series are kept.
const KEPT: &str = "runs";
/// What a report is made of.
const REPORT: &str = "report.json";
const PAGE: &str = "index.html";
const HISTORY: &str = "history-";
/// Measured: a cluster that is broken for three minutes, and its report.
const ROOM_BYTES: u64 = 1 << 30;

/// A directory that is this process's as long as this lives.
pub(super) struct Place {
    dir: PathBuf,
    _lock: File,
}

impl Place {
    /// Makes the directory if need be, and sees to it that nobody else works in it: neither another process, nor servers that
    /// one has left behind which was killed.
    ///
    /// # Errors
    /// [`WrongUse`] when it cannot be made or written, or holds somebody else's files; when another process works in it, or
    /// little is free where it lies.
    pub(super) fn claim(report: &Path) -> Result<Self> {
        let of_no_use = |error: io::Error| {
            WrongUse(format!(
                "{} cannot be the report's directory: {error}; choose another --report",
                report.display()
            ))
        };
        fs::create_dir_all(report).map_err(of_no_use)?;
        // Servers are told from others' by the directory that they were started with.
        let dir = fs::canonicalize(report).map_err(of_no_use)?;
        if !dir.join(LOCK).exists() && fs::read_dir(&dir).map_err(of_no_use)?.next().is_some() {
            let text =
                format!("{} holds files, and not those of a report; choose another --report", dir.display());
            return Err(WrongUse(text).into());
        }
        let file = File::options().create(true).truncate(false).read(true).write(true).open(dir.join(LOCK));
        let lock = lock(file.map_err(of_no_use)?, &dir)?;
        let place = Self { dir, _lock: lock };
        place.has_room()?;
        place.end_left_over()?;
        Ok(place)
    }

    /// Before anything else is run here: what a former run found broken is put aside, and whatever clusters it left behind
    /// are removed.
    ///
    /// # Errors
    /// When a file cannot be moved or removed.
    pub(super) fn clear(&self) -> Result<()> {
        if self.found_broken() {
            let free =
                (1..).map(|number| self.dir.join(format!("broken-{number}"))).find(|dir| !dir.exists());
            let aside = free.expect("there is no end of numbers");
            fs::create_dir(&aside).with_context(|| aside.display().to_string())?;
            for name in self.of_report()? {
                fs::rename(self.dir.join(&name), aside.join(&name)).with_context(|| name.clone())?;
            }
            output::noted(&format!("what a former run found is kept in {}", aside.display()));
        }
        for name in self.of_report()?.iter().filter(|name| name.starts_with(HISTORY)) {
            fs::remove_file(self.dir.join(name)).with_context(|| name.clone())?;
        }
        let mixes = mixes::ALL.iter().chain(bugs::ALL.iter().map(|planted| planted.mix));
        for cluster in mixes.map(|mix| self.running().join(mix.name)).filter(|cluster| cluster.exists()) {
            fs::remove_dir_all(&cluster).with_context(|| cluster.display().to_string())?;
        }
        Ok(())
    }

    /// Whether the report that lies here is of a broken promise.
    fn found_broken(&self) -> bool {
        let read = fs::read(self.dir.join(REPORT)).ok();
        let report = read.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        report.is_some_and(|report| report["standing"] == "violated")
    }

    /// The names of what a series writes here.
    fn of_report(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if [REPORT, PAGE, RUNNING, KEPT].contains(&name.as_str()) || name.starts_with(HISTORY) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn has_room(&self) -> Result<()> {
        let free = rustix::fs::statvfs(&self.dir).map(|of| of.f_bavail.saturating_mul(of.f_frsize));
        match free.with_context(|| self.dir.display().to_string())? {
            free if free < ROOM_BYTES => bail!(
                "only {} are free in {}, and a run takes up to {}; choose another --report",
                size::shown(free),
                self.dir.display(),
                size::shown(ROOM_BYTES)
            ),
            _ => Ok(()),
        }
    }

    /// Where the clusters lie while they run.
    pub(super) fn running(&self) -> PathBuf {
        self.dir.join(RUNNING)
    }

    fn end_left_over(&self) -> Result<()> {
        let Ok(entries) = fs::read_dir(self.running()) else { return Ok(()) };
        for entry in entries {
            let cluster = entry?.path();
            let ended = hayrick_launcher::end_left_over(&cluster)?;
            if !ended.is_empty() {
                let (cluster, ended) = (cluster.display(), ended.join(", "));
                output::noted(&format!("ended what a former run left behind in {cluster}: {ended}"));
            }
        }
        Ok(())
    }
}

fn lock(mut file: File, dir: &Path) -> Result<File> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // Who it is is only said to be helpful.
            let _ = file.read_to_string(&mut owner);
            bail!(
                "another hayrick prove works in {}{owner}; wait until it has ended, or choose another --report",
                dir.display()
            );
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| dir.display().to_string()),
    }
    file.set_len(0)?;
    write!(file, " (process {})", std::process::id())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_in_the_same_directory_is_told_who_is_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let report = dir.path().join("report");
        let first = Place::claim(&report).expect("nobody is there");
        let refused = Place::claim(&report).map(drop).expect_err("somebody is").to_string();
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        drop(first);
        Place::claim(&report).expect("nobody is there any more");
    }

    #[test]
    fn a_directory_that_cannot_be_made_or_is_another_s_is_wrong_use() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join(PAGE), "somebody's").expect("written");
        for wrong in [Path::new("/dev/null/report"), dir.path()] {
            let refused = Place::claim(wrong).map(drop).expect_err("it is of no use");
            assert!(refused.is::<WrongUse>(), "{refused:#}");
            assert!(refused.to_string().contains(&wrong.display().to_string()), "{refused:#}");
        }
        assert_eq!(fs::read(dir.path().join(PAGE)).expect("there"), b"somebody's");
    }

    #[test]
    fn what_was_found_broken_is_put_aside_and_nothing_else_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::claim(dir.path()).expect("nobody is there");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("within")).expect("made");
            fs::write(path, text).expect("written");
        };
        let there = |name: &str| dir.path().join(name).exists();
        for (standing, number) in [("violated", 1), ("violated", 2), ("held", 3)] {
            write(REPORT, &format!(r#"{{"standing":"{standing}"}}"#));
            write("history-leader-kills.json", "{}");
            write("running/leader-kills/logs/master-1.log", "");
            write("running/mine/file", "");
            place.clear().expect("movable");
            let is_kept = standing == "violated";
            for name in [REPORT, "history-leader-kills.json", "running/leader-kills/logs/master-1.log"] {
                assert_eq!(there(&format!("broken-{number}/{name}")), is_kept, "{name}");
            }
            assert!(!there("history-leader-kills.json") && !there("running/leader-kills"));
        }
        assert!(there("running/mine/file"), "what is not ours stays");
    }
}
