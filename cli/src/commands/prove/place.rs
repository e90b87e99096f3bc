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
/// What somebody has to look at yet lies in directories that are called so and have a number.
const BROKEN: &str = "broken-";
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

    /// Before anything else is run here: what a former run found broken is put aside, for somebody to look at; whatever else it
    /// left is removed, but for its report, which stays until there is another one.
    ///
    /// # Errors
    /// When a file cannot be moved or removed.
    pub(super) fn clear(&self) -> Result<()> {
        if self.found_broken() {
            self.put_aside()?;
        }
        for name in self.of_report()?.iter().filter(|name| name.starts_with(HISTORY)) {
            fs::remove_file(self.dir.join(name)).with_context(|| name.clone())?;
        }
        remove_if_there(&self.dir.join(KEPT))?;
        let mixes = mixes::ALL.iter().chain(bugs::ALL.iter().map(|planted| planted.mix));
        mixes.map(|mix| self.running().join(mix.name)).try_for_each(|cluster| remove_if_there(&cluster))
    }

    /// Puts all of a report into a directory of its own. They are evidence, so nobody but who has looked at them can say when
    /// they may go.
    fn put_aside(&self) -> Result<()> {
        let of_number = |number: u32| self.dir.join(format!("{BROKEN}{number}"));
        let aside = (1..).map(of_number).find(|dir| !dir.exists()).expect("there is no end of numbers");
        fs::create_dir(&aside).with_context(|| aside.display().to_string())?;
        for name in self.of_report()? {
            fs::rename(self.dir.join(&name), aside.join(&name)).with_context(|| name.clone())?;
        }
        let count = self.names()?.iter().filter(|name| name.starts_with(BROKEN)).count();
        let many = if count > 1 { format!(" ({count} such directories are there)") } else { String::new() };
        output::noted(&format!(
            "what a former run found is kept in {}; remove it once it was looked at{many}",
            aside.display()
        ));
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
        let mut names = self.names()?;
        names.retain(|name| {
            [REPORT, PAGE, RUNNING, KEPT].contains(&name.as_str()) || name.starts_with(HISTORY)
        });
        Ok(names)
    }

    /// The names of all that lies here; ours are texts.
    fn names(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.dir)?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
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

pub(super) fn remove_if_there(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| dir.display().to_string())
        }
        _ => Ok(()),
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
            write("runs/leader-kills-7.json", "{}");
            write("running/leader-kills/logs/master-1.log", "");
            write("running/mine/file", "");
            place.clear().expect("movable");
            let is_kept = standing == "violated";
            for name in [
                REPORT,
                "history-leader-kills.json",
                "runs/leader-kills-7.json",
                "running/leader-kills/logs/master-1.log",
            ] {
                assert_eq!(there(&format!("broken-{number}/{name}")), is_kept, "{name}");
            }
            assert!(!there("history-leader-kills.json") && !there("running/leader-kills") && !there("runs"));
        }
        assert!(there("running/mine/file"), "what is not ours stays");
    }
}
