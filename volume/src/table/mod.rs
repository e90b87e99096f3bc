//! A map from needle ids to rows of 8 bytes that costs little more than the rows.
//!
//! It is a B-tree of two levels. Ids, ascending, are cut into *leaves* of up to 512; a leaf keeps its ids in the form
//! that is smallest for them (`keys`: a bitmap where they are dense, 2 bytes each where they are not, 8 where they are
//! far apart) and its rows packed behind each other (`leaf`). A fixed page per 512 seqs, the obvious other way, is as small
//! where one volume holds most of an epoch, but costs 20 bytes a needle and more where it holds one in a hundred, as in a
//! cluster of 300 volumes, and a whole page for an epoch of one needle.
//!
//! Bytes per needle, from the layout: 8 of the row; of the id 1/8 to 1/2 where at least one id in four is here, 2 down to
//! one in 65 536; less than 1/2 for the leaf's share of some 130 bytes; and room to grow, only in the leaves that grow. So
//! 8.5 where ids are dense and 10.5 where they are not. Ids that are each far from the next cost 18, and none that a
//! stranger could think of cost 32, because two neighbouring leaves never hold 64 ids or fewer together. (The tests below
//! hold it to that; docs/benchmarks.md has what a whole process takes.)
//!
//! Nothing here ever moves more than some leaves at once: there is no moment at which the whole table grows. Owns where
//! rows are kept; what a row means is `index`'s. Invariant: a leaf's ids lie between its own base and the next one's.

mod keys;
mod leaf;

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::table::leaf::{LEAF_ROWS, Leaf};

/// Two neighbours that hold no more than this together become one leaf: many epochs of few needles share one.
const JOINED_ROWS: usize = 64;

/// New rows that are merged in one go.
const MERGED_ROWS: usize = 8 * LEAF_ROWS;

/// The map.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// By their bases.
    leaves: BTreeMap<u64, Leaf>,
}

impl Table {
    /// The row of `id`.
    pub(crate) fn get(&self, id: u64) -> Option<u64> {
        let (base, leaf) = self.leaves.range(..=id).next_back()?;
        leaf.get(id - base)
    }

    /// Gives `id` the row that `choose` makes of the one it has.
    pub(crate) fn put(&mut self, id: u64, choose: impl FnOnce(Option<u64>) -> u64) {
        let Some((&base, leaf)) = self.leaves.range_mut(..=id).next_back() else {
            return self.insert(vec![(id, choose(None))], LEAF_ROWS);
        };
        match leaf.find(id - base) {
            Ok(at) => leaf.replace(at, choose),
            Err(at) if leaf.len() < LEAF_ROWS => leaf.insert(at, id - base, choose(None)),
            Err(at) => {
                let mut rows = leaf.rows(base);
                rows.insert(at, (id, choose(None)));
                // Ids come mostly in their order: then the leaf in front stays full.
                let cut = if at < LEAF_ROWS / 4 * 3 { LEAF_ROWS / 2 } else { at };
                let behind = rows.split_off(cut);
                *leaf = Leaf::new(base, &rows);
                self.insert(behind, LEAF_ROWS);
            }
        }
    }

    /// Takes `id` and its row out.
    pub(crate) fn remove(&mut self, id: u64) -> Option<u64> {
        let (&base, leaf) = self.leaves.range_mut(..=id).next_back()?;
        let row = leaf.remove(id - base)?;
        if leaf.len() == 0 {
            self.leaves.remove(&base);
        } else if leaf.len() <= JOINED_ROWS {
            self.join(base);
        }
        Some(row)
    }

    /// Gives each of these ids, which ascend and may repeat, the row that `choose` makes of the one it has and the new one.
    pub(crate) fn merge(
        &mut self,
        rows: &[(u64, u64)],
        mut choose: impl FnMut(u64, Option<u64>, u64) -> u64,
    ) {
        let mut rest = rows;
        while let Some(&(first, _)) = rest.first() {
            let behind = (Bound::Excluded(first), Bound::Unbounded);
            let bound = self.leaves.range(behind).next().map_or(u64::MAX, |(base, _)| base - 1);
            let at_most = &rest[..rest.len().min(MERGED_ROWS)];
            let new;
            (new, rest) = rest.split_at(at_most.partition_point(|(id, _)| *id <= bound));
            let mut before = Vec::new();
            let mut follows = true;
            if let Some((&base, leaf)) = self.leaves.range(..=first).next_back() {
                follows = leaf.last(base) < first;
                if !follows || leaf.len() < LEAF_ROWS {
                    before = leaf.rows(base);
                    self.leaves.remove(&base);
                }
            }
            let merged = merged(before, new, &mut choose);
            // What only follows leaves full leaves behind; where ids come in between, more of them may.
            let even = merged.len().div_ceil(merged.len().div_ceil(LEAF_ROWS));
            self.insert(merged, if follows { LEAF_ROWS } else { even });
        }
    }

    /// Shows rows, ascending by id, from `from` on, of so many leaves at most; the id to go on from, if there are more.
    pub(crate) fn walk(&self, from: u64, leaves: usize, mut visit: impl FnMut(u64, u64)) -> Option<u64> {
        // What was asked for last may have been joined with what lies before.
        let first = self.leaves.range(..=from).next_back().map_or(from, |(base, _)| *base);
        let mut ahead = self.leaves.range(first..);
        for (base, leaf) in ahead.by_ref().take(leaves) {
            leaf.rows(*base).into_iter().filter(|(id, _)| *id >= from).for_each(|(id, row)| visit(id, row));
        }
        ahead.next().map(|(base, _)| *base)
    }

    /// Puts in rows, ascending, that belong between two leaves and are at least one.
    fn insert(&mut self, rows: Vec<(u64, u64)>, leaf_rows: usize) {
        let mut base = 0;
        for rows in rows.chunks(leaf_rows) {
            base = rows[0].0;
            self.leaves.insert(base, Leaf::new(base, rows));
        }
        self.join(base);
    }

    /// Joins a leaf with its neighbours, if they are small.
    fn join(&mut self, base: u64) {
        let next = self.leaves.range((Bound::Excluded(base), Bound::Unbounded)).next().map(|(base, _)| *base);
        if let Some(next) = next {
            self.join_two(base, next);
        }
        let before = self.leaves.range(..base).next_back().map(|(base, _)| *base);
        if let Some(before) = before {
            self.join_two(before, base);
        }
    }

    fn join_two(&mut self, base: u64, next: u64) {
        let (Some(one), Some(other)) = (self.leaves.get(&base), self.leaves.get(&next)) else { return };
        if one.len() + other.len() <= JOINED_ROWS {
            let rows = [one.rows(base), other.rows(next)].concat();
            self.leaves.remove(&next);
            self.leaves.insert(base, Leaf::new(base, &rows));
        }
    }
}

/// Both together, ascending, each id once.
fn merged(
    before: Vec<(u64, u64)>,
    new: &[(u64, u64)],
    choose: &mut impl FnMut(u64, Option<u64>, u64) -> u64,
) -> Vec<(u64, u64)> {
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(before.len() + new.len());
    let mut before = before.into_iter().peekable();
    for &(id, row) in new {
        while let Some(old) = before.next_if(|old| old.0 <= id) {
            merged.push(old);
        }
        match merged.last_mut().filter(|last| last.0 == id) {
            Some(last) => last.1 = choose(id, Some(last.1), row),
            None => merged.push((id, choose(id, None, row))),
        }
    }
    merged.extend(before);
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    impl Table {
        fn rows(&self) -> Vec<(u64, u64)> {
            self.leaves.iter().flat_map(|(base, leaf)| leaf.rows(*base)).collect()
        }

        /// Bytes on the heap. The nodes of a B-tree map are half full at the least.
        fn heap_bytes(&self) -> usize {
            let leaves = self.leaves.len() * 2 * (size_of::<(u64, Leaf)>() + 2);
            leaves + self.leaves.values().map(Leaf::heap_bytes).sum::<usize>()
        }

        fn assert_well_formed(&self) {
            let mut small = usize::MAX;
            for (base, leaf) in &self.leaves {
                let rows = leaf.rows(*base);
                assert!((1..=LEAF_ROWS).contains(&leaf.len()), "{} rows", leaf.len());
                assert_eq!(rows.last().map(|(id, _)| *id), Some(leaf.last(*base)));
                assert!(small.saturating_add(leaf.len()) > JOINED_ROWS, "two small neighbours");
                small = leaf.len();
            }
            assert!(self.rows().is_sorted_by(|one, other| one.0 < other.0));
        }
    }

    /// Where ids are, as a stranger may choose them.
    fn id(shape: u8, n: u64) -> u64 {
        let (epoch, seq) = match shape {
            0 => (7, n),
            1 => (1 + n % 3, n / 3),
            2 => (9, n * 100),
            3 => (11, n * 70_000),
            4 => (20 + n, 1),
            5 => return u64::MAX - n,
            6 => return n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            _ => (0, n),
        };
        epoch << 32 | seq
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u64, u64),
        Remove(u64),
        Merge(Vec<(u64, u64)>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let one = || (0u8..8, 0u64..3000).prop_map(|(shape, n)| id(shape, n));
        let many = (0u8..8, 0u64..3000, 1u64..5, 0u64..1200)
            .prop_map(|(shape, from, by, count)| (0..count).map(|n| id(shape, from + n * by)).collect());
        let scattered = prop::collection::vec(one(), 0..300);
        prop_oneof![
            8 => (one(), any::<u64>()).prop_map(|(id, row)| Step::Put(id, row)),
            8 => one().prop_map(Step::Remove),
            2 => prop_oneof![many, scattered].prop_map(|mut ids: Vec<u64>| {
                ids.sort_unstable();
                Step::Merge(ids.into_iter().zip(1..).collect())
            }),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec(step(), 0..120)) {
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            // What wins depends on both, so that being asked in another order, or of another row, shows.
            let choose = |old: Option<u64>, new: u64| old.map_or(new, |old| old.rotate_left(1) ^ new);
            for step in steps {
                match step {
                    Step::Put(id, row) => {
                        table.put(id, |old| choose(old, row));
                        let old = model.get(&id).copied();
                        model.insert(id, choose(old, row));
                    }
                    Step::Remove(id) => prop_assert_eq!(table.remove(id), model.remove(&id)),
                    Step::Merge(rows) => {
                        table.merge(&rows, |_, old, new| choose(old, new));
                        for (id, row) in rows {
                            let old = model.get(&id).copied();
                            model.insert(id, choose(old, row));
                        }
                    }
                }
                table.assert_well_formed();
            }
            prop_assert_eq!(table.rows(), model.iter().map(|(id, row)| (*id, *row)).collect::<Vec<_>>());
            let (mut walked, mut from) = (Vec::new(), Some(0));
            while let Some(id) = from {
                from = table.walk(id, 2, |id, row| walked.push((id, row)));
            }
            prop_assert_eq!(walked, table.rows());
            let behind = id(3, 40);
            walked = Vec::new();
            table.walk(behind, usize::MAX, |id, row| walked.push((id, row)));
            prop_assert!(walked.into_iter().eq(model.range(behind..).map(|(id, row)| (*id, *row))));
            for (shape, n) in (0..8).flat_map(|shape| (0..40).map(move |n| (shape, n * 77))) {
                prop_assert_eq!(table.get(id(shape, n)), model.get(&id(shape, n)).copied());
            }
        }
    }

    #[test]
    fn a_long_history_in_any_order_leaves_what_it_should() {
        for shape in 0..8 {
            let mut random = StdRng::seed_from_u64(u64::from(shape));
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for _ in 0..20_000 {
                let id = id(shape, random.random_range(0..7_000));
                if random.random_bool(0.3) {
                    assert_eq!(table.remove(id), model.remove(&id), "shape {shape}");
                } else {
                    let row = random.random();
                    table.put(id, |_| row);
                    model.insert(id, row);
                }
            }
            table.assert_well_formed();
            assert_eq!(table.rows(), model.clone().into_iter().collect::<Vec<_>>(), "shape {shape}");
            for id in model.into_keys() {
                assert!(table.remove(id).is_some());
            }
            assert!(table.leaves.is_empty(), "nothing stays of ids that are gone");
        }
    }

    #[test]
    fn ids_that_are_dense_cost_little_more_than_their_rows() {
        // What one volume of three, four, ten, and three hundred holds of an epoch; three epochs grow at once.
        for (keeps, bytes_max) in [(1.0, 8.6), (0.75, 8.7), (0.3, 9.0), (0.01, 10.6)] {
            let mut random = StdRng::seed_from_u64(3);
            let mut table = Table::default();
            let mut count = 0;
            for n in 0..(100_000.0 / keeps) as u64 {
                if random.random_bool(keeps) {
                    table.put(id(1, n), |_| n);
                    count += 1;
                }
            }
            let bytes = table.heap_bytes() as f64 / f64::from(count);
            assert!(bytes < bytes_max, "{bytes:.2} bytes a needle where one in {:.1} is here", 1.0 / keeps);
        }
    }

    #[test]
    fn no_ids_cost_more_than_32_bytes() {
        for shape in 0..8 {
            for descending in [false, true] {
                let mut table = Table::default();
                for n in 0..20_000 {
                    table.put(id(shape, if descending { 20_000 - n } else { n }), |_| n);
                }
                table.assert_well_formed();
                let bytes = table.heap_bytes() as f64 / 20_000.0;
                assert!(bytes < 32.0, "shape {shape}, descending {descending}: {bytes:.1} bytes a needle");
            }
        }
    }
}
