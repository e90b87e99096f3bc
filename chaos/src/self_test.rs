//! The harness put to the test: it must find each planted bug, and nothing in the same runs without one.
//!
//! A bug counts as caught only if one of the checkers that see what it does said so. A run that broke for another reason
//! shows another bug, one that nobody planted.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;

use crate::bugs::Planted;
use crate::prove::{self, Options, Progress};
use crate::report::Run;
use crate::verdict::{Outcome, Verdict};

/// What is planted is found in this time, the start of the cluster included.
pub const AIM: Duration = Duration::from_secs(60);

/// A planted bug, the faults that should make it show, and who should see it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The bug and the faults.
    pub planted: &'static Planted,
    /// What the servers do then.
    pub about: &'static str,
    /// The checkers that see it.
    pub shown_by: &'static [&'static str],
}

/// What came of one bug.
#[derive(Debug, Clone)]
pub struct Row {
    /// The bug and its faults.
    pub case: Case,
    /// What came of it.
    pub end: End,
}

/// What came of a run with a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Somebody who should have seen it did.
    Caught(Found),
    /// Something was found, but by nobody who should have seen the bug.
    SomethingElse(Found),
    /// Nothing was found.
    Missed,
    /// There was no run, or it did not come to its end: why.
    NotRun(String),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The checkers that found something; where it was the bug, only those who should have seen it.
    pub by: Vec<String>,
    /// What the first of them said first.
    pub first: String,
    /// From the start until it was found.
    pub after: Duration,
}

/// What came of the faults of some bugs without any bug.
#[derive(Debug, Clone)]
pub struct Control {
    /// The faults.
    pub mix: &'static str,
    /// The checkers that found something or came to no end; or why there was no run.
    pub found: Result<Vec<String>, String>,
}

/// Runs the faults that should show a bug, with it, or without any.
///
/// # Errors
/// As [`prove::run`].
pub async fn run(case: &Case, options: &Options, with_bug: bool, tell: impl FnMut(&Progress)) -> Result<Run> {
    let Planted { bug, mix, seconds, patience } = *case.planted;
    let options = Options {
        bug: with_bug.then(|| bug.to_owned()),
        breaks: Duration::from_secs(seconds),
        patience: Duration::from_secs(patience),
        ends_early_for: if with_bug { case.shown_by } else { &[] },
        ..options.clone()
    };
    prove::run(mix, &options, tell).await
}

impl Row {
    /// What a run with a bug came to.
    pub fn of(case: Case, run: &Result<Run>) -> Self {
        let end = match run {
            Ok(run) => End::of(run, case.shown_by),
            Err(error) => End::NotRun(format!("{error:#}")),
        };
        Self { case, end }
    }

    /// Whether it was caught.
    pub fn is_caught(&self) -> bool {
        matches!(self.end, End::Caught(_))
    }

    /// Whether it was caught in time.
    pub fn is_well(&self) -> bool {
        matches!(&self.end, End::Caught(found) if found.after <= AIM)
    }

    /// `skip-sync  35 s  linearizability: no order explains …`
    pub fn line(&self) -> String {
        let told = match &self.end {
            End::Caught(found) if found.after > AIM => format!("{found}  (in more than {} s)", AIM.as_secs()),
            End::Caught(found) => found.to_string(),
            End::SomethingElse(found) => {
                format!("{found}  NOT CAUGHT: something else broke, as the bug shows to {}", self.shown_by())
            }
            End::Missed => "NOT CAUGHT: nothing was found".to_owned(),
            End::NotRun(why) => format!("NOT RUN: {why}"),
        };
        format!("{:<28} {told}", self.case.planted.bug)
    }

    fn shown_by(&self) -> String {
        self.case.shown_by.join(", ")
    }
}

impl End {
    fn of(run: &Run, shown_by: &[&str]) -> Self {
        let violated = || run.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Violated);
        let should_see = |verdict: &&Verdict| shown_by.contains(&verdict.checker.as_str());
        let right: Vec<&Verdict> = violated().filter(should_see).collect();
        match (right.is_empty(), violated().next()) {
            (false, _) => Self::Caught(Found::of(run, &right)),
            (true, Some(_)) => Self::SomethingElse(Found::of(run, &violated().collect::<Vec<_>>())),
            (true, None) => Self::Missed,
        }
    }
}

impl Found {
    fn of(run: &Run, verdicts: &[&Verdict]) -> Self {
        let first = verdicts.iter().flat_map(|verdict| &verdict.evidence).next();
        Self {
            by: verdicts.iter().map(|verdict| verdict.checker.clone()).collect(),
            first: first.map(|evidence| evidence.what.clone()).unwrap_or_default(),
            after: Duration::from_nanos(run.record.ended.0),
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>3} s  {}: {}", self.after.as_secs(), self.by.join(", "), self.first)
    }
}

impl Control {
    /// What a run without a bug came to.
    pub fn of(case: Case, run: &Result<Run>) -> Self {
        let found = match run {
            Ok(run) => Ok(found_in(run)),
            Err(error) => Err(format!("{error:#}")),
        };
        Self { mix: case.planted.mix.name, found }
    }

    /// Whether it was run, and nothing was found.
    pub fn is_well(&self) -> bool {
        self.found.as_ref().is_ok_and(Vec::is_empty)
    }
}

/// A run for bugs need not reach anything; but where a search was given up, nobody can say that there was nothing.
fn found_in(run: &Run) -> Vec<String> {
    let is_found = |outcome| matches!(outcome, Outcome::Violated | Outcome::NotDecidedInTime);
    let found = run.verdicts.iter().filter(|verdict| is_found(verdict.outcome));
    found.map(|verdict| verdict.checker.clone()).collect()
}

/// The table of what came of all of them, as Markdown.
pub fn table(rows: &[Row], controls: &[Control], head: &str) -> String {
    let mut text = format!(
        "{head}\n\n| bug | what the servers do | faults | caught by | after |\n|---|---|---|---|---|\n"
    );
    for row in rows {
        let (by, after) = match &row.end {
            End::Caught(found) => (found.by.join(", "), format!("{:.0} s", found.after.as_secs_f64())),
            End::SomethingElse(found) => {
                (format!("**not caught**; something else broke: {}", found.by.join(", ")), String::new())
            }
            End::Missed => ("**not caught**".to_owned(), String::new()),
            End::NotRun(why) => (format!("**not run**: {}", in_a_cell(why)), String::new()),
        };
        let Planted { bug, mix, .. } = row.case.planted;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{bug}` | {} | {} | {by} | {after} |", row.case.about, mix.name);
    }
    let _ = writeln!(text, "\n{}", of_controls(controls));
    text
}

fn of_controls(controls: &[Control]) -> String {
    let troubles: Vec<String> = controls
        .iter()
        .filter(|control| !control.is_well())
        .map(|control| match &control.found {
            Ok(found) => format!("{} in {}", found.join(", "), control.mix),
            Err(why) => format!("{} was not run ({})", control.mix, in_a_cell(why)),
        })
        .collect();
    match troubles.as_slice() {
        [] => format!("The same {} mixes and seeds without a bug: nothing was found.", controls.len()),
        troubles => format!("The same mixes and seeds without a bug: {}.", troubles.join("; ")),
    }
}

/// An error may have several lines, and the end of a log in it.
fn in_a_cell(why: &str) -> String {
    why.lines().next().unwrap_or_default().replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bugs;
    use crate::report::made_up;
    use crate::verdict::Evidence;

    fn case() -> Case {
        let planted = bugs::planted("apply-reads-clock").expect("there is one");
        Case { planted, about: "Does.", shown_by: &["masters-agree", "bounded"] }
    }

    /// A run in which these found something.
    fn run(violated: &[&str]) -> Result<Run> {
        let mut run = made_up::held(10);
        run.verdicts = ["linearizability", "masters-agree"]
            .map(|checker| {
                let evidence = violated.iter().filter(|name| **name == checker);
                let evidence = evidence.map(|name| Evidence::says(format!("{name} broke."))).collect();
                Verdict::of(checker, "It holds.", "", evidence)
            })
            .into();
        run.record.ended = crate::history::Moment(7_000_000_000);
        Ok(run)
    }

    #[test]
    fn a_bug_is_caught_by_those_who_should_see_it_and_by_nobody_else() {
        let of = |violated: &[&str]| Row::of(case(), &run(violated));
        let caught = of(&["linearizability", "masters-agree"]);
        let End::Caught(found) = &caught.end else { panic!("{caught:?}") };
        assert_eq!(
            (found.by.as_slice(), found.first.as_str()),
            (&["masters-agree".to_owned()][..], "masters-agree broke.")
        );
        assert!(caught.is_well());

        let else_broke = of(&["linearizability"]);
        assert!(matches!(else_broke.end, End::SomethingElse(_)), "{else_broke:?}");
        assert!(else_broke.line().contains("something else broke"), "{}", else_broke.line());
        assert_eq!(of(&[]).end, End::Missed);
        let not_run = Row::of(case(), &Err(anyhow::anyhow!("no port").context("the cluster did not start")));
        assert_eq!(not_run.end, End::NotRun("the cluster did not start: no port".to_owned()));
        assert!(![else_broke, of(&[]), not_run].iter().any(|row| row.is_caught() || row.is_well()));
    }

    #[test]
    fn what_is_caught_too_late_is_caught_and_not_well() {
        let mut late = run(&["masters-agree"]).expect("made up");
        late.record.ended = crate::history::Moment(61_000_000_000);
        let row = Row::of(case(), &Ok(late));
        assert!(row.is_caught() && !row.is_well());
        assert!(row.line().contains("more than 60 s"), "{}", row.line());
    }

    #[test]
    fn a_run_without_a_bug_is_well_only_if_it_was_run_and_found_nothing() {
        assert!(Control::of(case(), &run(&[])).is_well());
        assert!(!Control::of(case(), &run(&["linearizability"])).is_well());
        assert!(!Control::of(case(), &Err(anyhow::anyhow!("no port"))).is_well());
    }

    #[test]
    fn the_table_says_of_each_bug_by_whom_it_was_caught_and_whether_the_rest_was_quiet() {
        let ends = [
            run(&["masters-agree"]),
            run(&["linearizability"]),
            run(&[]),
            Err(anyhow::anyhow!("no | port\nmore")),
        ];
        let rows = ends.map(|run| Row::of(case(), &run));
        let text = table(&rows, &[Control::of(case(), &run(&[]))], "Head.");
        let row =
            |cells: &str| text.contains(&format!("| `apply-reads-clock` | Does. | peace | {cells} |\n"));
        assert!(row("masters-agree | 7 s"), "{text}");
        assert!(row("**not caught**; something else broke: linearizability | "), "{text}");
        assert!(row("**not caught** | "), "{text}");
        assert!(row("**not run**: no \\| port | "), "{text}");
        assert!(text.contains("The same 1 mixes and seeds without a bug: nothing was found."), "{text}");

        let controls = [run(&["linearizability"]), Err(anyhow::anyhow!("no port"))];
        let text = table(&[], &controls.map(|run| Control::of(case(), &run)), "");
        assert!(
            text.contains("without a bug: linearizability in peace; peace was not run (no port)."),
            "{text}"
        );
    }
}
