//! The report for programs, `report.json`: everything the page says, less the curves, the logs and the operations.
//!
//! Moments are nanoseconds since the run began, as in the record. All operations of a run are in `history-<mix>.json`
//! (a [`History`](crate::history::History)) if it did not hold, whatever their number, as somebody has to look into
//! them, or if there are at most [`SMALL`]; `history_file` names it, and is null where there is none.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::resources;
use crate::report::Run;
use crate::report::figures::Figures;
use crate::report::standing::{Standing, Summary};

/// A history of so many operations is kept whatever the verdict: it takes some 5 MB.
pub(super) const SMALL: usize = 20_000;

/// Of each run, the name of its file if it shall have one. Mixes of the same name are numbered.
pub(super) fn history_files(runs: &[Run]) -> Vec<Option<String>> {
    let mut taken = BTreeSet::new();
    let mut name = |run: &Run| {
        let stem = format!("history-{}", file_name(&run.record.plan.mix));
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        let free = std::iter::once(stem.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
        free.map(|name| format!("{name}.json"))
    };
    let kept =
        |run: &Run| Standing::of(run) != Standing::Held || run.record.history.operations.len() <= SMALL;
    runs.iter().map(|run| if kept(run) { name(run) } else { None }).collect()
}

/// The whole report.
pub(super) fn report(runs: &[Run], planned: usize, histories: &[Option<String>]) -> Value {
    let summary = Summary::of_series(runs, planned);
    json!({
        "format": 1,
        "standing": summary.standing,
        "sentence": summary.sentence,
        "besides": summary.besides,
        "planned": planned,
        "runs": runs.iter().zip(histories).map(|(run, file)| of_run(run, file.as_deref())).collect::<Vec<_>>(),
    })
}

fn of_run(run: &Run, history_file: Option<&str>) -> Value {
    let record = &run.record;
    json!({
        "plan": record.plan,
        "standing": Standing::of(run),
        "began": record.began,
        "loaded": record.loaded,
        "ended": record.ended,
        "verdicts": run.verdicts,
        "figures": Figures::of(record),
        "faults": record.faults,
        "reached": record.reached,
        "strangers": record.strangers,
        "left_out": record.left_out,
        "resources": resources::usage(record),
        "quiet": record.quiet,
        "logs": record.logs,
        "history_file": history_file,
    })
}

/// A mix may be called anything; a file may not.
fn file_name(mix: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    mix.chars().take(60).map(plain).collect()
}
