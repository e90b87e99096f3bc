//! What was applied and is not in the index file yet: changed rows in memory, layer over layer.
//!
//! Apply changes the *active* layer. A view *freezes* it, keeps all layers there are, and another one becomes active; so
//! does a checkpoint, after which the layers it has written go. A row is looked for from the newest layer to the oldest,
//! then in the file. Owns the layers and the order of looking; the file, and when it is written, are left to `store` and
//! `write_behind`. Invariant: a frozen layer never changes, and layers go oldest first.

use std::collections::{BTreeMap, HashSet, btree_map};
use std::hash::{BuildHasherDefault, Hasher};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::store::TableId;

/// Rows up to which a layer is joined with the one before it, so that many views do not leave many layers.
const JOIN_ROWS_MAX: usize = 4096;
/// What a changed row takes beside key and value: its place in the tree, two lengths, two counts, the key's hash.
const ROW_BYTES: usize = 112;

/// A row's new value; `None` of one that was removed.
pub(crate) type Change = Option<Arc<[u8]>>;

/// Changed rows of objects and garbage.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    objects: BTreeMap<Arc<[u8]>, Change>,
    garbage: BTreeMap<Arc<[u8]>, Change>,
    /// Of the keys of all its rows: most keys that are looked for are in no layer, and to find that out in a tree takes a
    /// dozen misses of the processor's cache.
    hashes: HashSet<u64, BuildHasherDefault<AsItIs>>,
    size: Size,
}

/// The hash of what is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How much a layer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    /// Bytes of memory, about.
    pub(crate) bytes: usize,
}

/// All layers.
#[derive(Default)]
pub(crate) struct Overlay {
    active: Layer,
    /// Oldest first.
    frozen: Vec<Arc<Layer>>,
    /// How many of the oldest are being written to the file.
    writing: usize,
}

impl Layer {
    fn table(&self, table: TableId) -> &BTreeMap<Arc<[u8]>, Change> {
        match table {
            TableId::Objects => &self.objects,
            TableId::Garbage => &self.garbage,
            TableId::Small => unreachable!("the small state has no rows in layers"),
        }
    }

    fn put(&mut self, table: TableId, key: Arc<[u8]>, change: Change) {
        let value_bytes = |change: &Change| change.as_ref().map_or(0, |value| value.len());
        let (key_bytes, new_bytes) = (key.len(), value_bytes(&change));
        self.hashes.insert(xxh3_64(&key));
        let rows = match table {
            TableId::Objects => &mut self.objects,
            TableId::Garbage => &mut self.garbage,
            TableId::Small => unreachable!("the small state has no rows in layers"),
        };
        match rows.insert(key, change) {
            Some(old) => self.size.bytes = self.size.bytes + new_bytes - value_bytes(&old),
            None => {
                self.size.rows += 1;
                self.size.bytes += ROW_BYTES + key_bytes + new_bytes;
            }
        }
    }

    /// These rows, where `newer` has none over them.
    fn joined(&self, newer: Self) -> Self {
        let mut joined = self.clone();
        for (table, rows) in [(TableId::Objects, newer.objects), (TableId::Garbage, newer.garbage)] {
            rows.into_iter().for_each(|(key, change)| joined.put(table, key, change));
        }
        joined
    }
}

/// The last change of a row in these layers, newest first.
pub(crate) fn last_change<'a>(
    mut layers: impl Iterator<Item = &'a Layer>,
    table: TableId,
    key: &[u8],
) -> Option<&'a Change> {
    let hash = xxh3_64(key);
    layers.find_map(|layer| layer.hashes.get(&hash).and_then(|_| layer.table(table).get(key)))
}

impl Overlay {
    /// The last change of a row; `None` if the file has its last value.
    pub(crate) fn get(&self, table: TableId, key: &[u8]) -> Option<&Change> {
        let frozen = self.frozen.iter().rev().map(|layer| &**layer);
        last_change(std::iter::once(&self.active).chain(frozen), table, key)
    }

    pub(crate) fn put(&mut self, table: TableId, key: &[u8], change: Change) {
        self.active.put(table, key.into(), change);
    }

    pub(crate) fn size(&self) -> Size {
        let layers = self.frozen.iter().map(|layer| layer.size).chain([self.active.size]);
        layers.fold(Size::default(), |sum, size| Size {
            rows: sum.rows + size.rows,
            bytes: sum.bytes + size.bytes,
        })
    }

    /// All that changed so far, as layers that stay as they are; oldest first.
    pub(crate) fn freeze(&mut self) -> Vec<Arc<Layer>> {
        if self.active.size.rows > 0 {
            let mut new = std::mem::take(&mut self.active);
            while self.frozen.len() > self.writing
                && let Some(last) = self.frozen.last()
                && last.size.rows <= new.size.rows.max(JOIN_ROWS_MAX / 64)
                && last.size.rows + new.size.rows <= JOIN_ROWS_MAX
            {
                new = last.joined(new);
                self.frozen.pop();
            }
            self.frozen.push(Arc::new(new));
        }
        self.frozen.clone()
    }

    /// The same, to be written to the file.
    pub(crate) fn begin_write(&mut self) -> Vec<Arc<Layer>> {
        debug_assert_eq!(self.writing, 0, "one checkpoint at a time");
        let layers = self.freeze();
        self.writing = layers.len();
        layers
    }

    /// What was to be written has been, durably: it is read from the file from now on.
    pub(crate) fn written(&mut self) {
        self.frozen.drain(..self.writing);
        self.writing = 0;
    }
}

/// The changes of several layers, oldest layer first, in key order; of a row that several have, the newest.
pub(crate) struct Merged<'a> {
    layers: Vec<Peekable<btree_map::Range<'a, Arc<[u8]>, Change>>>,
}

impl<'a> Merged<'a> {
    pub(crate) fn new(layers: &'a [Arc<Layer>], table: TableId, from: Bound<&[u8]>) -> Self {
        let range = |layer: &'a Arc<Layer>| layer.table(table).range::<[u8], _>((from, Bound::Unbounded));
        Self { layers: layers.iter().map(|layer| range(layer).peekable()).collect() }
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = (&'a [u8], &'a Change);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.layers.iter_mut().filter_map(|layer| layer.peek().map(|(key, _)| *key)).min()?;
        let same = self.layers.iter_mut().filter_map(|layer| layer.next_if(|(key, _)| *key == first));
        same.last().map(|(key, change)| (&**key, change))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(byte: Option<u8>) -> Change {
        byte.map(|byte| Arc::from([byte].as_slice()))
    }

    fn rows(layers: &[Arc<Layer>], from: Bound<&[u8]>) -> Vec<(Vec<u8>, Change)> {
        let rows = Merged::new(layers, TableId::Objects, from);
        rows.map(|(key, change)| (key.to_vec(), change.clone())).collect()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, Option<u8>),
        Freeze,
        BeginWrite,
        Written,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0u8..20, any::<Option<u8>>()).prop_map(|(key, value)| Step::Put(key, value)),
            3 => Just(Step::Freeze),
            1 => Just(Step::BeginWrite),
            1 => Just(Step::Written),
        ]
    }

    proptest! {
        /// File and overlay together are always the same as one map that every change went to at once.
        #[test]
        fn whatever_is_frozen_and_written_the_last_change_is_found(steps in prop::collection::vec(step(), 0..200)) {
            let (mut overlay, mut file, mut model) = (Overlay::default(), BTreeMap::new(), BTreeMap::new());
            let mut writing: Option<Vec<Arc<Layer>>> = None;
            let mut views = Vec::new();
            for step in steps {
                match step {
                    Step::Put(key, byte) => {
                        overlay.put(TableId::Objects, &[key], value(byte));
                        model.insert(vec![key], value(byte));
                    }
                    Step::Freeze => views.push((overlay.freeze(), file.clone(), model.clone())),
                    Step::BeginWrite if writing.is_none() => writing = Some(overlay.begin_write()),
                    Step::Written => if let Some(layers) = writing.take() {
                        file.extend(rows(&layers, Bound::Unbounded));
                        overlay.written();
                    }
                    Step::BeginWrite => {}
                }
                for key in 0..20u8 {
                    let found = overlay.get(TableId::Objects, &[key]).or_else(|| file.get([key].as_slice()));
                    prop_assert_eq!(found, model.get([key].as_slice()));
                }
            }
            for (layers, file, model) in views {
                let mut seen = file;
                seen.extend(rows(&layers, Bound::Unbounded));
                prop_assert_eq!(seen, model, "a view stays as it was taken");
            }
            let all = rows(&overlay.freeze(), Bound::Unbounded);
            let behind: Vec<_> = all.iter().filter(|(key, _)| key[0] > 9).cloned().collect();
            prop_assert_eq!(rows(&overlay.frozen, Bound::Excluded(&[9])), behind);
            prop_assert!(overlay.size().rows >= all.len());
        }
    }

    #[test]
    fn many_views_of_a_state_that_changes_leave_few_layers() {
        let mut overlay = Overlay::default();
        for n in 0..100_000u32 {
            overlay.put(TableId::Objects, &n.to_be_bytes(), None);
            overlay.freeze();
        }
        assert!(overlay.frozen.len() <= 2 * 100_000 / JOIN_ROWS_MAX + 16, "{}", overlay.frozen.len());
        assert_eq!(overlay.size().rows, 100_000);
    }
}
