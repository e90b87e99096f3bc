//! What is read from a cluster goes into a file whole, or not at all.
//!
//! Invariant: a file that was named holds all of what was read or what it held before.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// What a new file may be used for, before the umask.
const FILE_MODE: u32 = 0o666;

/// Has `fill` write a file, beside the one that is named, which it then replaces.
pub(crate) async fn save(path: &Path, fill: impl AsyncFnOnce(&mut File) -> Result<()>) -> Result<()> {
    let shown = path.display();
    // A link keeps pointing where it does; a device or pipe is written into, not replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut permissions = Permissions::from_mode(FILE_MODE);
    match fs::metadata(&path) {
        Ok(there) if there.is_dir() => bail!("{shown} is a directory; name a file in it"),
        Ok(there) if !there.is_file() => {
            let mut file =
                OpenOptions::new().write(true).open(&path).with_context(|| format!("cannot open {shown}"))?;
            return fill(&mut file).await;
        }
        Ok(there) => permissions = there.permissions(),
        Err(_) => {}
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file =
        temporary_in(dir, permissions).with_context(|| format!("cannot write to {}", dir.display()))?;
    fill(file.as_file_mut()).await?;
    file.as_file().sync_all().with_context(|| format!("cannot write {shown}"))?;
    file.persist(&path).with_context(|| format!("cannot write {shown}"))?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("cannot write to {}", dir.display()))
}

fn temporary_in(dir: &Path, permissions: Permissions) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".hayrick-").permissions(permissions).tempfile_in(dir)
}
