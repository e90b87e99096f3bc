//! All the ways in which what has ended so far can have taken effect, without those that another makes superfluous.

use std::collections::BTreeMap;

use super::compiled::{State, UNNAMED};

/// A set of slots; each operation that is under way has one.
pub(super) type Slots = u128;

/// How often writes of unknown outcome were made use of: `(kind, times)`, in the order of the kinds.
pub(super) type Used = Vec<(u32, u32)>;

/// One way: Lowe's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Configuration {
    /// What the object is.
    pub(super) state: State,
    /// Writes under way that have taken effect: they cannot once more.
    pub(super) spent: Slots,
    /// Operations under way whose answer is accounted for: they may end. A read that saw what it told; a write that has
    /// taken effect; or one that may have, right before another write that hid it, and may as well still do so.
    pub(super) settled: Slots,
    /// Which writes of unknown outcome have taken effect.
    pub(super) used: Used,
}

impl Configuration {
    /// Whether all that can follow `other` can follow this one too.
    fn makes_superfluous(&self, other: &Self, stands_in: &[u32]) -> bool {
        self.state == other.state
            && self.spent & !other.spent == 0
            && other.settled & !self.settled == 0
            && leaves_as_much(&self.used, &other.used, stands_in)
    }

    /// How often a kind was made use of.
    pub(super) fn times(&self, kind: u32) -> u32 {
        self.used.binary_search_by_key(&kind, |&(kind, _)| kind).map_or(0, |index| self.used[index].1)
    }

    /// One more use of a kind.
    pub(super) fn make_use_of(&mut self, kind: u32) {
        self.make_use_of_many(kind, 1);
    }

    fn make_use_of_many(&mut self, kind: u32, times: u32) {
        match self.used.binary_search_by_key(&kind, |&(kind, _)| kind) {
            Ok(index) => self.used[index].1 += times,
            Err(index) => self.used.insert(index, (kind, times)),
        }
    }

    /// What was used of one kind counts as used of another.
    fn use_instead(&mut self, kind: u32, instead: u32) {
        if let Ok(index) = self.used.binary_search_by_key(&kind, |&(kind, _)| kind) {
            let (_, times) = self.used.remove(index);
            self.make_use_of_many(instead, times);
        }
    }
}

/// Whether whoever has used `one` can do all that who has used `other` can: what the first used more often of a kind, the
/// second used of the one that stands in for it.
pub(super) fn leaves_as_much(one: &Used, other: &Used, stands_in: &[u32]) -> bool {
    if one == other {
        return true;
    }
    let times = |of: &Used, kind: u32| {
        of.binary_search_by_key(&kind, |&(kind, _)| kind).map_or(0, |index| of[index].1)
    };
    // How much more was used of each kind that stands in, by itself or for others.
    let mut more: Vec<(u32, u32)> = Vec::new();
    for &(kind, used) in one {
        let surplus = used.saturating_sub(times(other, kind));
        if surplus == 0 {
            continue;
        }
        let instead = stands_in[kind as usize];
        if instead == kind {
            return false;
        }
        match more.iter_mut().find(|(known, _)| *known == instead) {
            Some((_, sum)) => *sum += surplus,
            None => more.push((instead, surplus)),
        }
    }
    more.iter().all(|&(kind, surplus)| times(one, kind) + surplus <= times(other, kind))
}

/// A set of configurations none of which makes another superfluous.
#[derive(Debug, Default)]
pub(super) struct Frontier {
    by_state: BTreeMap<State, Vec<Configuration>>,
    len: usize,
}

impl Frontier {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, configuration: Configuration, stands_in: &[u32]) {
        let alike = self.by_state.entry(configuration.state).or_default();
        if alike.iter().any(|other| other.makes_superfluous(&configuration, stands_in)) {
            return;
        }
        let before = alike.len();
        alike.retain(|other| !configuration.makes_superfluous(other, stands_in));
        self.len = self.len + alike.len() + 1 - before;
        alike.push(configuration);
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Configuration> {
        self.by_state.values_mut().flatten()
    }

    /// Takes all of them out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Configuration> + use<> {
        self.len = 0;
        std::mem::take(&mut self.by_state).into_values().flatten()
    }

    /// A value becomes one that no guard names, and each kind that writes it the one that it then is.
    pub(super) fn forget(&mut self, value: State, kinds: &[(u32, u32)], stands_in: &[u32]) {
        for mut configuration in self.drain() {
            if configuration.state == value {
                configuration.state = UNNAMED;
            }
            for &(kind, instead) in kinds {
                configuration.use_instead(kind, instead);
            }
            self.insert(configuration, stands_in);
        }
    }

    /// What every configuration has used, so often at least; it is taken out of them.
    pub(super) fn take_common_use(&mut self) -> Used {
        let mut all = self.by_state.values().flatten();
        let Some(first) = all.next() else { return Used::new() };
        let mut common = first.used.clone();
        for other in all {
            if common.is_empty() {
                return common;
            }
            for (kind, times) in &mut common {
                *times = (*times).min(other.times(*kind));
            }
            common.retain(|&(_, times)| times > 0);
        }
        if !common.is_empty() {
            for configuration in self.iter_mut() {
                take_out(&mut configuration.used, &common);
            }
        }
        common
    }
}

fn take_out(used: &mut Used, common: &Used) {
    for (kind, times) in used.iter_mut() {
        if let Ok(index) = common.binary_search_by_key(kind, |&(kind, _)| kind) {
            *times -= common[index].1;
        }
    }
    used.retain(|&(_, times)| times > 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind 0 stands in for 1 and 2; 3 is by itself.
    const STANDS_IN: [u32; 4] = [0, 0, 0, 3];

    fn leaves(one: &[(u32, u32)], other: &[(u32, u32)]) -> bool {
        leaves_as_much(&one.to_vec(), &other.to_vec(), &STANDS_IN)
    }

    #[test]
    fn who_used_less_has_as_much_left() {
        assert!(leaves(&[], &[]));
        assert!(leaves(&[(1, 1)], &[(1, 2), (3, 1)]));
        assert!(!leaves(&[(1, 2)], &[(1, 1)]));
        assert!(!leaves(&[(3, 1)], &[(0, 5), (1, 5)]));
    }

    #[test]
    fn who_used_what_another_kind_stands_in_for_has_as_much_left() {
        assert!(leaves(&[(1, 1)], &[(0, 1)]));
        assert!(!leaves(&[(0, 1)], &[(1, 1)]));
        assert!(leaves(&[(1, 1), (2, 1)], &[(0, 2)]));
        assert!(!leaves(&[(1, 1), (2, 1)], &[(0, 1)]));
        assert!(!leaves(&[(0, 1), (1, 1)], &[(0, 1)]));
        assert!(leaves(&[(0, 1), (1, 2)], &[(0, 2), (1, 1)]));
    }

    #[test]
    fn of_two_configurations_the_superfluous_one_goes_in_either_order() {
        let better = Configuration { settled: 1, ..Configuration::default() };
        let worse = Configuration { used: vec![(3, 1)], ..Configuration::default() };
        for pair in [[better.clone(), worse.clone()], [worse, better.clone()]] {
            let mut frontier = Frontier::default();
            pair.into_iter().for_each(|configuration| frontier.insert(configuration, &STANDS_IN));
            assert_eq!(frontier.len(), 1);
            assert!(frontier.drain().all(|left| left == better));
        }
    }
}
