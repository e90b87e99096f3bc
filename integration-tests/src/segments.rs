//! Damage to the files of a volume, as a bad disk does it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Finds `payload` in the files under a volume's data directory.
///
/// # Errors
/// When a file cannot be read.
pub fn find(data_dir: &Path, payload: &[u8]) -> Result<Option<(PathBuf, u64)>> {
    let entries = std::fs::read_dir(data_dir).with_context(|| data_dir.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find(&path, payload)? {
                return Ok(Some(found));
            }
            continue;
        }
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        if let Some(offset) = position(&bytes, payload) {
            return Ok(Some((path, offset as u64)));
        }
    }
    Ok(None)
}

/// Flips one bit of the byte at `offset`.
///
/// # Errors
/// When the file cannot be changed.
pub fn flip(path: &Path, offset: u64) -> Result<()> {
    let file: File = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset)?;
    Ok(())
}

fn position(bytes: &[u8], payload: &[u8]) -> Option<usize> {
    let first = *payload.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(payload) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}
