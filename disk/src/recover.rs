//! Finding a stream again at start: which files are sealed, which one is appended to, and where its records end.
//!
//! Files are taken in the order of their ids. A file with a seal is whole. Of those behind the last seal the last one with
//! anything in it is active (the first, if all are empty); what lies before it lost its seal to damage, what lies behind
//! it was prepared for later. In the active file alone the last batch may be torn: the tail is zeroed before anything is
//! appended, so that no record of it can ever come back, and the batch before it is written once more and synced, because
//! a process that ends, or a sync that failed, may have left bytes in the page cache only.
//!
//! Damage in or behind the active file stops the start, because a record may be lost that all others build on; unless the
//! stream sets damaged files aside ([`Options::records_stand_alone`]): then such a file is sealed as it is, and appends go
//! on in another.
//!
//! What records mean is left to the owner. The invariant: a file that is not understood is never changed or removed, and
//! what the owner was shown is durable when `open_chain` returns.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use hayrick_metrics as metrics;

use crate::append_file::{AppendFile, HEADER_BYTES, HeaderError, Loaded, write_zeros};
use crate::disk::Disk;
use crate::format::{ALIGN, FileId, Format, Owner};
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
    /// The file that would be appended to, or one behind it, has no good header.
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
    let mut found = load_all::<F>(disk, options)?;
    let next_id = found.last_key_value().map_or(1, |(id, _)| id.0 + 1);
    let mut chain = Chain { files: BTreeMap::new(), active: None, spare: None, next_id };
    let active = active_of(&mut found, options)?;
    for (id, entry) in found {
        match &entry.file {
            None => owner.damaged(id, 0..entry.bytes),
            Some(file) if active.is_none_or(|active| id < active) => {
                recover_sealed::<F>(file, owner).map_err(OpenError::io("read", file.path()))?;
            }
            Some(file) if Some(id) == active => {
                chain.active = recover_active::<F>(file, options, owner)?;
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
    if chain.active.as_ref().is_none_or(|active| active.end == HEADER_BYTES) {
        let sealed = |entry: &Entry| entry.file.clone().filter(|file| file.is_sealed());
        if let Some(file) = chain.files.values().rev().find_map(sealed) {
            settle_seal::<F>(&file).map_err(OpenError::io("seal", file.path()))?;
        }
    }
    Ok(chain)
}

/// Opens all files of the chain, and removes what a killed process left half made, or half removed.
fn load_all<F: Format>(disk: &dyn Disk, options: &Options) -> Result<BTreeMap<FileId, Entry>, OpenError> {
    let dir = &options.dir;
    disk.create_dir_all(dir).map_err(OpenError::io("create", dir))?;
    // A process killed between a rename and the sync behind it left a name that a power cut would still take away,
    // together with all that is appended to that file from now on.
    disk.sync_dir(dir).map_err(OpenError::io("sync", dir))?;
    let mut found = BTreeMap::new();
    let mut to_remove = Vec::new();
    for name in disk.list(dir).map_err(OpenError::io("list", dir))? {
        if let Some(whole) = name.strip_suffix(".new") {
            to_remove.extend(id_of(whole, options).map(|_| dir.join(&name)));
        }
        let Some(id) = id_of(&name, options) else { continue };
        let path = dir.join(&name);
        let entry = match AppendFile::load::<F>(disk, &path, id).map_err(OpenError::io("open", &path))? {
            Loaded::Good(file) => Entry { bytes: file.capacity(), file: Some(Arc::new(*file)) },
            Loaded::Gone => {
                tracing::info!(path = %path.display(), "removed an append file that was to be removed before a crash");
                to_remove.push(path);
                continue;
            }
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
    for path in to_remove {
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

/// Which file is active. From there on, a damaged header, or a file that cannot be read, is an error or set aside.
fn active_of(found: &mut BTreeMap<FileId, Entry>, options: &Options) -> Result<Option<FileId>, OpenError> {
    let is_sealed = |entry: &Entry| entry.file.as_ref().is_some_and(|file| file.is_sealed());
    let last_sealed = found.iter().rev().find(|(_, entry)| is_sealed(entry)).map(|(id, _)| *id);
    let behind = || found.iter().filter(|(id, _)| Some(**id) > last_sealed);
    let last_damaged = behind().rfind(|(_, entry)| entry.file.is_none()).map(|(id, _)| *id);
    let mut open: Vec<Arc<AppendFile>> = behind().filter_map(|(_, entry)| entry.file.clone()).collect();
    // Only a file that nobody wrote to may make way for an earlier one.
    while let [_, .., last] = &open[..] {
        let content = scan::content(last.file(), HEADER_BYTES..last.capacity());
        if content.end > HEADER_BYTES {
            break;
        }
        if content.unreadable.is_some() {
            if !options.records_stand_alone {
                return Err(unreadable(last));
            }
            if let Some(entry) = found.get_mut(&last.id()) {
                entry.file = None;
            }
        }
        open.pop();
    }
    let active = open.last().map(|file| file.id());
    match last_damaged {
        Some(id) if Some(id) > active && !options.records_stand_alone => {
            Err(OpenError::DamagedHeader { path: options.path_of(id) })
        }
        _ => Ok(active),
    }
}

fn unreadable(file: &AppendFile) -> OpenError {
    let source = io::Error::other("blocks of the file cannot be read");
    OpenError::io("read", file.path())(source)
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
    let from = if lost_seal { HEADER_BYTES } else { owner.known_to(file.id(), file.end()) };
    if lost_seal || from < file.end() {
        let scanned = scan::scan::<F>(file, from..limit, tail, &mut |found| {
            show(owner, file.id(), found);
            Ok(())
        })?;
        file.set_end(scanned.end);
        file.set_sealed();
        if lost_seal && scanned.unreadable.is_none() {
            seal_again(file, scanned.end);
        }
        owner.sealed(file.id(), scanned.end);
    }
    Ok(())
}

/// Writes a lost seal once more, so that the file is not read whole at every start. Without it, nothing is lost but time.
fn seal_again(file: &AppendFile, end: u64) {
    match file.write_seal(end).and_then(|()| file.file().sync_data()) {
        Ok(()) => {
            tracing::warn!(file = %file.id(), end, "an append file had lost its seal, and was sealed again")
        }
        Err(error) => {
            tracing::warn!(file = %file.id(), %error, "an append file that lost its seal cannot be sealed")
        }
    }
}

/// Makes the last seal durable, with the mark before it, when nothing was appended behind it yet: a process killed amid
/// sealing left both in the page cache only. A power cut could take the seal and tear the mark once a later file is in use,
/// and what is torn in a file that is not the last is taken for damage.
fn settle_seal<F: Format>(file: &AppendFile) -> io::Result<()> {
    let end = file.end();
    // A file without room behind its records has no mark that could be torn. (Or it was cut; then its seal stays as it is.)
    if end >= file.capacity() {
        return Ok(());
    }
    scan::rewrite_readable(file.file(), end..file.capacity().min(end + F::mark().len() as u64))?;
    file.write_seal(end)?;
    file.file().sync_data()
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

/// Recovers the file that is appended to; `None` when it was set aside.
fn recover_active<F: Format>(
    file: &Arc<AppendFile>,
    options: &Options,
    owner: &mut dyn Owner,
) -> Result<Option<Active>, OpenError> {
    let (id, limit) = (file.id(), file.capacity());
    // An index file is as good a proof of what it covers as a seal: that was synced before, and is never taken for torn.
    let from = owner.known_to(id, limit);
    let mut show = |found: Found<'_>| {
        show(owner, id, found);
        Ok(())
    };
    let scanned = scan::scan::<F>(file, from..limit, Tail::MayBeTorn, &mut show)
        .map_err(OpenError::io("read", file.path()))?;
    if let Some(bad) = &scanned.unreadable {
        // It cannot be told whether a torn tail, or acknowledged records, lie in what cannot be read.
        if !options.records_stand_alone {
            return Err(unreadable(file));
        }
        set_aside(file, &scanned, bad, owner).map_err(OpenError::io("seal", file.path()))?;
        return Ok(None);
    }
    let torn = settle::<F>(file, &scanned).map_err(OpenError::io("cut the torn tail of", file.path()))?;
    file.set_end(scanned.end);
    Ok(Some(Active {
        file: Arc::clone(file),
        end: scanned.end,
        marked: scanned.marked || scanned.end == HEADER_BYTES,
        first_due: scanned.end == HEADER_BYTES || (torn && scanned.last_batch == HEADER_BYTES),
    }))
}

/// Seals a file as it is, behind everything in it that can or cannot be read, and makes durable what was shown of it.
fn set_aside(
    file: &AppendFile,
    scanned: &Scanned,
    unreadable: &Range<u64>,
    owner: &mut dyn Owner,
) -> io::Result<()> {
    let end = scanned.end.max(unreadable.end).next_multiple_of(ALIGN as u64).min(file.capacity());
    if scanned.end < end {
        owner.damaged(file.id(), scanned.end.max(unreadable.start)..end);
    }
    scan::rewrite_readable(file.file(), scanned.last_batch..scanned.end)?;
    file.write_seal(end)?;
    file.file().sync_data()?;
    file.set_end(end);
    file.set_sealed();
    tracing::error!(file = %file.id(), end, "set an append file aside: blocks of it cannot be read");
    Ok(())
}

/// Zeroes what lies behind the last record and what may be left of a seal, and makes the last batch durable. Says whether
/// there was a torn tail.
fn settle<F: Format>(file: &AppendFile, scanned: &Scanned) -> io::Result<bool> {
    // The scan has read most of it already, or all: what was allocated ahead is large, and is not read twice.
    let unseen = scanned.looked_to.max(scanned.end);
    let content = scan::content(file.file(), unseen..file.capacity());
    if content.unreadable.is_some() {
        return Err(io::Error::other("a block cannot be read"));
    }
    let torn_end = if content.end > unseen { content.end } else { scanned.content_to.max(scanned.end) };
    let torn: Range<u64> = scanned.end..torn_end;
    if !torn.is_empty() {
        metrics::TAILS_CUT.increment();
        tracing::info!(file = %file.id(), start = torn.start, end = torn.end, "cut the torn tail of an append file");
        write_zeros(file.file(), torn.clone())?;
    }
    // Verified once more: a bit that the disk read wrongly would be there for good.
    let last_batch = scanned.last_batch..scanned.end;
    let read = || scan::read_records::<F>(file, last_batch.clone());
    file.file().write_all_at(&read().or_else(|_| read())?, scanned.last_batch)?;
    if file.capacity() > HEADER_BYTES {
        file.unseal()?;
    }
    file.file().sync_data()?;
    Ok(!torn.is_empty())
}
