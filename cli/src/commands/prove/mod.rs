//! `hayrick prove`: breaks a cluster on this machine, and says whether it kept its promises.
//!
//! Here is what is asked for and how it ends; `choice` says what is run, `series` and `self_test` run it, each mix in the
//! directory that `place` keeps for this process alone, and so that `interruptible` can end it at any time.

mod choice;
mod interruptible;
mod place;
mod self_test;
mod series;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::builder::BoolishValueParser;
use hayrick_chaos::kept;
use hayrick_chaos::mixes::{self, Mix};
use hayrick_chaos::prove::{self, Options};

use self::choice::Work;
use self::place::Place;
use crate::exit::{Exit, NotRun, WrongUse};
use crate::output::{self, Align};

/// How long repair, and the sweep of what is nobody's, may each take at the end.
const PATIENCE: Duration = Duration::from_secs(90);

/// Break a cluster on this machine, and tell whether it kept its promises
///
/// Starts three masters and four volumes as processes on loopback, in a directory of its own, and a load of clients that note
/// every answer. Then it kills, stops and cuts off servers, flips bits in their files, replaces them, as a mix of faults
/// says, on a schedule drawn from a seed. At last all is mended and every key read back, and checkers judge what was seen:
/// whether each key behaved as one copy on one machine would, whether all that was acknowledged is there, and more. The
/// report has a timeline, and for a broken promise the smallest history that shows it.
///
/// Nothing that runs elsewhere is touched. Ctrl-C ends it, and the cluster with it; a second one at once. Where it was killed
/// itself, the next one in the same directory ends the servers that it left behind. It takes some 500 MB of disk.
///
/// docs/chaos.md has the promises that are judged, and what this cannot test: a whole machine that loses power, many machines,
/// months.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick prove                              some mixes of faults, for five minutes
  hayrick prove --mix all --minutes 12       all of them, each in short
  hayrick prove --mix leader-cut-off --seconds 60 --seed 4711
  hayrick prove --list                       the mixes, and what each does
  hayrick prove --mix all --minutes 90 --seed 4711 --resume    goes on where an interrupted one was

Exit codes: 0 all promises held, 1 one was broken or a mix proved nothing, 2 wrong use,
6 it could not be run to its end, or was interrupted: nothing can be said.")]
pub(crate) struct Args {
    /// How long all of it takes, about; without --mix, those mixes for which there is no time are left out
    #[arg(long, env = "HAYRICK_MINUTES", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: u64,
    /// How long each mix is broken, in seconds [default: what --minutes leaves for each, at least 15]; some 15 more go by
    /// before and after
    #[arg(long, env = "HAYRICK_SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: Option<u64>,
    /// From which the schedules and values are drawn [default: one by lot, which is printed]
    #[arg(long, env = "HAYRICK_SEED")]
    seed: Option<u64>,
    /// Only these mixes, in this order, however long they take; `all` for all that this build can run
    #[arg(long, env = "HAYRICK_MIX", value_name = "NAME,…", value_delimiter = ',')]
    mix: Vec<String>,
    /// List the mixes and end
    #[arg(long, env = "HAYRICK_LIST", value_parser = BoolishValueParser::new())]
    list: bool,
    /// Where the report goes, and, while it runs, the cluster
    #[arg(long, env = "HAYRICK_REPORT", value_name = "DIR", default_value = "./chaos-report")]
    report: PathBuf,
    /// Take over what an interrupted run of this very binary, with the same --seed and times, has done already
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

pub(crate) fn run(args: Args) -> Result<Exit> {
    if args.list {
        output::line(&list())?;
        return Ok(Exit::Done);
    }
    let seed = args.seed.unwrap_or_else(prove::random_seed);
    // Wrong use ends here, before anything is touched.
    let work = choice::work(&args, seed)?;
    start(args, work, seed)
        .map_err(|error| if error.is::<WrongUse>() { error } else { error.context(NotRun) })
}

fn start(args: Args, work: Work, seed: u64) -> Result<Exit> {
    let place = Place::claim(&args.report)?;
    let options = options(&args, &place, seed)?;
    match work {
        Work::Series(series) => {
            if !args.resume {
                place.clear()?;
            }
            let to_go_on =
                format!("to go on: {} --seed {seed} --resume", said_without_seed(std::env::args()));
            interruptible::run(&to_go_on, move |underway| series.run(options, args, underway))
        }
        Work::SelfTest(test) => {
            interruptible::run("nothing of it was written", move |underway| test.run(options, args, underway))
        }
    }
}

fn options(args: &Args, place: &Place, seed: u64) -> Result<Options> {
    let is_chaos = cfg!(feature = "chaos");
    let name = if is_chaos { "hayrick-chaos" } else { "hayrick" };
    let build = format!("{name} {} (commit {})", env!("CARGO_PKG_VERSION"), env!("HAYRICK_COMMIT"));
    let binary = std::env::current_exe().context("cannot find this program")?;
    Ok(Options {
        version: kept::identity(&build, &binary)?,
        binary,
        is_chaos,
        bug: args.bug.clone(),
        seed,
        // Each mix, or planted bug, says how long.
        breaks: Duration::ZERO,
        load: prove::load(),
        patience: PATIENCE,
        ends_early_for: &[],
        dir: place.running(),
    })
}

/// The command line as it was given, less what says whether and with which seed to go on.
fn said_without_seed(mut words: impl Iterator<Item = String>) -> String {
    let mut said = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seed" => drop(words.next()),
            "--resume" => {}
            word if word.starts_with("--seed=") => {}
            word if word
                .contains(|letter: char| letter.is_whitespace() || "'\"\\$&;|<>()*?`".contains(letter)) =>
            {
                said.push(format!("'{}'", word.replace('\'', r"'\''")));
            }
            _ => said.push(word),
        }
    }
    said.join(" ")
}

fn list() -> String {
    let about = |mix: &Mix| match choice::is_possible(mix) {
        true => mix.about.to_owned(),
        false => format!("{} Only in the build for chaos tests (make chaos).", mix.about),
    };
    let rows: Vec<Vec<String>> = mixes::ALL.iter().map(|mix| vec![mix.name.to_owned(), about(mix)]).collect();
    output::table(&[("mix", Align::Left), ("what it does", Align::Left)], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_said_again_but_for_the_seed() {
        let said = |line: &[&str]| said_without_seed(line.iter().map(|word| (*word).to_owned()));
        assert_eq!(said(&["hayrick", "prove", "--seed", "7", "--mix", "all"]), "hayrick prove --mix all");
        assert_eq!(said(&["hayrick", "prove", "--resume", "--seed=7"]), "hayrick prove");
        assert_eq!(
            said(&["/a b/hayrick", "prove", "--report", "it's"]),
            r"'/a b/hayrick' prove --report 'it'\''s'"
        );
    }
}
