//! Moves that no load asks for, taken back.
//!
//! Owns what [`crate::adapt`] cannot see, as it makes one exchange after the other: where one volume could only be
//! filled by moving members that were there before, others may have been given copies that this one could have had.
//! Leaves the loads, and each partition's number of members in each zone, as they are. Invariant: on return no table
//! with these loads and numbers has fewer members that are new to their partitions, in zones of at most
//! [`RESIDENTS_MAX`].
//!
//! That is a flow of least cost: copies flow from partitions to volumes, and cost one where they are new. A flow costs
//! least just if no cycle of changes makes it cheaper (Klein, 1967); here a cycle is a round of exchanges, each volume
//! giving one partition and taking another.

use crate::assignment::{Assignment, Exchange};
use crate::zones::Zones;

/// In larger zones nothing is looked for: the work grows with the square, and a direct exchange is nearly always at
/// hand where a volume holds but few of the partitions.
const RESIDENTS_MAX: usize = 256;

/// How an exchange changes the number of new members, and the partition where it does.
type Cheapest = Option<(i64, usize)>;

pub(crate) fn take_back(assignment: &mut Assignment<'_>, zones: &Zones, current: &[Vec<usize>]) {
    for zone in 0..zones.count() {
        let residents: Vec<usize> = assignment.volumes().filter(|&volume| zones.of[volume] == zone).collect();
        if residents.len() > RESIDENTS_MAX {
            continue;
        }
        loop {
            let cycles = saving_cycles(&cheapest_exchanges(assignment, &residents, current));
            if cycles.is_empty() {
                break;
            }
            // No volume is in two of them or twice in one, and zones keep their numbers: none makes another illegal.
            for (partition, leaver, newcomer) in cycles.into_iter().flatten() {
                let exchange =
                    Exchange { partition, leaver: residents[leaver], newcomer: residents[newcomer] };
                assignment.exchange(exchange);
            }
        }
    }
}

/// Of each resident for each other.
fn cheapest_exchanges(
    assignment: &Assignment<'_>,
    residents: &[usize],
    current: &[Vec<usize>],
) -> Vec<Vec<Cheapest>> {
    let mut cheapest = vec![vec![None; residents.len()]; residents.len()];
    for (partition, members) in assignment.members.iter().enumerate() {
        let former = current.get(partition).map_or(&[][..], Vec::as_slice);
        let is_new = |volume: usize| i64::from(!former.contains(&volume));
        let (leavers, newcomers): (Vec<_>, Vec<_>) =
            residents.iter().copied().enumerate().partition(|(_, volume)| members.contains(volume));
        for &(from, leaver) in &leavers {
            for &(to, newcomer) in &newcomers {
                let cost = is_new(newcomer) - is_new(leaver);
                let known: &mut Cheapest = &mut cheapest[from][to];
                if known.is_none_or(|(least, _)| cost < least) {
                    *known = Some((cost, partition));
                }
            }
        }
    }
    cheapest
}

/// Rounds of exchanges that together leave fewer new members, as partition, leaver and newcomer; no resident is in
/// two. None only if there is none (Bellman and Ford).
fn saving_cycles(cheapest: &[Vec<Cheapest>]) -> Vec<Vec<(usize, usize, usize)>> {
    let mut cost_to = vec![0; cheapest.len()];
    let mut reached_by: Vec<Option<(usize, usize)>> = vec![None; cheapest.len()];
    for _ in 0..cheapest.len() {
        let mut settled = true;
        for (from, exchanges) in cheapest.iter().enumerate() {
            for (to, exchange) in exchanges.iter().enumerate() {
                let Some((cost, partition)) = *exchange else { continue };
                if cost_to[from] + cost < cost_to[to] {
                    cost_to[to] = cost_to[from] + cost;
                    reached_by[to] = Some((partition, from));
                    settled = false;
                }
            }
        }
        if settled {
            return Vec::new();
        }
    }
    cycles(&reached_by)
}

fn cycles(reached_by: &[Option<(usize, usize)>]) -> Vec<Vec<(usize, usize, usize)>> {
    let mut seen_from = vec![None; reached_by.len()];
    let mut cycles = Vec::new();
    for start in 0..reached_by.len() {
        let mut path = Vec::new();
        let mut at = start;
        while seen_from[at].is_none() {
            seen_from[at] = Some(start);
            let Some((partition, from)) = reached_by[at] else { break };
            path.push((partition, from, at));
            at = from;
        }
        if seen_from[at] == Some(start)
            && let Some(first) = path.iter().position(|&(_, _, to)| to == at)
            && path.last().is_some_and(|&(_, from, _)| from == at)
        {
            cycles.push(path.split_off(first));
        }
    }
    cycles
}
