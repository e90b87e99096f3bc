//! A [`FaultyDisk`] as whoever is tested sees it: through [`Disk`] and [`File`].
//!
//! Each operation passes the gates, is counted, and meets the fault that is due; what it does to bytes and names is the
//! image's. The invariant: without power nothing is changed, counted or told.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::MutexGuard;
use rand::Rng;

use super::chance::{draw, mix};
use super::node::{Change, Node, SECTOR_BYTES};
use super::plan::{Failure, Op};
use super::{FaultyDisk, State};
use crate::disk::{Disk, File, Lock, parent_of};

impl FaultyDisk {
    /// Begins an operation: the disk, and how the operation is to fail.
    fn begin(&self, op: Op, path: &Path) -> io::Result<(MutexGuard<'_, State>, Option<Failure>)> {
        let state = self.wait_at_gates(op, path)?;
        self.count(state, op, path)
    }

    fn wait_at_gates(&self, op: Op, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.powered()?;
        while let Some(gate) = state.gates.before(op, path) {
            state.gates.arrive(gate);
            self.changed().notify_all();
            self.changed().wait_while(&mut state, |state| state.has_power() && state.gates.is_closed(gate));
            state.gates.leave(gate);
            if !state.has_power() {
                break;
            }
        }
        Ok(state)
    }

    fn count<'s>(
        &self,
        mut state: MutexGuard<'s, State>,
        op: Op,
        path: &Path,
    ) -> io::Result<(MutexGuard<'s, State>, Option<Failure>)> {
        if !state.has_power() {
            return Err(no_power());
        }
        if op.is_step() && state.moments.is_some() {
            let moment = state.moment();
            state.moments.get_or_insert_default().push(moment);
        }
        state.counts.add(op);
        let failure = state.orders.due(op, path);
        Ok((state, failure))
    }

    /// As `begin`, for operations that fail whole or not at all.
    fn begin_or_fail(&self, op: Op, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        match self.begin(op, path)? {
            (state, None) => Ok(state),
            (_, Some(failure)) => Err(error_of(failure)),
        }
    }

    fn powered(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.has_power() { Ok(state) } else { Err(no_power()) }
    }

    /// A new descriptor of a file.
    fn descriptor(&self, state: &mut State, node: usize, writable: bool) -> Arc<dyn File> {
        let file = state.image.node_mut(node);
        file.descriptors += 1;
        let told = file.errors - u64::from(file.error_unseen);
        Arc::new(FaultyFile { disk: self.clone(), node, writable, told: AtomicU64::new(told) })
    }

    fn open_file(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn File>> {
        let mut state = self.begin_or_fail(Op::Open, path)?;
        let node = state.image.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.descriptor(&mut state, node, writable))
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.begin_or_fail(Op::CreateDir, dir)?;
        state.image.names.make_dir(dir);
        Ok(())
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power failed")
}

fn error_of(failure: Failure) -> io::Error {
    match failure {
        Failure::Full => io::ErrorKind::StorageFull.into(),
        _ => io::Error::other("input/output error, ordered by a test"),
    }
}

/// Another place for a write in a file of this length, whole sectors away; `None` if there is none.
fn another_place(offset: u64, len: u64, file_len: u64, random: &mut impl Rng) -> Option<u64> {
    let (sector, within) = (offset / SECTOR_BYTES, offset % SECTOR_BYTES);
    let places = file_len.checked_sub(within + len)? / SECTOR_BYTES + 1;
    (places > 1).then(|| (sector + random.random_range(1..places)) % places * SECTOR_BYTES + within)
}

fn not_for_writing() -> io::Error {
    rustix::io::Errno::BADF.into()
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.begin_or_fail(Op::Create, path)?;
        if state.image.names.get(path).is_some() || state.image.names.is_dir(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !state.image.names.is_dir(parent_of(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let node = state.image.create(path);
        Ok(self.descriptor(&mut state, node, true))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open_file(path, true)
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open_file(path, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.begin_or_fail(Op::Rename, from)?;
        if !state.image.names.is_dir(parent_of(to)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.image.rename(from, to).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin_or_fail(Op::Remove, path)?;
        state.image.remove(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let (mut state, failure) = self.begin(Op::SyncDir, dir)?;
        if !state.image.names.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Some(failure) = failure {
            let seed = state.seed;
            state.image.names.fail_sync(dir, seed);
            return Err(error_of(failure));
        }
        state.image.names.sync(dir);
        Ok(())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing = self.powered()?.image.names.missing_dirs(dir);
        for dir in &missing {
            self.make_dir(dir)?;
            self.sync_dir(parent_of(dir))?;
        }
        // Whoever made it may have been killed before it was synced.
        if missing.is_empty() { self.sync_dir(parent_of(dir)) } else { Ok(()) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.begin_or_fail(Op::List, dir)?;
        if !state.image.names.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.image.names.files().filter(|(path, _)| parent_of(path) == dir);
        Ok(inside.filter_map(|(path, _)| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let names = &self.powered()?.image.names;
        Ok(names.get(path).is_some() || names.is_dir(path))
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.powered()?.image.free_bytes())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        if !self.powered()?.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Lock::new(Held { disk: self.clone(), path: path.to_owned() }))
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        Ok(self.powered()?.locks.contains(path))
    }

    fn random(&self) -> u64 {
        let mut state = self.state();
        state.numbers += 1;
        mix((state.seed, "number", state.numbers))
    }
}

struct Held {
    disk: FaultyDisk,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

/// A descriptor.
struct FaultyFile {
    disk: FaultyDisk,
    node: usize,
    writable: bool,
    /// Failed write-backs of the file that this descriptor need not report any more.
    told: AtomicU64,
}

impl FaultyFile {
    fn path(&self) -> Arc<Path> {
        Arc::clone(&self.disk.state().image.node(self.node).path)
    }

    fn begin(&self, op: Op) -> io::Result<(MutexGuard<'_, State>, Option<Failure>)> {
        self.disk.begin(op, &self.path())
    }

    fn begin_change(&self, op: Op) -> io::Result<(MutexGuard<'_, State>, Option<Failure>)> {
        if self.writable { self.begin(op) } else { Err(not_for_writing()) }
    }

    /// Fails once for each write-back that failed since the last time.
    fn report(&self, file: &mut Node) -> io::Result<()> {
        file.error_unseen = false;
        if self.told.swap(file.errors, Ordering::Relaxed) < file.errors {
            return Err(error_of(Failure::Broken));
        }
        Ok(())
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        self.disk.state().image.node_mut(self.node).descriptors -= 1;
    }
}

impl File for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut state, failure) = self.begin(Op::Read)?;
        state.counts.read_bytes += buf.len() as u64;
        let file = state.image.node(self.node);
        let mut random = draw((state.seed, "read", file.id, offset, buf.len()));
        let asked = offset..offset.saturating_add(buf.len() as u64);
        if failure == Some(Failure::Broken) || file.live.is_bad(&asked) {
            return Err(error_of(Failure::Broken));
        }
        let len = file.live.read(buf, offset);
        match failure {
            Some(Failure::Short) if len > 1 => return Ok(random.random_range(1..len)),
            Some(_) if len > 0 => buf[random.random_range(0..len)] ^= 1 << random.random_range(0..8),
            _ => {}
        }
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut state, failure) = self.begin_change(Op::Write)?;
        let fits = state.image.fitting_bytes(self.node, bytes.len(), offset);
        let seed = state.seed;
        let file = state.image.node_mut(self.node);
        let mut random = draw((seed, "write", file.id, file.changes()));
        let (written, error) = match failure {
            Some(Failure::Broken) => (0, Some(Failure::Broken)),
            Some(failure @ (Failure::Full | Failure::Short)) => {
                (random.random_range(0..=bytes.len()).min(fits), Some(failure))
            }
            _ if fits < bytes.len() => (fits, Some(Failure::Full)),
            _ => (bytes.len(), None),
        };
        let mut written = bytes[..written].to_vec();
        if failure == Some(Failure::Flipped) && !written.is_empty() {
            let at = random.random_range(0..written.len());
            written[at] ^= 1 << random.random_range(0..8);
        }
        let place = match failure {
            Some(Failure::Misdirected) => {
                another_place(offset, written.len() as u64, file.live.len(), &mut random)
            }
            _ => Some(offset),
        };
        if let Some(place) = place.filter(|_| !written.is_empty()) {
            let change = Change::Write(place, written.into());
            if failure == Some(Failure::LostLater) {
                file.change_in_vain(&change);
            } else {
                file.change(change);
            }
        }
        error.map_or(Ok(()), |failure| Err(error_of(failure)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let path = self.path();
        // What is written while it waits is not covered.
        let covered = self.disk.powered()?.image.node(self.node).changes();
        let (mut state, failure) = self.disk.begin(Op::Sync, &path)?;
        let seed = state.seed;
        let file = state.image.node_mut(self.node);
        match failure {
            Some(_) => file.fail_sync(covered, seed),
            None => file.sync(covered),
        }
        let reported = self.report(file);
        failure.map_or(reported, |failure| Err(error_of(failure)))
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.powered()?.image.node(self.node).live.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut state, failure) = self.begin_change(Op::Allocate)?;
        if let Some(failure) = failure {
            return Err(error_of(failure));
        }
        state.image.node_mut(self.node).change(Change::Len(len));
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let (mut state, failure) = self.begin_change(Op::Allocate)?;
        if let Some(failure) = failure {
            return Err(error_of(failure));
        }
        let range: Range<u64> = offset..offset.saturating_add(len);
        let missing_bytes = state.image.node(self.node).live.missing_bytes(&range);
        if missing_bytes > state.image.free_bytes() {
            return Err(error_of(Failure::Full));
        }
        state.image.node_mut(self.node).change(Change::Allocate(range));
        Ok(())
    }
}
