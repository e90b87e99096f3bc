//! Linearizable per key: some order of all operations of a key explains every answer, and no operation takes effect before
//! it began or after it ended. What was read back at the end is part of it.
//!
//! Keys are looked at one by one ([`partition`]), each as a register ([`register`]), by a search that is bounded by the
//! configurations it visits, not by time ([`search`]); of a key that contradicts, the least part that does is shown
//! ([`smallest`]). Bytes that are not those of their ETag are for `bytes`.

mod burst;
mod compiled;
mod frontier;
mod partition;
mod register;
mod search;
mod smallest;

#[cfg(test)]
mod brute_force;
#[cfg(test)]
mod executions;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod undelete_tests;

use self::register::Step;
use self::search::{Outcome, search};
use super::final_reads::final_reads;
use crate::history::Moment;
use crate::record::Record;
use crate::verdict::{self, EVIDENCE_MAX, Evidence, Verdict};

const NAME: &str = "linearizability";
const PROMISE: &str = "GET, HEAD, PUT, DELETE and undelete of a key are linearizable through any mix of masters, with \
                       conditions, and so is what a list says of each key.";

/// Configurations that are visited for one key before the search is given up: some ten seconds and a few hundred MB at
/// worst. A key with 20 000 operations, at which 16 clients are all the time and of which hundreds have no known outcome,
/// takes one or two millions.
const VISITED_MAX: u64 = 10_000_000;

/// Looks at every key of the history.
pub(crate) fn check(record: &Record) -> Verdict {
    let read_back = final_reads(record);
    let keys = partition::by_key(record.history.operations.iter().chain(&read_back));
    let mut figures = Figures { keys: keys.len(), ..Figures::default() };
    let mut failed: Vec<Contradiction<'_>> = Vec::new();
    for (key, steps) in &keys {
        let found = search(steps, VISITED_MAX);
        figures.count(steps, found.visited);
        match found.outcome {
            Outcome::Explained => {}
            Outcome::GivenUp => figures.undecided.push((*key).to_owned()),
            Outcome::Contradiction { step } => {
                failed.push(Contradiction { key, steps, step, at: steps[step].operation.ended });
            }
        }
    }
    failed.sort_by_key(|contradiction| contradiction.at);
    let outcome = match (failed.is_empty(), figures.undecided.is_empty()) {
        (false, _) => verdict::Outcome::Violated,
        (true, false) => verdict::Outcome::NotDecidedInTime,
        (true, true) => verdict::Outcome::Proved,
    };
    let evidence = failed.iter().take(EVIDENCE_MAX).map(Contradiction::show).collect();
    Verdict::new(NAME, PROMISE, outcome, figures.say(failed.len()), evidence)
}

struct Contradiction<'a> {
    key: &'a str,
    steps: &'a [Step<'a>],
    /// The one that could not end.
    step: usize,
    at: Moment,
}

impl Contradiction<'_> {
    fn show(&self) -> Evidence {
        let smallest = smallest::smallest(self.steps, self.step);
        let mut what = match smallest.needed.len() {
            1 => "nothing that was asked explains this answer".to_owned(),
            needed => format!("no order of these {needed} operations explains their answers"),
        };
        if !smallest.loose.is_empty() {
            let loose = smallest.loose.len();
            what +=
                &format!(", even if {loose} more may have happened at any time after they began, or never");
        }
        if !smallest.is_least {
            what += " (there may be fewer that show it: the search for the fewest was given up)";
        }
        let shown = smallest.needed.iter().chain(&smallest.loose);
        let mut history: Vec<_> = shown.map(|step| step.operation.clone()).collect();
        history.sort_by_key(|operation| (operation.begun, operation.ended));
        Evidence { what, at: Some(self.at), key: Some(self.key.to_owned()), history }
    }
}

#[derive(Default)]
struct Figures {
    keys: usize,
    steps: usize,
    unknown: usize,
    visited: u64,
    longest: u64,
    undecided: Vec<String>,
}

impl Figures {
    fn count(&mut self, steps: &[Step<'_>], visited: u64) {
        self.steps += steps.len();
        self.unknown += steps.iter().filter(|step| !step.certain).count();
        self.visited += visited;
        self.longest = self.longest.max(visited);
    }

    fn say(&self, failed: usize) -> String {
        let Self { keys, steps, unknown, visited, longest, undecided } = self;
        let mut said = format!(
            "{keys} keys, {steps} operations on them ({unknown} writes of unknown outcome), {visited} configurations \
             visited, at most {longest} for one key"
        );
        if failed > 0 {
            said += &format!("; {failed} keys contradict");
        }
        if !undecided.is_empty() {
            said += &format!("; not decided: {}", undecided.join(", "));
        }
        said
    }
}
