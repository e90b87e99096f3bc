//! What shall be run: which mixes, or which planted bugs, and for how long. Refuses what cannot be meant.

use std::path::Path;

use hayrick_chaos::bugs::{self, Planted};
use hayrick_chaos::document;
use hayrick_chaos::mixes::{self, Mix};
use hayrick_chaos::self_test::Case;
use hayrick_planted::Bug;

use super::Args;
use super::self_test::{self, SelfTest};
use super::series::{self, Series};
use crate::exit::WrongUse;
use crate::nearest::nearest;

/// What a run takes beside its faults: to start a cluster, to heal it, and to look at all of it. Measured in the mean of all
/// mixes, on two cores that had other work as well; without that it is three less.
pub(super) const AROUND_SECONDS: u64 = 15;
/// Shorter, a run reaches too little.
const BREAKS_SECONDS_MIN: u64 = 15;
/// What `--mix` calls all of them.
const ALL: &str = "all";

/// What shall be run.
#[derive(Debug)]
pub(super) enum Work {
    /// Mixes of faults.
    Series(Series),
    /// Planted bugs.
    SelfTest(SelfTest),
}

/// What the flags ask for; what is drawn is drawn from the seed.
///
/// # Errors
/// When they cannot be meant; nothing was touched.
pub(super) fn work(args: &Args, seed: u64) -> Result<Work, WrongUse> {
    refuse_what_needs_the_chaos_build(args)?;
    if let Some(bug) = &args.bug
        && Bug::named(bug).is_none()
    {
        let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        return Err(WrongUse(format!("there is no bug {bug:?}; there are: {}", names.join(", "))));
    }
    match &args.self_test {
        Some(document) => self_test(args, document).map(Work::SelfTest),
        None => series(args, seed).map(Work::Series),
    }
}

fn refuse_what_needs_the_chaos_build(args: &Args) -> Result<(), WrongUse> {
    let asked = [("--bug", args.bug.is_some()), ("--self-test", args.self_test.is_some())];
    match asked.iter().find(|(_, is_asked)| *is_asked && !cfg!(feature = "chaos")) {
        Some((flag, _)) => Err(WrongUse(format!(
            "{flag} needs the build for chaos tests: cargo build -p hayrick-cli --features chaos --bin hayrick-chaos"
        ))),
        None => Ok(()),
    }
}

fn series(args: &Args, seed: u64) -> Result<Series, WrongUse> {
    if args.resume && args.seed.is_none() {
        let why = "--resume goes on with the runs of one seed: give that --seed as well; it was printed when they began";
        return Err(WrongUse(why.to_owned()));
    }
    if let Some(document) = &args.figures {
        must_have_table(document, series::TABLE)?;
    }
    let names: Vec<&str> = args.mix.iter().map(|name| name.trim()).collect();
    let (all, impossible) = mixes::shuffled(seed).into_iter().partition::<Vec<_>, _>(|mix| is_possible(mix));
    let (mixes, left_out) = match names.as_slice() {
        [] => (by_lot(all, args.minutes, args.seconds), Vec::new()),
        [name] if *name == ALL => (all, impossible),
        names => (names.iter().map(|name| named(name)).collect::<Result<_, _>>()?, Vec::new()),
    };
    let seconds = args.seconds.unwrap_or_else(|| each(args.minutes, mixes.len()));
    Ok(Series { mixes, left_out, seconds })
}

fn named(name: &str) -> Result<&'static Mix, WrongUse> {
    let mix = mixes::named(name).or_else(|| bugs::mix_named(name)).ok_or_else(|| {
        let meant = nearest(name, mixes::ALL.iter().map(|mix| mix.name));
        let tip = meant.map_or(String::new(), |meant| format!("; {meant} is one"));
        WrongUse(format!("there is no mix {name:?}{tip}; hayrick prove --list shows those there are"))
    })?;
    if is_possible(mix) {
        Ok(mix)
    } else {
        Err(WrongUse(format!(
            "{name} breaks disks, which only the build for chaos tests can: make chaos MIX={name}"
        )))
    }
}

/// Whether this build can do most of what the mix is for.
pub(super) fn is_possible(mix: &Mix) -> bool {
    cfg!(feature = "chaos") || !mix.needs_chaos_build()
}

/// As many of them as there is time for.
fn by_lot(mut mixes: Vec<&'static Mix>, minutes: u64, seconds: Option<u64>) -> Vec<&'static Mix> {
    let each = AROUND_SECONDS + seconds.unwrap_or(BREAKS_SECONDS_MIN);
    let count = usize::try_from(minutes * 60 / each).unwrap_or(usize::MAX);
    mixes.truncate(count.max(1));
    mixes
}

/// What these minutes leave for each of so many, in seconds.
fn each(minutes: u64, count: usize) -> u64 {
    (minutes * 60 / count as u64).saturating_sub(AROUND_SECONDS).max(BREAKS_SECONDS_MIN)
}

/// All planted bugs, or those that are named, by themselves or by their faults.
fn self_test(args: &Args, document: &Path) -> Result<SelfTest, WrongUse> {
    let idle = [
        ("--resume", args.resume),
        ("--seconds", args.seconds.is_some()),
        ("--figures", args.figures.is_some()),
    ];
    if let Some((flag, _)) = idle.iter().find(|(_, is_asked)| *is_asked) {
        return Err(WrongUse(format!("{flag} does nothing in a --self-test; leave it out")));
    }
    must_have_table(document, self_test::TABLE)?;
    let is_called = |planted: &Planted, name: &str| [planted.bug, planted.mix.name].contains(&name);
    for name in &args.mix {
        if !bugs::ALL.iter().any(|planted| is_called(planted, name)) {
            let names: Vec<&str> = bugs::ALL.iter().map(|planted| planted.bug).collect();
            return Err(WrongUse(format!(
                "no planted bug is called {name:?}, and no faults for one; the bugs are: {}",
                names.join(", ")
            )));
        }
    }
    let is_chosen = |planted: &&Planted| {
        args.bug.as_deref().is_none_or(|bug| bug == planted.bug)
            && (args.mix.is_empty() || args.mix.iter().any(|name| is_called(planted, name)))
    };
    let cases: Vec<Case> = bugs::ALL.iter().filter(is_chosen).map(case).collect();
    if cases.is_empty() {
        return Err(WrongUse(
            "--bug and --mix name no planted bug together; leave one of them out".to_owned(),
        ));
    }
    Ok(SelfTest { cases, document: document.to_owned() })
}

/// What the product says of a bug, beside the faults that are made for it.
pub(super) fn case(planted: &'static Planted) -> Case {
    let bug = Bug::named(planted.bug).expect("a test compares the two lists");
    Case { planted, about: bug.about(), shown_by: bug.shown_by() }
}

/// Asked before anything runs, as it is written when all has run.
fn must_have_table(document: &Path, name: &str) -> Result<(), WrongUse> {
    document::has_table(document, name)
        .map_err(|error| WrongUse(format!("the table cannot be written: {error:#}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn line(line: &str) -> Args {
        Line::parse_from(["prove"].into_iter().chain(line.split_whitespace())).args
    }

    fn chosen(words: &str) -> Result<Work, WrongUse> {
        let args = line(words);
        work(&args, args.seed.unwrap_or(1))
    }

    fn mixes_of(line: &str) -> (Vec<&'static str>, u64) {
        match chosen(line) {
            Ok(Work::Series(series)) => (series.mixes.iter().map(|mix| mix.name).collect(), series.seconds),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        chosen(line).expect_err(line).0
    }

    #[test]
    fn there_are_faults_that_show_every_planted_bug() {
        let planted: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        let shown: BTreeSet<&str> = bugs::ALL.iter().map(|planted| planted.bug).collect();
        assert_eq!(planted, shown);
    }

    #[test]
    fn spaces_around_names_do_not_matter() {
        let args = Args { mix: ["leader-kills", " volume-kills "].map(str::to_owned).into(), ..line("") };
        let Ok(Work::Series(series)) = work(&args, 1) else { panic!("both are there") };
        assert_eq!(
            series.mixes.iter().map(|mix| mix.name).collect::<Vec<_>>(),
            ["leader-kills", "volume-kills"]
        );
    }

    #[cfg(not(feature = "chaos"))]
    #[test]
    fn what_this_build_cannot_do_is_refused_by_name_and_left_out_of_all() {
        assert!(refused("--mix bad-disks").contains("make chaos MIX=bad-disks"));
        let Ok(Work::Series(series)) = chosen("--mix all") else { panic!("there are some") };
        assert_eq!(series.left_out.iter().map(|mix| mix.name).collect::<Vec<_>>(), ["bad-disks"]);
    }

    /// Those that only the build for chaos tests can run are left out of the other.
    #[test]
    fn all_mixes_are_run_however_little_time_there_is() {
        let (all, seconds) = mixes_of("--mix all --minutes 1");
        assert_eq!(all.len(), if cfg!(feature = "chaos") { mixes::ALL.len() } else { mixes::ALL.len() - 1 });
        assert_eq!(seconds, BREAKS_SECONDS_MIN);
        // What `make chaos` says of itself: all mixes in twelve minutes.
        assert!(mixes_of("--mix all --minutes 12").1 >= BREAKS_SECONDS_MIN);
        assert!(mixes::ALL.len() as u64 * (BREAKS_SECONDS_MIN + AROUND_SECONDS) <= 12 * 60);
        assert_eq!(mixes_of("--mix all --minutes 120").1, 120 * 60 / all.len() as u64 - AROUND_SECONDS);
    }

    #[test]
    fn without_names_as_many_mixes_are_drawn_as_the_minutes_hold() {
        for (line, minutes) in [
            ("", 5),
            ("--minutes 2", 2),
            ("--minutes 5 --seconds 60", 5),
            ("--minutes 30 --seconds 180", 30),
            ("--minutes 100000", 100_000),
        ] {
            let (mixes, seconds) = mixes_of(line);
            assert!(mixes.len() as u64 * (seconds + AROUND_SECONDS) <= minutes * 60, "{line}: {mixes:?}");
        }
        assert!((5..=12).contains(&mixes_of("").0.len()));
        assert_eq!(mixes_of("--minutes 100000").0.len(), mixes_of("--mix all").0.len());
    }

    #[test]
    fn one_mix_is_run_though_there_is_no_time_for_it() {
        assert_eq!(mixes_of("--minutes 1 --seconds 180").0.len(), 1);
        assert_eq!(mixes_of("--minutes 1 --mix leader-kills").1, 60 - AROUND_SECONDS);
        assert_eq!(mixes_of("--seconds 180").0.len(), 1);
    }

    #[test]
    fn who_goes_on_says_with_which_seed() {
        assert!(refused("--resume").contains("--seed"));
        assert!(chosen("--resume --seed 1").is_ok());
    }

    #[test]
    fn unknown_names_are_refused() {
        let refusal = refused("--mix leader-kils");
        assert!(refusal.contains("--list") && refusal.contains("leader-kills is one"), "{refusal}");
        assert!(!refused("--mix quite-another").contains("is one"));
        assert!(refused("--mix leader-kills,all").contains("\"all\""));
        assert!(refused("--figures /no/such/document").contains("/no/such/document"));
    }

    #[cfg(not(feature = "chaos"))]
    #[test]
    fn the_build_that_has_no_bugs_says_which_has() {
        for line in ["--bug skip-sync", "--self-test chaos.md", "--bug skip-sync --self-test chaos.md"] {
            assert!(refused(line).contains("hayrick-chaos"), "{line}");
        }
    }

    #[cfg(feature = "chaos")]
    mod with_bugs {
        use super::*;

        fn self_test(rest: &str) -> Result<Work, WrongUse> {
            let dir = tempfile::tempdir().expect("a directory");
            let document = dir.path().join("chaos.md");
            let table = "<!-- table self-test: written by a run -->\n<!-- end of table self-test -->\n";
            std::fs::write(&document, table).expect("written");
            chosen(&format!("--self-test {} {rest}", document.display()))
        }

        fn bugs_of(rest: &str) -> Vec<&'static str> {
            match self_test(rest) {
                Ok(Work::SelfTest(test)) => test.cases.iter().map(|case| case.planted.bug).collect(),
                other => panic!("{rest}: {other:?}"),
            }
        }

        #[test]
        fn bugs_are_chosen_by_their_own_name_or_that_of_their_faults() {
            assert_eq!(bugs_of("").len(), bugs::ALL.len());
            assert_eq!(bugs_of("--mix skip-sync"), ["skip-sync"]);
            assert_eq!(bugs_of("--bug skip-sync"), ["skip-sync"]);
            let in_peace = bugs_of("--mix peace");
            assert!(in_peace.len() > 1 && in_peace.contains(&"apply-reads-clock"), "{in_peace:?}");
            assert_eq!(bugs_of("--mix peace --bug apply-reads-clock"), ["apply-reads-clock"]);
        }

        #[test]
        fn a_self_test_that_can_test_nothing_is_refused() {
            let refused = |rest: &str| self_test(rest).expect_err(rest).0;
            assert!(refused("--mix leader-kills").contains("leader-kills"));
            assert!(refused("--bug no-such-bug").contains("skip-sync"));
            assert!(refused("--mix peace --bug skip-sync").contains("leave one"));
            assert!(refused("--resume --seed 1").contains("--resume"));
            assert!(refused("--seconds 5").contains("--seconds"));
        }

        #[test]
        fn a_document_that_cannot_hold_the_table_is_refused_before_anything_runs() {
            assert!(refused("--self-test /no/such/document").contains("/no/such/document"));
            let dir = tempfile::tempdir().expect("a directory");
            let document = dir.path().join("chaos.md");
            std::fs::write(&document, "# No table\n").expect("written");
            assert!(refused(&format!("--self-test {}", document.display())).contains("has no line"));
        }
    }
}
