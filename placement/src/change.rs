//! What of a table has to be committed.
//!
//! Owns the comparison of two tables. Leaves the versions they were computed from to the leader.

use hayrick_protocol::cluster_map::TableChange;
use hayrick_protocol::ids::{PartitionId, VolumeId};

/// What to commit: only the partitions whose members differ. Partitions missing in `current` have no members.
///
/// Looks at no more partitions than a [`PartitionId`] can name.
pub fn changes(current: &[Vec<VolumeId>], wanted: &[Vec<VolumeId>]) -> Vec<TableChange> {
    let current = current.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
    (0..=u16::MAX)
        .zip(wanted)
        .zip(current)
        .filter(|((_, wanted), current)| wanted != current)
        .map(|((partition, wanted), _)| TableChange {
            partition: PartitionId(partition),
            members: wanted.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_partitions_that_differ_are_committed() {
        let (one, two) = (vec![VolumeId(1)], vec![VolumeId(2)]);
        let current = [one.clone(), one.clone()];
        let wanted = [one.clone(), two.clone(), one.clone(), Vec::new()];
        let expected = [
            TableChange { partition: PartitionId(1), members: two },
            TableChange { partition: PartitionId(2), members: one },
        ];
        assert_eq!(changes(&current, &wanted), expected);
        assert_eq!(changes(&wanted, &wanted), []);
    }
}
