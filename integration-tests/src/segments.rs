//! Damage to the files of a volume, as a bad disk does it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Between a record and what is left of the next.
const TORN_GAP_BYTES: u64 = 4096;

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

/// Writes behind the last record of a volume that does not run what a power cut may leave of the next one.
///
/// # Errors
/// When it has no segment, or that cannot be changed.
pub fn tear(data_dir: &Path) -> Result<()> {
    let mut newest: Option<(bool, PathBuf, u64)> = None;
    for entry in std::fs::read_dir(data_dir.join("needles"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        // A spare one has a header and nothing else.
        let bytes = std::fs::read(&path)?;
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default() as u64;
        newest = newest.max(Some((end > TORN_GAP_BYTES, path, end)));
    }
    let (_, path, end) = newest.with_context(|| format!("{} has no segment", data_dir.display()))?;
    let file = OpenOptions::new().write(true).open(&path)?;
    // Far enough from what may be zeros of that record.
    Ok(file.write_all_at(&[0x5a; 100], end.next_multiple_of(TORN_GAP_BYTES) + TORN_GAP_BYTES)?)
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
