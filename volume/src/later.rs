//! What a later version of Hayrick left beside the segments: a start with it is refused, before anything is changed.
//!
//! Index files, scrub's place and the list of damage can be made anew at any time, and are where they are damaged. But whoever starts an older
//! build by mistake must not find what the newer one wrote replaced: so a later version is told from damage by a checksum
//! that all versions keep. Segments themselves are `disk`'s, which refuses later ones in the same way, and `volume.toml` is
//! `directory`'s. Invariant: nothing is written here, and what is damaged or cannot be read never stops a start.

use std::io;
use std::path::{Path, PathBuf};

use hayrick_disk::Disk;
use thiserror::Error;

use crate::damage::kept;
use crate::index_file::{self, PREFIX_BYTES};
use crate::recover::id_of;
use crate::scrub::place;
use crate::sealed_text;
use crate::store::StoreError;

/// A file that a later version wrote.
#[derive(Debug, Error)]
#[error(
    "{} has format version {found}, and this build knows versions up to {known}: start the newer hayrick, or remove {remove}",
    path.display()
)]
pub struct LaterVersion {
    path: PathBuf,
    found: u16,
    known: u16,
    remove: &'static str,
}

/// Refuses the directory of the segments if there is a file of a later version in it.
pub(crate) fn refuse(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let unreadable = |source| StoreError::Directory { dir: dir.to_owned(), source };
    find(disk, dir).map_err(unreadable)?.map_or(Ok(()), |later| Err(later.into()))
}

fn find(disk: &dyn Disk, dir: &Path) -> io::Result<Option<LaterVersion>> {
    let names = if disk.exists(dir)? { disk.list(dir)? } else { Vec::new() };
    Ok(names.into_iter().find_map(|name| {
        let path = dir.join(&name);
        let (found, known, remove) = if id_of(&name, index_file::EXTENSION).is_some() {
            let remove = "the .idx files beside it, which are then made anew from the segments";
            (version_of_index_file(disk, &path)?, index_file::VERSION, remove)
        } else if name == place::FILE_NAME {
            let found = sealed_text::version_of(disk, &path, place::TITLE, place::BYTES_MAX)?;
            (found, place::VERSION, "that file, so that scrub begins a new round")
        } else if name == kept::FILE_NAME {
            let found = sealed_text::version_of(disk, &path, kept::TITLE, kept::BYTES_MAX)?;
            (found, kept::VERSION, "that file, so that scrub finds anew what is damaged")
        } else {
            return None;
        };
        (found > known).then_some(LaterVersion { path, found, known, remove })
    }))
}

fn version_of_index_file(disk: &dyn Disk, path: &Path) -> Option<u16> {
    let mut prefix = [0; PREFIX_BYTES];
    disk.open_read_only(path).and_then(|file| file.read_exact_at(&mut prefix, 0)).ok()?;
    index_file::version_of(&prefix)
}
