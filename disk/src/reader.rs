//! A file of a stream in the hands of who reads it.
//!
//! Owns what is told of such a file. Which files there are is `stream`'s; verifying what is read is the reader's own, or
//! `scan`'s. Invariant: it stays readable as long as it is held, also after the file was removed.

use std::io;
use std::sync::Arc;

use crate::append_file::AppendFile;
use crate::format::FileId;

/// An open file of a stream, for reading.
#[derive(Clone)]
pub struct Reader(pub(crate) Arc<AppendFile>);

impl Reader {
    /// Which file it is.
    #[must_use]
    pub fn file(&self) -> FileId {
        self.0.id()
    }

    /// The random number in its header, which tells it from any other file of that name.
    #[must_use]
    pub fn salt(&self) -> u64 {
        self.0.salt()
    }

    /// The salt under which the record at an offset verifies.
    #[must_use]
    pub fn salt_at(&self, offset: u64) -> u64 {
        self.0.salt_at(offset)
    }

    /// Whether nothing is appended to it any more.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.0.is_sealed()
    }

    /// The end of what is durable in it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.0.end()
    }

    /// Reads bytes, unverified.
    ///
    /// # Errors
    /// What the disk says; `UnexpectedEof` behind the end of the file.
    pub fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.file().read_exact_at(buf, offset)
    }
}
