//! The real disk, broken from outside while the process runs: by a control file, which whoever tests a server writes.
//!
//! ```toml
//! slow = "200ms"    # each write and sync takes so much longer
//! full = true       # nothing can be created or grow, no bytes are free; what was allocated can be written
//! eio = "sync"      # or "write" or "read": such calls fail with an input/output error,
//! every = 3         # every third of them since the control file changed; all of them unless said
//! hang = true       # what has to reach the disk does not return until this is taken back
//!
//! forget = true     # these only when the process starts: SIGKILL is like a power cut
//! torn = true       # and of what a power cut takes, something may be left
//! seed = 7          # what is left is drawn from it
//! ```
//!
//! The file is looked at every [`control::LOOK_EVERY`]; no file, and no line, is no fault. A mistake in it is told on standard
//! error, and what was ordered before stays.
//!
//! With `forget`, what is written stays in the memory of this process until a sync of the file covers it: bytes, and its
//! length. All descriptors of this process see it, whichever of them it was written through; other processes see what a power
//! cut would leave. Names are not kept back: creations, renames and removals are on the disk at once, as if the directory had
//! been synced by somebody else. That keeps every state this makes one that a file system may leave, and what hangs on
//! `sync_dir` is tested on [`FaultyDisk`](crate::FaultyDisk). With `torn`, a thread soon writes out a random half of the
//! sectors that are kept back, so that a part of a write outlives its process; the other half waits for the sync.
//!
//! A sync that was made to fail loses what it should have brought to the disk, as Linux does: a later one succeeds, and does
//! not bring it back. Every descriptor of the file is told once. Without `forget` nothing is kept back that could be lost.
//!
//! Invariant: without a fault, and without a kill, it does what [`RealDisk`] does.

mod control;
mod file;
mod nodes;
mod pending;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::breakable::control::{Call, Control, Start};
use crate::breakable::file::BreakableFile;
use crate::breakable::nodes::Nodes;
use crate::disk::{Disk, File, Lock};
use crate::real::RealDisk;

/// The longest pause between two times that random sectors are written out. In the order of what a sync takes, so that it
/// often happens between a write and its sync.
const SCATTER_PAUSE_MS_MAX: u64 = 5;

/// The real disk with a control file.
pub(crate) struct BreakableDisk(Arc<Shared>);

/// What disk and files share.
struct Shared {
    control: Arc<Control>,
    nodes: Arc<Nodes>,
    /// The threads end when these are dropped.
    _running: [mpsc::Sender<()>; 2],
}

impl BreakableDisk {
    /// Obeys this control file, which need not be there yet.
    pub(crate) fn new(control_file: PathBuf) -> io::Result<Self> {
        let (control, start, watching) = Control::watch(control_file)?;
        let nodes = Arc::new(Nodes::new(start.forget));
        let scattering = scatter(&start, &control, &nodes)?;
        Ok(Self(Arc::new(Shared { control, nodes, _running: [watching, scattering] })))
    }

    fn opened(&self, file: fs::File, is_writable: bool) -> io::Result<Arc<dyn File>> {
        let shared = Arc::clone(&self.0);
        let node = shared.nodes.open(&file, is_writable)?;
        Ok(Arc::new(BreakableFile::new(file, node, shared, is_writable)))
    }

    /// Takes what makes a new name.
    fn make(&self, path: &Path) -> io::Result<()> {
        self.0.control.enter(Call::Name)?;
        if self.0.control.is_full() && !path.try_exists()? { Err(full()) } else { Ok(()) }
    }
}

/// There is no room.
fn full() -> io::Error {
    rustix::io::Errno::NOSPC.into()
}

/// The thread that writes out random sectors, if that is wished.
fn scatter(start: &Start, control: &Arc<Control>, nodes: &Arc<Nodes>) -> io::Result<mpsc::Sender<()>> {
    let (running, ended) = mpsc::channel();
    if let Some(seed) = start.torn {
        let (control, nodes) = (Arc::clone(control), Arc::clone(nodes));
        let mut rng = SmallRng::seed_from_u64(seed);
        let body = move || {
            let pause =
                |rng: &mut SmallRng| Duration::from_millis(rng.random_range(0..=SCATTER_PAUSE_MS_MAX));
            while ended.recv_timeout(pause(&mut rng)) == Err(mpsc::RecvTimeoutError::Timeout) {
                if !control.hangs() {
                    nodes.scatter(&mut rng);
                }
            }
        };
        std::thread::Builder::new().name("disk-torn".to_owned()).spawn(body)?;
    }
    Ok(running)
}

impl Disk for BreakableDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.make(path)?;
        self.opened(fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?, true)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.control.enter(Call::Name)?;
        self.opened(fs::OpenOptions::new().read(true).write(true).open(path)?, true)
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.control.enter(Call::Name)?;
        self.opened(fs::File::open(path)?, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.control.enter(Call::Name)?;
        self.0.nodes.unlinking(to, || RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.control.enter(Call::Name)?;
        self.0.nodes.unlinking(path, || RealDisk.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.control.enter(Call::Sync)?;
        RealDisk.sync_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.make(dir)?;
        RealDisk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.control.enter(Call::Name)?;
        RealDisk.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.exists(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        if self.0.control.is_full() { Ok(0) } else { RealDisk.free_bytes(dir) }
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.make(path)?;
        RealDisk.lock(path)
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        RealDisk.is_locked(path)
    }

    fn random(&self) -> u64 {
        RealDisk.random()
    }
}
