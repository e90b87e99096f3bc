//! How many partitions each volume should hold.
//!
//! Owns the division of all copies among the volumes: in proportion to weight, but no volume holds a partition twice
//! and no zone more or less than its part of every partition. What one cannot take the others take in proportion
//! (water-filling). Invariant: the targets are whole, add up to all copies, and a table that meets them exactly
//! exists, as the fractional one that gives each volume the same part of every partition does.

use crate::zones::Zones;
use crate::{Candidate, EPSILON};

/// Halvings until neighbouring floating-point numbers are met from the widest interval that weights can span.
const HALVINGS_MAX: usize = 256;

/// A share this little below a whole number is the whole number, missed by rounding errors.
const ROUNDING: f64 = 1e-4;

pub(crate) struct Shares {
    /// Partitions that each volume should hold.
    pub(crate) target: Vec<usize>,
    /// The weight that would have earned each volume its share, had nothing been in its way.
    pub(crate) earned_by: Vec<f64>,
    /// Partitions in all.
    pub(crate) partitions: usize,
}

impl Shares {
    pub(crate) fn new(candidates: &[&Candidate], zones: &Zones, partitions: usize) -> Self {
        let weights: Vec<f64> = candidates.iter().map(|candidate| candidate.weight.max(1) as f64).collect();
        let by_zone = |zone: usize| move |&volume: &usize| zones.of[volume] == zone;
        let residents: Vec<Vec<usize>> =
            (0..zones.count()).map(|zone| (0..weights.len()).filter(by_zone(zone)).collect()).collect();
        let held = |zone: usize, level: f64| -> f64 {
            residents[zone].iter().map(|&volume| (level * weights[volume]).min(partitions as f64)).sum()
        };
        let bounded = |zone: usize, level: f64| {
            let least = (zones.least[zone] * partitions) as f64;
            held(zone, level).clamp(least, (zones.most[zone] * partitions) as f64)
        };

        let lightest = weights.iter().copied().fold(f64::INFINITY, f64::min);
        let level_max = 2.0 * partitions as f64 / lightest;
        let all = (zones.copies * partitions) as f64;
        let level = level_where(level_max, all, |level| {
            (0..zones.count()).map(|zone| bounded(zone, level)).sum::<f64>()
        });
        let mut exact = vec![0.0; weights.len()];
        for (zone, residents) in residents.iter().enumerate() {
            let zone_level = level_where(level_max, bounded(zone, level), |level| held(zone, level));
            for &volume in residents {
                exact[volume] = (zone_level * weights[volume]).min(partitions as f64);
            }
        }
        let earned_by = exact.iter().map(|share| share / level).collect();
        Self { target: whole(&exact, &residents, zones.copies * partitions), earned_by, partitions }
    }

    /// Partitions that a volume may hold before some are moved away for balance.
    pub(crate) fn most(&self, volume: usize) -> usize {
        self.target[volume] + slack(self.target[volume])
    }

    /// Partitions that a volume must hold lest some are moved to it for balance.
    pub(crate) fn least(&self, volume: usize) -> usize {
        self.target[volume] - slack(self.target[volume]).min(self.target[volume])
    }
}

/// At least one, as the rounding of a share may go either way with every change of the map.
fn slack(target: usize) -> usize {
    ((target as f64 * EPSILON) as usize).max(1)
}

/// The least level in `0..=level_max` at which `held`, which never falls, reaches `wanted`.
fn level_where(level_max: f64, wanted: f64, held: impl Fn(f64) -> f64) -> f64 {
    let (mut below, mut reached) = (0.0, level_max);
    for _ in 0..HALVINGS_MAX {
        let middle = (below + reached) / 2.0;
        if middle <= below || middle >= reached {
            break;
        }
        if held(middle) < wanted {
            below = middle;
        } else {
            reached = middle;
        }
    }
    reached
}

/// Rounds each share up or down so that they add up to `total`; so do those of each zone to its own, rounded.
fn whole(exact: &[f64], residents: &[Vec<usize>], total: usize) -> Vec<usize> {
    let by_zone: Vec<f64> =
        residents.iter().map(|residents| residents.iter().map(|&volume| exact[volume]).sum()).collect();
    let mut target = vec![0; exact.len()];
    for (residents, zone_total) in residents.iter().zip(apportion(&by_zone, total)) {
        let shares: Vec<f64> = residents.iter().map(|&volume| exact[volume]).collect();
        for (&volume, share) in residents.iter().zip(apportion(&shares, zone_total)) {
            target[volume] = share;
        }
    }
    target
}

/// The largest remainders are rounded up, the others down.
fn apportion(exact: &[f64], total: usize) -> Vec<usize> {
    let mut parts: Vec<usize> = exact.iter().map(|share| (share + ROUNDING) as usize).collect();
    let left = total.saturating_sub(parts.iter().sum());
    let mut order: Vec<usize> = (0..exact.len()).collect();
    let remainder = |at: usize| exact[at] - parts[at] as f64;
    order.sort_by(|&a, &b| remainder(b).total_cmp(&remainder(a)));
    for at in order.into_iter().take(left) {
        parts[at] += 1;
    }
    parts
}
