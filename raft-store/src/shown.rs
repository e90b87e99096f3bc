//! What requests see: every change as soon as it is applied, whether or not it is in the index file yet.
//!
//! Owns the overlay and the reader of the file together, so that a row is never looked for in the one after it went to the
//! other. Who applies, and when a checkpoint is written, is told in `machine`. Invariant: overlay and reader change under one
//! lock, and a read takes both under it.

use std::sync::Arc;

use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::record::{Garbage, ObjectRecord};
use hayrick_protocol::{AppliedVersion, ObjectKey};
use parking_lot::RwLock;

use crate::apply::Rows;
use crate::overlay::{Change, Layer, Overlay, Size};
use crate::status::Counters;
use crate::store::{Reader, StoreError, TableId, decode_garbage, decode_object};
use crate::view::Frozen;

/// All that was applied.
pub(crate) struct Shown(RwLock<Inner>);

struct Inner {
    overlay: Overlay,
    /// What is not in the overlay.
    reader: Arc<Reader>,
    counters: Counters,
}

impl Shown {
    pub(crate) fn new(reader: Reader, counters: Counters) -> Self {
        Self(RwLock::new(Inner { overlay: Overlay::default(), reader: Arc::new(reader), counters }))
    }

    /// Another state takes the place of all this.
    pub(crate) fn replace(&self, reader: Reader, counters: Counters) {
        let mut inner = self.0.write();
        if !planted::is(Bug::DeletedResurrected) {
            inner.overlay = Overlay::default();
        }
        (inner.reader, inner.counters) = (Arc::new(reader), counters);
    }

    pub(crate) fn object(&self, key: &ObjectKey) -> Result<Option<ObjectRecord>, StoreError> {
        self.read(TableId::Objects, key.as_str().as_bytes(), decode_object)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.0.read().counters
    }

    pub(crate) fn set_counters(&self, counters: Counters) {
        self.0.write().counters = counters;
    }

    /// How much lies in the overlay.
    pub(crate) fn size(&self) -> Size {
        self.0.read().overlay.size()
    }

    /// All rows as they are now. Between two batches if whoever calls keeps them apart.
    pub(crate) fn freeze(&self) -> Frozen {
        let mut inner = self.0.write();
        Frozen { layers: inner.overlay.freeze(), reader: Arc::clone(&inner.reader) }
    }

    /// All changes so far, to be written to the file. [`Self::written`] has to follow.
    pub(crate) fn begin_write(&self) -> Vec<Arc<Layer>> {
        self.0.write().overlay.begin_write()
    }

    /// They are in the file, durably, and are read from there from now on.
    pub(crate) fn written(&self, reader: Reader) {
        let mut inner = self.0.write();
        inner.overlay.written();
        inner.reader = Arc::new(reader);
    }

    fn read<T>(
        &self,
        table: TableId,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let reader = {
            let inner = self.0.read();
            if let Some(change) = inner.overlay.get(table, key) {
                return change.as_deref().map(decode).transpose();
            }
            Arc::clone(&inner.reader)
        };
        reader.get(table, key, decode)
    }

    fn put(&self, table: TableId, key: &[u8], change: Change) {
        self.0.write().overlay.put(table, key, change);
    }
}

/// The rows as apply sees and changes them: what it changed is shown at once. A reader that must not miss a change waits
/// for its index to be applied, and one that looks at more than a row waits for the end of the batch.
impl Rows for &Shown {
    fn object(&mut self, key: &ObjectKey) -> Result<Option<ObjectRecord>, StoreError> {
        Shown::object(self, key)
    }

    fn put_object(&mut self, key: &ObjectKey, record: &ObjectRecord) -> Result<(), StoreError> {
        self.put(TableId::Objects, key.as_str().as_bytes(), Some(record.encode().into()));
        Ok(())
    }

    fn remove_object(&mut self, key: &ObjectKey) -> Result<(), StoreError> {
        self.put(TableId::Objects, key.as_str().as_bytes(), None);
        Ok(())
    }

    fn garbage(&mut self, version: AppliedVersion) -> Result<Option<Garbage>, StoreError> {
        self.read(TableId::Garbage, &version.0.to_be_bytes(), decode_garbage)
    }

    fn put_garbage(&mut self, version: AppliedVersion, garbage: &Garbage) -> Result<(), StoreError> {
        self.put(TableId::Garbage, &version.0.to_be_bytes(), Some(garbage.encode().into()));
        Ok(())
    }

    fn remove_garbage(&mut self, version: AppliedVersion) -> Result<(), StoreError> {
        self.put(TableId::Garbage, &version.0.to_be_bytes(), None);
        Ok(())
    }
}
