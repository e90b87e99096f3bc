//! Data directories as an administrator handles them: copied, whole, while nobody works in them or somebody does.

use std::fs;
use std::path::Path;

use anyhow::Result;

/// Copies a directory and all that is in it; what is there already is overwritten.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
