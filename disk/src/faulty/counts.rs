//! How much was done to a [`FaultyDisk`](super::FaultyDisk). The invariant: an attempt counts, whether it fails or not;
//! what is tried after the power failed does not.

use super::plan::Op;

/// How many operations a disk has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Bytes that reads were asked for.
    pub read_bytes: u64,
    /// Writes.
    pub writes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of directories.
    pub dir_syncs: u64,
    /// Allocations and changes of length.
    pub allocations: u64,
    /// Creations of files.
    pub creations: u64,
    /// Files opened.
    pub opens: u64,
    /// Renames.
    pub renames: u64,
    /// Removals.
    pub removals: u64,
    /// Directories made.
    pub dirs: u64,
    /// Directories listed.
    pub lists: u64,
    /// All that changes something (see [`Op::is_step`]): the moments at which a crash makes a difference.
    pub steps: u64,
}

impl Counts {
    /// How many of a kind.
    #[must_use]
    pub fn of(&self, op: Op) -> u64 {
        match op {
            Op::Read => self.reads,
            Op::Write => self.writes,
            Op::Sync => self.syncs,
            Op::SyncDir => self.dir_syncs,
            Op::Allocate => self.allocations,
            Op::Create => self.creations,
            Op::Open => self.opens,
            Op::Rename => self.renames,
            Op::Remove => self.removals,
            Op::CreateDir => self.dirs,
            Op::List => self.lists,
        }
    }

    /// What was done after `earlier`, when these had been counted on the same disk.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = Self { read_bytes: self.read_bytes - earlier.read_bytes, ..Self::default() };
        since.steps = self.steps - earlier.steps;
        for op in Op::ALL {
            *since.count_mut(op) = self.of(op) - earlier.of(op);
        }
        since
    }

    pub(super) fn add(&mut self, op: Op) {
        *self.count_mut(op) += 1;
        self.steps += u64::from(op.is_step());
    }

    fn count_mut(&mut self, op: Op) -> &mut u64 {
        match op {
            Op::Read => &mut self.reads,
            Op::Write => &mut self.writes,
            Op::Sync => &mut self.syncs,
            Op::SyncDir => &mut self.dir_syncs,
            Op::Allocate => &mut self.allocations,
            Op::Create => &mut self.creations,
            Op::Open => &mut self.opens,
            Op::Rename => &mut self.renames,
            Op::Remove => &mut self.removals,
            Op::CreateDir => &mut self.dirs,
            Op::List => &mut self.lists,
        }
    }
}
