//! Faults as data: which operation fails, and how. A plan can be made from a seed, printed, and ordered of a
//! [`FaultyDisk`](super::FaultyDisk).
//!
//! What a failure does to files is left to the disk. The invariant: a fault that was ordered happens once, at the n-th
//! operation of its kind from then on, and never again.

use std::fmt;
use std::path::Path;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::chance::draw;
use super::counts::Counts;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Syncing a file.
    Sync,
    /// Syncing a directory, also where a directory is made.
    SyncDir,
    /// Allocating, and changing a length.
    Allocate,
    /// Creating a file.
    Create,
    /// Opening a file, for reading alone or not.
    Open,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Making one directory.
    CreateDir,
    /// Listing a directory.
    List,
}

impl Op {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::SyncDir,
        Self::Allocate,
        Self::Create,
        Self::Open,
        Self::Rename,
        Self::Remove,
        Self::CreateDir,
        Self::List,
    ];

    /// The same on files and directories alone whose path has this in it (of a rename: the old path). So a fault meets
    /// what it is meant for, whatever threads do to other files.
    #[must_use]
    pub fn on(self, path_part: impl Into<String>) -> Aim {
        Aim { op: self, path_part: Some(path_part.into()) }
    }

    /// Whether it changes anything: then a crash may come before and after it.
    #[must_use]
    pub fn is_step(self) -> bool {
        !matches!(self, Self::Read | Self::Open | Self::List)
    }

    /// How it can fail.
    #[must_use]
    pub fn failures(self) -> &'static [Failure] {
        match self {
            Self::Read => &[Failure::Broken, Failure::Short, Failure::Flipped],
            Self::Write => &[
                Failure::Broken,
                Failure::Full,
                Failure::Short,
                Failure::Flipped,
                Failure::LostLater,
                Failure::Misdirected,
            ],
            Self::Sync | Self::Allocate | Self::Create => &[Failure::Broken, Failure::Full],
            _ => &[Failure::Broken],
        }
    }
}

/// Which operations are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Aim {
    op: Op,
    path_part: Option<String>,
}

impl Aim {
    pub(super) fn hits(&self, op: Op, path: &Path) -> bool {
        let part_is_in = |part: &String| path.to_string_lossy().contains(part);
        self.op == op && self.path_part.as_ref().is_none_or(part_is_in)
    }
}

impl From<Op> for Aim {
    fn from(op: Op) -> Self {
        Self { op, path_part: None }
    }
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// An input/output error. Nothing was read, written or changed; but of what a sync covered, a part is lost, another is
    /// durable, and the next sync says nothing of it.
    Broken,
    /// No space. Of a write, a part from the front may have been written; a sync is as broken.
    Full,
    /// A read gives less than asked, and no error. A write breaks off with an error after a part from the front.
    Short,
    /// One bit of what is read, or of what is stored, is another.
    Flipped,
    /// The write succeeds and can be read, but is never written back: each descriptor's next sync says so, once.
    LostLater,
    /// The write succeeds, but lands some sectors away in the same file (nowhere, if the file has no other place for it).
    Misdirected,
}

/// One operation that is to fail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    aim: Aim,
    nth: u64,
    failure: Failure,
}

impl Fault {
    /// The `nth` operation that is meant fails so; the next one is the first.
    ///
    /// # Panics
    /// If such an operation does not fail so (see [`Op::failures`]), or `nth` is 0.
    #[must_use]
    pub fn new(aim: impl Into<Aim>, nth: u64, failure: Failure) -> Self {
        let aim = aim.into();
        assert!(nth > 0 && aim.op.failures().contains(&failure), "{:?} {nth} never is {failure:?}", aim.op);
        Self { aim, nth, failure }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { aim: Aim { op, path_part }, nth, failure } = self;
        write!(f, "{op:?} {nth}")?;
        if let Some(part) = path_part {
            write!(f, " on {part}")?;
        }
        write!(f, ": {failure:?}")
    }
}

/// Faults to order together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan(pub Vec<Fault>);

impl Plan {
    /// As many faults at random, of any kind, within a history that does these operations. None if it does none.
    #[must_use]
    pub fn random(seed: u64, within: &Counts, faults: usize) -> Self {
        let mut random = draw(("plan", seed));
        let done: Vec<Op> = Op::ALL.into_iter().filter(|op| within.of(*op) > 0).collect();
        let mut fault = || {
            let op = *done.choose(&mut random)?;
            let failure = *op.failures().choose(&mut random)?;
            Some(Fault::new(op, random.random_range(1..=within.of(op)), failure))
        };
        Self((0..faults).map_while(|_| fault()).collect())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{fault}")?;
        }
        Ok(())
    }
}

/// The faults that were ordered and have not happened yet, and those that have.
#[derive(Default)]
pub(super) struct Orders {
    waiting: Vec<(u64, Fault)>,
    pub(super) fired: Vec<Fault>,
}

impl Orders {
    pub(super) fn add(&mut self, fault: Fault) {
        self.waiting.push((fault.nth, fault));
    }

    /// Counts an operation; how it is to fail. Of two faults that are due at once, the later one comes at the next such
    /// operation.
    pub(super) fn due(&mut self, op: Op, path: &Path) -> Option<Failure> {
        let mut due = None;
        for (index, (left, fault)) in self.waiting.iter_mut().enumerate() {
            if fault.aim.hits(op, path) {
                match *left {
                    1 if due.is_none() => due = Some(index),
                    1 => {}
                    _ => *left -= 1,
                }
            }
        }
        let (_, fault) = self.waiting.remove(due?);
        let failure = fault.failure;
        self.fired.push(fault);
        Some(failure)
    }
}
