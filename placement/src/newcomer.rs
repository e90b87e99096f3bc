//! Who is to hold a closed placement, too, when one of its members is gone.
//!
//! Owns the choice for one placement. Leaves to the caller who is up and has room. A zone that no other member lies in comes
//! first; then a volume that holds the partition now, as the table wants it there anyway; then chance that is the same each
//! time, in proportion to weight, so that what a dead volume held goes to all that are left.

use std::collections::BTreeSet;
use std::hash::BuildHasher;

use hashring::DefaultHashBuilder;
use hayrick_protocol::ids::{PartitionId, VolumeId};

use crate::Candidate;

/// The best of the candidates, of which none is a member yet. `zones` are those of the members that stay, `holders` the
/// partition's members now.
pub fn newcomer<'a>(
    candidates: impl IntoIterator<Item = &'a Candidate>,
    partition: PartitionId,
    zones: &BTreeSet<&str>,
    holders: &[VolumeId],
) -> Option<VolumeId> {
    let rank =
        |candidate: &Candidate| (zones.contains(candidate.zone.as_str()), !holders.contains(&candidate.id));
    let ranked =
        candidates.into_iter().map(|candidate| (rank(candidate), chance(partition, candidate), candidate));
    let best = ranked.min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.id.cmp(&b.2.id)));
    best.map(|(_, _, candidate)| candidate.id)
}

/// Of several volumes, each has the least of these in proportion to its weight.
fn chance(partition: PartitionId, candidate: &Candidate) -> f64 {
    let hash = DefaultHashBuilder.hash_one((partition.0.to_le_bytes(), candidate.id.0.to_le_bytes()));
    // Never 0, of which the logarithm has no end.
    let uniform = (hash as f64 + 1.0) / 2f64.powi(64);
    -uniform.ln() / candidate.weight.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: u32, weight: u64, zone: &str) -> Candidate {
        Candidate { id: VolumeId(id), weight, zone: zone.to_owned() }
    }

    #[test]
    fn another_zone_counts_more_than_holding_the_partition_and_that_more_than_chance() {
        let all = [candidate(1, 1, "a"), candidate(2, 1, "b"), candidate(3, 1, "c"), candidate(4, 1, "c")];
        for partition in (0..100).map(PartitionId) {
            let choose = |zones: &[&str], holders: &[VolumeId]| {
                newcomer(&all, partition, &zones.iter().copied().collect(), holders).map(|id| id.0)
            };
            assert_eq!(choose(&["a", "b"], &[VolumeId(4), VolumeId(1)]), Some(4));
            assert_eq!(choose(&["a", "c"], &[VolumeId(3)]), Some(2));
            assert_eq!(choose(&["a", "b", "c"], &[VolumeId(1), VolumeId(9)]), Some(1), "no zone is free");
        }
        assert_eq!(newcomer(&[], PartitionId(1), &BTreeSet::new(), &[]), None);
    }

    #[test]
    fn chance_is_spread_by_weight() {
        let all = [candidate(1, 1 << 30, ""), candidate(2, 1 << 30, ""), candidate(3, 2 << 30, "")];
        let mut chosen = [0; 3];
        for partition in (0..4096).map(PartitionId) {
            let id = newcomer(&all, partition, &BTreeSet::new(), &[]).expect("there are some");
            chosen[id.0 as usize - 1] += 1;
        }
        assert!((900..1150).contains(&chosen[0]) && (900..1150).contains(&chosen[1]), "{chosen:?}");
    }
}
