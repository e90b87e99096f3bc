//! The applied state at one index, frozen.
//!
//! Everything that looks at more than one row, and everything that reads for long, takes a view: the overlay's layers, a
//! redb read transaction and, where it is asked for, a clone of the small state, taken together. Owns how layers and file
//! are read as one, and the order in which a state is told as a stream of rows, which snapshots send and the state hash
//! sums up:
//!
//! ```text
//! row: {table u8: 0 small, 1 objects, 2 garbage; key length u32; value length u32; key; value}
//! ```
//! in the order of tables and keys, without Raft's own row. Invariant: equal states tell equal bytes, however cut.

use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

use hayrick_protocol::limits::{HEADERS_BYTES_MAX, KEY_BYTES_MAX};
use hayrick_protocol::record::{Garbage, ObjectRecord};
use hayrick_protocol::{AppliedVersion, ObjectKey};
use xxhash_rust::xxh3::Xxh3;

use crate::applied::Applied;
use crate::overlay::{Layer, Merged, last_change};
use crate::state::State;
use crate::store::{Reader, StoreError, TableId, decode_garbage, decode_object};
use crate::types::{DecodeError, Input};

/// Bytes of a row in front of key and value.
const ROW_HEAD_BYTES: usize = 9;
/// Bytes of a chunk when only a hash is made of it.
const HASH_CHUNK_BYTES: usize = 1 << 20;

/// Objects and garbage, frozen.
pub(crate) struct Frozen {
    pub(crate) reader: Arc<Reader>,
    /// What changed since what `reader` sees; oldest first.
    pub(crate) layers: Vec<Arc<Layer>>,
}

impl Frozen {
    /// The record of a key.
    pub(crate) fn object(&self, key: &ObjectKey) -> Result<Option<ObjectRecord>, StoreError> {
        let key = key.as_str().as_bytes();
        match last_change(self.layers.iter().rev().map(|layer| &**layer), TableId::Objects, key) {
            Some(change) => change.as_deref().map(decode_object).transpose(),
            None => self.reader.get(TableId::Objects, key, decode_object),
        }
    }

    /// Objects from `start` on, in key order, until `visit` says stop.
    pub(crate) fn objects(
        &self,
        start: &[u8],
        mut visit: impl FnMut(ObjectKey, ObjectRecord) -> bool,
    ) -> Result<(), StoreError> {
        self.raw(TableId::Objects, Included(start), |key, record| {
            let text = std::str::from_utf8(key).map_err(|error| StoreError::row("objects", &error))?;
            let key = ObjectKey::new(text).map_err(|error| StoreError::row("objects", &error))?;
            Ok(visit(key, decode_object(record)?))
        })
    }

    /// Garbage above a version, oldest first.
    pub(crate) fn garbage(
        &self,
        after: AppliedVersion,
        limit: usize,
    ) -> Result<Vec<(AppliedVersion, Garbage)>, StoreError> {
        let mut found = Vec::new();
        self.raw(TableId::Garbage, Excluded(&after.0.to_be_bytes()), |version, garbage| {
            if found.len() < limit {
                let version = version.try_into().map_err(|error| StoreError::row("garbage", &error))?;
                found.push((AppliedVersion(u64::from_be_bytes(version)), decode_garbage(garbage)?));
            }
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// Rows as bytes, in key order, until `visit` says stop.
    fn raw(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut changes = Merged::new(&self.layers, table, from).peekable();
        let mut goes_on = true;
        self.reader.rows(table, from, |key, value| {
            while goes_on && let Some((new, change)) = changes.next_if(|(changed, _)| *changed < key) {
                goes_on = change.as_ref().map_or(Ok(true), |value| visit(new, value))?;
            }
            if goes_on {
                goes_on = match changes.next_if(|(changed, _)| *changed == key) {
                    Some((_, change)) => change.as_ref().map_or(Ok(true), |value| visit(key, value))?,
                    None => visit(key, value)?,
                };
            }
            Ok(goes_on)
        })?;
        while goes_on && let Some((new, change)) = changes.next() {
            goes_on = change.as_ref().map_or(Ok(true), |value| visit(new, value))?;
        }
        Ok(())
    }
}

/// A frozen state.
pub(crate) struct View {
    pub(crate) rows: Frozen,
    pub(crate) state: State,
    pub(crate) applied: Applied,
}

impl View {
    /// xxh3-128 of all rows. Reads everything: not for async threads.
    pub(crate) fn hash(self: Arc<Self>) -> Result<u128, StoreError> {
        let mut rows = RowStream::new(self);
        let mut hasher = Xxh3::new();
        while let Some(chunk) = rows.next_chunk(HASH_CHUNK_BYTES)? {
            hasher.update(&chunk);
        }
        Ok(hasher.digest128())
    }
}

/// The rows of a view, chunk by chunk.
pub(crate) struct RowStream {
    view: Arc<View>,
    small: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
    table: TableId,
    after: Option<Vec<u8>>,
    done: bool,
}

impl RowStream {
    pub(crate) fn new(view: Arc<View>) -> Self {
        let small: Vec<_> = view.state.rows().collect();
        Self { view, small: small.into_iter(), table: TableId::Small, after: None, done: false }
    }

    /// Whole rows of at least `bytes` together, fewer only at the end; `None` behind the last.
    pub(crate) fn next_chunk(&mut self, bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let mut chunk = Vec::with_capacity(bytes + KEY_BYTES_MAX + HEADERS_BYTES_MAX);
        while chunk.len() < bytes && !self.done {
            match self.table {
                TableId::Small => match self.small.next() {
                    Some((key, value)) => put_row(&mut chunk, TableId::Small, &key, &value),
                    None => self.table = TableId::Objects,
                },
                table => self.fill(table, &mut chunk, bytes)?,
            }
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    fn fill(&mut self, table: TableId, chunk: &mut Vec<u8>, bytes: usize) -> Result<(), StoreError> {
        let mut last = None;
        let from = self.after.as_deref().map_or(Unbounded, Excluded);
        self.view.rows.raw(table, from, |key, value| {
            put_row(chunk, table, key, value);
            let goes_on = chunk.len() < bytes;
            if !goes_on {
                last = Some(key.to_vec());
            }
            Ok(goes_on)
        })?;
        match (last, table) {
            (Some(last), _) => self.after = Some(last),
            (None, TableId::Objects) => (self.table, self.after) = (TableId::Garbage, None),
            (None, _) => self.done = true,
        }
        Ok(())
    }
}

fn put_row(out: &mut Vec<u8>, table: TableId, key: &[u8], value: &[u8]) {
    out.reserve(ROW_HEAD_BYTES + key.len() + value.len());
    out.push(table as u8);
    out.extend_from_slice(&u32::try_from(key.len()).expect("keys are short").to_le_bytes());
    out.extend_from_slice(&u32::try_from(value.len()).expect("rows end at 16 MiB").to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// A row of a chunk.
pub(crate) struct Row<'a> {
    pub(crate) table: TableId,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The next row of a chunk; `None` at its end.
pub(crate) fn take_row<'a>(input: &mut Input<'a>) -> Result<Option<Row<'a>>, DecodeError> {
    if input.0.is_empty() {
        return Ok(None);
    }
    let table = match input.u8()? {
        0 => TableId::Small,
        1 => TableId::Objects,
        2 => TableId::Garbage,
        _ => return Err(DecodeError),
    };
    let (key, value) = (input.u32()? as usize, input.u32()? as usize);
    Ok(Some(Row { table, key: input.bytes(key)?, value: input.bytes(value)? }))
}
