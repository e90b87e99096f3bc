//! The harness put to the test: it must find each planted bug, and nothing in the same runs without one.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;

use crate::bugs::Planted;
use crate::prove::{self, Options, Progress};
use crate::report::Run;
use crate::report::standing::Standing;
use crate::verdict::Outcome;

/// What is planted is found in this time, the start of the cluster included.
pub const AIM: Duration = Duration::from_secs(60);

/// What came of one bug.
#[derive(Debug, Clone)]
pub struct Caught {
    /// The bug.
    pub bug: String,
    /// What the process does then.
    pub about: String,
    /// The faults.
    pub mix: String,
    /// The checkers that found something; none: it was not caught.
    pub by: Vec<String>,
    /// What the first of them said first.
    pub first: String,
    /// From the start until it was found.
    pub after: Duration,
}

/// Runs the faults that should show a bug, with it, or without any.
///
/// # Errors
/// As [`prove::run`].
pub async fn run(
    planted: &Planted,
    options: &Options,
    with_bug: bool,
    tell: impl FnMut(&Progress),
) -> Result<Run> {
    let options = Options {
        bug: with_bug.then(|| planted.bug.to_owned()),
        breaks: Duration::from_secs(planted.seconds),
        patience: Duration::from_secs(planted.patience),
        ends_early: with_bug,
        ..options.clone()
    };
    prove::run(planted.mix, &options, tell).await
}

impl Caught {
    /// What a run with a bug came to.
    pub fn of(planted: &Planted, about: &str, run: &Run) -> Self {
        let violated = || run.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Violated);
        let first = violated().flat_map(|verdict| &verdict.evidence).next();
        Self {
            bug: planted.bug.to_owned(),
            about: about.to_owned(),
            mix: planted.mix.name.to_owned(),
            by: violated().map(|verdict| verdict.checker.clone()).collect(),
            first: first.map(|evidence| evidence.what.clone()).unwrap_or_default(),
            after: Duration::from_nanos(run.record.ended.0),
        }
    }

    /// Whether it was found at all.
    pub fn is_caught(&self) -> bool {
        !self.by.is_empty()
    }
}

/// Whether a run without a bug found nothing.
pub fn is_clean(run: &Run) -> bool {
    matches!(Standing::of(run), Standing::Held | Standing::ProvedNothing)
        && run.verdicts.iter().all(|verdict| verdict.outcome != Outcome::NotDecidedInTime)
}

/// The table of what came of all of them, as Markdown.
pub fn table(caught: &[Caught], clean: &[(String, bool)], head: &str) -> String {
    let mut text = format!(
        "{head}\n\n| bug | what the servers do | faults | caught by | after |\n|---|---|---|---|---|\n"
    );
    for row in caught {
        let by = if row.is_caught() { row.by.join(", ") } else { "**not caught**".to_owned() };
        let after = if row.is_caught() { format!("{:.0} s", row.after.as_secs_f64()) } else { String::new() };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{}` | {} | {} | {by} | {after} |", row.bug, row.about, row.mix);
    }
    let found: Vec<&str> = clean.iter().filter(|(_, clean)| !clean).map(|(mix, _)| mix.as_str()).collect();
    let words = match found.as_slice() {
        [] => format!("The same {} mixes and seeds without a bug: nothing was found.", clean.len()),
        found => {
            format!("The same mixes and seeds without a bug: something was found in {}.", found.join(", "))
        }
    };
    let _ = writeln!(text, "\n{words}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_of_each_bug_by_what_it_was_caught_and_whether_the_rest_was_quiet() {
        let caught = Caught {
            bug: "x".to_owned(),
            about: "Does.".to_owned(),
            mix: "m".to_owned(),
            by: vec!["bounded".to_owned()],
            first: String::new(),
            after: Duration::from_secs(7),
        };
        let missed = Caught { by: Vec::new(), ..caught.clone() };
        let text = table(&[caught, missed], &[("m".to_owned(), true)], "Head.");
        assert!(text.contains("| `x` | Does. | m | bounded | 7 s |"), "{text}");
        assert!(text.contains("| `x` | Does. | m | **not caught** |  |"), "{text}");
        assert!(text.contains("nothing was found"), "{text}");
        assert!(table(&[], &[("m".to_owned(), false)], "").contains("was found in m"));
    }
}
