//! How many members of one partition may lie in one zone.
//!
//! Owns the rule that zones are filled level: no zone holds two members more than another that could take one. With
//! as many zones as copies that means one member a zone. Invariant: a set of members that [`Zones::admits`] let grow
//! can always grow to all copies.

use std::collections::BTreeMap;

use crate::Candidate;

pub(crate) struct Zones {
    /// The zone of each volume.
    pub(crate) of: Vec<usize>,
    /// Members that each partition has in each zone at least.
    pub(crate) least: Vec<usize>,
    /// Members that each partition has in each zone at most.
    pub(crate) most: Vec<usize>,
    /// Members of each partition.
    pub(crate) copies: usize,
}

impl Zones {
    pub(crate) fn new(candidates: &[&Candidate], copies: usize) -> Self {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for candidate in candidates {
            let next = numbers.len();
            numbers.entry(&candidate.zone).or_insert(next);
        }
        let of: Vec<usize> = candidates.iter().map(|candidate| numbers[candidate.zone.as_str()]).collect();
        let mut sizes = vec![0; numbers.len()];
        for &zone in &of {
            sizes[zone] += 1;
        }
        let up_to = |level: usize| sizes.iter().map(|&size: &usize| size.min(level)).sum::<usize>();
        let level = (1..=copies).find(|&level| up_to(level) >= copies).unwrap_or(copies);
        Self {
            of,
            least: sizes.iter().map(|&size| size.min(level - 1)).collect(),
            most: sizes.iter().map(|&size| size.min(level)).collect(),
            copies,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.most.len()
    }

    /// Whether `members` may gain `volume`.
    pub(crate) fn admits(&self, members: &[usize], volume: usize) -> bool {
        let zone = self.of[volume];
        if members.len() >= self.copies
            || members.contains(&volume)
            || self.members_in(members, zone) >= self.most[zone]
        {
            return false;
        }
        let owed: usize = self.least.iter().sum();
        let paid: usize = members
            .iter()
            .enumerate()
            .filter(|&(at, &member)| {
                self.members_in(&members[..at], self.of[member]) < self.least[self.of[member]]
            })
            .count();
        let pays = usize::from(self.members_in(members, zone) < self.least[zone]);
        owed - paid - pays < self.copies - members.len()
    }

    /// Whether a partition with all its `members` may have `newcomer` instead of `leaver`, which is a member.
    pub(crate) fn admits_instead(&self, members: &[usize], leaver: usize, newcomer: usize) -> bool {
        if members.contains(&newcomer) {
            return false;
        }
        let (from, to) = (self.of[leaver], self.of[newcomer]);
        from == to
            || (self.members_in(members, from) > self.least[from]
                && self.members_in(members, to) < self.most[to])
    }

    fn members_in(&self, members: &[usize], zone: usize) -> usize {
        members.iter().filter(|&&member| self.of[member] == zone).count()
    }
}
