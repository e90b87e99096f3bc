//! What a [`FaultyDisk`](super::FaultyDisk) keeps: bytes and names, each as they are seen now and as a crash would leave
//! them. When what is synced or lost is decided in the parent.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::SmallRng;

use crate::disk::parent_of;

/// What a device writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Node {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<Change>,
}

#[derive(Clone)]
pub(super) enum Change {
    Write(usize, Vec<u8>),
    Len(usize),
}

#[derive(Clone)]
pub(super) enum NameChange {
    Set(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl Node {
    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    /// What a failed sync leaves: a part of what was pending is on the medium, and the rest is pending no more.
    pub(super) fn fail_sync(&mut self, random: &mut SmallRng) {
        for change in std::mem::take(&mut self.pending) {
            change.apply_partly(&mut self.durable, random);
        }
    }

    pub(super) fn crashed(&self, random: &mut SmallRng) -> Self {
        let mut bytes = self.durable.clone();
        for change in &self.pending {
            change.apply_partly(&mut bytes, random);
        }
        Self { live: bytes.clone(), durable: bytes, pending: Vec::new() }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => write(bytes, *offset, data),
            Self::Len(len) => bytes.resize(*len, 0),
        }
    }

    fn apply_partly(&self, bytes: &mut Vec<u8>, random: &mut SmallRng) {
        match (random.random_range(0..3), self) {
            (0, _) => {}
            (1, _) | (_, Self::Len(_)) => self.apply(bytes),
            (_, Self::Write(offset, data)) => {
                for part in sectors(*offset, data.len()) {
                    if random.random_bool(0.5) {
                        write(bytes, offset + part.start, &data[part]);
                    }
                }
            }
        }
    }
}

pub(super) fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

/// The parts of a write that each go to one sector, as ranges of its data.
fn sectors(offset: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = (SECTOR - (offset + start) % SECTOR + start).min(len);
        let part = start..end;
        start = end;
        (!part.is_empty()).then_some(part)
    })
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, node) => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }

    pub(super) fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Set(path, _) | Self::Remove(path) => parent_of(path) == dir,
            Self::Rename(from, to, _) => parent_of(from) == dir || parent_of(to) == dir,
        }
    }
}
