//! The table that the candidates alone would get, whatever was before.
//!
//! Owns the correction of the ring. On the bare ring a volume's load is off by a tenth and more. So each volume gets a
//! *stretch* by which its distances are multiplied, raised while it is wanted too often and lowered while too seldom;
//! what is left over is exchanged singly. As a stretch answers to chance on the whole ring, one volume more or less
//! hardly changes the others': the ideal tables of similar maps are similar. Invariant: every volume holds just its target.

use crate::assignment::{Assignment, Exchange};
use crate::ring::Preference;
use crate::shares::Shares;
use crate::zones::Zones;

/// After these the loads are within a few per cent, and hardly depend on the order of the corrections.
const ROUNDS: usize = 12;

pub(crate) struct Ideal {
    /// Of each partition.
    pub(crate) members: Vec<Vec<usize>>,
    /// By which each volume's distances are multiplied.
    stretch: Vec<f64>,
}

impl Ideal {
    pub(crate) fn new(zones: &Zones, shares: &Shares, preferences: &[Vec<Preference>]) -> Self {
        let mut ideal = Self { members: Vec::new(), stretch: vec![1.0; zones.of.len()] };
        for _ in 0..ROUNDS {
            let assignment = ideal.nearest(zones, preferences);
            for volume in assignment.volumes() {
                // The root damps it, lest loads swing. The half keeps a volume that nobody wants from a stretch of nothing.
                let wanted_too_often =
                    (assignment.load(volume) as f64 + 0.5) / (shares.target[volume] as f64 + 0.5);
                ideal.stretch[volume] *= wanted_too_often.sqrt();
            }
        }
        let mut assignment = ideal.nearest(zones, preferences);
        assignment.fill_up(&shares.target);
        ideal.even_out(&mut assignment, shares, preferences);
        ideal.members = assignment.members;
        ideal
    }

    /// How little a partition wants a volume.
    pub(crate) fn reluctance(&self, preferences: &[Preference], volume: usize) -> f64 {
        preferences
            .iter()
            .find(|preference| preference.volume == volume)
            .map_or(f64::MAX, |preference| preference.distance * self.stretch[volume])
    }

    fn nearest<'a>(&self, zones: &'a Zones, preferences: &[Vec<Preference>]) -> Assignment<'a> {
        let mut assignment = Assignment::empty(zones, preferences.len());
        let mut by_distance: Vec<(f64, usize)> = Vec::new();
        for (partition, preferences) in preferences.iter().enumerate() {
            by_distance.clear();
            by_distance.extend(preferences.iter().map(|preference| {
                (preference.distance * self.stretch[preference.volume], preference.volume)
            }));
            // The nearest few nearly always suffice, and sorting all for each partition is most of the cost.
            let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
            let few = (2 * zones.copies).min(by_distance.len());
            if few < by_distance.len() {
                by_distance.select_nth_unstable_by(few, order);
            }
            let (nearest, others) = by_distance.split_at_mut(few);
            for part in [nearest, others] {
                if assignment.is_short(partition) {
                    part.sort_unstable_by(order);
                    for &(_, volume) in part.iter() {
                        assignment.add(partition, volume);
                    }
                }
            }
        }
        assignment
    }

    fn even_out(&self, assignment: &mut Assignment<'_>, shares: &Shares, preferences: &[Vec<Preference>]) {
        let above =
            |assignment: &Assignment<'_>, volume: usize| assignment.load(volume) > shares.target[volume];
        let below =
            |assignment: &Assignment<'_>, volume: usize| assignment.load(volume) < shares.target[volume];
        let mut exchanges: Vec<(f64, Exchange)> = Vec::new();
        for (partition, preferences) in preferences.iter().enumerate() {
            for &leaver in assignment.members[partition].iter().filter(|&&member| above(assignment, member)) {
                let now = self.reluctance(preferences, leaver);
                for preference in preferences.iter().filter(|preference| below(assignment, preference.volume))
                {
                    let newcomer = preference.volume;
                    let loss = preference.distance * self.stretch[newcomer] - now;
                    exchanges.push((loss, Exchange { partition, leaver, newcomer }));
                }
            }
        }
        exchanges.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, exchange) in exchanges {
            if above(assignment, exchange.leaver) && below(assignment, exchange.newcomer) {
                assignment.exchange(exchange);
            }
        }
        while assignment.pass_on(above, below) {}
    }
}
