//! A table in the making, with the load of every volume.
//!
//! Owns members and loads, and the moves that keep them in step and within the zones. Leaves what to move to
//! [`crate::ideal`] and [`crate::adapt`]. Invariant: `held` is the inverse of `members`, and no partition breaks the
//! zone rule at any time.

use std::collections::VecDeque;

use crate::zones::Zones;

pub(crate) struct Assignment<'a> {
    zones: &'a Zones,
    /// Of each partition.
    pub(crate) members: Vec<Vec<usize>>,
    /// Partitions of each volume, in the order in which they came to it.
    held: Vec<Vec<usize>>,
}

/// One partition's exchange of one member.
#[derive(Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) partition: usize,
    pub(crate) leaver: usize,
    pub(crate) newcomer: usize,
}

impl<'a> Assignment<'a> {
    pub(crate) fn empty(zones: &'a Zones, partitions: usize) -> Self {
        Self {
            zones,
            members: vec![Vec::with_capacity(zones.copies); partitions],
            held: vec![Vec::new(); zones.of.len()],
        }
    }

    pub(crate) fn load(&self, volume: usize) -> usize {
        self.held[volume].len()
    }

    pub(crate) fn volumes(&self) -> std::ops::Range<usize> {
        0..self.held.len()
    }

    pub(crate) fn is_short(&self, partition: usize) -> bool {
        self.members[partition].len() < self.zones.copies
    }

    /// Whether it was done: the zone rule may forbid it.
    pub(crate) fn add(&mut self, partition: usize, volume: usize) -> bool {
        let admitted = self.zones.admits(&self.members[partition], volume);
        if admitted {
            self.members[partition].push(volume);
            self.held[volume].push(partition);
        }
        admitted
    }

    /// Gives partitions that are still short the volumes with the most room, whoever they prefer.
    pub(crate) fn fill_up(&mut self, target: &[usize]) {
        for partition in 0..self.members.len() {
            while self.is_short(partition) {
                let roomiest = self
                    .volumes()
                    .filter(|&volume| self.zones.admits(&self.members[partition], volume))
                    .min_by_key(|&volume| self.load(volume) as i64 - target[volume] as i64)
                    .expect("a partition that is short admits somebody: the invariant of Zones");
                self.add(partition, roomiest);
            }
        }
    }

    /// Whether it was done: an earlier exchange or the zone rule may forbid it.
    pub(crate) fn exchange(&mut self, Exchange { partition, leaver, newcomer }: Exchange) -> bool {
        let Some(at) = self.members[partition].iter().position(|&member| member == leaver) else {
            return false;
        };
        if !self.zones.admits_instead(&self.members[partition], leaver, newcomer) {
            return false;
        }
        self.members[partition][at] = newcomer;
        self.held[newcomer].push(partition);
        self.held[leaver].retain(|&held| held != partition);
        true
    }

    /// Moves one partition's worth of load from one of `givers` to one of `takers`, over as few others as possible.
    /// Whether it was done.
    ///
    /// No exchange of a shortest chain makes another one illegal: two that meet in one partition and concern the same
    /// zones could be replaced by one, which would make the chain shorter.
    pub(crate) fn pass_on(
        &mut self,
        givers: impl Fn(&Self, usize) -> bool,
        takers: impl Fn(&Self, usize) -> bool,
    ) -> bool {
        let sources: VecDeque<usize> = self.volumes().filter(|&volume| givers(self, volume)).collect();
        let is_taker: Vec<bool> = self.volumes().map(|volume| takers(self, volume)).collect();
        let Some(chain) = self.shortest_chain(sources, &is_taker) else {
            return false;
        };
        // All or nothing, as half a chain would overload a volume in its middle.
        chain.into_iter().all(|exchange| self.exchange(exchange))
    }

    fn shortest_chain(&self, mut queue: VecDeque<usize>, is_taker: &[bool]) -> Option<Vec<Exchange>> {
        let mut reached_by: Vec<Option<Exchange>> = vec![None; self.held.len()];
        let mut unreached: Vec<usize> = self.volumes().filter(|volume| !queue.contains(volume)).collect();
        // Takers first, so that a direct exchange is found without looking at everybody.
        unreached.sort_by_key(|&volume| !is_taker[volume]);
        while let Some(leaver) = queue.pop_front() {
            for &partition in &self.held[leaver] {
                let members = &self.members[partition];
                let mut met = None;
                unreached.retain(|&newcomer| {
                    if met.is_some() || !self.zones.admits_instead(members, leaver, newcomer) {
                        return true;
                    }
                    reached_by[newcomer] = Some(Exchange { partition, leaver, newcomer });
                    queue.push_back(newcomer);
                    if is_taker[newcomer] {
                        met = Some(newcomer);
                    }
                    false
                });
                if let Some(taker) = met {
                    let back =
                        std::iter::successors(reached_by[taker], |exchange| reached_by[exchange.leaver]);
                    return Some(back.collect());
                }
            }
        }
        None
    }
}
