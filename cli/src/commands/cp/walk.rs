//! What is in a directory, as keys: in the order of the keys, which is the order in which a cluster lists them.
//!
//! Owns which files are copied and how they are named. Invariant: every entry that is found below the directory is given: as
//! a file, or as what cannot be copied and why.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hayrick_protocol::ObjectKey;
use tokio::sync::mpsc;
use walkdir::{DirEntry, WalkDir};

use super::{AHEAD_MAX, Job};
use crate::commands::save::is_partial;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    File {
        path: PathBuf,
        key: String,
        size_bytes: u64,
    },
    /// It cannot be copied.
    Odd {
        path: PathBuf,
        why: String,
    },
    EmptyDirectory,
}

/// Walks on a thread of its own, which ends when nobody takes what it finds.
pub(super) fn start(job: &Job, dir: &Path, prefix: &str) -> mpsc::Receiver<Found> {
    let (found, receiver) = mpsc::channel(AHEAD_MAX);
    let (dir, prefix, counted) = (dir.to_owned(), prefix.to_owned(), job.progress.counter());
    tokio::task::spawn_blocking(move || {
        walk(&dir, &prefix, |it| {
            if let Found::File { size_bytes, .. } = &it {
                counted.add(*size_bytes);
            }
            found.blocking_send(it).is_ok()
        });
    });
    receiver
}

/// Gives all of it, until it is not taken any more.
fn walk(dir: &Path, prefix: &str, mut give: impl FnMut(Found) -> bool) {
    let mut parent: Option<DirEntry> = None;
    for entry in WalkDir::new(dir).sort_by(in_key_order) {
        let depth = entry.as_ref().map_or_else(walkdir::Error::depth, DirEntry::depth);
        // One that nothing follows in, unless that is because it cannot be read.
        let is_of = |parent: &DirEntry| matches!(&entry, Err(error) if error.path() == Some(parent.path()));
        let was_empty = parent.take().is_some_and(|parent| parent.depth() >= depth && !is_of(&parent));
        if was_empty && !give(Found::EmptyDirectory) {
            return;
        }
        let found = match entry {
            Ok(entry) if entry.file_type().is_dir() => {
                parent = Some(entry);
                continue;
            }
            Ok(entry) => of_entry(&entry, dir, prefix),
            Err(error) => {
                let path = error.path().unwrap_or(dir).to_owned();
                let why = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                Found::Odd { path, why: format!("cannot be read: {why}") }
            }
        };
        if !give(found) {
            return;
        }
    }
    if parent.is_some() {
        give(Found::EmptyDirectory);
    }
}

fn of_entry(entry: &DirEntry, dir: &Path, prefix: &str) -> Found {
    let path = entry.path().to_owned();
    let named = || -> Result<(String, u64), String> {
        let kind = entry.file_type();
        if kind.is_symlink() {
            return Err("is a symbolic link; links are not followed".to_owned());
        }
        if !kind.is_file() {
            return Err("is no file but a device, a pipe or a socket".to_owned());
        }
        if is_partial(entry.file_name()) {
            return Err(
                "is half of what a copy that was killed was writing; copy it here again, or remove it"
                    .to_owned(),
            );
        }
        let below = path.strip_prefix(dir).map_err(|error| error.to_string())?;
        let key = key(prefix, below.as_os_str())?;
        let about = entry.metadata().map_err(|error| format!("cannot be read: {error}"))?;
        Ok((key, about.len()))
    };
    match named() {
        Ok((key, size_bytes)) => Found::File { path, key, size_bytes },
        Err(why) => Found::Odd { path, why },
    }
}

/// The key of a file with this name below the prefix.
pub(super) fn key(prefix: &str, name: &OsStr) -> Result<String, String> {
    let name = name.to_str().ok_or("its name is not UTF-8, as a key is")?;
    let key = format!("{prefix}{name}");
    ObjectKey::new(&key).map_err(|error| format!("its name makes no key: {error}"))?;
    Ok(key)
}

/// As the whole paths are ordered: a directory's entries are where its name and a slash are.
fn in_key_order(one: &DirEntry, other: &DirEntry) -> Ordering {
    let bytes = |entry: &DirEntry| {
        let mut bytes = entry.file_name().as_bytes().to_vec();
        bytes.extend(entry.file_type().is_dir().then_some(b'/'));
        bytes
    };
    bytes(one).cmp(&bytes(other))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn all_in(dir: &Path) -> Vec<Found> {
        let mut all = Vec::new();
        walk(dir, "p/", |found| {
            all.push(found);
            true
        });
        all
    }

    #[test]
    fn files_come_in_the_order_of_their_keys() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["a/z", "a-b", "a.c", "a0", "b/c/d", "..."] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::write(path, name).expect("a file");
        }
        let keys: Vec<String> = all_in(dir.path())
            .into_iter()
            .map(|found| match found {
                Found::File { key, .. } => key,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(keys, ["p/...", "p/a-b", "p/a.c", "p/a/z", "p/a0", "p/b/c/d"]);
        assert!(keys.is_sorted());
    }

    #[test]
    fn what_cannot_be_copied_is_told_with_the_reason() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &[u8]| dir.path().join(OsStr::from_bytes(name));
        fs::write(at(b"file"), "1234").expect("a file");
        fs::write(at(b"line\nend"), "").expect("a file");
        fs::write(at(b"\xff"), "").expect("a file");
        std::os::unix::fs::symlink("file", at(b"link")).expect("a link");
        std::os::unix::net::UnixListener::bind(at(b"socket")).expect("a socket");
        fs::create_dir_all(at(b"none/none")).expect("a directory");

        let mut all = all_in(dir.path());
        let file = Found::File { path: at(b"file"), key: "p/file".to_owned(), size_bytes: 4 };
        assert!(all.contains(&file), "{all:?}");
        assert!(all.contains(&Found::EmptyDirectory), "{all:?}");
        all.retain(|found| matches!(found, Found::Odd { .. }));
        let why = |name: &[u8]| {
            let of = |found: &Found| match found {
                Found::Odd { path, why } if *path == at(name) => Some(why.clone()),
                _ => None,
            };
            all.iter().find_map(of).expect("it is told")
        };
        assert!(why(b"line\nend").contains("U+000A") && why(b"\xff").contains("UTF-8"));
        assert!(why(b"link").contains("symbolic link") && why(b"socket").contains("socket"));
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_directory_that_is_not_there_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let all = all_in(&dir.path().join("none"));
        assert!(matches!(&all[..], [Found::Odd { why, .. }] if why.contains("cannot be read")), "{all:?}");
    }
}
