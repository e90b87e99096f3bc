//! A disk in memory that loses, tears, corrupts and fails, for tests of everything that claims to survive that.
//!
//! It keeps, apart from what was written, what a crash could not take any more: a write is *pending* until a sync covers
//! it, a creation, renaming or removal until its directory is synced. [`FaultyDisk::crash`] gives the disk as it may be
//! found afterwards: of the pending writes a random part, each whole or torn at sectors of 512 bytes; of the pending names
//! a random part. A sync that is made to fail loses a random part of what it covered, for good, as Linux does: a later
//! sync does not bring it back, and yet it can be read until the crash.
//!
//! Directories themselves are durable at once, and the order of writes between files is not kept: both are harsher or as
//! harsh as what file systems do. The invariant: with the same seed and the same calls in the same order, everything
//! happens the same again.

mod medium;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::medium::{Change, NameChange, Node, write};
use crate::disk::{Disk, File, Lock, parent_of};

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
    /// Syncs of files and directories.
    pub syncs: u64,
    /// Allocations and changes of length.
    pub allocations: u64,
    /// Creations of files.
    pub creations: u64,
    /// All that changes something: writes, syncs, allocations, creations, renames, removals.
    pub steps: u64,
}

/// A disk in memory, with faults to order. Clones are the same disk.
#[derive(Clone)]
pub struct FaultyDisk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    released: Condvar,
}

struct State {
    random: SmallRng,
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    free_bytes: u64,
    counts: Counts,
    faults: Faults,
}

#[derive(Default)]
struct Faults {
    read_fails_at: Option<u64>,
    unreadable: Vec<(usize, Range<u64>)>,
    write_fails_at: Option<u64>,
    creation_fails_at: Option<u64>,
    sync_fails_at: Option<u64>,
    write_full_at: Option<u64>,
    allocation_full_at: Option<u64>,
    power_fails_after: Option<u64>,
    syncs_hang: bool,
}

enum Step {
    Write,
    Sync,
    Allocate,
    Create,
    Other,
}

impl FaultyDisk {
    /// An empty disk with plenty of space.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(State {
            random: SmallRng::seed_from_u64(seed),
            nodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            dirs: BTreeSet::new(),
            locks: BTreeSet::new(),
            free_bytes: 1 << 40,
            counts: Counts::default(),
            faults: Faults::default(),
        })
    }

    fn with(state: State) -> Self {
        Self(Arc::new(Shared { state: Mutex::new(state), released: Condvar::new() }))
    }

    /// The disk as it may be found after a crash now. This one stays as it is, but fails from now on, so that nothing of the
    /// old process can go on.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut state = self.0.state.lock();
        state.faults.power_fails_after = Some(0);
        state.faults.syncs_hang = false;
        self.0.released.notify_all();
        let nodes = state.nodes.iter().map(|node| node.crashed(&mut random)).collect();
        let mut names = state.durable_names.clone();
        for change in &state.pending_names {
            if random.random_bool(0.5) {
                change.apply(&mut names);
            }
        }
        Self::with(State {
            random,
            nodes,
            durable_names: names.clone(),
            names,
            pending_names: Vec::new(),
            dirs: state.dirs.clone(),
            locks: BTreeSet::new(),
            free_bytes: state.free_bytes,
            counts: Counts::default(),
            faults: Faults::default(),
        })
    }

    /// The disk as a process finds it that was killed and started again: nothing is lost, locks are free, and pending writes
    /// are pending still.
    #[must_use]
    pub fn restart(&self) -> Self {
        let mut state = self.0.state.lock();
        state.faults.power_fails_after = Some(0);
        state.faults.syncs_hang = false;
        self.0.released.notify_all();
        let seed = state.random.random();
        Self::with(State {
            random: SmallRng::seed_from_u64(seed),
            nodes: state.nodes.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            pending_names: state.pending_names.clone(),
            dirs: state.dirs.clone(),
            locks: BTreeSet::new(),
            free_bytes: state.free_bytes,
            counts: Counts::default(),
            faults: Faults::default(),
        })
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.state.lock().counts
    }

    /// The `nth` read from now on (1 is the next) fails with an I/O error.
    pub fn fail_read(&self, nth: u64) {
        let mut state = self.0.state.lock();
        state.faults.read_fails_at = Some(state.counts.reads + nth);
    }

    /// Every read that touches this range of the file fails with an I/O error from now on; an empty range takes that back.
    /// Says whether there is such a file.
    pub fn make_unreadable(&self, path: &Path, range: Range<u64>) -> bool {
        let mut state = self.0.state.lock();
        let Some(&node) = state.names.get(path) else { return false };
        state.faults.unreadable.retain(|(of, _)| *of != node);
        state.faults.unreadable.push((node, range));
        true
    }

    /// The `nth` creation of a file from now on fails, as it does when too many files are open.
    pub fn fail_creation(&self, nth: u64) {
        let mut state = self.0.state.lock();
        state.faults.creation_fails_at = Some(state.counts.creations + nth);
    }

    /// The `nth` write from now on fails with an I/O error; nothing of it is written.
    pub fn fail_write(&self, nth: u64) {
        let mut state = self.0.state.lock();
        state.faults.write_fails_at = Some(state.counts.writes + nth);
    }

    /// The `nth` sync from now on fails with an I/O error, and a part of what it covered is lost.
    pub fn fail_sync(&self, nth: u64) {
        let mut state = self.0.state.lock();
        state.faults.sync_fails_at = Some(state.counts.syncs + nth);
    }

    /// The `nth` write from now on finds no space.
    pub fn fill_at_write(&self, nth: u64) {
        let mut state = self.0.state.lock();
        state.faults.write_full_at = Some(state.counts.writes + nth);
    }

    /// The `nth` allocation from now on finds no space.
    pub fn fill_at_allocation(&self, nth: u64) {
        let mut state = self.0.state.lock();
        state.faults.allocation_full_at = Some(state.counts.allocations + nth);
    }

    /// After `steps` more steps (see [`Counts::steps`]) every step fails and changes nothing: the moment for `crash`. Reads
    /// go on.
    pub fn fail_power_after(&self, steps: u64) {
        let mut state = self.0.state.lock();
        state.faults.power_fails_after = Some(state.counts.steps + steps);
    }

    /// Makes syncs wait until this is taken back, or the disk crashes.
    pub fn hang_syncs(&self, hang: bool) {
        self.0.state.lock().faults.syncs_hang = hang;
        self.0.released.notify_all();
    }

    /// Sets the space that is left; allocating takes from it, removing gives back.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.0.state.lock().free_bytes = bytes;
    }

    /// Flips bits of one byte, on the medium. Says whether there is such a byte.
    pub fn flip(&self, path: &Path, offset: u64, bits: u8) -> bool {
        let mut state = self.0.state.lock();
        let Some(&node) = state.names.get(path) else { return false };
        let Ok(offset) = usize::try_from(offset) else { return false };
        let node = &mut state.nodes[node];
        if let Some(byte) = node.durable.get_mut(offset) {
            *byte ^= bits;
        }
        node.live.get_mut(offset).map(|byte| *byte ^= bits).is_some()
    }

    /// All bytes of a file, as a reader sees them now.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.state.lock();
        state.names.get(path).map(|node| state.nodes[*node].live.clone())
    }

    /// Overwrites bytes of a file on the medium, behind the back of whoever uses it; they must lie in the file.
    pub fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> bool {
        let mut state = self.0.state.lock();
        let Some(&node) = state.names.get(path) else { return false };
        let Ok(start) = usize::try_from(offset) else { return false };
        let range = start..start.saturating_add(bytes.len());
        let node = &mut state.nodes[node];
        if let Some(place) = node.durable.get_mut(range.clone()) {
            place.copy_from_slice(bytes);
        }
        node.live.get_mut(range).map(|place| place.copy_from_slice(bytes)).is_some()
    }
}

impl State {
    fn has_power(&self) -> bool {
        self.faults.power_fails_after.is_none_or(|last| self.counts.steps < last)
    }

    /// Counts a step, and lets it fail if a fault was ordered for it.
    fn step(&mut self, step: &Step) -> io::Result<()> {
        if !self.has_power() {
            return Err(io::Error::other("the power failed"));
        }
        let counts = &mut self.counts;
        counts.steps += 1;
        match step {
            Step::Write => counts.writes += 1,
            Step::Sync => counts.syncs += 1,
            Step::Allocate => counts.allocations += 1,
            Step::Create => counts.creations += 1,
            Step::Other => {}
        }
        let (counts, faults) = (self.counts, &self.faults);
        match step {
            Step::Create if faults.creation_fails_at == Some(counts.creations) => Err(broken()),
            Step::Write if faults.write_fails_at == Some(counts.writes) => Err(broken()),
            Step::Write if faults.write_full_at == Some(counts.writes) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            Step::Sync if faults.sync_fails_at == Some(counts.syncs) => Err(broken()),
            Step::Allocate if faults.allocation_full_at == Some(counts.allocations) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn resize(&mut self, node: usize, len: usize) -> io::Result<()> {
        let old = self.nodes[node].live.len();
        if len > old {
            let more = (len - old) as u64;
            if more > self.free_bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.free_bytes -= more;
        } else {
            self.free_bytes += (old - len) as u64;
        }
        self.nodes[node].live.resize(len, 0);
        self.nodes[node].pending.push(Change::Len(len));
        Ok(())
    }

    fn name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }
}

fn broken() -> io::Error {
    io::Error::other("input/output error, ordered by a test")
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.0.state.lock();
        state.step(&Step::Create)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.nodes.push(Node::default());
        let node = state.nodes.len() - 1;
        state.name(NameChange::Set(path.to_owned(), node));
        Ok(Arc::new(FaultyFile { disk: self.clone(), node, writable: true }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let node = *self.0.state.lock().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FaultyFile { disk: self.clone(), node, writable: true }))
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let node = *self.0.state.lock().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FaultyFile { disk: self.clone(), node, writable: false }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.step(&Step::Other)?;
        let node = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.name(NameChange::Rename(from.to_owned(), to.to_owned(), node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.step(&Step::Other)?;
        let node = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        state.free_bytes += state.nodes[node].live.len() as u64;
        state.name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.step(&Step::Sync)?;
        let (synced, pending) =
            std::mem::take(&mut state.pending_names).into_iter().partition(|change| change.is_in(dir));
        state.pending_names = pending;
        let synced: Vec<NameChange> = synced;
        for change in synced {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.state.lock();
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.keys().filter(|path| parent_of(path) == dir);
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.0.state.lock();
        Ok(state.names.contains_key(path) || state.dirs.contains(path))
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.0.state.lock().free_bytes)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        if !self.0.state.lock().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Lock::new(Held { disk: self.clone(), path: path.to_owned() }))
    }

    fn random(&self) -> u64 {
        self.0.state.lock().random.random()
    }
}

struct Held {
    disk: FaultyDisk,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.0.state.lock().locks.remove(&self.path);
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    node: usize,
    writable: bool,
}

impl FaultyFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl File for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.0.state.lock();
        state.counts.reads += 1;
        state.counts.read_bytes += buf.len() as u64;
        if state.faults.read_fails_at == Some(state.counts.reads) {
            return Err(broken());
        }
        let asked = offset..offset.saturating_add(buf.len() as u64);
        let hits = |(node, bad): &(usize, Range<u64>)| {
            *node == self.node && bad.start < asked.end && asked.start < bad.end
        };
        if state.faults.unreadable.iter().any(hits) {
            return Err(broken());
        }
        let live = &state.nodes[self.node].live;
        let rest = usize::try_from(offset).ok().and_then(|start| live.get(start..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.disk.0.state.lock();
        state.step(&Step::Write)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let end = offset + bytes.len();
        if end > state.nodes[self.node].live.len() {
            state.resize(self.node, end)?;
        }
        let node = &mut state.nodes[self.node];
        write(&mut node.live, offset, bytes);
        node.pending.push(Change::Write(offset, bytes.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.state.lock();
        self.disk.0.released.wait_while(&mut state, |state| state.faults.syncs_hang);
        let has_power = state.has_power();
        let synced = state.step(&Step::Sync);
        let state = &mut *state;
        match &synced {
            Ok(()) => state.nodes[self.node].sync(),
            Err(_) if has_power => state.nodes[self.node].fail_sync(&mut state.random),
            Err(_) => {}
        }
        synced
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.state.lock().nodes[self.node].live.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.disk.0.state.lock();
        state.step(&Step::Allocate)?;
        state.resize(self.node, usize::try_from(len).map_err(io::Error::other)?)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.disk.0.state.lock();
        state.step(&Step::Allocate)?;
        let end = usize::try_from(offset.saturating_add(len)).map_err(io::Error::other)?;
        if end > state.nodes[self.node].live.len() { state.resize(self.node, end) } else { Ok(()) }
    }
}
