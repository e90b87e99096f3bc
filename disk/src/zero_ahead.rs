//! What is made ready before it is needed: the next file of the stream, and zeros behind the append position.
//!
//! Overwriting blocks that were allocated *and written* lets `fdatasync` skip the file system's journal. Zeroing goes
//! piece by piece with a pause after each, and an append behind the zeroed part simply writes. While much is appended with
//! each sync nothing is zeroed: then the disk is busy with bytes and not with syncs, and zeros would be half of them. Whether and when a file is
//! used is left to the writer. The invariant: at most one file at a time is in the making or prepared, and ids are
//! handed out in the order in which files may be used.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Condvar, Mutex};

use crate::append_file::{AppendFile, HEADER_BYTES};
use crate::disk::File;
use crate::format::{FileId, Format};
use crate::limits::{PREPARER_NICE, ZERO_LEAD_PIECES, ZERO_PAUSE, ZERO_RUN_BYTES_MAX};
use crate::stream::{AppendError, Shared};

/// Why there is no next file.
pub(crate) enum NextFileError {
    /// No room; nothing was changed.
    Full(AppendError),
    /// The disk, or the system, failed; nothing was changed.
    Disk(io::Error),
}

/// The place where the next file waits.
pub(crate) struct Ahead {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    next: Next,
    /// The id of the next file. It is used up only by a file that was made: who asks again and again for one on a full
    /// disk must not run out of ids.
    next_id: u64,
    /// Making the next file failed; not tried again before something changes.
    gave_up: bool,
    nudged: bool,
    closing: bool,
}

enum Next {
    None,
    Making,
    Ready(Arc<AppendFile>),
}

impl Ahead {
    pub(crate) fn new(spare: Option<Arc<AppendFile>>, next_id: u64) -> Self {
        let next = spare.map_or(Next::None, Next::Ready);
        let state = State { next, next_id, gave_up: false, nudged: false, closing: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// There is something to prepare, perhaps.
    pub(crate) fn nudge(&self) {
        self.state.lock().nudged = true;
        self.changed.notify_all();
    }

    /// Space came back: making the next file is worth another try.
    pub(crate) fn room_came_back(&self) {
        self.state.lock().gave_up = false;
        self.nudge();
    }

    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }

    pub(crate) fn spare_room_bytes(&self) -> u64 {
        match &self.state.lock().next {
            Next::Ready(file) => file.capacity() - HEADER_BYTES,
            Next::None | Next::Making => 0,
        }
    }

    /// Ends `Making`: what was made either waits now, or goes to who asked for it.
    fn made(&self, next: Next, was_made: bool) {
        let mut state = self.state.lock();
        state.gave_up = !was_made;
        state.next_id += u64::from(was_made);
        state.next = next;
        drop(state);
        self.changed.notify_all();
    }
}

/// Takes the file that was prepared, or makes one now, of at least `capacity` bytes.
pub(crate) fn next_file<F: Format>(
    shared: &Shared,
    capacity: u64,
    reserve: bool,
) -> Result<Arc<AppendFile>, NextFileError> {
    let mut state = shared.ahead.state.lock();
    while matches!(state.next, Next::Making) {
        shared.ahead.changed.wait(&mut state);
    }
    let too_small = match std::mem::replace(&mut state.next, Next::Making) {
        Next::Ready(file) if file.capacity() >= capacity => {
            state.next = Next::None;
            state.gave_up = false;
            return Ok(file);
        }
        Next::Ready(file) => Some(file),
        Next::None | Next::Making => None,
    };
    let id = FileId(state.next_id);
    drop(state);
    if let Some(file) = too_small {
        discard(shared, &file);
    }
    let made = make::<F>(shared, id, capacity, reserve);
    shared.ahead.made(Next::None, made.is_ok());
    made
}

/// Removes a prepared file: a larger one is to come before it. Should the removal be lost, it is found empty, and does
/// no harm.
fn discard(shared: &Shared, file: &AppendFile) {
    match shared.disk.remove(file.path()) {
        Ok(()) => {
            shared.allocated_bytes.fetch_sub(file.capacity(), Ordering::Relaxed);
        }
        Err(error) => {
            tracing::warn!(%error, path = %file.path().display(), "cannot remove an empty append file")
        }
    }
}

fn make<F: Format>(
    shared: &Shared,
    id: FileId,
    capacity: u64,
    reserve: bool,
) -> Result<Arc<AppendFile>, NextFileError> {
    let path = shared.options.path_of(id);
    let reserve_bytes = if reserve { 0 } else { shared.options.reserve_bytes };
    let free_bytes = free_bytes(shared).map_err(NextFileError::Disk)?;
    let full = || {
        NextFileError::Full(AppendError::Full {
            needed_bytes: capacity,
            used_bytes: shared.allocated_bytes.load(Ordering::Relaxed),
            free_bytes,
            reserve_bytes,
        })
    };
    if free_bytes < capacity.saturating_add(reserve_bytes) {
        return Err(full());
    }
    match AppendFile::create::<F>(shared.disk.as_ref(), path, id, capacity) {
        Ok(file) => {
            shared.allocated_bytes.fetch_add(capacity, Ordering::Relaxed);
            Ok(Arc::new(file))
        }
        Err(error) => match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Err(full()),
            _ => Err(NextFileError::Disk(error)),
        },
    }
}

/// Bytes that new files may take: of the file system, or of the stream's own capacity.
pub(crate) fn free_bytes(shared: &Shared) -> io::Result<u64> {
    let free = shared.disk.free_bytes(&shared.options.dir)?;
    let used = shared.allocated_bytes.load(Ordering::Relaxed);
    Ok(shared.options.capacity_bytes.map_or(free, |capacity| free.min(capacity.saturating_sub(used))))
}

/// The body of the preparing thread.
pub(crate) fn run<F: Format>(shared: &Shared) {
    // On Linux this concerns the calling thread alone. Where it is refused, the pauses have to do.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(PREPARER_NICE);
    let mut zeroing = Zeroing::default();
    loop {
        let prepared = one_step::<F>(shared, &mut zeroing);
        let mut state = shared.ahead.state.lock();
        match prepared {
            Prepared::File => {}
            Prepared::Piece => {
                shared.ahead.changed.wait_while_for(&mut state, |state| !state.closing, ZERO_PAUSE);
            }
            Prepared::Nothing => {
                shared.ahead.changed.wait_while(&mut state, |state| !state.closing && !state.nudged);
            }
            Prepared::Closing => return,
        }
    }
}

/// What one step of preparing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prepared {
    /// The next file was made, or tried to be.
    File,
    /// A piece was zeroed.
    Piece,
    Nothing,
    Closing,
}

/// Makes the next file, or zeroes one piece.
pub(crate) fn one_step<F: Format>(shared: &Shared, zeroing: &mut Zeroing) -> Prepared {
    let mut state = shared.ahead.state.lock();
    if state.closing || shared.poison.get().is_some() {
        return Prepared::Closing;
    }
    state.nudged = false;
    if matches!(state.next, Next::None) && !state.gave_up {
        state.next = Next::Making;
        let id = FileId(state.next_id);
        drop(state);
        let next = prepare::<F>(shared, id);
        let was_made = matches!(next, Next::Ready(_));
        shared.ahead.made(next, was_made);
        return Prepared::File;
    }
    let spare = if let Next::Ready(file) = &state.next { Some(Arc::clone(file)) } else { None };
    drop(state);
    if shared.run_bytes.load(Ordering::Relaxed) > ZERO_RUN_BYTES_MAX {
        return Prepared::Nothing;
    }
    let active = shared.active.lock().clone();
    if zeroing.one_piece(shared, [active, spare]) { Prepared::Piece } else { Prepared::Nothing }
}

fn prepare<F: Format>(shared: &Shared, id: FileId) -> Next {
    match make::<F>(shared, id, shared.options.file_bytes(), false) {
        Ok(file) => Next::Ready(file),
        // The writer tries again when it needs the file, and tells whoever appends.
        Err(NextFileError::Full(full)) => {
            tracing::debug!(%full, "no append file prepared");
            Next::None
        }
        Err(NextFileError::Disk(error)) => {
            tracing::warn!(%error, dir = %shared.options.dir.display(), "cannot prepare an append file");
            Next::None
        }
    }
}

/// The descriptors through which files are zeroed: others than the writer's.
#[derive(Default)]
pub(crate) struct Zeroing {
    descriptors: Vec<(FileId, Arc<dyn File>)>,
    failed: bool,
}

impl Zeroing {
    /// Zeroes one piece of the first file that wants it; says whether there was one.
    fn one_piece(&mut self, shared: &Shared, files: [Option<Arc<AppendFile>>; 2]) -> bool {
        if self.failed {
            return false;
        }
        self.descriptors.retain(|(id, _)| files.iter().flatten().any(|file| file.id() == *id));
        for file in files.iter().flatten() {
            match self.zero(shared, file) {
                Ok(false) => {}
                Ok(true) => return true,
                Err(error) => {
                    // Only speed is lost. If the device is failing, the writer will find out by itself.
                    tracing::warn!(%error, path = %file.path().display(), "zeroing ahead ends: a write failed");
                    self.failed = true;
                    return false;
                }
            }
        }
        false
    }

    fn zero(&mut self, shared: &Shared, file: &AppendFile) -> io::Result<bool> {
        let piece = shared.options.zero_ahead_bytes.next_multiple_of(HEADER_BYTES);
        let known = self.descriptors.iter().find(|(id, _)| *id == file.id());
        let descriptor = match known {
            Some((_, descriptor)) => Arc::clone(descriptor),
            None => {
                let descriptor = shared.disk.open(file.path())?;
                self.descriptors.push((file.id(), Arc::clone(&descriptor)));
                descriptor
            }
        };
        file.zero_next_piece(descriptor.as_ref(), piece, piece.saturating_mul(ZERO_LEAD_PIECES))
    }
}
