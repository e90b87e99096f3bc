//! One mix after the other, and a report that grows with them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hayrick_chaos::mixes::{self, Mix};
use hayrick_chaos::prove::{self, Options, Progress};
use hayrick_chaos::report::figures::Figures;
use hayrick_chaos::report::markdown;
use hayrick_chaos::report::standing::{Standing, Summary};
use hayrick_chaos::report::{self, Run};
use hayrick_chaos::verdict::Outcome;
use hayrick_chaos::{document, kept};

use super::Args;
use super::choice::AROUND_SECONDS;
use super::interruptible::Underway;
use crate::commands::teller::Teller;
use crate::exit::Exit;
use crate::output;

/// The table of their figures in a document.
pub(super) const TABLE: &str = "mixes";

/// Mixes that shall run one after the other, each for so long.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) mixes: Vec<&'static Mix>,
    /// What would be run too, were it for this build to do.
    pub(super) left_out: Vec<&'static Mix>,
    pub(super) seconds: u64,
}

impl Series {
    /// Runs them, and says how it stands.
    pub(super) async fn run(self, options: Options, args: Args, underway: Underway) -> Result<Exit> {
        let options = Options { breaks: Duration::from_secs(self.seconds), ..options };
        let count = self.mixes.len();
        output::noted(&self.announced(options.seed));
        let kept_in = args.report.join("runs");
        let mut runs = Vec::new();
        for (at, mix) in self.mixes.iter().enumerate() {
            let plan = prove::plan(mix, &options);
            let known = if args.resume { kept::find(&kept_in, &plan)? } else { None };
            let run = match known {
                Some(run) => run,
                None => {
                    if args.resume && kept::is_any(&kept_in, mix.name) {
                        let name = mix.name;
                        output::noted(&format!(
                            "{name}: what is kept is of another seed, time or binary; run anew"
                        ));
                    }
                    let title = format!("{}/{count} {}", at + 1, mix.name);
                    let run = one(mix, &options, title, &underway).await;
                    let run = run.with_context(|| format!("{}: {}", mix.name, plan.replay))?;
                    kept::keep(&kept_in, &run)?;
                    run
                }
            };
            let told = in_a_line(&run);
            runs.push(run);
            // Each time, so that there is something to look at while the others run.
            report::write(&args.report, &runs, count).with_context(|| args.report.display().to_string())?;
            prove::clean_up(runs.last().expect("one was pushed"), &options.dir)?;
            output::said(&told);
        }
        if let Some(written_into) = &args.figures {
            self.write_figures(written_into, &options, &runs)?;
        }
        output::said(&verdict(&runs, &args.report, &options.dir));
        Ok(if Summary::of(&runs).standing == Standing::Held { Exit::Done } else { Exit::Failed })
    }

    /// What is about to be run.
    fn announced(&self, seed: u64) -> String {
        let mut announced = match self.mixes.as_slice() {
            [one] => format!("seed {seed}: {} for {} s", one.name, self.seconds),
            mixes => format!("seed {seed}: {} mixes of {} s each", mixes.len(), self.seconds),
        };
        announced.push_str(&format!(", some {} min in all", self.minutes()));
        if !self.left_out.is_empty() {
            let names: Vec<&str> = self.left_out.iter().map(|mix| mix.name).collect();
            announced
                .push_str(&format!("; not {}, for which disks must break (make chaos)", names.join(", ")));
        }
        announced
    }

    /// How long all of them take, about.
    fn minutes(&self) -> u64 {
        (self.mixes.len() as u64 * (self.seconds + AROUND_SECONDS)).div_ceil(60)
    }

    fn write_figures(&self, written_into: &Path, options: &Options, runs: &[Run]) -> Result<()> {
        if self.mixes.len() < mixes::ALL.len() {
            let (document, some, all) = (written_into.display(), self.mixes.len(), mixes::ALL.len());
            output::noted(&format!("{document} is left as it is: {some} of {all} mixes"));
            return Ok(());
        }
        let head = format!("Seed {}, {} s each, `{}`.", options.seed, self.seconds, options.version);
        document::replace_table(written_into, TABLE, &format!("{head}\n\n{}", markdown::tables(runs)))
    }
}

async fn one(mix: &Mix, options: &Options, title: String, underway: &Underway) -> Result<Run> {
    let mut teller = Teller::titled(&title);
    underway.begins(options.dir.join(mix.name));
    let run = prove::run(mix, options, |progress| teller.tell(progress.doing, || so_far(progress))).await;
    underway.ended();
    teller.clear();
    run
}

/// How a run goes, in a line.
pub(super) fn so_far(progress: &Progress) -> String {
    let Progress { elapsed, faults, broken, tally, .. } = progress;
    let line = format!(
        "{} s, {} requests, {} unknown, {} wrong answers, {faults} faults  {}",
        elapsed.as_secs(),
        tally.operations,
        tally.unknown,
        tally.wrong,
        broken.join("; ")
    );
    line.trim_end().to_owned()
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
    lines.extend(run.record.left_out.iter().map(|words| format!("    not done: {words}")));
    format!("{mark} {}\n{}", run.record.plan.mix, lines.join("\n"))
}

fn verdict(runs: &[Run], dir: &Path, running: &Path) -> String {
    let summary = Summary::of(runs);
    let mut sentences = vec![summary.sentence];
    sentences.extend(summary.besides);
    let worst = runs.iter().find(|run| Standing::of(run) == summary.standing);
    if summary.standing > Standing::Held
        && let Some(run) = worst
    {
        sentences.push(format!("Again: {}", run.record.plan.replay));
        let cluster = running.join(&run.record.plan.mix);
        if cluster.exists() {
            sentences.push(format!("Its files: {}", cluster.display()));
        }
    }
    sentences.push(format!("Report: {}", dir.join("index.html").display()));
    sentences.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_since_when_it_runs_and_how_clients_fare() {
        let progress = Progress {
            doing: "healing",
            elapsed: Duration::from_millis(61_500),
            faults: 3,
            broken: Vec::new(),
            tally: Default::default(),
        };
        assert_eq!(so_far(&progress), "61 s, 0 requests, 0 unknown, 0 wrong answers, 3 faults");
    }
}
