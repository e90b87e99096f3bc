//! `hayrick rm`: objects, one after the other, or all below a prefix in batches.
//!
//! Invariant: a prefix that is empty, as a variable may be that was never set, deletes nothing.

use std::cell::RefCell;

use anyhow::Result;
use clap::ArgMatches;
use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use hayrick_client::{Client, Condition, Error, ListOptions};

use crate::commands::connect::Connect;
use crate::commands::interrupt::interrupted;
use crate::commands::progress::Progress;
use crate::exit::{self, Exit, WrongUse};
use crate::output;

/// Failures that are told one by one.
const FAILURES_TOLD_MAX: usize = 20;

/// Delete objects
///
/// Goes on with the next key when one cannot be deleted. The exit code is that of the outcome which needs a look most:
/// 5 before 1 before 2 before 4 before 3.
///
/// With -r each of KEYS is a text, and all objects are deleted whose keys begin with it: photos/ what is below it, photos also
/// photos-of-cats. What others delete meanwhile is no error. `hayrick ls -r` shows what it would be.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick rm photos/cat.jpg photos/dog.jpg
  hayrick rm -r photos/2024/                        all keys that begin so
  hayrick rm -r --all ''                            everything
  hayrick rm --if-match 9e107d9d372bb6826bd81d3542a419d6 notes.txt     only if it is still the one I saw")]
pub(crate) struct Args {
    /// The objects' keys; with -r what they begin with
    #[arg(required = true)]
    keys: Vec<String>,
    /// All objects whose keys begin with what is given
    #[arg(
        short, long, env = "HAYRICK_RECURSIVE", conflicts_with = "if_match", value_parser = BoolishValueParser::new()
    )]
    recursive: bool,
    /// An empty text may be given to -r, with which every key begins
    #[arg(long, env = "HAYRICK_ALL", requires = "recursive", value_parser = BoolishValueParser::new())]
    all: bool,
    /// Only if the object still has this ETag
    #[arg(long, env = "HAYRICK_IF_MATCH", value_name = "ETAG")]
    if_match: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// Refuses to delete more than the words of the command say: other commands have variables of the same names, and one that was
/// set for them says nothing of this.
///
/// # Errors
/// Wrong use, which names the flag.
pub(crate) fn is_said(matches: &ArgMatches) -> Result<(), WrongUse> {
    let is_of_variable =
        |flag: &&str| matches.get_flag(flag) && matches.value_source(flag) == Some(ValueSource::EnvVariable);
    match ["recursive", "all"].iter().find(|flag| is_of_variable(flag)) {
        Some(flag) => Err(WrongUse(format!(
            "HAYRICK_{} is set, and rm deletes more only where its own words say so: give --{flag}, or unset the variable",
            flag.to_uppercase()
        ))),
        None => Ok(()),
    }
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    if args.recursive {
        return run_recursive(args);
    }
    let condition = match args.if_match {
        Some(etag) => Condition::Matches(etag.trim_matches('"').to_owned()),
        None => Condition::None,
    };
    args.connect.run(|client| async move {
        let mut ends = Vec::new();
        for key in &args.keys {
            if let Err(error) = client.delete_with(key, &condition).await {
                ends.push(told(key, error));
            }
        }
        Ok(exit::worst(ends))
    })
}

/// What a failure of one key means for the exit code; it is told here.
fn told(key: &str, error: Error) -> Exit {
    let names_key = matches!(error, Error::NotFound { .. });
    let error = anyhow::Error::new(error);
    let key = if names_key { String::new() } else { format!("{key}: ") };
    eprintln!("hayrick: {key}{error:#}");
    exit::of(&error)
}

/// What has become of all keys so far.
struct Tally {
    deleted: u64,
    /// The first failures, one by one; of the others how many there are, and what the gravest means.
    failed: Vec<(String, Error)>,
    failed_more: u64,
    worst_more: Exit,
    /// Keys of the batch that is under way.
    in_flight: usize,
}

fn run_recursive(args: Args) -> Result<Exit> {
    if !args.all && args.keys.iter().any(String::is_empty) {
        let text = "an empty prefix is what every key begins with; say --all if everything is to be deleted";
        return Err(WrongUse(text.to_owned()).into());
    }
    args.connect.run(|client| async move {
        let tally =
            Tally { deleted: 0, failed: Vec::new(), failed_more: 0, worst_more: Exit::Done, in_flight: 0 };
        let (tally, progress) = (RefCell::new(tally), Progress::of_count("deleted"));
        let work = async {
            for prefix in &args.keys {
                delete_below(&client, prefix, &tally, &progress).await?;
            }
            Ok(())
        };
        let result: Option<Result<(), Error>> = tokio::select! {
            biased;
            () = interrupted() => None,
            result = work => Some(result),
        };
        progress.finish();
        report(tally.into_inner(), result)
    })
}

async fn delete_below(
    client: &Client,
    prefix: &str,
    tally: &RefCell<Tally>,
    progress: &Progress,
) -> Result<(), Error> {
    let mut options = ListOptions::default();
    loop {
        let page = client.list(prefix, &options).await?;
        tally.borrow_mut().in_flight = page.keys.len();
        let ends = client.delete_all(&page.keys).await;
        progress.done(tally.borrow_mut().note(page.keys, ends)?, 0);
        if page.next.is_empty() {
            return Ok(());
        }
        options.start = Some(page.next);
    }
}

impl Tally {
    /// How many of these were deleted; an error where nothing else is to be expected of those that are left.
    fn note(&mut self, keys: Vec<String>, ends: Vec<Result<(), Error>>) -> Result<u64, Error> {
        self.in_flight = 0;
        let mut failures = ends.iter().filter_map(|end| end.as_ref().err()).peekable();
        if let Some(first) = failures.peek().copied()
            && failures.clone().count() == keys.len()
            && failures.all(Error::is_temporary)
        {
            return Err(first.clone());
        }
        let mut deleted = 0;
        for (key, end) in keys.into_iter().zip(ends) {
            match end {
                Ok(()) => deleted += 1,
                // Somebody else was faster.
                Err(Error::NotFound { .. }) => {}
                Err(error) if self.failed.len() < FAILURES_TOLD_MAX => self.failed.push((key, error)),
                Err(error) => {
                    self.failed_more += 1;
                    self.worst_more = exit::worst([self.worst_more, exit::of(&error.into())]);
                }
            }
        }
        self.deleted += deleted;
        Ok(deleted)
    }
}

fn report(tally: Tally, result: Option<Result<(), Error>>) -> Result<Exit> {
    let mut ends = vec![tally.worst_more];
    let failed = tally.failed.len() as u64 + tally.failed_more;
    ends.extend(tally.failed.into_iter().map(|(key, error)| told(&key, error)));
    if tally.failed_more > 0 {
        eprintln!("hayrick: … and {} more", tally.failed_more);
    }
    let deleted = format!("{} deleted", tally.deleted);
    let all = if failed == 0 { deleted.clone() } else { format!("{deleted}, {failed} not") };
    match result {
        None => {
            let doubt = match tally.in_flight {
                0 => String::new(),
                keys => format!(", and of {keys} more it is not known"),
            };
            eprintln!("hayrick: interrupted: {all}{doubt}; the same command goes on from there");
            ends.push(Exit::Failed);
        }
        Some(Err(error)) => {
            let error = anyhow::Error::new(error);
            eprintln!("hayrick: {all}; given up: {error:#}");
            ends.push(exit::of(&error));
        }
        Some(Ok(())) => output::said(&all),
    }
    Ok(exit::worst(ends))
}
