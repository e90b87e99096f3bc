//! The index file: what its last checkpoint holds, table by table.
//!
//! Owns what is counted. Invariant: the file is opened read-only, and redb writes into memory.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound::Unbounded;
use std::path::Path;
use std::sync::Arc;

use hayrick_disk::Disk;
use hayrick_protocol::cluster_map::ClusterConfig;

use super::overlaid::Overlaid;
use super::{EntryId, InspectError, Membership};
use crate::applied::Applied;
use crate::state::{RowKey, State};
use crate::status::Counters;
use crate::store::{RAFT_ROW, Reader, Store, StoreError, TableId, decode_garbage, decode_object};

/// Bytes of the index that are kept in memory while it is read from end to end.
const CACHE_BYTES: usize = 16 << 20;

/// How the index file fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    /// There is none.
    Missing,
    /// A process works on it: its pages change while they are read, so they were not.
    InUse,
    /// It cannot be opened at all.
    Damaged {
        /// Bytes of the file.
        bytes: u64,
        /// What is wrong with it.
        what: String,
    },
    /// It was read, as far as it can be.
    Read(Box<Index>),
}

/// How many rows, and the bytes of keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// What the last checkpoint holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Bytes of the file.
    pub bytes: u64,
    /// The last entry that is in it.
    pub applied: Option<EntryId>,
    /// The last membership that is in it.
    pub membership: Option<Membership>,
    /// What was fixed when the cluster was formed; none before that.
    pub cluster: Option<ClusterConfig>,
    /// What the state itself says that it holds.
    pub counters: Counters,
    /// Objects.
    pub objects: Amount,
    /// Garbage.
    pub garbage: Amount,
    /// Rows of the small state, by what they are of.
    pub small: BTreeMap<&'static str, Amount>,
    /// The first row or page that does not read; what is counted is what comes before it.
    pub problem: Option<String>,
}

impl Amount {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

/// Reads the index file.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<IndexState, InspectError> {
    let io = |source| InspectError::Io { path: path.to_owned(), source };
    let file = match disk.open_read_only(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(IndexState::Missing),
        opened => opened.map_err(io)?,
    };
    let bytes = file.len().map_err(io)?;
    let damaged = |what: String| Ok(IndexState::Damaged { bytes, what });
    if bytes == 0 {
        // redb would make a new database of it.
        return damaged("it is empty".to_owned());
    }
    let file = Arc::new(Overlaid::new(file).map_err(io)?);
    let opened = Store::look(file, CACHE_BYTES).and_then(|store| Ok((store.reader()?, store)));
    let (reader, _store) = match opened {
        Ok(opened) => opened,
        Err(error) => return damaged(error.to_string()),
    };
    let mut index = Index { bytes, ..Index::default() };
    index.problem = count(&reader, &mut index).err().map(|error| error.to_string());
    Ok(IndexState::Read(Box::new(index)))
}

/// The small state first: it says most.
fn count(reader: &Reader, index: &mut Index) -> Result<(), StoreError> {
    let mut applied = Applied::default();
    let mut rows = Vec::new();
    reader.rows(TableId::Small, Unbounded, |key, value| {
        if key == RAFT_ROW {
            applied = Applied::decode(value).map_err(|error| StoreError::row("small", &error))?;
            return Ok(true);
        }
        let name = RowKey::decode(key).map_or("unknown", name);
        index.small.entry(name).or_default().add(key, value);
        rows.push((key.to_vec(), value.to_vec()));
        Ok(true)
    })?;
    index.applied = applied.last.map(EntryId::of);
    let membership = &applied.membership;
    index.membership =
        membership.log_id().map(|id| Membership::new(Some(id), applied.membership.membership()));
    let state = State::load(rows.into_iter()).map_err(StoreError::Damaged)?;
    (index.cluster, index.counters) = (state.cluster.config, state.counters);
    reader.rows(TableId::Objects, Unbounded, |key, value| {
        decode_object(value)?;
        index.objects.add(key, value);
        Ok(true)
    })?;
    reader.rows(TableId::Garbage, Unbounded, |key, value| {
        decode_garbage(value)?;
        index.garbage.add(key, value);
        Ok(true)
    })
}

fn name(row: RowKey) -> &'static str {
    match row {
        RowKey::Config => "settings",
        RowKey::Counters => "counters",
        RowKey::MapVersion => "map version",
        RowKey::TableVersion => "table version",
        RowKey::Volume(_) => "volumes",
        RowKey::Placement(_) => "placements",
        RowKey::Current(_) => "current placements",
        RowKey::Master(_) => "masters",
        RowKey::Session(_) => "open epochs",
        RowKey::Copies(_) => "copies",
        RowKey::Starts(_) => "starts of masters",
        RowKey::Removed(_) => "removed masters",
        RowKey::Move(_) => "moves",
        RowKey::Rebalances => "rebalancing",
        RowKey::MoveRate => "rate of moves",
    }
}
