//! How an operation that has to end can have taken effect: the writes that did before it, one after the other, since the
//! last end, and then itself.
//!
//! Any order of any writes under way could be such a burst. These rules leave few of them. Each says of an order that
//! explains a history that there is another one which explains it too, and which the search does look at; so the search
//! misses no history that can be explained. "Seen" means: a read under way told what the write made of the object.
//!
//! 1. *A write of unknown outcome that is not seen, and whose next write could have taken place without it, did not
//!    happen.* Left out, the next write finds what it needs all the same and leaves the same state behind, as each leaves
//!    one that does not depend on the one before: an undelete too, where it is known what it brings back. Such a write may
//!    take effect ever later, so it needs no place before somebody needs it; the last write of a burst is the operation
//!    that ends, or seen by it.
//! 2. *A write without a condition that is not seen, and right after which another one takes place that would have taken
//!    place without it, is hidden by it.* Rather than to choose which of the writes under way were hidden so, all of them
//!    are marked as settled whenever a write takes effect that needs no object in particular (any or none for a PUT without
//!    a condition, any for a DELETE of something): each may have been put in place right before it, in any order, and
//!    nothing else changes. A marked one may still take effect later. Only certain writes hide: one of unknown outcome may
//!    be there only because of what was put in place right before it, and rule 1 would not know.
//!
//! Rule 1 is applied first to an order, then rule 2: taking a hidden write out never parts a write of unknown outcome from
//! the one that needs it, because by rule 1 what follows the former needs something, and a write without a condition does
//! not. Hidden ones may themselves be hidden by hidden ones; then all are by the one that is left, which suits each.

use std::collections::{HashMap, VecDeque};

use super::compiled::{Move, State, When, is_there};
use super::frontier::{Configuration, Frontier, Slots, Used, leaves_as_much};
use super::search::Search;

/// What the last write demands of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// Nothing: it was seen, or has a condition.
    None,
    /// Rule 1: that it could not have taken place in this state, the one before the last write.
    NotWithout(State),
    /// Rule 2: that it would not just hide the last write, before which the state was this.
    NoHiding(State),
}

/// A place in a burst.
struct Place {
    configuration: Configuration,
    demand: Demand,
}

/// Whether a move is a write that takes place always.
pub(super) fn is_blind(of: Move) -> bool {
    of.when == When::Anything && of.to.is_some_and(is_there)
}

/// Puts into `next` all configurations in which the operation in `ending` has ended.
pub(super) fn explore(search: &mut Search<'_>, from: Configuration, ending: usize, next: &mut Frontier) {
    let end: Slots = 1 << ending;
    let mut seen = Places::default();
    let mut waiting = VecDeque::from([Place { configuration: from, demand: Demand::None }]);
    while let Some(place) = waiting.pop_front() {
        search.visited += 1;
        if search.visited > search.visited_max {
            return;
        }
        for reached in followers(search, &place) {
            let mut configuration = reached.configuration;
            // A hidden write is settled, but it is looked for one that has taken effect by itself.
            let ended =
                if search.reads & end == 0 { configuration.spent & end } else { configuration.settled & end };
            if ended != 0 {
                configuration.spent &= !end;
                configuration.settled &= !end;
                next.insert(configuration, &search.compiled.stands_in);
            } else if seen.are_new(&configuration, reached.demand, &search.compiled.stands_in) {
                waiting.push_back(Place { configuration, demand: reached.demand });
            }
        }
    }
}

/// All places that one more write leads to.
fn followers(search: &Search<'_>, place: &Place) -> Vec<Place> {
    let mut places = Vec::new();
    let configuration = &place.configuration;
    let mut open = search.open_writes(configuration);
    while open != 0 {
        let slot = open.trailing_zeros() as usize;
        open &= open - 1;
        let its_move = search.compiled.moves[search.step_in[slot]];
        if its_move.when.holds(configuration.state) && place.demand.is_met_by_certain(its_move) {
            places.push(after_certain(search, configuration, slot, its_move));
        }
    }
    for kind in search.unknown.left_in(configuration.state, configuration) {
        let its_move = search.compiled.kinds[kind as usize];
        if search.state_after(its_move, configuration.state) != configuration.state
            && its_move.when.holds(configuration.state)
            && place.demand.is_met_by_unknown(its_move)
            && somebody_needs(search, configuration, its_move)
        {
            places.push(after_unknown(search, configuration, kind, its_move));
        }
    }
    places
}

/// Whether a write of unknown outcome could be seen, or be needed by the next one: if not, rule 1 ends every burst that
/// goes on with it. This is asked for thousands of them that are not needed, so nothing is copied for it.
fn somebody_needs(search: &Search<'_>, configuration: &Configuration, write: Move) -> bool {
    let (before, after) = (configuration.state, search.state_after(write, configuration.state));
    let needs_it = |of: Move| of.when.holds(after) && !of.when.holds(before);
    let unsettled_reads = search.reads & !configuration.settled;
    let mut open = search.open_writes(configuration) & !search.blind_writes | unsettled_reads;
    while open != 0 {
        let slot = open.trailing_zeros() as usize;
        open &= open - 1;
        if needs_it(search.compiled.moves[search.step_in[slot]]) {
            return true;
        }
    }
    search.unknown.left_in(after, configuration).any(|kind| needs_it(search.compiled.kinds[kind as usize]))
}

impl Demand {
    fn is_met_by_certain(self, next: Move) -> bool {
        match self {
            Self::None => true,
            Self::NotWithout(state) => !next.when.holds(state),
            Self::NoHiding(state) => !(hides(next) && next.when.holds(state)),
        }
    }

    fn is_met_by_unknown(self, next: Move) -> bool {
        match self {
            Self::None | Self::NoHiding(_) => true,
            Self::NotWithout(state) => !next.when.holds(state),
        }
    }
}

/// Whether any object would have done right before this write.
fn hides(write: Move) -> bool {
    matches!(write.when, When::Anything | When::Something)
}

fn after_certain(search: &Search<'_>, before: &Configuration, slot: usize, its_move: Move) -> Place {
    let bit: Slots = 1 << slot;
    let mut configuration = before.clone();
    configuration.spent |= bit;
    configuration.settled |= bit;
    if hides(its_move) {
        configuration.settled |= search.blind_writes;
    }
    let seen = becomes(search, &mut configuration, its_move);
    let demand = if !seen && is_blind(its_move) { Demand::NoHiding(before.state) } else { Demand::None };
    Place { configuration, demand }
}

fn after_unknown(search: &Search<'_>, before: &Configuration, kind: u32, its_move: Move) -> Place {
    let mut configuration = before.clone();
    configuration.make_use_of(kind);
    let seen = becomes(search, &mut configuration, its_move);
    let demand = if seen { Demand::None } else { Demand::NotWithout(before.state) };
    Place { configuration, demand }
}

/// Changes the state, and settles all reads that saw the new one; whether there were any.
fn becomes(search: &Search<'_>, configuration: &mut Configuration, its_move: Move) -> bool {
    configuration.state = search.state_after(its_move, configuration.state);
    let mut unsettled = search.reads & !configuration.settled;
    let mut seen = false;
    while unsettled != 0 {
        let slot = unsettled.trailing_zeros() as usize;
        unsettled &= unsettled - 1;
        if search.compiled.moves[search.step_in[slot]].when.holds(configuration.state) {
            configuration.settled |= 1 << slot;
            seen = true;
        }
    }
    seen
}

/// The places of a burst that were looked at: they are not again, nor are those that need more for the same.
#[derive(Default)]
struct Places {
    seen: HashMap<(State, Slots, Slots), Vec<(Demand, Used)>>,
}

impl Places {
    fn are_new(&mut self, configuration: &Configuration, demand: Demand, stands_in: &[u32]) -> bool {
        let key = (configuration.state, configuration.spent, configuration.settled);
        let alike = self.seen.entry(key).or_default();
        let known = |(other, used): &(Demand, Used)| {
            (*other == Demand::None || *other == demand)
                && leaves_as_much(used, &configuration.used, stands_in)
        };
        if alike.iter().any(known) {
            return false;
        }
        alike.push((demand, configuration.used.clone()));
        true
    }
}
