//! One open file: each call goes through what is ordered first, and then to what is kept back or to the real file.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::FallocateFlags;

use crate::breakable::control::Call;
use crate::breakable::nodes::Node;
use crate::breakable::pending::Pending;
use crate::breakable::{Shared, full};
use crate::disk::File;
use crate::real::RealFile;

/// A descriptor.
pub(super) struct BreakableFile {
    real: RealFile,
    node: Arc<Node>,
    shared: Arc<Shared>,
    is_writable: bool,
    /// Failed syncs of the file that were told through this descriptor, or before it was opened.
    told: AtomicU64,
}

impl BreakableFile {
    pub(super) fn new(real: fs::File, node: Arc<Node>, shared: Arc<Shared>, is_writable: bool) -> Self {
        let told = AtomicU64::new(node.failures());
        Self { real: RealFile(real), node, shared, is_writable, told }
    }

    /// Takes what would make the file at least so long.
    fn grow(&self, end: u64) -> io::Result<()> {
        self.shared.control.enter(Call::Write)?;
        if self.shared.control.is_full() && end > self.len()? { Err(full()) } else { Ok(()) }
    }

    /// Where what is written is kept back, if it is. Nothing is written through a descriptor for reading alone.
    fn kept_back(&self) -> io::Result<Option<&Mutex<Pending>>> {
        if self.is_writable { Ok(self.node.pending.as_ref()) } else { Err(rustix::io::Errno::BADF.into()) }
    }

    fn sync(&self, real_sync: impl FnOnce(&RealFile) -> io::Result<()>) -> io::Result<()> {
        let outcome = self.shared.control.enter(Call::Sync).inspect_err(|_| self.node.fail());
        let outcome = outcome.and_then(|()| self.node.write_out()).and_then(|()| real_sync(&self.real));
        let failures = self.node.failures();
        if self.told.swap(failures, Ordering::AcqRel) < failures && outcome.is_ok() {
            return Err(rustix::io::Errno::IO.into());
        }
        outcome
    }
}

impl File for BreakableFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.shared.control.enter(Call::Read)?;
        if let Some(pending) = &self.node.pending {
            let pending = pending.lock();
            if !pending.is_clean(offset, buf.len()) {
                return pending.read(&self.real.0, buf, offset);
            }
        }
        // What is written out meanwhile is found in the real file.
        self.real.read_at(buf, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        let Some(pending) = &self.node.pending else { return self.real.next_data(offset) };
        let pending = pending.lock();
        let next = self.real.next_data(offset)?;
        let (len, kept_back) = (pending.len(), pending.next(offset));
        let next = if next < self.real.len()? { next } else { len.max(offset) };
        Ok(kept_back.map_or(next, |kept_back| next.min(kept_back)))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.grow(offset.saturating_add(bytes.len() as u64))?;
        match self.kept_back()? {
            Some(pending) => pending.lock().write(&self.real.0, bytes, offset),
            None => self.real.write_all_at(bytes, offset),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(RealFile::sync_data)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(RealFile::sync_all)
    }

    fn len(&self) -> io::Result<u64> {
        self.node.pending.as_ref().map_or_else(|| self.real.len(), |pending| Ok(pending.lock().len()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.grow(len)?;
        match self.kept_back()? {
            Some(pending) => {
                pending.lock().set_len(len);
                Ok(())
            }
            None => self.real.set_len(len),
        }
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.saturating_add(len);
        self.grow(end)?;
        let Some(pending) = self.kept_back()? else { return self.real.allocate(offset, len) };
        // The blocks are taken at once, so that there is room when it comes to the sync; the length is kept back.
        loop {
            match rustix::fs::fallocate(&self.real.0, FallocateFlags::KEEP_SIZE, offset, len) {
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut pending = pending.lock();
        let seen = pending.len();
        pending.set_len(seen.max(end));
        Ok(())
    }
}

impl Drop for BreakableFile {
    fn drop(&mut self) {
        self.shared.nodes.close(&self.node);
    }
}
