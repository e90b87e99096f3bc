//! What is read from a cluster goes into a file whole, or not at all.
//!
//! Invariant: a file that was named holds all of what was read or what it held before; Ctrl-C leaves nothing beside it, and what
//! a kill leaves is known by its name.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::commands::interrupt::{Interrupt, Words};
use crate::exit::WrongUse;

/// How a file is called that is being written, before its last six letters.
const PARTIAL: &str = ".hayrick-partial-";

/// What a new file may be used for, before the umask.
const FILE_MODE: u32 = 0o666;

/// Has `fill` write a file, beside the one that is named, which it then replaces.
pub(crate) async fn save(path: &Path, fill: impl AsyncFnOnce(&mut File) -> Result<()>) -> Result<()> {
    let shown = path.display();
    // A link keeps pointing where it does; a device or pipe is written into, not replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&path) {
        Ok(there) if there.is_dir() => {
            return Err(WrongUse(format!("{shown} is a directory; name a file in it")).into());
        }
        Ok(there) if !there.is_file() => {
            let mut file =
                OpenOptions::new().write(true).open(&path).with_context(|| format!("cannot open {shown}"))?;
            return fill(&mut file).await;
        }
        _ => {}
    }
    let in_dir = || format!("cannot write to {}", dir_of(&path).display());
    let second = format!("ended at once; {shown} is as it was, or has all of it");
    let mut interrupt = Interrupt::catch(Words { first: None, second })?;
    let mut beside = Beside::new(&path).with_context(in_dir)?;
    tokio::select! {
        biased;
        () = interrupt.comes() => bail!("interrupted; {shown} is as it was"),
        filled = fill(beside.file()) => filled?,
    }
    beside.replace().with_context(|| format!("cannot write {shown}"))?;
    sync_dir_of(&path).with_context(in_dir)
}

/// A file that is being written beside the one that it will replace, and goes with this if it does not.
#[derive(Debug)]
pub(crate) struct Beside {
    file: NamedTempFile,
    path: PathBuf,
}

impl Beside {
    /// Begins what will be `path`, whose permissions it takes over.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let there = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
        let permissions =
            there.map_or_else(|| Permissions::from_mode(FILE_MODE), |there| there.permissions());
        let file =
            tempfile::Builder::new().prefix(PARTIAL).permissions(permissions).tempfile_in(dir_of(path))?;
        // By this it is told from one whose writer was killed. Where a file system has no locks, none is swept away.
        let _ = file.as_file().try_lock();
        Ok(Self { file, path: path.to_owned() })
    }

    pub(crate) fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Makes it durable, and puts it where it belongs, which is durable once its directory is synced.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path)?;
        Ok(())
    }
}

/// Whether a file of this name is one that was being written.
pub(crate) fn is_partial(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PARTIAL.as_bytes())
}

/// Removes from a directory what was being written there when its writer was killed.
pub(crate) fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_left = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_partial(&entry.file_name()) && entry.file_type()?.is_file() && is_left() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes durable that there is something called so.
pub(crate) fn sync_dir_of(path: &Path) -> io::Result<()> {
    sync_dir(dir_of(path))
}

/// The directory that something lies in.
pub(crate) fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
