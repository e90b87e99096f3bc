//! Stretches of segments, as few as can be: those that overlap or touch are one.
//!
//! Owns how they are joined, cut and bounded. Invariant: none of a segment touches another of it.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use hayrick_disk::FileId;

use crate::damage::{REMEMBERED_MAX, Stretch};

#[derive(Debug, Default)]
pub(super) struct Stretches {
    /// By segment and first byte: where it ends.
    ends: BTreeMap<(FileId, u64), u64>,
    bytes: u64,
}

impl Stretches {
    /// Adds a range, unless it is one more than are remembered; whether it is among them.
    pub(super) fn add(&mut self, segment: FileId, range: Range<u64>) -> bool {
        // Becomes one with those that it overlaps or touches: the last ones that begin before its end.
        let before_end = self.between(segment, 0..=range.end).rev();
        let touched: Vec<_> = before_end.take_while(|one| range.start <= one.end).collect();
        if touched.is_empty() && self.is_full() {
            return false;
        }
        let mut joined = range;
        for one in touched {
            joined = joined.start.min(one.start)..joined.end.max(one.end);
            self.take(segment, &one);
        }
        self.bytes += joined.end - joined.start;
        self.ends.insert((segment, joined.start), joined.end);
        true
    }

    /// Takes out those that lie in this range whole; whether there were any.
    pub(super) fn take_in(&mut self, segment: FileId, range: &Range<u64>) -> bool {
        let begin_in_it = self.between(segment, range.start..=range.end);
        let whole: Vec<_> = begin_in_it.filter(|one| one.end <= range.end).collect();
        whole.iter().for_each(|one| self.take(segment, one));
        !whole.is_empty()
    }

    /// Cuts this range out.
    pub(super) fn cut(&mut self, segment: FileId, range: &Range<u64>) {
        let before_end = self.between(segment, 0..=range.end).rev();
        let touched: Vec<_> = before_end.take_while(|one| range.start <= one.end).collect();
        for one in touched {
            self.take(segment, &one);
            for part in [one.start..one.end.min(range.start), one.start.max(range.end)..one.end] {
                if !part.is_empty() {
                    // There was room for the whole, and if none is for a second part it is found again.
                    self.add(segment, part);
                }
            }
        }
    }

    /// The parts of a range that lie in none of them. An empty one, of a segment without a byte, is one part.
    pub(super) fn beside(&self, segment: FileId, range: &Range<u64>) -> Vec<Range<u64>> {
        if range.is_empty() {
            let is_known = self.of(segment).any(|one| one.start <= range.start && range.end <= one.end);
            return if is_known { Vec::new() } else { vec![range.clone()] };
        }
        let (mut parts, mut at) = (Vec::new(), range.start);
        for one in self.of(segment).filter(|one| range.start < one.end && one.start < range.end) {
            if at < one.start {
                parts.push(at..one.start);
            }
            at = one.end;
        }
        if at < range.end {
            parts.push(at..range.end);
        }
        parts
    }

    /// Takes out all of a segment.
    pub(super) fn let_go(&mut self, segment: FileId) -> bool {
        self.take_in(segment, &(0..u64::MAX))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Stretch> {
        self.ends.iter().map(|(&(segment, from), &to)| Stretch { segment, range: from..to })
    }

    /// Those of a segment, ascending.
    pub(super) fn of(&self, segment: FileId) -> impl Iterator<Item = Range<u64>> {
        self.between(segment, 0..=u64::MAX)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= REMEMBERED_MAX
    }

    /// Those that begin there, ascending: by their ends too, as none touches another.
    fn between(
        &self,
        segment: FileId,
        starts: RangeInclusive<u64>,
    ) -> impl DoubleEndedIterator<Item = Range<u64>> {
        let starts = (segment, *starts.start())..=(segment, *starts.end());
        self.ends.range(starts).map(|((_, from), to)| *from..*to)
    }

    fn take(&mut self, segment: FileId, stretch: &Range<u64>) {
        if self.ends.remove(&(segment, stretch.start)).is_some() {
            self.bytes -= stretch.end - stretch.start;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_bytes_that_were_added_and_not_taken_out(
            steps in prop::collection::vec((0u8..3, 0u64..60, 1u64..20), 0..40),
        ) {
            let (segment, mut stretches) = (FileId(3), Stretches::default());
            let mut model = [false; 100];
            for (verb, from, len) in steps {
                let range = from..from + len;
                let cells = from as usize..(from + len) as usize;
                match verb {
                    0 => {
                        prop_assert!(stretches.add(segment, range));
                        model[cells].fill(true);
                    }
                    1 => {
                        stretches.cut(segment, &range);
                        model[cells].fill(false);
                    }
                    _ => {
                        let beside: Vec<u64> = stretches.beside(segment, &range).into_iter().flatten().collect();
                        let expected: Vec<u64> = range.filter(|at| !model[*at as usize]).collect();
                        prop_assert_eq!(beside, expected);
                    }
                }
                let all: Vec<_> = stretches.of(segment).collect();
                prop_assert!(all.windows(2).all(|two| two[0].end < two[1].start), "{:?}", all);
                let cells: Vec<u64> = all.into_iter().flatten().collect();
                let expected: Vec<u64> = (0..100).filter(|at| model[*at as usize]).collect();
                prop_assert_eq!(stretches.bytes(), cells.len() as u64);
                prop_assert_eq!(cells, expected);
            }
        }
    }
}
