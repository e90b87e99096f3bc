//! Why a partition lies where it does: the walk along the ring from where the partition lies, and what became of each
//! volume that was met.
//!
//! Owns the reasons. Leaves the choice to the other files, whose results these are read from: what is explained is what
//! [`crate::table`] gives for the same arguments, and nothing here decides anything. Invariant: the steps that were taken are
//! just the members of that table.

use std::collections::BTreeSet;
use std::fmt;

use hayrick_protocol::ids::{PartitionId, VolumeId};

use crate::{Candidate, Made, distinct, in_ids, ring};

/// What one partition's members come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    /// Where on the ring the partition lies.
    pub point: u64,
    /// Who is to hold it, ascending.
    pub members: Vec<VolumeId>,
    /// Volumes in the order in which they are met going round; those that are not met near by come last, where they are
    /// members all the same.
    pub steps: Vec<Step>,
}

/// What became of one volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which.
    pub volume: VolumeId,
    /// How far from the partition its nearest point on the ring is, as a part of the whole ring; `None` where there are no
    /// more volumes than copies, and where it is not near.
    pub distance: Option<f64>,
    /// Partitions that it holds.
    pub holds: usize,
    /// Partitions that it should hold.
    pub share: usize,
    /// Whether it was taken, and why.
    pub outcome: Outcome,
}

/// Why a volume is a member of a partition or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Taken: there are no more volumes than copies.
    All,
    /// Taken: it is near, and has room.
    Near,
    /// Taken: it held the partition before, and balance does not ask for a move.
    Kept,
    /// Taken: nearer ones have their share.
    Room,
    /// Passed over: these lie in its zone, and members of a partition lie in as many zones as can be.
    ZoneTaken(Vec<VolumeId>),
    /// Passed over: the ring would have it, but who held the partition before stays.
    Stability,
    /// Passed over: it is near to more partitions than its share, and this one has somebody else.
    Share,
    /// Passed over: nearer ones are all the members there are to be.
    Enough,
}

impl Outcome {
    /// Whether the volume is a member.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::All | Self::Near | Self::Kept | Self::Room)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "there are no more volumes that take writes than copies",
            Self::Near => "it is near on the ring, and within its share",
            Self::Kept => "it holds the partition already, and balance does not ask for a move",
            Self::Room => "nearer ones have their share already",
            Self::ZoneTaken(others) => {
                let ids: Vec<String> = others.iter().map(VolumeId::to_string).collect();
                return write!(f, "its zone is taken, by volume {}", ids.join(" and "));
            }
            Self::Stability => {
                "the ring would take it, but who holds the partition stays until balance asks for a move"
            }
            Self::Share => "it is near to more partitions than its share, and another one holds this one",
            Self::Enough => "nearer ones hold all copies",
        })
    }
}

/// Why `partition` has the members that [`crate::table`] gives it. Costs as much as that.
pub fn explain(
    candidates: &[Candidate],
    partitions: u32,
    replicas: u8,
    current: &[Vec<VolumeId>],
    partition: PartitionId,
) -> Walk {
    let candidates = distinct(candidates);
    let copies = candidates.len().min(usize::from(replicas));
    let (at, partitions) = (usize::from(partition.0), partitions as usize);
    let point = ring::point(at, partitions);
    if copies == candidates.len() || copies == 0 {
        let (holds, distance) = (partitions, None);
        let all = candidates.iter().take(copies).map(|candidate| candidate.id);
        let step = |volume| Step { volume, distance, holds, share: holds, outcome: Outcome::All };
        return Walk { point, members: all.clone().collect(), steps: all.map(step).collect() };
    }
    let made = Made::new(&candidates, copies, partitions, current);
    let mut loads = vec![0; candidates.len()];
    made.members.iter().flatten().for_each(|&volume| loads[volume] += 1);
    let met: Vec<usize> = made.preferences[at].iter().map(|preference| preference.volume).collect();
    let far = made.members[at].iter().copied().filter(|member| !met.contains(member));
    let order: Vec<usize> = met.iter().copied().chain(far).collect();
    let steps = order.iter().map(|&volume| Step {
        volume: candidates[volume].id,
        distance: made.preferences[at].iter().find(|near| near.volume == volume).map(|near| near.distance),
        holds: loads[volume],
        share: made.shares.target[volume],
        outcome: outcome(&made, at, &order, volume, &candidates),
    });
    Walk { point, members: in_ids(&candidates, &made.members[at]), steps: steps.collect() }
}

fn outcome(made: &Made, at: usize, order: &[usize], volume: usize, candidates: &[&Candidate]) -> Outcome {
    let (members, ideals) = (&made.members[at], &made.ideal.members[at]);
    let held_before = |volume: usize| made.current.get(at).is_some_and(|before| before.contains(&volume));
    if members.contains(&volume) {
        return match (ideals.contains(&volume), held_before(volume)) {
            (true, _) => Outcome::Near,
            (false, true) => Outcome::Kept,
            (false, false) => Outcome::Room,
        };
    }
    if ideals.contains(&volume) {
        return Outcome::Stability;
    }
    let zone = made.zones.of[volume];
    let rivals: Vec<usize> =
        members.iter().copied().filter(|&rival| made.zones.admits_instead(members, rival, volume)).collect();
    let place = |volume: usize| order.iter().position(|&met| met == volume);
    let farther: Vec<usize> = rivals.iter().copied().filter(|&rival| place(rival) > place(volume)).collect();
    if !farther.is_empty() {
        let are_kept = farther.iter().all(|&rival| held_before(rival) && !ideals.contains(&rival));
        return if are_kept { Outcome::Stability } else { Outcome::Share };
    }
    let others: BTreeSet<usize> = members.iter().map(|&member| made.zones.of[member]).collect();
    let competes_with_other_zones = rivals.iter().any(|&rival| made.zones.of[rival] != zone);
    let mates = members.iter().filter(|&&member| made.zones.of[member] == zone);
    let mates: Vec<VolumeId> = mates.map(|&mate| candidates[mate].id).collect();
    if others.len() > 1 && !competes_with_other_zones && !mates.is_empty() {
        return Outcome::ZoneTaken(mates);
    }
    Outcome::Enough
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    fn candidates(zones: &[&str]) -> Vec<Candidate> {
        let candidate = |(id, zone): (u32, &&str)| Candidate {
            id: VolumeId(id),
            weight: 1 << 30,
            zone: (*zone).to_owned(),
        };
        (1..).zip(zones).map(candidate).collect()
    }

    fn walks(candidates: &[Candidate], current: &[Vec<VolumeId>]) -> Vec<Walk> {
        (0..64).map(|partition| explain(candidates, 64, 3, current, PartitionId(partition))).collect()
    }

    fn outcome_of(walk: &Walk, id: u32) -> Option<&Outcome> {
        walk.steps.iter().find(|step| step.volume == VolumeId(id)).map(|step| &step.outcome)
    }

    #[test]
    fn what_was_taken_is_what_the_table_has_however_it_came_to_be() {
        let sets = [
            candidates(&[""; 3]),
            candidates(&[""; 7]),
            candidates(&["a", "a", "b", "b", "c", "c", "c"]),
            candidates(&["a", "a", "a", "b", "b"]),
            candidates(&[""; 2]),
            Vec::new(),
        ];
        let mut seen = BTreeSet::new();
        let mut current: Vec<Vec<VolumeId>> = Vec::new();
        for candidates in sets.iter().chain([&sets[1], &sets[0]]) {
            let wanted = table(candidates, 64, 3, &current);
            for (walk, wanted) in walks(candidates, &current).iter().zip(&wanted) {
                assert_eq!(walk.members, *wanted);
                let mut taken: Vec<_> = walk
                    .steps
                    .iter()
                    .filter(|step| step.outcome.is_taken())
                    .map(|step| step.volume)
                    .collect();
                taken.sort_unstable();
                assert_eq!(taken, *wanted, "{walk:?}");
                assert!(
                    walk.steps.iter().map(|step| step.distance).is_sorted_by(|a, b| b.is_none() || a <= b)
                );
                seen.extend(
                    walk.steps
                        .iter()
                        .map(|step| std::mem::discriminant(&step.outcome))
                        .map(|it| format!("{it:?}")),
                );
            }
            current = wanted;
        }
        assert!(seen.len() >= 7, "nearly every reason was met: {seen:?}");
    }

    #[test]
    fn the_first_table_takes_who_is_near_and_nobody_is_kept() {
        let walks = walks(&candidates(&[""; 6]), &[]);
        let outcomes = || walks.iter().flat_map(|walk| &walk.steps).map(|step| &step.outcome);
        assert!(outcomes().all(|outcome| *outcome != Outcome::Kept && *outcome != Outcome::Stability));
        assert!(outcomes().any(|outcome| *outcome == Outcome::Share), "the bare ring is uneven");
        for walk in &walks {
            let last =
                walk.steps.iter().rposition(|step| step.outcome.is_taken()).expect("there are members");
            for (at, step) in walk.steps.iter().enumerate().filter(|(_, step)| !step.outcome.is_taken()) {
                let wanted = if at < last { Outcome::Share } else { Outcome::Enough };
                assert_eq!(step.outcome, wanted, "{walk:?}");
            }
        }
    }

    #[test]
    fn who_lies_in_a_zone_with_a_nearer_member_is_passed_over_for_it() {
        let candidates = candidates(&["a", "a", "b", "b", "c", "c"]);
        let zone = |id: VolumeId| candidates[id.0 as usize - 1].zone.as_str();
        let mut seen = 0;
        for walk in walks(&candidates, &[]) {
            for step in &walk.steps {
                let Outcome::ZoneTaken(mates) = &step.outcome else { continue };
                seen += 1;
                assert!(!mates.is_empty());
                for mate in mates {
                    assert_eq!(zone(*mate), zone(step.volume));
                    assert!(walk.members.contains(mate));
                }
            }
        }
        assert!(seen > 64, "of three zones with two volumes each: {seen}");
    }

    #[test]
    fn who_held_the_partition_before_is_kept_and_who_came_later_is_told_so() {
        // One joins after the other, so that stability forbids what the ring would have moved.
        let grown = (3..=9).fold(Vec::new(), |table_before: Vec<Vec<VolumeId>>, count| {
            table(&candidates(&vec![""; count]), 64, 3, &table_before)
        });
        let nine = candidates(&[""; 9]);
        let walks = walks(&nine, &grown);
        for (walk, members) in walks.iter().zip(&grown) {
            assert_eq!(walk.members, *members, "nothing is to be moved");
        }
        let fresh = table(&nine, 64, 3, &[]);
        let differ = fresh.iter().zip(&grown).filter(|(fresh, grown)| fresh != grown).count();
        let kept =
            walks.iter().filter(|walk| walk.steps.iter().any(|step| step.outcome == Outcome::Kept)).count();
        let passed = walks
            .iter()
            .filter(|walk| walk.steps.iter().any(|step| step.outcome == Outcome::Stability))
            .count();
        assert_eq!((kept, passed), (differ, differ));
        assert!(differ > 0, "else this shows nothing");
    }

    #[test]
    fn with_no_more_volumes_than_copies_each_holds_everything() {
        let walk = explain(&candidates(&["a", "b"]), 64, 3, &[], PartitionId(63));
        assert_eq!(walk.point, 63 << 58);
        assert_eq!(outcome_of(&walk, 2), Some(&Outcome::All));
        assert_eq!(walk.steps[0].holds, 64);
    }
}
