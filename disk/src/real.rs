//! The disk of the operating system. Policy (when to sync, what to keep free) is left to the callers; nothing is buffered
//! here.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rand::Rng;
use rustix::fs::FallocateFlags;

use crate::disk::{Disk, File, Lock, parent_of};

/// Zeros for file systems that cannot allocate.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The real file system, through `std` and `rustix`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(fs::OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(fs::File::open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let parent = parent_of(dir);
        if dir.is_dir() {
            // Whoever made it may have been killed before it was synced. Where the parent is not ours to read, neither was
            // it for us to make a directory there.
            return match self.sync_dir(parent) {
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
                _ => Ok(()),
            };
        }
        if parent != dir {
            self.create_dir_all(parent)?;
        }
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        loop {
            let file =
                fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            file.try_lock()?;
            // Whoever held it last may have removed the file in between: a lock on that one keeps nobody out.
            let held = file.metadata()?;
            if fs::metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
                return Ok(Lock::new(file));
            }
        }
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn random(&self) -> u64 {
        rand::rng().random()
    }
}

pub(crate) struct RealFile(pub(crate) fs::File);

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        // The position that this moves is used by nobody.
        match rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Data(offset)) {
            Ok(next) => Ok(next),
            Err(rustix::io::Errno::NXIO) => self.len(),
            // Not every file system can tell.
            Err(_) => Ok(offset),
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), offset, len) {
                Ok(()) => return Ok(()),
                // A large file takes long enough for a signal to come between; what was allocated stays.
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::OPNOTSUPP) => return self.fill(offset, len),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl RealFile {
    /// What stands in for `fallocate` where there is none: writes zeros behind the present end, and touches no byte that
    /// exists.
    fn fill(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut position = self.len()?.max(offset);
        let end = offset.saturating_add(len);
        while position < end {
            let piece = ZEROS.len().min(usize::try_from(end - position).unwrap_or(usize::MAX));
            self.write_all_at(&ZEROS[..piece], position)?;
            position += piece as u64;
        }
        Ok(())
    }
}
