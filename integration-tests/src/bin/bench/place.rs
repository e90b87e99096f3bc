//! Where the bench works: a directory under `target/`, removed at the end.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// The directory of one run, and where its results go.
pub(crate) struct Place {
    target: PathBuf,
    dir: TempDir,
}

impl Place {
    /// Makes the directory, beside the program itself: `target/release/bench` works in `target/`.
    pub(crate) fn find() -> Result<Self> {
        let own = std::env::current_exe().context("cannot find this program")?;
        let target = own.ancestors().nth(2).context("this program lies in target/release")?.to_owned();
        ensure!(file_system(&target)? != "tmpfs", "{} is a tmpfs, which syncs nothing", target.display());
        let dir = TempDir::with_prefix_in("bench-", &target)?;
        Ok(Self { target, dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn json(&self) -> PathBuf {
        self.target.join("bench.json")
    }
}

/// The type of the file system that `path` lies on.
pub(crate) fn file_system(path: &Path) -> Result<String> {
    let path = path.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("only Linux is measured")?;
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        path.starts_with(at).then(|| (at.len(), kind.to_owned()))
    });
    Ok(holding.max_by_key(|(len, _)| *len).map(|(_, kind)| kind).unwrap_or_default())
}
