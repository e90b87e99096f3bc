//! A small file of text beside the segments whose last line vouches for the lines before it.
//!
//! ```text
//! hayrick damage 1
//! …
//! crc32c bba61093
//! ```
//! The first line names what the file is, and its version; every later version keeps the first line and the last. Owns
//! these two; what stands between them is left to whose file it is. Invariant: of a file that is not as it was written
//! nothing is believed, its version included.

use std::io;
use std::path::Path;

use hayrick_disk::Disk;

/// Adds the last line.
pub(crate) fn seal(lines: &str) -> String {
    format!("{lines}crc32c {:08x}\n", crc32c::crc32c(lines.as_bytes()))
}

/// What lies before the last line, if that is right.
pub(crate) fn open(text: &str) -> Option<&str> {
    let (lines, last) = text.split_at(text.rfind("crc32c ")?);
    (last == format!("crc32c {:08x}\n", crc32c::crc32c(lines.as_bytes()))).then_some(lines)
}

/// The version of what is called `title`; `None` if it is damaged, cannot be read, or is none.
pub(crate) fn version_of(disk: &dyn Disk, path: &Path, title: &str, bytes_max: u64) -> Option<u16> {
    let text = read(disk, path, bytes_max).ok()?;
    open(&text)?.lines().next()?.strip_prefix(title)?.trim_start().parse().ok()
}

/// The text, of which no more than `bytes_max` is read. Bytes that are none make it another text than was written. What is
/// not as it was written is read once more, because a disk may answer wrongly once.
pub(crate) fn read(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<String> {
    match read_once(disk, path, bytes_max) {
        Ok(text) if open(&text).is_some() => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        _ => read_once(disk, path, bytes_max),
    }
}

fn read_once(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<String> {
    let file = disk.open(path)?;
    let len = file.len()?.min(bytes_max);
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
