//! A disk in memory that loses, tears, reorders, corrupts, fails and hangs, for tests of everything that claims to survive
//! that.
//!
//! It keeps what is read now apart from what is on the medium: a write is *pending* until a sync of the file covers it; a
//! creation, renaming, removal or new directory until the directory it is in is synced. After a crash each pending thing
//! is there or not, independently of each other and of its order; of a write, each sector of 512 bytes. That is as harsh as
//! or harsher than what file systems do. Space is counted by the page of 4 KiB, and a file that was removed takes it until
//! nobody has it open.
//!
//! A sync that fails loses a part of what it covered, for good, as Linux does: it can be read until the crash, a later sync
//! does not bring it back and says nothing. The failure is reported once by each descriptor that was open when it happened
//! (by one opened later only if nobody had been told). A failed sync of a directory loses names in the same way.
//!
//! For a crash at every step of a history, run it once with [`FaultyDisk::keep_moments`] and let each [`Moment`] crash with
//! several seeds; or count the steps, and run it again with [`FaultyDisk::fail_power_after`]. Either is cheap: what files,
//! names and moments have in common is shared.
//!
//! What is guaranteed: the same seed and the same calls in the same order give the same bytes, errors and numbers. If
//! several threads use the disk, the order is theirs; but what a crash or a failed sync leaves of a file is drawn from the
//! seed, the file's first name and the number of the change *to that file*, and of a name from how often that name was
//! changed, so threads at work on other files make no difference to them. [`Disk::random`](crate::Disk::random) hands out
//! one sequence to all. Counts and steps are of the whole disk; a fault can be aimed at some files ([`Op::on`]).

mod access;
mod chance;
mod counts;
mod gate;
mod image;
mod names;
mod node;
mod pages;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

pub use self::counts::Counts;
pub use self::gate::Gate;
pub use self::plan::{Aim, Failure, Fault, Op, Plan};

use self::chance::mix;
use self::gate::Gates;
use self::image::Image;
use self::names::Names;
use self::plan::Orders;

/// A disk in memory, with faults to order. Clones are the same disk.
#[derive(Clone)]
pub struct FaultyDisk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something that a waiting operation, or test, may wait for.
    changed: Condvar,
}

struct State {
    seed: u64,
    image: Image,
    moments: Option<Vec<Moment>>,
    locks: BTreeSet<PathBuf>,
    counts: Counts,
    orders: Orders,
    gates: Gates,
    power_fails_after: Option<u64>,
    /// Random numbers handed out, and disks made of this one.
    numbers: u64,
    descendants: u64,
}

/// The disk as it was before a step, or at the end.
#[derive(Clone)]
pub struct Moment {
    steps: u64,
    seed: u64,
    image: Image,
}

impl Moment {
    /// How many steps had been done.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The disk as it may be found after a crash at this moment. See [`FaultyDisk::crash`].
    #[must_use]
    pub fn crash(&self, seed: u64) -> FaultyDisk {
        FaultyDisk::with(self.image.crashed(seed), mix((self.seed, "crash", self.steps, seed)))
    }

    /// The disk as a process finds it that was killed at this moment. See [`FaultyDisk::restart`].
    #[must_use]
    pub fn restart(&self) -> FaultyDisk {
        FaultyDisk::with(self.image.restarted(), mix((self.seed, "restart", self.steps)))
    }
}

impl FaultyDisk {
    /// An empty disk with plenty of space.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let image = Image { nodes: Vec::new(), names: Names::default(), capacity_bytes: 1 << 40 };
        Self::with(image, mix(("disk", seed)))
    }

    fn with(image: Image, seed: u64) -> Self {
        let state = State {
            seed,
            image,
            moments: None,
            locks: BTreeSet::new(),
            counts: Counts::default(),
            orders: Orders::default(),
            gates: Gates::default(),
            power_fails_after: None,
            numbers: 0,
            descendants: 0,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// The disk as it may be found after a crash now: with seed 0 all is lost that was not synced, with seed 1 nothing, with
    /// any other a part. This one stays as it is, so that it can be crashed again with another seed, but fails from now on,
    /// so that nothing of the old process can go on.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        self.now().crash(seed)
    }

    /// The disk as a process finds it that was killed and started again: nothing is lost, locks are free, and pending writes
    /// are pending still. This one fails from now on.
    #[must_use]
    pub fn restart(&self) -> Self {
        self.now().restart()
    }

    fn now(&self) -> Moment {
        let mut state = self.state();
        state.power_fails_after = Some(0);
        state.gates.open_all();
        self.changed().notify_all();
        state.descendants += 1;
        let seed = mix((state.seed, state.descendants));
        Moment { seed, ..state.moment() }
    }

    /// From now on, keeps the disk as it is before each step.
    pub fn keep_moments(&self) {
        self.state().moments.get_or_insert_default();
    }

    /// The moments kept so far, and the present one: each moment at which a crash would find something else.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        let state = self.state();
        let mut moments = state.moments.clone().unwrap_or_default();
        moments.push(state.moment());
        moments
    }

    /// After `steps` more steps (see [`Counts::steps`]) everything fails and changes nothing, as if the machine were gone:
    /// the moment for `crash`.
    pub fn fail_power_after(&self, steps: u64) {
        let mut state = self.state();
        state.power_fails_after = Some(state.counts.steps + steps);
        self.changed().notify_all();
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Lets an operation fail.
    pub fn order(&self, fault: Fault) {
        self.state().orders.add(fault);
    }

    /// Orders all faults of a plan.
    pub fn order_all(&self, plan: &Plan) {
        plan.0.iter().for_each(|fault| self.order(fault.clone()));
    }

    /// The `nth` such operation from now on (1 is the next) fails with an input/output error.
    pub fn fail(&self, aim: impl Into<Aim>, nth: u64) {
        self.order(Fault::new(aim, nth, Failure::Broken));
    }

    /// The `nth` such operation from now on finds no space.
    pub fn fill(&self, aim: impl Into<Aim>, nth: u64) {
        self.order(Fault::new(aim, nth, Failure::Full));
    }

    /// The faults that happened, in order.
    #[must_use]
    pub fn fired(&self) -> Vec<Fault> {
        self.state().orders.fired.clone()
    }

    /// Makes such operations wait until the gate is opened, or the power fails.
    pub fn gate(&self, aim: impl Into<Aim>) -> Gate {
        Gate::new(self.clone(), aim.into())
    }

    /// Sets the space that is left; allocating takes from it, removing gives back.
    pub fn set_free_bytes(&self, bytes: u64) {
        let mut state = self.state();
        state.image.capacity_bytes = state.image.taken_bytes() + bytes;
    }

    /// Every read that touches this range of the file fails with an input/output error, also after a crash, until the bytes
    /// are written again; an empty range takes that back. Says whether there is such a file.
    pub fn make_unreadable(&self, path: &Path, range: Range<u64>) -> bool {
        let mut state = self.state();
        let Some(node) = state.image.named_mut(path) else { return false };
        node.live.set_bad(range.clone());
        node.durable.set_bad(range);
        true
    }

    /// Flips bits of one byte, on the medium. Says whether there is such a byte.
    pub fn flip(&self, path: &Path, offset: u64, bits: u8) -> bool {
        let mut state = self.state();
        let Some(node) = state.image.named_mut(path) else { return false };
        node.durable.flip(offset, bits);
        node.live.flip(offset, bits)
    }

    /// All bytes of a file, as a reader sees them now.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        self.state().image.named(path).map(|node| node.live.to_vec())
    }

    /// Overwrites bytes of a file on the medium, behind the back of whoever uses it; they must lie in the file.
    pub fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> bool {
        let mut state = self.state();
        let Some(node) = state.image.named_mut(path) else { return false };
        let end = offset.saturating_add(bytes.len() as u64);
        let there = end <= node.live.len();
        for pages in [&mut node.live, &mut node.durable] {
            if end <= pages.len() {
                pages.write(bytes, offset);
            }
        }
        there
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    fn changed(&self) -> &Condvar {
        &self.0.changed
    }
}

impl State {
    fn moment(&self) -> Moment {
        Moment { steps: self.counts.steps, seed: self.seed, image: self.image.clone() }
    }

    fn has_power(&self) -> bool {
        self.power_fails_after.is_none_or(|last| self.counts.steps < last)
    }
}
