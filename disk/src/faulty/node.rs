//! A file of a [`FaultyDisk`](super::FaultyDisk) apart from its names: its bytes as they are read now, as they are on the
//! medium, and what was written since.
//!
//! When something is synced or lost is decided elsewhere. The invariant: the medium changes by nothing but a sync, and by
//! a crash or failed sync in the part that it decides upon.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;

use super::chance::{Chance, Fate};
use super::pages::Pages;

/// What a device writes whole or not at all.
pub(super) const SECTOR_BYTES: u64 = 512;

#[derive(Clone)]
pub(super) struct Node {
    /// Tells it from every other file, also of the same name: what chance is drawn from.
    pub(super) id: u64,
    /// Its name, or its last one.
    pub(super) path: Arc<Path>,
    pub(super) live: Pages,
    pub(super) durable: Pages,
    pending: Vec<(u64, Change)>,
    /// Changes begun so far, and syncs failed.
    changes: u64,
    lost_syncs: u64,
    /// Failed write-backs, each of which every descriptor reports once.
    pub(super) errors: u64,
    /// Nobody was told of the last one yet: then who opens the file now is told too.
    pub(super) error_unseen: bool,
    pub(super) named: bool,
    pub(super) descriptors: u64,
}

#[derive(Clone)]
pub(super) enum Change {
    Write(u64, Arc<[u8]>),
    Len(u64),
    Allocate(Range<u64>),
}

impl Node {
    pub(super) fn new(id: u64, path: Arc<Path>) -> Self {
        Self {
            id,
            path,
            live: Pages::default(),
            durable: Pages::default(),
            pending: Vec::new(),
            changes: 0,
            lost_syncs: 0,
            errors: 0,
            error_unseen: false,
            named: true,
            descriptors: 0,
        }
    }

    /// Bytes it takes: until it has neither a name nor a descriptor.
    pub(super) fn taken_bytes(&self) -> u64 {
        if self.named || self.descriptors > 0 { self.live.taken_bytes() } else { 0 }
    }

    /// What is to be synced by a sync that begins now: all changes before this one.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push((self.changes, change));
        self.changes += 1;
    }

    /// A change that is seen, but will never reach the medium: its write-back fails some time later.
    pub(super) fn change_in_vain(&mut self, change: &Change) {
        change.apply(&mut self.live);
        self.fail();
    }

    /// Puts the changes before `before` on the medium.
    pub(super) fn sync(&mut self, before: u64) {
        let (synced, rest) = std::mem::take(&mut self.pending).into_iter().partition(|(at, _)| *at < before);
        self.pending = rest;
        let synced: Vec<(u64, Change)> = synced;
        for (_, change) in synced {
            change.apply(&mut self.durable);
        }
    }

    /// What a failed sync leaves of the changes before `before`: a part of them on the medium. The rest is pending no
    /// more, and yet it can be read.
    pub(super) fn fail_sync(&mut self, before: u64, seed: u64) {
        let chance = Chance::new(super::chance::mix((seed, self.lost_syncs)));
        self.lost_syncs += 1;
        let (covered, rest) = std::mem::take(&mut self.pending).into_iter().partition(|(at, _)| *at < before);
        self.pending = rest;
        let covered: Vec<(u64, Change)> = covered;
        self.decide(&covered, &chance);
        self.fail();
    }

    fn fail(&mut self) {
        self.errors += 1;
        self.error_unseen = true;
    }

    /// As it is found after a crash.
    pub(super) fn crashed(&self, chance: &Chance) -> Self {
        let mut node = self.clone();
        let pending = std::mem::take(&mut node.pending);
        node.decide(&pending, chance);
        node.live = node.durable.clone();
        node.errors = 0;
        node.error_unseen = false;
        node
    }

    fn decide(&mut self, changes: &[(u64, Change)], chance: &Chance) {
        for (number, change) in changes {
            let what = (self.id, number);
            match change {
                Change::Write(offset, bytes) => match chance.fate(what) {
                    Fate::Lost => {}
                    Fate::Kept => self.durable.write(bytes, *offset),
                    Fate::Torn(mut random) => {
                        for part in kept_parts(*offset, bytes.len(), &mut random) {
                            self.durable.write(&bytes[part.clone()], offset + part.start as u64);
                        }
                    }
                },
                change if chance.keeps(what) => change.apply(&mut self.durable),
                _ => {}
            }
        }
    }
}

impl Change {
    fn apply(&self, pages: &mut Pages) {
        match self {
            Self::Write(offset, bytes) => pages.write(bytes, *offset),
            Self::Len(len) => pages.set_len(*len),
            Self::Allocate(range) => pages.allocate(range),
        }
    }
}

/// What is left of a torn write: ranges of its bytes.
fn kept_parts(offset: u64, len: usize, random: &mut SmallRng) -> Vec<Range<usize>> {
    let sectors = sectors(offset, len);
    let boundary = random.random_range(0..=sectors.len());
    let (before, behind) = sectors.split_at(boundary);
    match random.random_range(0..4) {
        0 => before.to_vec(),
        1 => behind.to_vec(),
        _ => sectors.into_iter().filter(|_| random.random_bool(0.5)).collect(),
    }
}

/// The parts of a write that each go to one sector, as ranges of its bytes.
fn sectors(offset: u64, len: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < len {
        let left = SECTOR_BYTES - (offset + start as u64) % SECTOR_BYTES;
        let end = (start + left as usize).min(len);
        parts.push(start..end);
        start = end;
    }
    parts
}
