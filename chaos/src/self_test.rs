//! The harness put to the test: it must find each planted bug, and nothing in the same runs without one.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bugs::Planted;
use crate::prove::{self, Options, Progress};
use crate::report::Run;
use crate::report::standing::Standing;
use crate::verdict::Outcome;

/// What is planted is found in this time, the start of the cluster included.
pub const AIM: Duration = Duration::from_secs(60);
/// Between these lines of a document stands the table.
const BEGIN: &str = "<!-- the table of the self-test: written by make chaos-self-test -->";
const END: &str = "<!-- end of the table -->";

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

/// Writes the table into a document, between the two lines that are there for it.
///
/// # Errors
/// When the document cannot be read or written, or has no such lines.
pub fn write_table(document: &Path, caught: &[Caught], clean: &[(String, bool)], head: &str) -> Result<()> {
    let text = fs::read_to_string(document).with_context(|| document.display().to_string())?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("no line {BEGIN:?}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no line {END:?}"))?;
    let table = table(caught, clean, head);
    fs::write(document, format!("{before}{BEGIN}\n{table}{END}{after}"))
        .with_context(|| document.display().to_string())
}

fn table(caught: &[Caught], clean: &[(String, bool)], head: &str) -> String {
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
    fn the_table_replaces_the_one_before_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let document = dir.path().join("chaos.md");
        fs::write(&document, format!("# Title\n\n{BEGIN}\nold\n{END}\n\nrest\n")).expect("written");
        let caught = Caught {
            bug: "x".to_owned(),
            about: "Does.".to_owned(),
            mix: "m".to_owned(),
            by: vec!["bounded".to_owned()],
            first: String::new(),
            after: Duration::from_secs(7),
        };
        write_table(&document, &[caught], &[("m".to_owned(), true)], "Head.").expect("written");
        let text = fs::read_to_string(&document).expect("there");
        assert!(text.starts_with("# Title\n\n") && text.ends_with(&format!("{END}\n\nrest\n")), "{text}");
        assert!(text.contains("| `x` | Does. | m | bounded | 7 s |") && !text.contains("old"), "{text}");
        assert!(write_table(&dir.path().join("none.md"), &[], &[], "").is_err());
    }
}
