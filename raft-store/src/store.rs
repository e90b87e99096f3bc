//! The index file: objects, garbage and the small state in one redb database.
//!
//! ```text
//! table     key                      value
//! objects   the key's UTF-8 bytes    the record (protocol's record.rs)
//! garbage   version u64              the garbage row (record.rs)
//! small     {0}                      {1, applied: log id or none, membership's log id or none, membership}
//!           kind u8, id (state.rs)   the thing, by the codec
//! ```
//! A checkpoint commits changed rows of all three durably and together, with the applied index and the membership; when
//! there is one is `write_behind`'s to say, what changed since lies in the `overlay`. Invariant: what a crash leaves is a
//! checkpoint, whole.

use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hayrick_disk::{Disk, File};
use hayrick_protocol::PlacementId;
use hayrick_protocol::record::{Garbage, ObjectRecord};
use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};
use thiserror::Error;

use crate::applied::Applied;
use crate::backend::{Backend, Pace};
use crate::errors::{OpenError, ReadError};
use crate::state::State;

type Bytes = &'static [u8];
const OBJECTS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("objects");
const GARBAGE: TableDefinition<'static, u64, Bytes> = TableDefinition::new("garbage");
const SMALL: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("small");
pub(crate) const RAFT_ROW: &[u8] = &[0];

/// Index files up to this size are verified whole when they are opened: a second or so. In a larger one damage is found
/// when a page is read, and redb may take it for a bug of its own then.
const VERIFY_WHOLE_BYTES_MAX: u64 = 1 << 30;

/// Why the index cannot go on. The node stops: other nodes have the same rows and no such trouble.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// redb or the disk below it.
    #[error("the index file failed: {0}")]
    Redb(#[from] redb::Error),
    /// What was read is not what was written.
    #[error("the index is damaged: {0}")]
    Damaged(String),
    /// The disk, outside redb.
    #[error("the index file failed: {0}")]
    Io(#[from] std::io::Error),
}

impl StoreError {
    pub(crate) fn lost_count(placement: PlacementId) -> Self {
        Self::Damaged(format!("placement {placement} holds less than its records say"))
    }

    pub(crate) fn row(table: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Damaged(format!("a row of {table}: {error}"))
    }

    pub(crate) fn into_open_error(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Io(source) | Self::Redb(redb::Error::Io(source)) => OpenError::Io { path, source },
            other => OpenError::Damaged { path, what: other.to_string() },
        }
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Index(error.to_string())
    }
}

/// An open index file.
pub(crate) struct Store {
    open: Arc<Open>,
}

/// What an index file takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Its bytes.
    pub file_bytes: u64,
    /// Bytes of the pages that are in use: those of the rows, and those that the commit before the last needed, which
    /// become free with the next one.
    pub allocated_bytes: u64,
    /// Bytes of the pages that hold rows.
    pub tree_bytes: u64,
}

/// What the store and its readers share. The last of them closes it: redb lets nobody read from a database that is closed,
/// and who began to read when another index took its place shall come to an end.
struct Open {
    /// There until drop.
    db: Option<Database>,
    backend: Backend,
    /// Something was committed, or half committed, that is not durable.
    dirty: AtomicBool,
    guard: Guard,
}

impl Store {
    /// Opens the file, or makes an empty one, and reads the small state.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<(Self, State, Applied), OpenError> {
        let fail = |error: StoreError| error.into_open_error(path);
        if !disk.exists(path).map_err(|error| fail(error.into()))? {
            // A crash while the first file is made must not leave something that looks damaged.
            let fresh = path.with_extension("new");
            drop(Self::create(disk, &fresh, cache_bytes).map_err(fail)?);
            rename(disk, &fresh, path).map_err(|error| fail(error.into()))?;
        }
        Self::open_existing(disk, path, cache_bytes).map_err(fail)
    }

    /// Opens a file that is there, and reads the small state.
    pub(crate) fn open_existing(
        disk: &dyn Disk,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<(Self, State, Applied), StoreError> {
        let store = Self::over(disk.open(path)?, cache_bytes)?;
        let (state, applied) = store.reader()?.load()?;
        Ok((store, state, applied))
    }

    /// Opens a file that is only looked at: whatever redb writes to it, this file must take and keep to itself.
    pub(crate) fn look(file: Arc<dyn File>, cache_bytes: usize) -> Result<Self, StoreError> {
        Self::over(file, cache_bytes)
    }

    /// Makes an empty file, durably but for its name; replaces one that was left there.
    pub(crate) fn create(disk: &dyn Disk, path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        match disk.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let store = Self::over(disk.create(path)?, cache_bytes)?;
        store.write(true, |_| Ok(()))?;
        Ok(store)
    }

    fn over(file: Arc<dyn File>, cache_bytes: usize) -> Result<Self, StoreError> {
        let file_bytes = file.len()?;
        let backend = Backend::new(file);
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        builder.set_check_integrity_on_open(file_bytes <= VERIFY_WHOLE_BYTES_MAX);
        let guard = Guard::default();
        let db =
            guard.run(|| Ok(builder.create_with_backend(backend.clone()).map_err(redb::Error::from)?))?;
        let open = Open { db: Some(db), backend, dirty: AtomicBool::new(false), guard };
        Ok(Self { open: Arc::new(open) })
    }

    /// Whether what is written is written with pauses.
    pub(crate) fn pace(&self) -> &Pace {
        self.open.backend.pace()
    }

    /// One transaction; durable, or not until the next one that is.
    pub(crate) fn write<T>(
        &self,
        durable: bool,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let open = &self.open;
        open.dirty.store(true, Ordering::SeqCst);
        let result = open.guard.run(|| {
            let mut transaction = open.db().begin_write().map_err(redb::Error::from)?;
            let durability = if durable { Durability::Immediate } else { Durability::None };
            transaction.set_durability(durability).map_err(redb::Error::from)?;
            // Without it, opening after a crash reads the whole file.
            transaction.set_quick_repair(durable);
            let result = change(&mut Tables::open(&transaction)?)?;
            transaction.commit().map_err(redb::Error::from)?;
            Ok(result)
        })?;
        if durable {
            open.dirty.store(false, Ordering::SeqCst);
        }
        Ok(result)
    }

    /// How much of the file is used, and by what. Reads all of its trees.
    pub(crate) fn space(&self) -> Result<Space, StoreError> {
        let open = &self.open;
        let stats = open.guard.run(|| {
            let transaction = open.db().begin_write().map_err(redb::Error::from)?;
            let stats = transaction.stats().map_err(redb::Error::from)?;
            transaction.abort().map_err(redb::Error::from)?;
            Ok(stats)
        })?;
        let bytes = |pages: u64| pages * stats.page_size() as u64;
        Ok(Space {
            file_bytes: open.backend.bytes()?,
            allocated_bytes: bytes(stats.allocated_pages()),
            tree_bytes: bytes(stats.leaf_pages() + stats.branch_pages()),
        })
    }

    /// A frozen look at the rows as last committed.
    pub(crate) fn reader(&self) -> Result<Reader, StoreError> {
        self.open.guard.run(|| {
            let transaction = self.open.db().begin_read().map_err(redb::Error::from)?;
            let open = |table| transaction.open_table(table).map_err(redb::Error::from);
            Ok(Reader {
                objects: open(OBJECTS)?,
                garbage: transaction.open_table(GARBAGE).map_err(redb::Error::from)?,
                small: open(SMALL)?,
                open: Arc::clone(&self.open),
            })
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A reader that closes it later must not write either: the file may be open anew by then.
        if self.open.dirty.load(Ordering::SeqCst) || Arc::strong_count(&self.open) > 1 {
            self.open.backend.seal();
        }
    }
}

impl Open {
    fn db(&self) -> &Database {
        self.db.as_ref().expect("it is there until drop")
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(db) = self.db.take()
            && self.guard.is_broken()
        {
            // redb would panic once more while closing, and then there is nobody to catch it.
            std::mem::forget(db);
        }
    }
}

/// Renames durably.
pub(crate) fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> std::io::Result<()> {
    disk.rename(from, to)?;
    disk.sync_dir(to.parent().unwrap_or(&PathBuf::from(".")))
}

/// redb asserts what it believes of its pages. On a damaged file such an assertion is damage, not a bug of ours; after one
/// nothing of the file is touched any more.
#[derive(Clone, Default)]
struct Guard(Arc<AtomicBool>);

impl Guard {
    fn is_broken(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn run<T>(&self, run: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.is_broken() {
            return Err(StoreError::Damaged("it was found damaged before".into()));
        }
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            self.0.store(true, Ordering::SeqCst);
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not parse");
            Err(StoreError::Damaged(text.to_owned()))
        })
    }
}

/// The tables in a write transaction.
pub(crate) struct Tables<'txn> {
    objects: Table<'txn, Bytes, Bytes>,
    garbage: Table<'txn, u64, Bytes>,
    small: Table<'txn, Bytes, Bytes>,
}

impl<'txn> Tables<'txn> {
    fn open(transaction: &'txn WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            objects: transaction.open_table(OBJECTS).map_err(redb::Error::from)?,
            garbage: transaction.open_table(GARBAGE).map_err(redb::Error::from)?,
            small: transaction.open_table(SMALL).map_err(redb::Error::from)?,
        })
    }

    /// Writes down Raft's part.
    pub(crate) fn put_applied(&mut self, applied: &Applied) -> Result<(), StoreError> {
        self.small.insert(RAFT_ROW, &*applied.encode()).map_err(redb::Error::from)?;
        Ok(())
    }

    /// Puts a row, or removes it.
    pub(crate) fn put(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let done = match (table, value) {
            (TableId::Objects, Some(value)) => self.objects.insert(key, value).map(drop),
            (TableId::Objects, None) => self.objects.remove(key).map(drop),
            (TableId::Small, Some(value)) => self.small.insert(key, value).map(drop),
            (TableId::Small, None) => self.small.remove(key).map(drop),
            (TableId::Garbage, Some(value)) => self.garbage.insert(version_of(key)?, value).map(drop),
            (TableId::Garbage, None) => self.garbage.remove(version_of(key)?).map(drop),
        };
        Ok(done.map_err(redb::Error::from)?)
    }
}

/// The version in a garbage row's raw key: 8 bytes, big-endian, so that raw keys have the order of the table.
fn version_of(key: &[u8]) -> Result<u64, StoreError> {
    key.try_into().map(u64::from_be_bytes).map_err(|error| StoreError::row("garbage", &error))
}

/// Which table a raw row belongs to; its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableId {
    Small = 0,
    Objects = 1,
    Garbage = 2,
}

/// The rows as they were at one checkpoint.
pub(crate) struct Reader {
    objects: ReadOnlyTable<Bytes, Bytes>,
    garbage: ReadOnlyTable<u64, Bytes>,
    small: ReadOnlyTable<Bytes, Bytes>,
    open: Arc<Open>,
}

impl Reader {
    /// One row.
    pub(crate) fn get<T>(
        &self,
        table: TableId,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.open.guard.run(|| {
            let row = match table {
                TableId::Objects => self.objects.get(key),
                TableId::Garbage => self.garbage.get(version_of(key)?),
                TableId::Small => self.small.get(key),
            };
            row.map_err(redb::Error::from)?.map(|row| decode(row.value())).transpose()
        })
    }

    /// Rows from there on, in key order, until `visit` says stop.
    pub(crate) fn rows(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.open.guard.run(|| {
            match table {
                TableId::Objects | TableId::Small => {
                    let table = if table == TableId::Objects { &self.objects } else { &self.small };
                    let rows = table.range::<&[u8]>((from, Unbounded));
                    for row in rows.map_err(redb::Error::from)? {
                        let (key, value) = row.map_err(redb::Error::from)?;
                        if !visit(key.value(), value.value())? {
                            break;
                        }
                    }
                }
                TableId::Garbage => {
                    let from = match from {
                        Included(key) => Included(version_of(key)?),
                        Excluded(key) => Excluded(version_of(key)?),
                        Unbounded => Unbounded,
                    };
                    let rows = self.garbage.range::<u64>((from, Unbounded));
                    for row in rows.map_err(redb::Error::from)? {
                        let (key, value) = row.map_err(redb::Error::from)?;
                        if !visit(&key.value().to_be_bytes(), value.value())? {
                            break;
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// The small state and Raft's part, as of the last checkpoint.
    pub(crate) fn load(&self) -> Result<(State, Applied), StoreError> {
        self.open.guard.run(|| self.load_rows())
    }

    fn load_rows(&self) -> Result<(State, Applied), StoreError> {
        let mut applied = Applied::default();
        let mut rows = Vec::new();
        for row in self.small.iter().map_err(redb::Error::from)? {
            let (key, value) = row.map_err(redb::Error::from)?;
            if key.value() == RAFT_ROW {
                applied = Applied::decode(value.value()).map_err(|error| StoreError::row("small", &error))?;
            } else {
                rows.push((key.value().to_vec(), value.value().to_vec()));
            }
        }
        let state = State::load(rows.into_iter()).map_err(StoreError::Damaged)?;
        Ok((state, applied))
    }
}

pub(crate) fn decode_object(bytes: &[u8]) -> Result<ObjectRecord, StoreError> {
    ObjectRecord::decode(bytes).map_err(|error| StoreError::row("objects", &error))
}

pub(crate) fn decode_garbage(bytes: &[u8]) -> Result<Garbage, StoreError> {
    Garbage::decode(bytes).map_err(|error| StoreError::row("garbage", &error))
}
