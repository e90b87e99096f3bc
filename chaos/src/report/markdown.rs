//! The figures of a series of runs as two tables of Markdown: a row for each mix, and one for each kind of fault.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::record::Record;
use crate::report::Run;
use crate::report::figures::{FaultFigures, Figures, Gap};
use crate::report::standing::Standing;
use crate::verdict::Outcome;

/// Both tables, each with its head.
pub fn tables(runs: &[Run]) -> String {
    let mut text = String::from(
        "| mix | verdict | operations | acknowledged | unknown | faults | elections | longest without a write | a read | reached |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    let mut kinds: BTreeMap<String, FaultFigures> = BTreeMap::new();
    for run in runs {
        let figures = Figures::of(&run.record);
        let faults: u64 = figures.faults.values().map(|kind| kind.times).sum();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {faults} | {} | {} | {} | {} |",
            run.record.plan.mix,
            verdict(run),
            figures.operations.asked,
            figures.operations.acknowledged,
            figures.operations.unknown,
            figures.elections,
            length(figures.longest_without_write),
            length(figures.longest_without_read),
            reached(&run.record),
        );
        for (kind, of_run) in figures.faults {
            kinds.entry(kind).or_default().add(of_run);
        }
    }
    text.push_str("\n| fault | times | longest without an acknowledged write | read |\n|---|--:|--:|--:|\n");
    for (kind, figures) in kinds {
        let (write, read) = (length(figures.longest_without_write), length(figures.longest_without_read));
        let _ = writeln!(text, "| {kind} | {} | {write} | {read} |", figures.times);
    }
    text
}

fn verdict(run: &Run) -> String {
    let broken: Vec<&str> = run
        .verdicts
        .iter()
        .filter(|verdict| verdict.outcome == Outcome::Violated)
        .map(|verdict| verdict.checker.as_str())
        .collect();
    match Standing::of(run) {
        Standing::Held => "held".to_owned(),
        Standing::AimMissed => "aim missed".to_owned(),
        Standing::NotDecided => "not decided".to_owned(),
        Standing::ProvedNothing => "proved nothing".to_owned(),
        Standing::Violated => format!("**broken: {}**", broken.join(", ")),
    }
}

fn length(gap: Option<Gap>) -> String {
    gap.map_or_else(String::new, |gap| format!("{:.1} s", gap.length().0 as f64 / 1e9))
}

/// How often each of what the mix is for.
fn reached(record: &Record) -> String {
    let times = |name: &String| record.reached.get(name).copied().unwrap_or_default();
    let each = record.plan.must_reach.iter().map(|name| format!("{name} {}", times(name)));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::report::made_up;

    #[test]
    fn a_mix_has_a_row_and_a_kind_of_fault_one_for_all_mixes() {
        let runs = [made_up::held(40), made_up::violated(Path::new("."), 60)];
        let text = tables(&runs);
        let rows = text.lines().filter(|line| line.starts_with("| ")).count();
        let kinds: std::collections::BTreeSet<&str> =
            runs.iter().flat_map(|run| &run.record.faults).map(|fault| fault.kind.as_str()).collect();
        assert_eq!(rows, 2 + runs.len() + kinds.len(), "{text}");
        assert!(runs.iter().all(|run| text.contains(&format!("| {} | ", run.record.plan.mix))), "{text}");
    }
}
