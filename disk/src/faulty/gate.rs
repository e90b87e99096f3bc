//! Operations that are slow: they wait at a gate until the test lets them go on. No clock is involved, but for a test that
//! would otherwise wait for ever.
//!
//! The invariant: an operation that waits has changed nothing yet; what a sync will cover is settled when it arrives.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::FaultyDisk;
use super::plan::{Aim, Op};

/// How long a test waits for an operation that must come.
const ARRIVAL_MAX: Duration = Duration::from_secs(20);

/// Holds back all operations that it is meant for, until it is dropped or the power fails.
#[must_use = "a gate that is dropped is open"]
pub struct Gate {
    disk: FaultyDisk,
    id: u64,
}

impl Gate {
    pub(super) fn new(disk: FaultyDisk, aim: Aim) -> Self {
        let id = disk.state().gates.close(aim);
        Self { disk, id }
    }

    /// How many operations wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.disk.state().gates.waiting(self.id)
    }

    /// Waits until an operation waits at the gate.
    ///
    /// # Panics
    /// If none comes for 20 seconds.
    pub fn wait_for_arrival(&self) {
        let mut state = self.disk.state();
        while state.gates.waiting(self.id) == 0 {
            let timed_out = self.disk.changed().wait_for(&mut state, ARRIVAL_MAX).timed_out();
            assert!(!timed_out || state.gates.waiting(self.id) > 0, "nothing arrives at the gate");
        }
    }

    /// Lets all that wait go on, and holds back nothing any more: the same as dropping it.
    pub fn open(self) {
        drop(self);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.disk.state().gates.open(self.id);
        self.disk.changed().notify_all();
    }
}

/// The gates of a disk that are closed.
#[derive(Default)]
pub(super) struct Gates {
    closed: BTreeMap<u64, (Aim, usize)>,
    next_id: u64,
}

impl Gates {
    fn close(&mut self, aim: Aim) -> u64 {
        self.next_id += 1;
        self.closed.insert(self.next_id, (aim, 0));
        self.next_id
    }

    fn open(&mut self, id: u64) {
        self.closed.remove(&id);
    }

    pub(super) fn open_all(&mut self) {
        self.closed.clear();
    }

    pub(super) fn is_closed(&self, id: u64) -> bool {
        self.closed.contains_key(&id)
    }

    fn waiting(&self, id: u64) -> usize {
        self.closed.get(&id).map_or(0, |(_, waiting)| *waiting)
    }

    /// The gate that holds back an operation.
    pub(super) fn before(&self, op: Op, path: &Path) -> Option<u64> {
        self.closed.iter().find(|(_, (aim, _))| aim.hits(op, path)).map(|(id, _)| *id)
    }

    pub(super) fn arrive(&mut self, id: u64) {
        if let Some((_, waiting)) = self.closed.get_mut(&id) {
            *waiting += 1;
        }
    }

    pub(super) fn leave(&mut self, id: u64) {
        if let Some((_, waiting)) = self.closed.get_mut(&id) {
            *waiting -= 1;
        }
    }
}
