//! The tables of the page: mixes by checkers, and of each run its checkers, figures, and what was reached and found.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::words::{self, grouped};
use crate::record::{Quiet, Record};
use crate::report::figures::{AFTERMATH_MS, Counts, Figures, Gap};
use crate::report::standing::{Standing, mark, unreached};
use crate::report::{Run, page};
use crate::verdict::{Outcome, Verdict};

/// Of what was found at the end and should not be, so much of each kind is shown.
const FOUND_MAX: usize = 20;

/// A row for each checker, a column for each mix.
pub(super) fn matrix(runs: &[Run]) -> Markup {
    let mut checkers: Vec<&str> = Vec::new();
    let mut known = BTreeSet::new();
    for verdict in runs.iter().flat_map(|run| &run.verdicts) {
        if known.insert(&verdict.checker) {
            checkers.push(&verdict.checker);
        }
    }
    html! {
        div.scroll {
            table.matrix {
                thead { tr {
                    th { "promise" }
                    @for (number, run) in runs.iter().enumerate() {
                        th.middle { a href={ "#run-" (number) } { (words::short(&run.record.plan.mix, 40)) } }
                    }
                } }
                tbody {
                    @for checker in checkers {
                        tr {
                            th scope="row" { (words::short(checker, 60)) }
                            @for (number, run) in runs.iter().enumerate() {
                                td.middle { (cell(number, run.verdicts.iter().find(|verdict| verdict.checker == checker))) }
                            }
                        }
                    }
                    tr.foot {
                        th scope="row" { "reached what it must" }
                        @for run in runs { td.middle { (reached_mark(unreached(&run.record).is_empty())) } }
                    }
                }
            }
        }
        p.quiet { "✓ held · ✗ violated · ~ aim missed · ? not decided in time · – not looked at, or not reached" }
    }
}

fn cell(run: usize, verdict: Option<&Verdict>) -> Markup {
    html! {
        @match verdict {
            Some(verdict) if verdict.outcome == Outcome::Violated => {
                a href={ "#" (page::anchor(run, &verdict.checker)) } title="see the evidence" { (sign(verdict.outcome)) }
            }
            Some(verdict) => { span title=(words::short(&verdict.figures, 300)) { (sign(verdict.outcome)) } }
            None => { span.quiet title="no such checker in this mix" { "·" } }
        }
    }
}

/// The mark of an outcome, with its word for those who do not see it.
pub(super) fn sign(outcome: Outcome) -> Markup {
    let (class, word) = match outcome {
        Outcome::Proved => ("held", "held"),
        Outcome::Violated => ("violated", "violated"),
        Outcome::NotDecidedInTime => ("undecided", "not decided in time"),
        Outcome::Skipped => ("nothing", "not looked at"),
        Outcome::AimMissed => ("undecided", "aim missed"),
    };
    html! { span class={ "sign " (class) } role="img" aria-label=(word) { (mark(outcome)) } }
}

fn reached_mark(reached: bool) -> Markup {
    sign(if reached { Outcome::Proved } else { Outcome::Skipped })
}

/// Every promise of one run.
pub(super) fn checkers(run: &Run) -> Markup {
    html! {
        @if run.verdicts.is_empty() { p { "No checker looked at this run." } }
        div.scroll {
            table {
                thead { tr { th {} th { "checker" } th { "promise" } th { "what was looked at" } } }
                tbody {
                    @for verdict in &run.verdicts {
                        tr {
                            td { (sign(verdict.outcome)) }
                            th scope="row" { (words::shown(&verdict.checker)) }
                            td { (words::shown(&verdict.promise)) }
                            td { (words::shown(&verdict.figures)) }
                        }
                    }
                }
            }
        }
    }
}

/// Operations by kind, and the longest times without an acknowledgement by the kind of fault.
pub(super) fn figures(figures: &Figures) -> Markup {
    html! {
        div.pair {
            div.scroll {
                table {
                    thead { tr { th { "operations" } th.number { "asked" } th.number { "acknowledged" } th.number { "failed" } th.number { "unknown" } th.number { "wrong" } } }
                    tbody {
                        @for (kind, counts) in &figures.kinds { (counts_row(kind, counts)) }
                        (counts_row("all", &figures.operations))
                    }
                }
                p.quiet { "Acknowledged is what was answered for certain, 404 and 412 among it. Failed had no effect, for sure." }
            }
            div.scroll {
                table {
                    thead { tr { th { "longest without acknowledged" } th.number { "times" } th.number { "write" } th.number { "read" } } }
                    tbody {
                        @for (kind, of_kind) in &figures.faults {
                            tr {
                                th scope="row" { (words::short(kind, 40)) }
                                td.number { (grouped(of_kind.times)) }
                                td.number { (gap(of_kind.longest_without_write)) }
                                td.number { (gap(of_kind.longest_without_read)) }
                            }
                        }
                        tr.foot {
                            th scope="row" { "the whole load" }
                            td {}
                            td.number { (gap(figures.longest_without_write)) }
                            td.number { (gap(figures.longest_without_read)) }
                        }
                    }
                }
                p.quiet {
                    "During a fault of the kind and up to " (AFTERMATH_MS / 1_000) " s after it; where faults overlap it may be the doing of another. "
                    (words::many(figures.elections as usize, "election", "elections")) " (terms with a leader, under load)."
                }
            }
        }
    }
}

fn counts_row(kind: &str, counts: &Counts) -> Markup {
    html! {
        tr.foot[kind == "all"] {
            th scope="row" { (kind) }
            @for count in [counts.asked, counts.acknowledged, counts.failed, counts.unknown, counts.wrong] {
                td.number { (grouped(count)) }
            }
        }
    }
}

fn gap(gap: Option<Gap>) -> Markup {
    html! {
        @match gap {
            Some(gap) => { span title={ "from " (gap.from) " to " (gap.to) } { (words::duration(gap.length().0)) } }
            None => { "–" }
        }
    }
}

/// What interesting things happened how often, those first that had to.
pub(super) fn reached(record: &Record) -> Markup {
    let must = &record.plan.must_reach;
    let times = |name: &String| record.reached.get(name).copied().unwrap_or(0);
    html! {
        table {
            thead { tr { th {} th { "reached" } th.number { "times" } } }
            tbody {
                @for name in must {
                    tr { td { (reached_mark(times(name) > 0)) } th scope="row" { (words::short(name, 80)) " (must be)" } td.number { (grouped(times(name))) } }
                }
                @for (name, times) in record.reached.iter().filter(|(name, _)| !must.contains(name)) {
                    tr { td {} th scope="row" { (words::short(name, 80)) } td.number { (grouped(*times)) } }
                }
            }
        }
        @if must.is_empty() && record.reached.is_empty() { p.quiet { "Nothing was counted." } }
    }
}

/// What was found once all was quiet.
pub(super) fn quiet(quiet: &Quiet) -> Markup {
    let again = |ms: Option<u64>| ms.map_or_else(|| "never".to_owned(), |ms| words::duration(ms * 1_000_000));
    let disagreeing: Vec<String> = quiet
        .read_differently()
        .map(|(key, found)| {
            let different: BTreeSet<_> = found.iter().collect();
            format!("{key}: {} different answers of {} masters", different.len(), found.len())
        })
        .collect();
    let unreadable: Vec<String> = quiet.unreadable.iter().map(|(key, why)| format!("{key}: {why}")).collect();
    html! {
        table {
            tbody {
                (fact("writes again after", &again(quiet.writes_again_ms)))
                (fact("reads again after", &again(quiet.reads_again_ms)))
                (fact("keys read back", &grouped(quiet.found.len() as u64)))
                (fact("read differently through different masters", &grouped(disagreeing.len() as u64)))
                (fact("keys that could not be read", &grouped(unreadable.len() as u64)))
                (fact("did not come to an end in time", &grouped(quiet.unfinished.len() as u64)))
                (fact("masters that did not serve after a restart", &grouped(quiet.not_back.len() as u64)))
                @match &quiet.check {
                    Some(check) => {
                        (fact("objects that check --deep looked at", &grouped(check.objects)))
                        (fact("wrong copies", &grouped(check.wrong_copies.len() as u64)))
                        (fact("unaccounted for", &grouped(check.unaccounted.len() as u64)))
                    }
                    None => { (fact("check --deep", "did not run to its end")) }
                }
                @for (when, states) in [("before its new start", &quiet.states_before), ("at the end", &quiet.states)] {
                    @for state in states {
                        (fact(&format!("state of master-{} at {}, {when}", state.master, state.applied), &words::short(&state.hash, 20)))
                    }
                }
            }
        }
        (findings("Read differently", &disagreeing))
        (findings("Could not be read", &unreadable))
        (findings("Did not come to an end in time", &quiet.unfinished))
        (findings("Did not serve after a restart", &quiet.not_back))
        @if let Some(check) = &quiet.check {
            (findings("Wrong copies", &check.wrong_copies))
            (findings("Unaccounted for", &check.unaccounted))
        }
    }
}

fn fact(name: &str, words: &str) -> Markup {
    html! { tr { th scope="row" { (name) } td.number { (words) } } }
}

fn findings(title: &str, findings: &[String]) -> Markup {
    html! {
        @if !findings.is_empty() {
            details {
                summary { (title) ": " (findings.len()) }
                ul.plain {
                    @for finding in findings.iter().take(FOUND_MAX) { li { (words::short(finding, 300)) } }
                    @if findings.len() > FOUND_MAX { li { "… and " (findings.len() - FOUND_MAX) " more" } }
                }
            }
        }
    }
}

/// The word and the colour of how it stands.
pub(super) fn class(standing: Standing) -> &'static str {
    match standing {
        Standing::Held => "held",
        Standing::AimMissed | Standing::NotDecided => "undecided",
        Standing::ProvedNothing => "nothing",
        Standing::Violated => "violated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Value;

    #[test]
    fn a_key_is_read_differently_only_where_masters_do_not_say_the_same() {
        let (one, other) = (Some(Value([1; 16])), Some(Value([2; 16])));
        let told = |found: [Option<Value>; 3]| {
            quiet(&Quiet { found: [("k".to_owned(), found.to_vec())].into(), ..Quiet::default() })
                .into_string()
        };
        for agreed in [[one; 3], [None; 3]] {
            assert!(!told(agreed).contains("Read differently"), "{}", told(agreed));
        }
        assert!(told([one, other, one]).contains("k: 2 different answers of 3 masters"));
        assert!(told([one, other, None]).contains("k: 3 different answers of 3 masters"));
    }
}
