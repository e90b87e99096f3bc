//! A directory into which keys are put as files.
//!
//! Owns what path a key is given, what makes its directories, and that they hold no halves of a copy that was killed. Invariant:
//! nothing is written but below the directory: a name that would lead out of it is refused, and so is a link that stands where a
//! directory has to be.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use crate::commands::save::{sweep, sync_dir_of};

pub(super) struct Tree {
    root: PathBuf,
    /// Directories below it that are known to be some.
    known: Mutex<HashSet<PathBuf>>,
}

impl Tree {
    /// The directory itself may be a link; it is made if it is not there.
    pub(super) fn at(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make the directory {}", root.display()))?;
        let root = fs::canonicalize(root).with_context(|| format!("cannot read {}", root.display()))?;
        sweep(&root).with_context(|| format!("cannot write to {}", root.display()))?;
        Ok(Self { root, known: Mutex::default() })
    }

    /// Where the file goes that is called so below the directory.
    pub(super) fn path_of(&self, name: &str) -> Result<PathBuf> {
        ensure!(!name.is_empty(), "nothing is left of the key for a file's name");
        for segment in name.split('/') {
            match segment {
                "" => {
                    bail!("a file's path has no empty part, as the key has before, behind or between slashes")
                }
                "." | ".." => bail!("a part of the key is `{segment}`, which is no file's name"),
                _ => ensure!(!segment.contains('\0'), "a file's name has no NUL"),
            }
        }
        Ok(self.root.join(name))
    }

    /// Makes the directories that lead to a path of this tree.
    pub(super) fn make_way_to(&self, path: &Path) -> Result<()> {
        let below = path.strip_prefix(&self.root).context("it is not in the directory")?;
        let mut dir = self.root.clone();
        for part in below.parent().unwrap_or(Path::new("")) {
            dir.push(part);
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if !known.contains(&dir) {
                make(&dir)?;
                sweep(&dir).with_context(|| format!("cannot write to {}", dir.display()))?;
                known.insert(dir.clone());
            }
        }
        Ok(())
    }
}

/// Makes one directory, if it is not there; a link to one is none.
fn make(dir: &Path) -> Result<()> {
    let shown = dir.display();
    match fs::create_dir(dir) {
        Ok(()) => sync_dir_of(dir).with_context(|| format!("cannot write the directory of {shown}")),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let there = fs::symlink_metadata(dir).with_context(|| format!("cannot read {shown}"))?;
            if there.is_symlink() {
                bail!("{shown} is a symbolic link: what is put there would be elsewhere");
            }
            ensure!(there.is_dir(), "{shown} is a file, and would have to be a directory");
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("cannot make the directory {shown}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_leads_out_of_the_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        let tree = Tree::at(&root).expect("it can be made");
        for name in ["", "/", "/etc/passwd", "a//b", "a/", "../outside/a", "a/../../b", "./a", "a/.", "a\0b"]
        {
            assert!(tree.path_of(name).is_err(), "{name:?}");
        }
        let path = tree.path_of("a/b/c").expect("an ordinary name");
        tree.make_way_to(&path).expect("directories can be made");
        assert!(root.join("a/b").is_dir() && !root.join("a/b/c").exists());

        fs::create_dir(&outside).expect("a directory");
        std::os::unix::fs::symlink(&outside, root.join("link")).expect("a link");
        fs::write(root.join("file"), "").expect("a file");
        for (name, why) in [("link/a/b", "symbolic link"), ("file/a", "is a file")] {
            let path = tree.path_of(name).expect("an ordinary name");
            let refused = tree.make_way_to(&path).expect_err("refused").to_string();
            assert!(refused.contains(why), "{refused}");
        }
        assert_eq!(fs::read_dir(&outside).expect("it is there").count(), 0);
    }
}
