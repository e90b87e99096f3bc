//! The pure ring: from the volumes that may take writes to the members of every partition.
//!
//! Owns the choice of members and its stability. Leaves to others who is a candidate (the leader), what is true
//! (apply, which only ever stores the changes it is given) and the moving of data (repair). Nothing here knows a
//! clock, chance or the outside: equal arguments give equal tables, on every machine.
//!
//! A table is made in four steps, one file each:
//!
//! 1. `shares`: how many partitions each volume should hold, given weights, zones, and that it holds a partition
//!    at most once;
//! 2. `ideal`: the table that the candidates alone would get: ring order, corrected until every volume holds just
//!    its share. It has no memory, so a volume that returns is wanted where it was wanted before;
//! 3. `adapt`: the table as it is now, with as few partitions changed as balance allows, each towards the ideal;
//! 4. `detours`: of these changes, those that the loads do not ask for, taken back.

mod adapt;
mod assignment;
mod change;
mod detours;
mod explain;
mod ideal;
mod newcomer;
mod ring;
mod shares;
mod zones;

use hayrick_protocol::ids::VolumeId;

pub use change::changes;
pub use explain::{Outcome, Step, Walk, explain};
pub use newcomer::newcomer;

/// How far a volume's load may stray from its share before partitions are moved for balance alone. It keeps small
/// changes of capacity from moving anything; joining and leaving end within one partition of the share.
pub const EPSILON: f64 = 0.03;

/// A volume that may take new placements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id; of two candidates with one id, the first counts.
    pub id: VolumeId,
    /// Its part in the load relative to the others': its capacity in bytes.
    pub weight: u64,
    /// What it fails together with; `""` is a zone like any other.
    pub zone: String,
}

/// The members of every partition, given who its members are now (`current[partition]`; empty or missing when
/// there are none).
///
/// Every partition gets `min(replicas, candidates.len())` distinct members, ascending.
pub fn table(
    candidates: &[Candidate],
    partitions: u32,
    replicas: u8,
    current: &[Vec<VolumeId>],
) -> Vec<Vec<VolumeId>> {
    let candidates = distinct(candidates);
    let copies = candidates.len().min(usize::from(replicas));
    let partitions = partitions as usize;
    if copies == candidates.len() {
        return vec![candidates.iter().map(|candidate| candidate.id).collect(); partitions];
    }
    if copies == 0 {
        return vec![Vec::new(); partitions];
    }
    let made = Made::new(&candidates, copies, partitions, current);
    made.members.into_iter().map(|members| in_ids(&candidates, &members)).collect()
}

/// A table with all that led to it, for candidates that are more than the copies. Volumes are positions among them.
struct Made {
    zones: zones::Zones,
    shares: shares::Shares,
    preferences: Vec<Vec<ring::Preference>>,
    ideal: ideal::Ideal,
    /// Of each partition before.
    current: Vec<Vec<usize>>,
    /// Of each partition.
    members: Vec<Vec<usize>>,
}

impl Made {
    fn new(candidates: &[&Candidate], copies: usize, partitions: usize, current: &[Vec<VolumeId>]) -> Self {
        let zones = zones::Zones::new(candidates, copies);
        let shares = shares::Shares::new(candidates, &zones, partitions);
        let ring = ring::Ring::new(candidates, &shares);
        let preferences = ring.preferences(partitions, copies);
        let ideal = ideal::Ideal::new(&zones, &shares, &preferences);
        let current = positions(candidates, current);
        let members = adapt::adapt(&ideal, &zones, &shares, &preferences, &current);
        Self { zones, shares, preferences, ideal, current, members }
    }
}

/// By id; of two with one id, the first.
fn distinct(candidates: &[Candidate]) -> Vec<&Candidate> {
    let mut candidates: Vec<&Candidate> = candidates.iter().collect();
    candidates.sort_by_key(|candidate| candidate.id);
    candidates.dedup_by_key(|candidate| candidate.id);
    candidates
}

/// The current members as positions among the candidates; who is no candidate any more is left out.
fn positions(candidates: &[&Candidate], current: &[Vec<VolumeId>]) -> Vec<Vec<usize>> {
    let position = |id: &VolumeId| candidates.binary_search_by_key(id, |candidate| candidate.id).ok();
    current.iter().map(|members| members.iter().filter_map(position).collect()).collect()
}

fn in_ids(candidates: &[&Candidate], members: &[usize]) -> Vec<VolumeId> {
    let mut ids: Vec<VolumeId> = members.iter().map(|&volume| candidates[volume].id).collect();
    ids.sort_unstable();
    ids
}
