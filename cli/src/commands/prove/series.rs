//! One mix after the other, and a report that grows with them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hayrick_chaos::mixes::{self, Mix};
use hayrick_chaos::prove::{self, Options};
use hayrick_chaos::report::figures::Figures;
use hayrick_chaos::report::markdown;
use hayrick_chaos::report::standing::{Standing, Summary};
use hayrick_chaos::report::{self, Run};
use hayrick_chaos::verdict::Outcome;
use hayrick_chaos::{document, kept};

use super::Args;
use super::choice::AROUND_SECONDS;
use super::interruptible::Underway;
use super::teller::Teller;
use crate::exit::Exit;
use crate::output;

/// The table of their figures in a document.
pub(super) const TABLE: &str = "mixes";

/// Mixes that shall run one after the other, each for so long.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) mixes: Vec<&'static Mix>,
    pub(super) seconds: u64,
}

impl Series {
    /// Runs them, and says how it stands.
    pub(super) async fn run(self, options: Options, args: Args, underway: Underway) -> Result<Exit> {
        let options = Options { breaks: Duration::from_secs(self.seconds), ..options };
        let (seed, count) = (options.seed, self.mixes.len());
        eprintln!(
            "seed {seed}: {count} mixes of {} s each, some {} min in all",
            self.seconds,
            self.minutes()
        );
        let kept_in = args.report.join("runs");
        let mut runs = Vec::new();
        for (at, mix) in self.mixes.iter().enumerate() {
            let plan = prove::plan(mix, &options);
            let known = if args.resume { kept::find(&kept_in, &plan)? } else { None };
            let run = match known {
                Some(run) => run,
                None => {
                    let title = format!("{}/{count} {}", at + 1, mix.name);
                    let run = one(mix, &options, title, &underway).await;
                    let run = run.with_context(|| format!("{}: {}", mix.name, plan.replay))?;
                    kept::keep(&kept_in, &run)?;
                    run
                }
            };
            output::line(&in_a_line(&run))?;
            runs.push(run);
            // Each time, so that there is something to look at while the others run.
            report::write(&args.report, &runs).with_context(|| args.report.display().to_string())?;
            prove::clean_up(runs.last().expect("one was pushed"), &options.dir)?;
        }
        if let Some(written_into) = &args.figures {
            self.write_figures(written_into, &options, &runs)?;
        }
        output::line(&verdict(&runs, &args.report))?;
        Ok(if Summary::of(&runs).standing == Standing::Held { Exit::Done } else { Exit::Failed })
    }

    /// How long all of them take, about.
    fn minutes(&self) -> u64 {
        (self.mixes.len() as u64 * (self.seconds + AROUND_SECONDS)).div_ceil(60)
    }

    fn write_figures(&self, written_into: &Path, options: &Options, runs: &[Run]) -> Result<()> {
        if self.mixes.len() < mixes::ALL.len() {
            let document = written_into.display();
            eprintln!("{document} is left as it is: {} of {} mixes", self.mixes.len(), mixes::ALL.len());
            return Ok(());
        }
        let head = format!("Seed {}, {} s each, `{}`.", options.seed, self.seconds, options.version);
        document::replace_table(written_into, TABLE, &format!("{head}\n\n{}", markdown::tables(runs)))
    }
}

async fn one(mix: &Mix, options: &Options, title: String, underway: &Underway) -> Result<Run> {
    let mut teller = Teller::new(title);
    underway.begins(options.dir.join(mix.name));
    let run = prove::run(mix, options, |progress| teller.tell(progress)).await;
    underway.ended();
    teller.clear();
    run
}

/// How it stands with a run, in a few lines.
pub(super) fn in_a_line(run: &Run) -> String {
    let mark = Standing::of(run).mark();
    let figures = Figures::of(&run.record).to_string();
    let mut lines: Vec<String> = figures.lines().map(|line| format!("    {line}")).collect();
    for verdict in run.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Violated) {
        let first = verdict.evidence.first().map_or("", |evidence| evidence.what.as_str());
        lines.push(format!("    {} broken: {first}", verdict.checker));
    }
    format!("{mark} {}\n{}", run.record.plan.mix, lines.join("\n"))
}

fn verdict(runs: &[Run], dir: &Path) -> String {
    let summary = Summary::of(runs);
    let mut sentences = vec![summary.sentence];
    sentences.extend(summary.besides);
    let worst = runs.iter().find(|run| Standing::of(run) == summary.standing);
    if summary.standing > Standing::Held
        && let Some(run) = worst
    {
        sentences.push(format!("Again: {}", run.record.plan.replay));
    }
    sentences.push(format!("Report: {}", dir.join("index.html").display()));
    sentences.join("\n")
}
