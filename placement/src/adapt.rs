//! The table as it is now, changed no more than needed.
//!
//! Owns stability: who is still a candidate stays, unless the zone rule or balance forbids it, and every change that
//! must be made leads towards the ideal table where one does. So a volume that returns finds its former partitions.
//! Invariant: on return no volume holds more than [`Shares::most`] or less than [`Shares::least`], and a table that
//! was so before, with all its members still candidates and its zones in order, is returned as it is.

use crate::assignment::{Assignment, Exchange};
use crate::detours;
use crate::ideal::Ideal;
use crate::ring::Preference;
use crate::shares::Shares;
use crate::zones::Zones;

pub(crate) fn adapt(
    ideal: &Ideal,
    zones: &Zones,
    shares: &Shares,
    preferences: &[Vec<Preference>],
    current: &[Vec<usize>],
) -> Vec<Vec<usize>> {
    let mut assignment = keep(ideal, zones, shares.partitions, current);
    replace_the_missing(&mut assignment, ideal, shares, preferences);
    let underfull: Vec<bool> =
        assignment.volumes().map(|volume| assignment.load(volume) < shares.least(volume)).collect();
    exchange_where_best(
        &mut assignment,
        ideal,
        preferences,
        |assignment, volume| assignment.load(volume) > shares.target[volume],
        |assignment, volume| underfull[volume] && assignment.load(volume) < shares.target[volume],
    );
    exchange_where_best(
        &mut assignment,
        ideal,
        preferences,
        |assignment, volume| assignment.load(volume) > shares.most(volume),
        |assignment, volume| assignment.load(volume) < shares.target[volume],
    );
    while assignment.pass_on(
        |assignment, volume| assignment.load(volume) > shares.target[volume],
        |assignment, volume| assignment.load(volume) < shares.least(volume),
    ) {}
    while assignment.pass_on(
        |assignment, volume| assignment.load(volume) > shares.most(volume),
        |assignment, volume| assignment.load(volume) < shares.target[volume],
    ) {}
    detours::take_back(&mut assignment, zones, current);
    assignment.members
}

/// All current members that may stay. Where zones let only some stay, those of the ideal do.
fn keep<'a>(ideal: &Ideal, zones: &'a Zones, partitions: usize, current: &[Vec<usize>]) -> Assignment<'a> {
    let mut assignment = Assignment::empty(zones, partitions);
    for (partition, members) in current.iter().take(partitions).enumerate() {
        let is_ideal = |member: &&usize| ideal.members[partition].contains(member);
        let (ideals, others): (Vec<usize>, Vec<usize>) = members.iter().partition(is_ideal);
        for member in ideals.into_iter().chain(others) {
            assignment.add(partition, member);
        }
    }
    assignment
}

/// Gives every partition all its members: the ideal ones first, then the nearest with room, then any.
fn replace_the_missing(
    assignment: &mut Assignment<'_>,
    ideal: &Ideal,
    shares: &Shares,
    preferences: &[Vec<Preference>],
) {
    let short: Vec<usize> =
        (0..shares.partitions).filter(|&partition| assignment.is_short(partition)).collect();
    let has_room =
        |assignment: &Assignment<'_>, volume: usize| assignment.load(volume) < shares.target[volume];
    for &partition in &short {
        for &volume in &ideal.members[partition] {
            if has_room(assignment, volume) {
                assignment.add(partition, volume);
            }
        }
    }
    for &partition in &short {
        for preference in &preferences[partition] {
            if assignment.is_short(partition) && has_room(assignment, preference.volume) {
                assignment.add(partition, preference.volume);
            }
        }
    }
    assignment.fill_up(&shares.target);
}

/// Exchanges givers for takers: first where that makes the partition's members the ideal ones, then where it comes
/// nearer to them, then where the partition minds least.
fn exchange_where_best(
    assignment: &mut Assignment<'_>,
    ideal: &Ideal,
    preferences: &[Vec<Preference>],
    gives: impl Fn(&Assignment<'_>, usize) -> bool,
    takes: impl Fn(&Assignment<'_>, usize) -> bool,
) {
    if !assignment.volumes().any(|volume| gives(assignment, volume))
        || !assignment.volumes().any(|volume| takes(assignment, volume))
    {
        return;
    }
    let mut exchanges: Vec<((i8, usize, f64), Exchange)> = Vec::new();
    for (partition, preferences) in preferences.iter().enumerate() {
        let (members, ideals) = (&assignment.members[partition], &ideal.members[partition]);
        let strangers = members.iter().filter(|member| !ideals.contains(member)).count();
        let near = preferences.iter().map(|preference| preference.volume);
        let far_but_ideal =
            ideals.iter().copied().filter(|ideal| preferences.iter().all(|near| near.volume != *ideal));
        for newcomer in near.chain(far_but_ideal).filter(|&volume| takes(assignment, volume)) {
            for &leaver in members.iter().filter(|&&member| gives(assignment, member)) {
                let further = i8::from(ideals.contains(&leaver)) - i8::from(ideals.contains(&newcomer));
                let loss = ideal.reluctance(preferences, newcomer) - ideal.reluctance(preferences, leaver);
                exchanges.push(((further, strangers, loss), Exchange { partition, leaver, newcomer }));
            }
        }
    }
    exchanges.sort_by(|(a, _), (b, _)| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
    for (_, exchange) in exchanges {
        if gives(assignment, exchange.leaver) && takes(assignment, exchange.newcomer) {
            assignment.exchange(exchange);
        }
    }
}
