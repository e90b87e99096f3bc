//! `hayrick prove`: breaks a cluster on this machine, and says whether it kept its promises.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::builder::BoolishValueParser;
use hayrick_chaos::bugs::{self, Planted};
use hayrick_chaos::document;
use hayrick_chaos::kept;
use hayrick_chaos::mixes::{self, Mix};
use hayrick_chaos::prove::{self, Options, Progress};
use hayrick_chaos::report::figures::Figures;
use hayrick_chaos::report::markdown;
use hayrick_chaos::report::standing::{Standing, Summary};
use hayrick_chaos::report::{self, Run};
use hayrick_chaos::self_test::{self, Caught};
use hayrick_chaos::verdict::Outcome;
use hayrick_planted::Bug;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use crate::output::{self, Align};

/// What a run takes beside its faults: to start a cluster, to heal it, and to look at all of it.
const AROUND_SECONDS: u64 = 25;
/// Shorter, a run reaches too little.
const BREAKS_SECONDS_MIN: u64 = 15;
/// How long repair, and the sweep of what is nobody's, may each take at the end.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two lines where nobody watches a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Break a cluster on this machine, and tell whether it kept its promises
///
/// Starts three masters and four volumes as processes on loopback, in a directory of its own, and a load of clients that note
/// every answer. Then it kills, stops and cuts off servers, flips bits in their files, replaces them, as a mix of faults
/// says, on a schedule drawn from a seed. At last all is mended and every key read back, and checkers judge what was seen:
/// whether each key behaved as one copy on one machine would, whether all that was acknowledged is there, and more. The
/// report has a timeline, and for a broken promise the smallest history that shows it.
///
/// Nothing that runs elsewhere is touched. Ctrl-C ends it, and the cluster with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick prove                              some mixes of faults, for five minutes
  hayrick prove --minutes 25                 all of them, each in short
  hayrick prove --mix leader-cut-off --seconds 60 --seed 4711
  hayrick prove --list                       the mixes, and what each does
  hayrick prove --minutes 90 --resume        goes on where an interrupted one was, with its --seed

Exit codes: 0 all promises held, 1 one was broken or a mix proved nothing, 2 wrong use.")]
pub(crate) struct Args {
    /// How long all of it takes, about; the mixes for which there is no time are left out
    #[arg(long, env = "HAYRICK_MINUTES", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: u64,
    /// How long each mix is broken, in seconds [default: what --minutes leaves for each, at least 15]
    #[arg(long, env = "HAYRICK_SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: Option<u64>,
    /// From which the schedules and values are drawn [default: one by lot, which is printed]
    #[arg(long, env = "HAYRICK_SEED")]
    seed: Option<u64>,
    /// Only these mixes, in this order
    #[arg(long, env = "HAYRICK_MIX", value_name = "NAME,…", value_delimiter = ',')]
    mix: Vec<String>,
    /// List the mixes and end
    #[arg(long, env = "HAYRICK_LIST", value_parser = BoolishValueParser::new())]
    list: bool,
    /// Where the report goes, and, while it runs, the cluster
    #[arg(long, env = "HAYRICK_REPORT", value_name = "DIR", default_value = "./chaos-report")]
    report: PathBuf,
    /// Take over what an interrupted run with the same --seed has done already
    #[arg(long, env = "HAYRICK_RESUME", value_parser = BoolishValueParser::new())]
    resume: bool,
    /// The bug that all servers shall have; only in the build for chaos tests
    #[arg(long, env = "HAYRICK_BUG", value_name = "NAME", hide = !cfg!(feature = "chaos"))]
    bug: Option<String>,
    /// Show that each planted bug is found, and write the table of them into this document; only in the build for chaos tests
    #[arg(long, env = "HAYRICK_SELF_TEST", value_name = "FILE", hide = !cfg!(feature = "chaos"))]
    self_test: Option<PathBuf>,
    /// Write the figures of each mix into this document
    #[arg(long, env = "HAYRICK_FIGURES", value_name = "FILE", hide = true)]
    figures: Option<PathBuf>,
}

/// One mix that shall run.
struct Task {
    mix: &'static Mix,
    options: Options,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    if args.list {
        output::line(&list())?;
        return Ok(Exit::Done);
    }
    if args.bug.is_some() && !cfg!(feature = "chaos") {
        bail!(
            "--bug needs the build for chaos tests: cargo build -p hayrick-cli --features chaos --bin hayrick-chaos"
        );
    }
    if let Some(bug) = &args.bug
        && Bug::named(bug).is_none()
    {
        let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        bail!("there is no bug {bug:?}; there are: {}", names.join(", "));
    }
    let tasks = tasks(&args)?;
    let running = tasks[0].options.dir.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = begin(&args, tasks) => Some(result),
            signal = told_to_stop() => signal.err().map(Err),
        }
    });
    // With it go the servers.
    drop(runtime);
    result.unwrap_or_else(|| {
        if running.exists() {
            std::fs::remove_dir_all(&running).with_context(|| running.display().to_string())?;
        }
        bail!("interrupted; run it again with --resume and the same --seed to go on")
    })
}

/// Ends when somebody wants it to: the servers go with it, which they would not if it just died.
async fn told_to_stop() -> Result<()> {
    let mut kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<io::Result<Vec<_>>>()?;
    let any = kinds.iter_mut().map(|kind| Box::pin(kind.recv()));
    futures_util::future::select_all(any).await;
    Ok(())
}

fn list() -> String {
    let rows: Vec<Vec<String>> =
        mixes::ALL.iter().map(|mix| vec![mix.name.to_owned(), mix.about.to_owned()]).collect();
    output::table(&[("mix", Align::Left), ("what it does", Align::Left)], &rows)
}

fn tasks(args: &Args) -> Result<Vec<Task>> {
    let seed = args.seed.unwrap_or_else(prove::random_seed);
    let chosen: Vec<&'static Mix> = match args.mix.is_empty() {
        true => by_lot(seed, args.minutes),
        false => args.mix.iter().map(|name| named(name)).collect::<Result<_>>()?,
    };
    let each = args.minutes * 60 / chosen.len() as u64;
    let seconds = args.seconds.unwrap_or(each.saturating_sub(AROUND_SECONDS).max(BREAKS_SECONDS_MIN));
    let binary = std::env::current_exe().context("cannot find this program")?;
    let task = |mix| Task {
        mix,
        options: Options {
            binary: binary.clone(),
            is_chaos: cfg!(feature = "chaos"),
            version: format!("{} (commit {})", env!("CARGO_PKG_VERSION"), env!("HAYRICK_COMMIT")),
            bug: args.bug.clone(),
            seed,
            breaks: Duration::from_secs(seconds),
            load: prove::load(),
            patience: PATIENCE,
            ends_early: false,
            dir: args.report.join("running"),
        },
    };
    Ok(chosen.into_iter().map(task).collect())
}

fn named(name: &str) -> Result<&'static Mix> {
    mixes::named(name)
        .or_else(|| bugs::mix_named(name))
        .with_context(|| format!("there is no mix {name:?}; hayrick prove --list shows those there are"))
}

/// As many as there is time for: which, and in which order, is drawn from the seed.
fn by_lot(seed: u64, minutes: u64) -> Vec<&'static Mix> {
    let count = usize::try_from(minutes * 60 / (AROUND_SECONDS + BREAKS_SECONDS_MIN)).unwrap_or(usize::MAX);
    let mut all = mixes::shuffled(seed);
    all.retain(|mix| cfg!(feature = "chaos") || mix.kinds.iter().any(|kind| !kind.needs_chaos_build()));
    all.truncate(count.max(1));
    all
}

async fn begin(args: &Args, tasks: Vec<Task>) -> Result<Exit> {
    match &args.self_test {
        Some(document) => self_test(args, document, tasks[0].options.clone()).await,
        None => run_all(args, tasks).await,
    }
}

/// Each planted bug, or those of the mixes that were named; then the same runs without a bug.
async fn self_test(args: &Args, written_into: &Path, options: Options) -> Result<Exit> {
    let begun = hayrick_launcher::Deadline::after(Duration::MAX);
    let chosen = |planted: &&Planted| {
        let names = [planted.bug, planted.mix.name];
        args.bug.as_deref().is_none_or(|bug| bug == planted.bug)
            && (args.mix.is_empty() || args.mix.iter().any(|name| names.contains(&name.as_str())))
    };
    let (mut caught, mut without) = (Vec::new(), Vec::<&'static Planted>::new());
    let mut is_well = true;
    for planted in bugs::ALL.iter().filter(chosen) {
        let about = Bug::named(planted.bug).map_or("", Bug::about);
        let mut teller = Teller::new(planted.bug.to_owned());
        let run = self_test::run(planted, &options, true, |progress| teller.tell(progress)).await;
        teller.clear();
        let run = run.with_context(|| planted.bug.to_owned())?;
        let row = Caught::of(planted, about, &run);
        is_well &= row.is_caught() && row.after <= self_test::AIM;
        let by = if row.is_caught() { row.by.join(", ") } else { "NOT CAUGHT".to_owned() };
        output::line(&format!("{:<28} {:>3} s  {by}: {}", row.bug, row.after.as_secs(), row.first))?;
        caught.push(row);
        if without.iter().all(|other| (other.mix.name, other.seconds) != (planted.mix.name, planted.seconds))
        {
            without.push(planted);
        }
        keep_if(&args.report, &run, !caught.last().is_some_and(Caught::is_caught))?;
    }
    let mut clean = Vec::new();
    for planted in without {
        let mix = planted.mix;
        let mut teller = Teller::new(format!("{} without a bug", mix.name));
        let run = self_test::run(planted, &options, false, |progress| teller.tell(progress)).await;
        teller.clear();
        let run = run.with_context(|| mix.name.to_owned())?;
        let is_clean = self_test::is_clean(&run);
        is_well &= is_clean;
        output::line(&in_a_line(&run))?;
        clean.push((mix.name.to_owned(), is_clean));
        keep_if(&args.report, &run, !is_clean)?;
    }
    let head = format!(
        "Seed {}, `{}`, {:.0} min in all.",
        options.seed,
        options.version,
        begun.elapsed().as_secs_f64() / 60.0
    );
    document::replace_table(written_into, "self-test", &self_test::table(&caught, &clean, &head))?;
    let found = caught.iter().filter(|row| row.is_caught()).count();
    let quiet = clean.iter().filter(|(_, clean)| *clean).count();
    output::line(&format!(
        "{found} of {} planted bugs were caught, {quiet} of {} runs without a bug found nothing. {head}",
        caught.len(),
        clean.len()
    ))?;
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}

/// A run that did not do what it should is kept with its report, in a directory of its own; of others nothing is.
fn keep_if(dir: &Path, run: &Run, keep: bool) -> Result<()> {
    let running = dir.join("running").join(&run.record.plan.mix);
    let bug = run.record.plan.bug.as_deref().unwrap_or("no-bug");
    let kept = dir.join(format!("{}-{bug}", run.record.plan.mix));
    if kept.exists() {
        std::fs::remove_dir_all(&kept)?;
    }
    if keep {
        report::write(&kept, std::slice::from_ref(run))?;
        std::fs::rename(&running, kept.join("cluster"))?;
    } else if running.exists() {
        std::fs::remove_dir_all(&running)?;
    }
    Ok(())
}

async fn run_all(args: &Args, tasks: Vec<Task>) -> Result<Exit> {
    let (seed, seconds) = (tasks[0].options.seed, tasks[0].options.breaks.as_secs());
    eprintln!("seed {seed}: {} mixes of {seconds} s each", tasks.len());
    let kept_in = args.report.join("runs");
    let mut runs = Vec::new();
    for (at, task) in tasks.iter().enumerate() {
        let plan = prove::plan(task.mix, &task.options);
        let known = if args.resume { kept::find(&kept_in, &plan)? } else { None };
        let run = match known {
            Some(run) => run,
            None => {
                let mut teller = Teller::new(format!("{}/{} {}", at + 1, tasks.len(), task.mix.name));
                let run = prove::run(task.mix, &task.options, |progress| teller.tell(progress)).await;
                teller.clear();
                let run = run.with_context(|| format!("{}: {}", task.mix.name, plan.replay))?;
                kept::keep(&kept_in, &run)?;
                run
            }
        };
        output::line(&in_a_line(&run))?;
        runs.push(run);
        // Each time, so that there is something to look at while the others run.
        report::write(&args.report, &runs).with_context(|| args.report.display().to_string())?;
        prove::clean_up(runs.last().expect("one was pushed"), &task.options.dir)?;
    }
    if let Some(written_into) = &args.figures {
        let head = format!("Seed {seed}, {seconds} s each, `{}`.", tasks[0].options.version);
        document::replace_table(written_into, "mixes", &format!("{head}\n\n{}", markdown::tables(&runs)))?;
    }
    output::line(&verdict(&runs, &args.report))?;
    Ok(if Summary::of(&runs).standing == Standing::Held { Exit::Done } else { Exit::Failed })
}

fn in_a_line(run: &Run) -> String {
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

/// Tells how a run goes: in one line that is written over and over on a terminal, else in a line now and then.
struct Teller {
    title: String,
    is_watched: bool,
    last: Option<(Duration, &'static str)>,
}

impl Teller {
    fn new(title: String) -> Self {
        Self { title, is_watched: io::stderr().is_terminal(), last: None }
    }

    fn tell(&mut self, progress: &Progress) {
        let Progress { doing, elapsed, faults, broken, tally } = progress;
        let line = format!(
            "{}, {} s, {doing}: {} requests, {} unknown, {} wrong, {faults} faults  {}",
            self.title,
            elapsed.as_secs(),
            tally.operations,
            tally.unknown,
            tally.wrong,
            broken.join("; ")
        );
        if self.is_watched {
            let line: String = line.chars().take(160).collect();
            // Who watches sees the next line, if not this one.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
            return;
        }
        let due = self.last.is_none_or(|(last, was)| *elapsed >= last + LINE_EVERY || was != *doing);
        if due {
            self.last = Some((*elapsed, doing));
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    fn clear(&self) {
        if self.is_watched {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_faults_that_show_every_planted_bug() {
        let planted: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        let shown: BTreeSet<&str> = bugs::ALL.iter().map(|planted| planted.bug).collect();
        assert_eq!(planted, shown);
    }

    #[test]
    fn a_proof_of_five_minutes_has_several_mixes_and_one_of_many_has_all() {
        let count = |minutes| by_lot(1, minutes).len();
        assert!((5..=10).contains(&count(5)), "{}", count(5));
        assert_eq!(count(1), 1);
        // Those that only the build for chaos tests can run are left out.
        assert_eq!(count(100), by_lot(2, 1000).len());
        assert!(count(100) >= mixes::ALL.len() - 1);
    }
}
