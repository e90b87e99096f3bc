//! The least part of a history that still cannot be explained, so that a person can see why.
//!
//! What is left must contradict by itself, and its contradiction must be one of the whole history. To leave a read out is
//! sound: what explains the whole explains it without the read. To leave a *write* out is not: a read of its value would
//! then contradict, while the whole may be fine. So a write is not left out but **loosened**: it may take effect at any
//! time after its beginning, once, or never. Whatever explains the whole explains it with writes loosened. Hence:
//!
//! 1. Of the operations that had ended when the search failed, as many as possible are dropped (reads) or loosened
//!    (writes) while there still is a contradiction. To drop more never makes one, so trying each once is enough: without
//!    any one of those that are left, the **needed** ones, everything can be explained.
//! 2. Of the loosened writes, only those are shown without which some needed one would not be needed any more. (A read of
//!    a value that no write wrote contradicts alone; that somebody may have written it has to be among what is shown.) The
//!    others could have happened whenever it suits, and it suits nobody.

use super::register::{Effect, Guard, Step};
use super::search::{Outcome, search};

/// How far the search of one attempt goes; an attempt that is not decided by then counts as explained.
const VISITED_MAX: u64 = 200_000;

/// How far those of all attempts go, after which the history is shown as it is by then: half a minute at worst.
const VISITED_BY_ALL_MAX: u64 = 20_000_000;

/// The least contradiction.
pub(super) struct Smallest<'a> {
    /// They contradict each other; without any one of them nothing does.
    pub(super) needed: Vec<Step<'a>>,
    /// Writes that may have happened at any time after their beginning, once, or never; with them too there is a
    /// contradiction, and without any one of them not all of the others were needed for it.
    pub(super) loose: Vec<Step<'a>>,
    /// Whether the attempts were enough.
    pub(super) is_least: bool,
}

/// What is left of steps which the search found to contradict each other, and of which `failed` could not end.
pub(super) fn smallest<'a>(steps: &[Step<'a>], failed: usize) -> Smallest<'a> {
    let until = steps[failed].operation.ended;
    let mut begun: Vec<Step<'a>> =
        steps.iter().copied().filter(|step| step.operation.begun <= until).collect();
    begun.sort_by_key(|step| step.operation.ended);
    let mut needed: Vec<usize> = (0..begun.len())
        .filter(|&index| begun[index].certain && begun[index].operation.ended <= until)
        .collect();
    let mut loose: Vec<usize> = (0..begun.len()).filter(|&index| !begun[index].is_read()).collect();

    let mut attempts = Attempts { steps: &begun, keep_conditions: false, left: VISITED_BY_ALL_MAX };
    let of_its_kind: Vec<usize> = needed
        .iter()
        .copied()
        .filter(|&index| !begun[index].is_read() || begun[index].guard == steps[failed].guard)
        .collect();
    // Most contradictions are between what the failed one told, others that told the same, and writes, and whatever the
    // conditions of others; without all else an attempt takes a fraction.
    if attempts.contradict(&of_its_kind, &loose) {
        needed = of_its_kind;
    }
    for keep_conditions in [false, true] {
        attempts.keep_conditions = keep_conditions;
        if keep_conditions || attempts.contradict(&needed, &loose) {
            keep_last(&mut needed, |some| attempts.contradict(some, &loose));
            shrink(&mut needed, |some| attempts.contradict(some, &loose));
        }
    }
    loose.retain(|index| !needed.contains(index));
    if attempts.each_is_needed(&needed, &[]) {
        loose.clear();
    } else {
        shrink(&mut loose, |some| attempts.each_is_needed(&needed, some));
    }
    let is_least = attempts.left > 0;
    let pick = |indices: &[usize], certain| {
        indices.iter().map(|&index| Step { certain, ..begun[index] }).collect::<Vec<_>>()
    };
    Smallest { needed: pick(&needed, true), loose: pick(&loose, false), is_least }
}

struct Attempts<'a, 'b> {
    steps: &'b [Step<'a>],
    /// Whether a loosened write still has its condition. Without, it is looser still: as sound, and much quicker, because
    /// its condition names no value.
    keep_conditions: bool,
    /// How many configurations may still be visited.
    left: u64,
}

impl Attempts<'_, '_> {
    /// Whether the steps `needed` contradict each other even if those in `loose` may happen whenever it suits.
    fn contradict(&mut self, needed: &[usize], loose: &[usize]) -> bool {
        matches!(self.outcome(needed, loose), Some(Outcome::Contradiction { .. }))
    }

    /// Whether without any one of `needed` there is nothing left that contradicts.
    fn each_is_needed(&mut self, needed: &[usize], loose: &[usize]) -> bool {
        needed.iter().all(|&dropped| {
            let rest: Vec<usize> = needed.iter().copied().filter(|&index| index != dropped).collect();
            let loosened = (!self.steps[dropped].is_read()).then_some(dropped);
            let loose: Vec<usize> = loose.iter().copied().chain(loosened).collect();
            matches!(self.outcome(&rest, &loose), Some(Outcome::Explained))
        })
    }

    fn loosened<'c>(&self, step: Step<'c>) -> Step<'c> {
        let guard = match step.effect {
            _ if self.keep_conditions => step.guard,
            Effect::Becomes(None) => Guard::Something,
            Effect::Becomes(Some(_)) | Effect::Stays | Effect::ComesBack => Guard::Anything,
        };
        Step { certain: false, guard, ..step }
    }

    fn outcome(&mut self, needed: &[usize], loose: &[usize]) -> Option<Outcome> {
        if self.left == 0 {
            return None;
        }
        let mut steps: Vec<Step<'_>> = needed.iter().map(|&index| self.steps[index]).collect();
        let mut is_needed = vec![false; self.steps.len()];
        for &index in needed {
            is_needed[index] = true;
        }
        let loose = loose.iter().filter(|&&index| !is_needed[index]);
        steps.extend(loose.map(|&index| self.loosened(self.steps[index])));
        let found = search(&steps, VISITED_MAX);
        self.left = self.left.saturating_sub(found.visited);
        Some(found.outcome)
    }
}

/// Keeps the last 1, 2, 4, … that still do; most contradictions are about what happened shortly before.
fn keep_last(all: &mut Vec<usize>, mut still_do: impl FnMut(&[usize]) -> bool) {
    let mut count = 1;
    while count < all.len() {
        let first = all.len() - count;
        if still_do(&all[first..]) {
            all.drain(..first);
            return;
        }
        count *= 2;
    }
}

/// Drops all that can be dropped, in ever smaller pieces (Zeller's delta debugging, for a property that is monotonous).
fn shrink(all: &mut Vec<usize>, mut still_do: impl FnMut(&[usize]) -> bool) {
    let mut size = all.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < all.len() {
            let end = (at + size).min(all.len());
            let rest: Vec<usize> = all[..at].iter().chain(&all[end..]).copied().collect();
            if still_do(&rest) {
                *all = rest;
            } else {
                at = end;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
}
