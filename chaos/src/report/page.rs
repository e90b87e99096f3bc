//! The page: the verdict first, then mixes by checkers, then each run. The parts are drawn elsewhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{history, logs, resources, svg, table, timeline, words};
use crate::record::{Plan, Record};
use crate::report::Run;
use crate::report::figures::Figures;
use crate::report::standing::{Standing, Summary};
use crate::verdict::{Outcome, Verdict};

const STYLE: &str = include_str!("style.css");

/// No script runs and nothing is loaded, whatever a key or a log line says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The whole page of the runs there are so far; of each the name of its history beside it, if there is one.
pub(super) fn document(runs: &[Run], planned: usize, histories: &[Option<String>]) -> Markup {
    let summary = Summary::of_series(runs, planned);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (summary.standing.mark()) " " (words::short(&summary.sentence, 80)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (svg::hatches())
                header class={ "verdict " (table::class(summary.standing)) } {
                    h1 { span.mark aria-hidden="true" { (summary.standing.mark()) } " " (words::shown(&summary.sentence)) }
                    @for sentence in &summary.besides { p { (words::shown(sentence)) } }
                }
                main {
                    @if !runs.is_empty() { (table::matrix(runs)) }
                    @for (number, (run, history)) in runs.iter().zip(histories).enumerate() {
                        (section(number, run, history.as_deref(), runs.len() == 1))
                    }
                }
            }
        }
    }
}

/// Where the evidence of a checker lies on the page.
pub(super) fn anchor(run: usize, checker: &str) -> String {
    let word: String = checker.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("run-{run}-{word}")
}

/// One run. Those that held are folded, so that the others are found.
fn section(number: usize, run: &Run, history: Option<&str>, alone: bool) -> Markup {
    let Record { plan, began, ended, .. } = &run.record;
    let standing = Standing::of(run);
    html! {
        details.run open[alone || standing != Standing::Held] {
            summary {
                h2 {
                    span class={ "sign " (table::class(standing)) } aria-hidden="true" { (standing.mark()) } " "
                    (words::short(&plan.mix, 60))
                }
                " " span.quiet { (words::shown(&plan.about)) }
            }
            div id={ "run-" (number) } {
                (planned(plan))
                p.quiet {
                    "Began " (words::short(began, 40)) ", all quiet after " (ended) "."
                    @if let Some(name) = history { " All operations: " a href=(name) { (name) } "." }
                }
                @for verdict in run.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Violated) {
                    (violation(number, verdict, &run.record))
                }
                h3 { "Timeline" }
                (timeline::draw(run))
                h3 { "Figures" }
                (table::figures(&Figures::of(&run.record)))
                h3 { "Promises" }
                (table::checkers(run))
                div.pair {
                    div { h3 { "What was reached" } (table::reached(&run.record)) (left_out(&run.record.left_out)) }
                    div { h3 { "Once all was quiet" } (table::quiet(&run.record.quiet)) }
                }
                h3 { "What the processes took" }
                (resources::curves(&run.record))
            }
        }
    }
}

fn planned(plan: &Plan) -> Markup {
    html! {
        p {
            "Seed " strong { (plan.seed) } ": " (plan.seconds) " s with " (words::many(plan.masters as usize, "master", "masters"))
            " and " (words::many(plan.volumes as usize, "volume", "volumes")) ", " (words::short(&plan.binary, 100)) "."
        }
        @if let Some(bug) = &plan.bug {
            p.notice { "The bug " code { (words::short(bug, 60)) } " is planted in this binary: this run shall find it." }
        }
        pre.replay title="a click selects all of it" { code { (words::shown(&plan.replay)) } }
    }
}

fn violation(run: usize, verdict: &Verdict, record: &Record) -> Markup {
    html! {
        section.violation id=(anchor(run, &verdict.checker)) {
            h3 { span.sign.violated aria-hidden="true" { "✗" } " " (words::shown(&verdict.checker)) " is violated" }
            p.quiet { "The promise: " (words::shown(&verdict.promise)) " Looked at: " (words::shown(&verdict.figures)) }
            @for (number, evidence) in verdict.evidence.iter().enumerate() {
                @if number == 0 {
                    (history::evidence(evidence, &record.history))
                    (logs::around(evidence, record))
                } @else {
                    details {
                        summary { "Also: " (words::short(&evidence.what, 160)) }
                        (history::evidence(evidence, &record.history))
                    }
                }
            }
        }
    }
}

fn left_out(left_out: &[String]) -> Markup {
    html! {
        h3 { "What could not be done" }
        @if left_out.is_empty() { p.quiet { "Nothing was left out." } }
        ul.plain { @for words in left_out { li { (words::shown(words)) } } }
    }
}
