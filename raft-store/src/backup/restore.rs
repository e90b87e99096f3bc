//! A directory made of a backup, from which nodes of a new group start.
//!
//! Owns what a restored state keeps, and where the new group's log begins. All nodes that are given the same backup and the
//! same masters get the same state at the same log id, so they are one group without a word between them; a node with an
//! empty directory gets the state by snapshot. Invariants, as volumes keep what the lost masters did after the backup:
//!
//! - The cluster keeps its id, its volumes and its placements: the volumes' directories belong to it.
//! - No id that was handed out after the backup is handed out again: ids of epochs, and so of needles, and of placements go on
//!   [`ID_GAP`] behind those of the backup, versions [`VERSION_GAP`]. (Of volumes they need not: a volume that registered after
//!   the backup is told from another under its number by its directory.)
//! - All epochs are fenced, and no master is registered: those that were are other directories than those that come.
//! - The log begins in a term [`TERM_GAP`] behind the backup's: a lost master that is not lost after all is outvoted.
//! - The leader named in that log id is the hash of the backup, so that nodes of different ones never take each other's log
//!   for their own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hayrick_disk::Disk;
use hayrick_protocol::NodeId;
use openraft::BasicNode;
use thiserror::Error;

use super::format::{BackupError, Decoder, Header, Part, Sum};
use crate::applied::Applied;
use crate::errors::OpenError;
use crate::log::Log;
use crate::machine::INDEX_FILE;
use crate::options::Options;
use crate::snapshot::Building;
use crate::state::{RowKey, State};
use crate::store::{StoreError, rename};
use crate::types::{LeaderId, LogId, Membership, StoredMembership};

/// Far more epochs and placements than are handed out between a backup and its use, and few enough for thousands of restores:
/// fifteen masters that open an epoch an hour need eight years for it.
pub(crate) const ID_GAP: u32 = 1 << 20;
/// More changes than are made between a backup and its use: ten thousand a second for three years.
pub(crate) const VERSION_GAP: u64 = 1 << 40;
/// More elections than are held between a backup and its use: one a second for a hundred years.
pub(crate) const TERM_GAP: u64 = 1 << 32;

/// Name of the index file while it is made.
const RESTORE_FILE: &str = "restore.new";
/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;
const CACHE_BYTES: usize = 16 << 20;

/// Why nothing was restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The backup cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The backup cannot be read.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    /// What is in it makes no state.
    #[error("its rows make no index: {0}")]
    Rows(String),
    /// So many backups were restored on top of each other that ids ran out.
    #[error("its ids are used up: no epoch or placement could be told from an earlier one")]
    UsedUp,
    /// A master is named whose id the cluster had done with.
    #[error(
        "master {0} was removed from this cluster, and its id never comes back; give it one that was never used"
    )]
    Removed(NodeId),
    /// The directory cannot be written.
    #[error("{path}: {source}", path = path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// What the backup said of itself.
    pub header: Header,
    /// What it added up to.
    pub sum: Sum,
    /// Objects in it.
    pub objects: u64,
}

/// Makes `options.dir`, which is there and empty, the directory of a node of the group of these masters (id → peer address)
/// with the state that `file` tells. Everything is durable when it returns; after an error, or a crash on the way, nothing
/// in the directory may be used.
pub async fn restore(
    disk: Arc<dyn Disk>,
    options: Options,
    file: impl Read + Send + 'static,
    masters: BTreeMap<NodeId, String>,
) -> Result<Restored, RestoreError> {
    let in_dir = options.clone();
    let for_index = Arc::clone(&disk);
    let built = tokio::task::spawn_blocking(move || build_index(&for_index, &in_dir.dir, file, &masters));
    let (restored, begin) =
        built.await.map_err(|error| directory(&options.dir)(io::Error::other(error)))??;
    let dir = options.dir.join("log");
    let failed = directory(&dir);
    let opened = tokio::task::spawn_blocking(move || {
        let dir = options.dir.join("log");
        disk.create_dir_all(&dir).map_err(|source| OpenError::Io { path: dir.clone(), source })?;
        Log::open(disk, &dir, &options)
    });
    let log = opened.await.map_err(|error| failed(io::Error::other(error)))?;
    let log = log.map_err(|error| failed(io::Error::other(error)))?;
    log.begin_behind(begin).await.map_err(&failed)?;
    // It ends with its thread, which may be writing a mark.
    tokio::task::spawn_blocking(move || drop(log)).await.map_err(|error| failed(io::Error::other(error)))?;
    Ok(restored)
}

fn directory(path: &Path) -> impl Fn(io::Error) -> RestoreError + use<> {
    let path = path.to_owned();
    move |source| RestoreError::Directory { path: path.clone(), source }
}

/// The index, and the log id that it is of.
fn build_index(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    mut file: impl Read,
    masters: &BTreeMap<NodeId, String>,
) -> Result<(Restored, LogId), RestoreError> {
    let failed = |error: StoreError| match error {
        StoreError::Damaged(what) => RestoreError::Rows(what),
        StoreError::Io(source) => directory(dir)(source),
        StoreError::Redb(error) => directory(dir)(io::Error::other(error)),
    };
    let mut building = Building::create(disk, &dir.join(RESTORE_FILE)).map_err(failed)?;
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let read = match file.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(RestoreError::Read(error)),
        };
        decoder.feed(&bytes[..read]);
        while let Some(part) = decoder.next_part()? {
            if let Part::Rows(rows) = part {
                building.put(&rows).map_err(failed)?;
            }
        }
    }
    let (header, sum, objects) = decoder.finish()?;
    let mut renewed = Ok(());
    building.change_state(|state| renewed = renew(state, &header, masters)).map_err(failed)?;
    renewed?;
    let begin = begin(&header, &sum)?;
    let applied = Applied { last: Some(begin), membership: membership(begin, masters)? };
    let (store, _, path) = building.finish(&applied, CACHE_BYTES).map_err(failed)?;
    drop(store);
    rename(disk.as_ref(), &path, &dir.join(INDEX_FILE)).map_err(directory(dir))?;
    Ok((Restored { header, sum, objects }, begin))
}

/// Where the new group's log begins.
fn begin(header: &Header, sum: &Sum) -> Result<LogId, RestoreError> {
    let term = header.applied.term.checked_add(TERM_GAP).ok_or(RestoreError::UsedUp)?;
    // The lower half of the hash.
    let node_id = sum.hash as u64;
    if header.applied.index >= u64::MAX / 2 {
        return Err(RestoreError::UsedUp);
    }
    Ok(LogId::new(LeaderId { term, node_id }, header.applied.index))
}

fn membership(at: LogId, masters: &BTreeMap<NodeId, String>) -> Result<StoredMembership, RestoreError> {
    let voters: BTreeSet<u64> = masters.keys().map(|id| id.0).collect();
    let nodes: BTreeMap<u64, BasicNode> =
        masters.iter().map(|(id, addr)| (id.0, BasicNode { addr: addr.clone() })).collect();
    let membership = Membership::new(vec![voters], nodes);
    let membership = membership.map_err(|error| RestoreError::Rows(error.to_string()))?;
    Ok(StoredMembership::new(Some(at), membership))
}

/// What must not be as it was.
fn renew(state: &mut State, header: &Header, masters: &BTreeMap<NodeId, String>) -> Result<(), RestoreError> {
    if state.cluster.config != Some(header.config) {
        return Err(RestoreError::Rows("they are of another cluster than its header says".into()));
    }
    if let Some(removed) = masters.keys().find(|id| state.cluster.removed.contains(id)) {
        return Err(RestoreError::Removed(*removed));
    }
    let behind = |id: u32| id.checked_add(ID_GAP).ok_or(RestoreError::UsedUp);
    state.next.epoch = behind(state.next.epoch)?;
    state.next.placement = behind(state.next.placement)?;
    let version = &mut state.counters.version.0;
    *version = version.checked_add(VERSION_GAP).ok_or(RestoreError::UsedUp)?;
    state.changed.insert(RowKey::Counters);
    let epochs: Vec<_> = state.sessions.keys().copied().collect();
    for epoch in epochs {
        state.close_session(epoch);
    }
    let masters: Vec<_> = state.cluster.masters.keys().copied().collect();
    for master in masters {
        state.change_masters(master).remove(&master);
    }
    state.changed.extend(state.starts.keys().map(|id| RowKey::Starts(*id)));
    state.starts.clear();
    Ok(())
}
