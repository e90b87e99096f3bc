//! How it stands after a run: the verdicts of all checkers, and whether the run reached what it was made for.

use serde::Serialize;

use crate::record::Record;
use crate::report::Run;
use crate::verdict::Outcome;

/// From the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Whatever was looked at held, and what had to be reached was reached.
    Held,
    /// Something was not as good as promised, though not so bad that it must be a fault; nothing contradicts a promise.
    AimMissed,
    /// A search was given up at its bound; nothing contradicts a promise.
    NotDecided,
    /// Nothing contradicts a promise, but what should have put it to the test did not happen, or nobody looked.
    ProvedNothing,
    /// A promise was broken.
    Violated,
}

impl Standing {
    /// Of one run.
    pub fn of(run: &Run) -> Self {
        let any = |outcome| run.verdicts.iter().any(|verdict| verdict.outcome == outcome);
        if any(Outcome::Violated) {
            Self::Violated
        } else if run.record.faults.is_empty()
            || !unreached(&run.record).is_empty()
            || !(any(Outcome::Proved) || any(Outcome::NotDecidedInTime) || any(Outcome::AimMissed))
        {
            Self::ProvedNothing
        } else if any(Outcome::NotDecidedInTime) {
            Self::NotDecided
        } else if any(Outcome::AimMissed) {
            Self::AimMissed
        } else {
            Self::Held
        }
    }

    /// A sign that is told apart without colours.
    pub fn mark(self) -> char {
        match self {
            Self::Held => mark(Outcome::Proved),
            Self::AimMissed => mark(Outcome::AimMissed),
            Self::NotDecided => mark(Outcome::NotDecidedInTime),
            Self::ProvedNothing => mark(Outcome::Skipped),
            Self::Violated => mark(Outcome::Violated),
        }
    }
}

/// The sign of one outcome.
pub fn mark(outcome: Outcome) -> char {
    match outcome {
        Outcome::Proved => '✓',
        Outcome::Violated => '✗',
        Outcome::NotDecidedInTime => '?',
        Outcome::Skipped => '–',
        Outcome::AimMissed => '~',
    }
}

/// What the plan says must be reached and was not.
pub fn unreached(record: &Record) -> Vec<&str> {
    let reached = |name: &&String| record.reached.get(name.as_str()).is_some_and(|times| *times > 0);
    record.plan.must_reach.iter().filter(|name| !reached(name)).map(String::as_str).collect()
}

/// How it stands after all runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The worst of all runs.
    pub standing: Standing,
    /// It, in one sentence.
    pub sentence: String,
    /// What else is to be said, less grave than the sentence; one sentence each.
    pub besides: Vec<String>,
}

impl Summary {
    /// Of these runs, which are not all that there shall be, if `planned` are more.
    pub fn of_series(runs: &[Run], planned: usize) -> Self {
        let mut summary = Self::of(runs);
        if runs.len() < planned {
            let so_far = format!("Not run to the end: {} of {} so far. ", runs.len(), many(planned, "mix"));
            summary.sentence.insert_str(0, &so_far);
        }
        summary
    }

    /// Of these runs.
    pub fn of(runs: &[Run]) -> Self {
        let standing = runs.iter().map(Standing::of).max().unwrap_or(Standing::ProvedNothing);
        let mut besides = vec![
            about(runs, "Violated", violated),
            about(runs, "Proved nothing", nothing),
            about(runs, "Not decided", undecided),
            about(runs, "Aim missed", |run| checkers(run, Outcome::AimMissed)),
        ];
        besides.push(about(runs, "Not looked at", |run| checkers(run, Outcome::Skipped)));
        let mut besides: Vec<String> = besides.into_iter().flatten().collect();
        let sentence = match standing {
            Standing::Held => held(runs),
            _ if runs.is_empty() => "Proved nothing: nothing was run.".to_owned(),
            // The sentences go from the worst on, so that the first is the one of the standing.
            _ => besides.remove(0),
        };
        Self { standing, sentence, besides }
    }
}

fn held(runs: &[Run]) -> String {
    let all = runs.iter().flat_map(|run| &run.verdicts);
    let word = if all.clone().any(|verdict| verdict.outcome == Outcome::Skipped) {
        "All promises that were looked at held"
    } else {
        "All promises held"
    };
    let looked_at = all.filter(|verdict| verdict.outcome != Outcome::Skipped);
    let mut promises: Vec<&str> = looked_at.map(|verdict| verdict.checker.as_str()).collect();
    promises.sort_unstable();
    promises.dedup();
    let operations: usize = runs.iter().map(|run| run.record.history.operations.len()).sum();
    let faults: usize = runs.iter().map(|run| run.record.faults.len()).sum();
    format!(
        "{word}: {} in {}, {} and {}.",
        many(promises.len(), "checker"),
        many(runs.len(), "mix"),
        many(operations, "operation"),
        many(faults, "fault")
    )
}

/// `Violated: a and b in leader-kills; c in full-disks.`; none if no run has anything of it.
fn about(runs: &[Run], word: &str, what: impl Fn(&Run) -> Option<String>) -> Option<String> {
    let parts: Vec<String> =
        runs.iter().filter_map(|run| Some(format!("{} in {}", what(run)?, run.record.plan.mix))).collect();
    (!parts.is_empty()).then(|| format!("{word}: {}.", parts.join("; ")))
}

fn violated(run: &Run) -> Option<String> {
    checkers(run, Outcome::Violated)
}

fn undecided(run: &Run) -> Option<String> {
    checkers(run, Outcome::NotDecidedInTime)
}

fn nothing(run: &Run) -> Option<String> {
    if run.record.faults.is_empty() {
        return Some("nothing was broken".to_owned());
    }
    let unreached = unreached(&run.record);
    if !unreached.is_empty() {
        return Some(format!("{} not reached, for which a longer run may do (--seconds),", list(&unreached)));
    }
    (Standing::of(run) == Standing::ProvedNothing).then(|| "no promise was looked at".to_owned())
}

fn checkers(run: &Run, outcome: Outcome) -> Option<String> {
    let names: Vec<&str> = run
        .verdicts
        .iter()
        .filter(|verdict| verdict.outcome == outcome)
        .map(|verdict| verdict.checker.as_str())
        .collect();
    (!names.is_empty()).then(|| list(&names))
}

fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn many(count: usize, thing: &str) -> String {
    let ending = match (count, thing.ends_with('x')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {thing}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Moment;
    use crate::record::Fault;
    use crate::report::made_up::record;
    use crate::verdict::{Evidence, Verdict};

    fn run(mix: &str, verdicts: Vec<Verdict>) -> Run {
        let mut record = record();
        record.plan.mix = mix.to_owned();
        record.faults.push(Fault {
            kind: "kill-leader".to_owned(),
            what: "master-1".to_owned(),
            from: Moment(1),
            to: Moment(2),
        });
        Run { record, verdicts }
    }

    fn proved() -> Verdict {
        Verdict::proved("durable", "What was acknowledged stays.", "")
    }

    fn violated_verdict() -> Verdict {
        Verdict::of("linear", "One order explains it.", "", vec![Evidence::says("It does not.")])
    }

    #[test]
    fn all_held_when_every_promise_did() {
        let summary = Summary::of(&[run("kills", vec![proved()]), run("cuts", vec![proved()])]);
        assert_eq!(summary.standing, Standing::Held);
        assert_eq!(summary.sentence, "All promises held: 1 checker in 2 mixes, 0 operations and 2 faults.");
        assert!(summary.besides.is_empty());
    }

    #[test]
    fn a_series_that_is_not_at_its_end_says_so_first() {
        let runs = [run("kills", vec![proved()])];
        let sentence = Summary::of_series(&runs, 3).sentence;
        assert!(
            sentence.starts_with("Not run to the end: 1 of 3 mixes so far. All promises held"),
            "{sentence}"
        );
        assert_eq!(Summary::of_series(&runs, 1), Summary::of(&runs));
    }

    #[test]
    fn a_violation_outweighs_everything_and_says_where() {
        let mut empty = run("idle", vec![proved()]);
        empty.record.plan.must_reach = vec!["elections".to_owned()];
        let summary = Summary::of(&[run("kills", vec![proved(), violated_verdict()]), empty]);
        assert_eq!(summary.standing, Standing::Violated);
        assert_eq!(summary.sentence, "Violated: linear in kills.");
        assert_eq!(
            summary.besides,
            ["Proved nothing: elections not reached, for which a longer run may do (--seconds), in idle."]
        );
    }

    #[test]
    fn a_run_that_did_not_reach_what_it_must_proved_nothing() {
        let mut run = run("kills", vec![proved()]);
        run.record.plan.must_reach = vec!["elections".to_owned()];
        run.record.reached.insert("elections".to_owned(), 0);
        assert_eq!(Standing::of(&run), Standing::ProvedNothing);
        run.record.reached.insert("elections".to_owned(), 1);
        assert_eq!(Standing::of(&run), Standing::Held);
    }

    #[test]
    fn where_nothing_was_broken_nothing_was_proved() {
        let mut run = run("clocks", vec![proved()]);
        run.record.faults.clear();
        let summary = Summary::of(&[run]);
        assert_eq!(summary.sentence, "Proved nothing: nothing was broken in clocks.");
    }

    #[test]
    fn without_a_verdict_nothing_was_proved() {
        assert_eq!(Summary::of(&[]).standing, Standing::ProvedNothing);
        assert_eq!(Standing::of(&run("kills", Vec::new())), Standing::ProvedNothing);
        let skipped = Verdict::skipped("clocks", "Clocks do not matter.", "no libfaketime");
        assert_eq!(Standing::of(&run("kills", vec![skipped.clone()])), Standing::ProvedNothing);
        let summary = Summary::of(&[run("kills", vec![proved(), skipped])]);
        assert!(
            summary.sentence.starts_with("All promises that were looked at held"),
            "{}",
            summary.sentence
        );
        assert_eq!(summary.besides, ["Not looked at: clocks in kills."]);
    }

    #[test]
    fn a_search_that_was_given_up_is_not_a_proof() {
        let verdict = Verdict::new(
            "linear",
            "One order.",
            Outcome::NotDecidedInTime,
            "1 000 states".to_owned(),
            Vec::new(),
        );
        let summary = Summary::of(&[run("kills", vec![proved(), verdict])]);
        assert_eq!(
            (summary.standing, summary.sentence.as_str()),
            (Standing::NotDecided, "Not decided: linear in kills.")
        );
    }

    #[test]
    fn a_missed_aim_is_neither_held_nor_a_violation() {
        let late = Verdict::new("back", "Soon.", Outcome::AimMissed, "after 6000 ms".to_owned(), Vec::new());
        let summary = Summary::of(&[run("kills", vec![proved(), late.clone()])]);
        assert_eq!(
            (summary.standing, summary.sentence.as_str()),
            (Standing::AimMissed, "Aim missed: back in kills.")
        );
        let summary = Summary::of(&[run("kills", vec![late, violated_verdict()])]);
        assert_eq!(summary.sentence, "Violated: linear in kills.");
        assert_eq!(summary.besides, ["Aim missed: back in kills."]);
    }
}
