//! The directory of the report, which one process at a time works in.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Locked while a process works in the directory; says which.
const LOCK: &str = ".lock";
/// Where the clusters lie while they run, and those that somebody will want to look at.
const RUNNING: &str = "running";

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
    /// When another process works in it, or it cannot be made or written.
    pub(super) fn claim(report: &Path) -> Result<Self> {
        let at_it = || report.display().to_string();
        fs::create_dir_all(report).with_context(at_it)?;
        // Servers are told from others' by the directory that they were started with.
        let dir = fs::canonicalize(report).with_context(at_it)?;
        let lock = lock(&dir.join(LOCK))?;
        let place = Self { dir, _lock: lock };
        place.end_left_over()?;
        Ok(place)
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
                eprintln!(
                    "ended what a former run left behind in {}: {}",
                    cluster.display(),
                    ended.join(", ")
                );
            }
        }
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File> {
    let opened = File::options().create(true).truncate(false).read(true).write(true).open(path);
    let mut file = opened.with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // Who it is is only said to be helpful.
            let _ = file.read_to_string(&mut owner);
            bail!(
                "another hayrick prove works in {}{owner}; wait until it has ended, or choose another --report",
                path.parent().unwrap_or(path).display()
            );
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| path.display().to_string()),
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
    fn a_directory_that_cannot_be_made_is_named() {
        let refused = Place::claim(Path::new("/dev/null/report")).map(drop).expect_err("it is no directory");
        assert!(format!("{refused:#}").contains("/dev/null/report"), "{refused:#}");
    }
}
