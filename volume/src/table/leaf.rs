//! Up to 512 ids and their rows, with no more room than they need.
//!
//! Owns when room is made and given back, and when the form of the ids is chosen anew: whenever room is made. Invariant:
//! there are as many ids as rows, in the same order.

use crate::table::keys::Keys;

/// Ids of one leaf, at most. More would make each insertion in the middle slower, fewer would cost more for each.
pub(crate) const LEAF_ROWS: usize = 512;

/// A leaf. It does not know its base: that is its key in the table.
#[derive(Debug)]
pub(crate) struct Leaf {
    keys: Keys,
    rows: Vec<u64>,
}

impl Leaf {
    /// A leaf of these ids, which ascend from `base` on.
    pub(crate) fn new(base: u64, rows: &[(u64, u64)]) -> Self {
        let keys = Keys::new(rows.iter().map(|(id, _)| id - base).collect());
        Self { keys, rows: rows.iter().map(|(_, row)| *row).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Ids and rows.
    pub(crate) fn rows(&self, base: u64) -> Vec<(u64, u64)> {
        self.keys.offsets().into_iter().map(|offset| base + offset).zip(self.rows.iter().copied()).collect()
    }

    /// The last id.
    pub(crate) fn last(&self, base: u64) -> u64 {
        base + self.keys.last()
    }

    /// The row of the id that lies `offset` behind the base.
    pub(crate) fn get(&self, offset: u64) -> Option<u64> {
        self.find(offset).ok().map(|at| self.rows[at])
    }

    /// Where its row is, or would be.
    pub(crate) fn find(&self, offset: u64) -> Result<usize, usize> {
        self.keys.find(offset, self.rows.len())
    }

    /// Changes a row.
    pub(crate) fn replace(&mut self, at: usize, choose: impl FnOnce(Option<u64>) -> u64) {
        self.rows[at] = choose(Some(self.rows[at]));
    }

    /// Puts in what [`Self::find`] did not find.
    pub(crate) fn insert(&mut self, at: usize, offset: u64, row: u64) {
        if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact(self.room());
            self.keys = Keys::new(self.keys.offsets());
        }
        self.rows.insert(at, row);
        if !self.keys.insert(at, offset, self.room()) {
            let mut offsets = self.keys.offsets();
            offsets.insert(at, offset);
            self.keys = Keys::new(offsets);
        }
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, offset: u64) -> Option<u64> {
        let at = self.find(offset).ok()?;
        let row = self.rows.remove(at);
        self.keys.remove(at, offset);
        if self.rows.capacity() > self.rows.len() + 2 * self.room() {
            self.rows.shrink_to_fit();
            self.keys = Keys::new(self.keys.offsets());
        }
        Some(row)
    }

    /// Bytes that it takes besides itself.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.keys.heap_bytes() + self.rows.capacity() * 8
    }

    /// How much room is made at once: small steps, so that little of it stays empty.
    fn room(&self) -> usize {
        let most = LEAF_ROWS.saturating_sub(self.rows.len()).max(1);
        (8 + self.rows.len() / 8).min(most)
    }
}
