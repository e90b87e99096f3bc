//! The ring: which volumes each partition would rather have.
//!
//! Owns the virtual nodes, in number in proportion to weight, and the distances on the ring. Leaves balance to
//! [`crate::ideal`]. Invariant: a volume's points on the ring depend on its id alone; only how many of them are in
//! use depends on weights, and with equal weights not on the other volumes at all.

use std::hash::{BuildHasher, Hash, Hasher};

use hashring::{DefaultHashBuilder, HashRing};

use crate::Candidate;
use crate::shares::Shares;

/// Virtual nodes of a volume of average weight, up to twice as many when the average is no power of two. The more,
/// the less the ideal table needs correction, and the less a joining volume disturbs it for the others: 128 had it
/// change half as much again as 512.
const VIRTUAL_NODES: f64 = 512.0;

/// How many volumes each partition names for each of its copies. Beyond, all are alike to it.
const PREFERENCES_PER_COPY: usize = 6;

/// Virtual nodes looked at for each preference, so that a ring full of one heavy volume's is not walked around for
/// each partition.
const STEPS_PER_PREFERENCE_MAX: usize = 16;

/// A volume and how far it is from a partition on the ring, in turns.
#[derive(Clone, Copy)]
pub(crate) struct Preference {
    pub(crate) volume: usize,
    pub(crate) distance: f64,
}

/// Where a partition lies on the ring: it is a range of hashes already, and lies where that starts, so that all lie evenly.
pub(crate) fn point(partition: usize, partitions: usize) -> u64 {
    ((partition as u128) << u64::BITS).div_euclid(partitions as u128) as u64
}

struct VirtualNode {
    volume: usize,
    id: u32,
    number: u32,
}

impl Hash for VirtualNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As bytes, so that the ring is the same whatever the machine's byte order.
        state.write(&self.id.to_le_bytes());
        state.write(&self.number.to_le_bytes());
    }
}

pub(crate) struct Ring {
    /// Ascending: where each virtual node lies, and its volume.
    points: Vec<(u64, usize)>,
    volumes: usize,
}

impl Ring {
    pub(crate) fn new(candidates: &[&Candidate], shares: &Shares) -> Self {
        let mean = shares.earned_by.iter().sum::<f64>() / candidates.len() as f64;
        // A power of two, so that the others' nodes stay what they are when a volume joins or leaves.
        let unit = mean.log2().floor().exp2() / VIRTUAL_NODES;
        let nodes = candidates.iter().zip(&shares.earned_by).enumerate().flat_map(
            |(volume, (candidate, earned_by))| {
                let count = (earned_by / unit).round().max(1.0) as u32;
                (0..count).map(move |number| VirtualNode { volume, id: candidate.id.0, number })
            },
        );
        let mut ring = HashRing::new();
        ring.batch_add(nodes.collect());
        let points = ring.into_iter().map(|node| (DefaultHashBuilder.hash_one(&node), node.volume)).collect();
        Self { points, volumes: candidates.len() }
    }

    /// For each partition the nearest volumes, the nearest first.
    pub(crate) fn preferences(&self, partitions: usize, copies: usize) -> Vec<Vec<Preference>> {
        let mut met_by = vec![usize::MAX; self.volumes];
        (0..partitions)
            .map(|partition| {
                let from = point(partition, partitions);
                let wanted = self.volumes.min(copies * PREFERENCES_PER_COPY);
                let mut nearest = Vec::with_capacity(wanted);
                for &(point, volume) in self.clockwise(from).take(wanted * STEPS_PER_PREFERENCE_MAX) {
                    if met_by[volume] != partition {
                        met_by[volume] = partition;
                        let distance = point.wrapping_sub(from) as f64 / 2f64.powi(64);
                        nearest.push(Preference { volume, distance });
                        if nearest.len() == wanted {
                            break;
                        }
                    }
                }
                nearest
            })
            .collect()
    }

    fn clockwise(&self, from: u64) -> impl Iterator<Item = &(u64, usize)> {
        let start = self.points.partition_point(|&(point, _)| point < from);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before)
    }
}
