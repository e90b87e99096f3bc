//! The names of a [`FaultyDisk`](super::FaultyDisk): which there are now, which are on the medium, and what changed since.
//!
//! What a name stands for is left to the parent. The invariant: a change reaches the medium by a sync of the directory
//! that it was made in, and otherwise by a crash or failed sync that decides so, for each change apart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chance::Chance;
use crate::disk::parent_of;

#[derive(Clone, Default)]
pub(super) struct Names {
    live: Arc<Tree>,
    durable: Arc<Tree>,
    pending: Vec<(u64, Change)>,
    /// How often each name was changed so far: tells the changes apart, whatever happens to other names meanwhile.
    changes: Arc<BTreeMap<Arc<Path>, u64>>,
    /// Syncs of directories that failed.
    lost_syncs: u64,
}

#[derive(Clone, Default)]
struct Tree {
    files: BTreeMap<Arc<Path>, usize>,
    dirs: BTreeSet<Arc<Path>>,
}

#[derive(Clone)]
enum Change {
    Put(Arc<Path>, usize),
    Remove(Arc<Path>),
    /// Within one directory.
    Rename(Arc<Path>, Arc<Path>, usize),
    MakeDir(Arc<Path>),
}

impl Names {
    pub(super) fn get(&self, path: &Path) -> Option<usize> {
        self.live.files.get(path).copied()
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.live.is_dir(path)
    }

    /// All files, with what their names stand for.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, usize)> {
        self.live.files.iter().map(|(path, node)| (path.as_ref(), *node))
    }

    pub(super) fn put(&mut self, path: Arc<Path>, node: usize) {
        self.change(Change::Put(path, node));
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.change(Change::Remove(path.into()));
    }

    pub(super) fn make_dir(&mut self, path: &Path) {
        self.change(Change::MakeDir(path.into()));
    }

    /// Within one directory both names change at once; between two, each is durable, or lost, by itself.
    pub(super) fn rename(&mut self, from: &Path, to: Arc<Path>, node: usize) {
        if parent_of(from) == parent_of(&to) {
            self.change(Change::Rename(from.into(), to, node));
        } else {
            self.change(Change::Put(to, node));
            self.change(Change::Remove(from.into()));
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(Arc::make_mut(&mut self.live));
        let changes = Arc::make_mut(&mut self.changes).entry(Arc::clone(change.path())).or_default();
        self.pending.push((*changes, change));
        *changes += 1;
    }

    pub(super) fn sync(&mut self, dir: &Path) {
        for (_, change) in self.take_pending(dir) {
            change.apply(Arc::make_mut(&mut self.durable));
        }
    }

    /// A failed sync loses a part of what it covered, for good, and yet the names are seen until the crash.
    pub(super) fn fail_sync(&mut self, dir: &Path, seed: u64) {
        let chance = Chance::new(super::chance::mix((seed, dir, self.lost_syncs)));
        self.lost_syncs += 1;
        let covered = self.take_pending(dir);
        self.decide(&covered, &chance);
    }

    fn take_pending(&mut self, dir: &Path) -> Vec<(u64, Change)> {
        let pending = std::mem::take(&mut self.pending).into_iter();
        let (covered, rest) = pending.partition(|(_, change)| change.dir() == dir);
        self.pending = rest;
        covered
    }

    /// As they are found after a crash.
    pub(super) fn crashed(&self, chance: &Chance) -> Self {
        let mut names = self.clone();
        let pending = std::mem::take(&mut names.pending);
        names.decide(&pending, chance);
        let tree = Arc::make_mut(&mut names.durable);
        while let Some(lost) = tree.dirs.iter().find(|dir| !tree.is_dir(parent_of(dir))).cloned() {
            tree.dirs.remove(&lost);
        }
        let dirs = std::mem::take(&mut tree.dirs);
        tree.files.retain(|path, _| is_dir(&dirs, parent_of(path)));
        tree.dirs = dirs;
        names.live = Arc::clone(&names.durable);
        names
    }

    fn decide(&mut self, changes: &[(u64, Change)], chance: &Chance) {
        for (number, change) in changes {
            if chance.keeps((change.path(), number)) {
                change.apply(Arc::make_mut(&mut self.durable));
            }
        }
    }

    /// The directories to be made so that there is `dir`, from the top down.
    pub(super) fn missing_dirs(&self, dir: &Path) -> Vec<PathBuf> {
        let missing = dir.ancestors().take_while(|dir| !self.is_dir(dir));
        let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        missing.reverse();
        missing
    }
}

impl Tree {
    fn is_dir(&self, path: &Path) -> bool {
        is_dir(&self.dirs, path)
    }
}

/// The root and the working directory are always there.
fn is_dir(dirs: &BTreeSet<Arc<Path>>, path: &Path) -> bool {
    path.parent().is_none() || path == Path::new(".") || dirs.contains(path)
}

impl Change {
    fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Put(path, node) => {
                tree.files.insert(Arc::clone(path), *node);
            }
            Self::Remove(path) => {
                tree.files.remove(path);
            }
            Self::Rename(from, to, node) => {
                if tree.files.get(from) == Some(node) {
                    tree.files.remove(from);
                }
                tree.files.insert(Arc::clone(to), *node);
            }
            Self::MakeDir(path) => {
                tree.dirs.insert(Arc::clone(path));
            }
        }
    }

    fn path(&self) -> &Arc<Path> {
        match self {
            Self::Put(path, _) | Self::Remove(path) | Self::Rename(_, path, _) | Self::MakeDir(path) => path,
        }
    }

    fn dir(&self) -> &Path {
        parent_of(self.path())
    }
}
