//! The two traits behind which all file access of the project lies, and the one way to replace a small file whole.
//!
//! What a path means, and what is in a file, is left to the callers. The invariant that implementations keep: nothing
//! is durable before a sync that covers it returned `Ok` (`sync_data`/`sync_all` for bytes and length, `sync_dir` for
//! names), and a sync that failed says nothing about what is on the device, nor does a later sync that succeeds.

use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A place for files. Used as `Arc<dyn Disk>`.
pub trait Disk: Send + Sync + 'static {
    /// Creates a file for reading and writing; fails with `AlreadyExists` if there is one.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading and writing; fails with `NotFound` if there is none. Each open file reports a failed
    /// write-back of its own accord: a sync through one descriptor never takes away the error from another.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading alone, whoever else has it open; fails with `NotFound` if there is none. All that would
    /// change it fails through this descriptor.
    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, replacing what had that name. Durable after `sync_dir` only.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Unlinks a file. Who has it open keeps reading it. Durable after `sync_dir` only.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Creates a directory and its parents, durably; no error if it exists.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in `dir`, in no order. Names that are not UTF-8 are left out: none of ours are.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Whether `path` names a file or a directory.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Bytes that may still be allocated by an ordinary process on the file system of `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Takes the exclusive lock named by the file `path`, which is created if need be, until the [`Lock`] is dropped or
    /// the process ends. Fails with `WouldBlock` when somebody holds it.
    fn lock(&self, path: &Path) -> io::Result<Lock>;

    /// Whether somebody holds the lock named by the file `path`; not if there is no such file. Nothing is created, and who
    /// holds it keeps it. Who asks for the lock in the very moment of this call may be refused.
    fn is_locked(&self, path: &Path) -> io::Result<bool>;

    /// A number nobody can foresee, for salts; a number from the seed on a disk for tests.
    fn random(&self) -> u64;
}

/// An open file. All positions are absolute, and any number of threads may use it at once.
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes; 0 only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads exactly `buf.len()` bytes, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Where the next bytes lie, from `offset` on, that were ever written, as far as can be told without reading: all before
    /// is zero.
    fn next_data(&self, offset: u64) -> io::Result<u64> {
        Ok(offset)
    }

    /// Writes all of `bytes`, growing the file if need be.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes bytes and length durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;

    /// Makes bytes and all metadata durable (`fsync`).
    fn sync_all(&self) -> io::Result<()>;

    /// The length of the file in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or grows it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Takes blocks for the range, so that a write into it cannot fail for want of space; grows the file if need be. New
    /// bytes read as zeros.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
}

/// A held lock; dropping it lets go.
pub struct Lock(#[expect(dead_code, reason = "held for what its drop does")] Box<dyn Any + Send + Sync>);

impl Lock {
    /// Wraps whatever lets go of the lock when it is dropped.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Box::new(held))
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// Replaces the file `path` by one with these bytes: a reader, and a crash at any moment, finds the old bytes or the new
/// ones, and after `Ok` the new ones for good.
pub fn write_atomically(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(parent_of(path))
}

/// The directory a file lies in; the working directory for a bare name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
