//! Finding a stream again at start: which files are sealed, which one is appended to, and where its records end.
//!
//! Files are taken in the order of their ids. A file with a seal is whole. Of those behind the last seal the last one with
//! anything in it is active (the first, if all are empty); what lies before it lost its seal to damage, what lies behind
//! it was prepared for later. In the active file alone the last batch may be torn: the tail is zeroed before anything is
//! appended, so that no record of it can ever come back, and the batch before it is written once more and synced, because
//! a process that ends, or a sync that failed, may have left bytes in the page cache only.
//!
//! What records mean is left to the owner. The invariant: a file that is not understood is never changed or removed, and
//! what the owner was shown is durable when `open_chain` returns.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::append_file::{AppendFile, HEADER_BYTES, HeaderError, Loaded, write_zeros};
use crate::disk::Disk;
use crate::format::{FileId, Format, Owner};
use crate::scan::{self, Found, Scanned, Tail};
use crate::stream::{Entry, Options};

/// Why a stream cannot be opened. Nothing was deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The disk refused something.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file that would be appended to has no good header.
    #[error(
        "the header of {} is damaged: move the file elsewhere for examination, and start again only if the records in it \
         can be had from elsewhere (replicas, peers, a backup)",
        path.display()
    )]
    DamagedHeader {
        /// The file.
        path: PathBuf,
    },
    /// A file was written by a later version.
    #[error(
        "{} has format version {found}, and this build knows versions up to {known}: start it with the newer build",
        path.display()
    )]
    LaterVersion {
        /// The file.
        path: PathBuf,
        /// The version in its header.
        found: u16,
        /// The latest that is known here.
        known: u16,
    },
    /// No thread could be started.
    #[error("cannot start a thread of the append stream")]
    Thread(#[source] io::Error),
}

impl OpenError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

/// The file that is appended to, and where.
pub(crate) struct Active {
    pub(crate) file: Arc<AppendFile>,
    pub(crate) end: u64,
    /// The last record is a mark, or there is none.
    pub(crate) marked: bool,
    /// What stands first in a file is not there yet, or perhaps not all of it.
    pub(crate) first_due: bool,
}

/// A stream as it was found.
pub(crate) struct Chain {
    pub(crate) files: BTreeMap<FileId, Entry>,
    pub(crate) active: Option<Active>,
    pub(crate) spare: Option<Arc<AppendFile>>,
    pub(crate) next_id: u64,
}

impl Chain {
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).sum::<u64>()
            + self.spare.as_ref().map_or(0, |spare| spare.capacity())
    }
}

/// Reads the chain. Changes nothing before all headers were understood.
pub(crate) fn open_chain<F: Format>(
    disk: &dyn Disk,
    options: &Options,
    owner: &mut dyn Owner,
) -> Result<Chain, OpenError> {
    let found = load_all::<F>(disk, options)?;
    let next_id = found.last_key_value().map_or(1, |(id, _)| id.0 + 1);
    let mut chain = Chain { files: BTreeMap::new(), active: None, spare: None, next_id };
    let active = active_of(&found, options)?;
    for (id, entry) in found {
        match &entry.file {
            None => owner.damaged(id, 0..entry.bytes),
            Some(file) if active.is_none_or(|active| id < active) => {
                recover_sealed::<F>(file, owner).map_err(OpenError::io("read", file.path()))?;
            }
            Some(file) if Some(id) == active => {
                chain.active = Some(recover_active::<F>(file, owner)?);
            }
            Some(file) => {
                let file = Arc::clone(file);
                if chain.spare.is_none() && file.capacity() >= options.file_bytes() {
                    chain.spare = Some(file);
                } else {
                    // Empty, as `active_of` found, and of no use.
                    disk.remove(file.path()).map_err(OpenError::io("remove", file.path()))?;
                }
                continue;
            }
        }
        chain.files.insert(id, entry);
    }
    Ok(chain)
}

/// Opens all files of the chain, and removes what a killed process left half made.
fn load_all<F: Format>(disk: &dyn Disk, options: &Options) -> Result<BTreeMap<FileId, Entry>, OpenError> {
    let dir = &options.dir;
    disk.create_dir_all(dir).map_err(OpenError::io("create", dir))?;
    // A process killed between a rename and the sync behind it left a name that a power cut would still take away,
    // together with all that is appended to that file from now on.
    disk.sync_dir(dir).map_err(OpenError::io("sync", dir))?;
    let mut found = BTreeMap::new();
    let mut half_made = Vec::new();
    for name in disk.list(dir).map_err(OpenError::io("list", dir))? {
        if let Some(whole) = name.strip_suffix(".new") {
            half_made.extend(id_of(whole, options).map(|_| dir.join(&name)));
        }
        let Some(id) = id_of(&name, options) else { continue };
        let path = dir.join(&name);
        let entry = match AppendFile::load::<F>(disk, &path, id).map_err(OpenError::io("open", &path))? {
            Loaded::Good(file) => Entry { bytes: file.capacity(), file: Some(Arc::new(*file)) },
            Loaded::Bad(HeaderError::LaterVersion(found)) => {
                return Err(OpenError::LaterVersion { path, found, known: F::VERSION });
            }
            Loaded::Bad(HeaderError::Damaged) => {
                let len = disk.open(&path).and_then(|file| file.len());
                Entry { bytes: len.map_err(OpenError::io("open", &path))?, file: None }
            }
        };
        found.insert(id, entry);
    }
    for path in half_made {
        disk.remove(&path).map_err(OpenError::io("remove", path))?;
    }
    Ok(found)
}

/// The id in a file's name.
fn id_of(name: &str, options: &Options) -> Option<FileId> {
    let digits = name.strip_suffix(options.extension)?.strip_suffix('.')?;
    let id = FileId(u64::from_str_radix(digits, 16).ok()?);
    (id.to_string() == digits && id.0 < u64::MAX).then_some(id)
}

/// Which file is active. A damaged header is an error from there on.
fn active_of(found: &BTreeMap<FileId, Entry>, options: &Options) -> Result<Option<FileId>, OpenError> {
    let is_sealed = |entry: &Entry| entry.file.as_ref().is_some_and(|file| file.is_sealed());
    let last_sealed = found.iter().rev().find(|(_, entry)| is_sealed(entry)).map(|(id, _)| *id);
    let behind = || found.iter().filter(|(id, _)| Some(**id) > last_sealed);
    let mut open: Vec<&Arc<AppendFile>> = behind().filter_map(|(_, entry)| entry.file.as_ref()).collect();
    // Only a file that nobody wrote to may make way for an earlier one.
    while let [_, .., last] = open[..] {
        let content = scan::content_end(last.file(), HEADER_BYTES..last.capacity())
            .map_err(OpenError::io("read", last.path()))?;
        if content > HEADER_BYTES {
            break;
        }
        open.pop();
    }
    let active = open.last().map(|file| file.id());
    match behind().rfind(|(_, entry)| entry.file.is_none()) {
        Some((id, _)) if Some(*id) > active => Err(OpenError::DamagedHeader { path: options.path_of(*id) }),
        _ => Ok(active),
    }
}

fn recover_sealed<F: Format>(file: &AppendFile, owner: &mut dyn Owner) -> io::Result<()> {
    let (limit, tail) = if file.is_sealed() {
        (file.end().min(file.capacity()), Tail::Proven)
    } else {
        (file.capacity(), Tail::ProvenThenZeros)
    };
    if file.is_sealed() && file.end() > limit {
        owner.damaged(file.id(), limit..file.end());
    }
    let lost_seal = !file.is_sealed();
    if lost_seal || owner.needs_scan(file.id(), file.end()) {
        let scanned = scan::scan::<F>(file, limit, tail, &mut |found| {
            show(owner, file.id(), found);
            Ok(())
        })?;
        file.set_end(scanned.end);
        file.set_sealed();
        owner.sealed(file.id(), scanned.end);
    }
    Ok(())
}

fn show(owner: &mut dyn Owner, id: FileId, found: Found<'_>) {
    match found {
        Found::Record(at, bytes) => owner.recovered(at, bytes),
        Found::Damage(range) => {
            tracing::warn!(file = %id, start = range.start, end = range.end, "damaged bytes in an append file");
            owner.damaged(id, range);
        }
    }
}

fn recover_active<F: Format>(file: &Arc<AppendFile>, owner: &mut dyn Owner) -> Result<Active, OpenError> {
    let (id, limit) = (file.id(), file.capacity());
    owner.reopened(id);
    let mut show = |found: Found<'_>| {
        show(owner, id, found);
        Ok(())
    };
    let scanned = scan::scan::<F>(file, limit, Tail::MayBeTorn, &mut show)
        .map_err(OpenError::io("read", file.path()))?;
    if scanned.unreadable {
        // It cannot be told whether a torn tail, or acknowledged records, lie in what cannot be read.
        let source = io::Error::other("blocks of the file that is appended to cannot be read");
        return Err(OpenError::io("read", file.path())(source));
    }
    let torn = settle(file, &scanned).map_err(OpenError::io("cut the torn tail of", file.path()))?;
    file.set_end(scanned.end);
    Ok(Active {
        file: Arc::clone(file),
        end: scanned.end,
        marked: scanned.marked || scanned.end == HEADER_BYTES,
        first_due: scanned.end == HEADER_BYTES || (torn && scanned.last_batch == HEADER_BYTES),
    })
}

/// Zeroes what lies behind the last record, and makes the last batch durable. Says whether there was a torn tail.
fn settle(file: &AppendFile, scanned: &Scanned) -> io::Result<bool> {
    let torn_end = scan::content_end(file.file(), scanned.end..file.capacity())?;
    let torn: Range<u64> = scanned.end..torn_end;
    if !torn.is_empty() {
        tracing::info!(file = %file.id(), start = torn.start, end = torn.end, "cut the torn tail of an append file");
        write_zeros(file.file(), torn.clone())?;
    }
    let len = usize::try_from(scanned.end - scanned.last_batch).map_err(io::Error::other)?;
    let mut batch = vec![0; len];
    file.file().read_exact_at(&mut batch, scanned.last_batch)?;
    file.file().write_all_at(&batch, scanned.last_batch)?;
    file.file().sync_data()?;
    Ok(!torn.is_empty())
}
