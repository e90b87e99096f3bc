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
use crate::commands::cp::as_directory;
use crate::commands::failures::{self, Failures, tell_one};
use crate::commands::interrupt::{Interrupt, Words};
use crate::commands::progress::Progress;
use crate::exit::{self, Exit, WrongUse};
use crate::output;

/// Delete objects
///
/// Goes on with the next key when one cannot be deleted. The exit code is that of the outcome which needs a look most:
/// 5 before 1 before 2 before 4 before 3.
///
/// With -r all objects are deleted that are below each of KEYS, as below a directory: photos and photos/ are both what begins with
/// photos/, and not photos-of-cats. What others delete meanwhile is no error. `hayrick ls -r photos/` shows what it would be.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick rm photos/cat.jpg photos/dog.jpg
  hayrick rm -r photos/2024                         all that is below photos/2024/
  hayrick rm -r --all ''                            everything
  hayrick rm --if-match 9e107d9d372bb6826bd81d3542a419d6 notes.txt     only if it is still the one I saw")]
pub(crate) struct Args {
    /// The objects' keys; with -r those below which all is deleted
    #[arg(required = true)]
    keys: Vec<String>,
    /// All objects that are below what is given
    #[arg(
        short, long, env = "HAYRICK_RECURSIVE", conflicts_with = "if_match", value_parser = BoolishValueParser::new()
    )]
    recursive: bool,
    /// An empty text may be given to -r, below which is everything
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
                ends.push(failures::tell_at_once(key, &error.into()));
            }
        }
        Ok(exit::worst(ends))
    })
}

/// What has become of all keys so far.
#[derive(Default)]
struct Tally {
    deleted: u64,
    failures: Failures,
    /// Keys of the batch that is under way.
    in_flight: usize,
}

fn run_recursive(args: Args) -> Result<Exit> {
    if !args.all && args.keys.iter().any(String::is_empty) {
        let text = "below an empty text is everything; say --all if everything is to be deleted";
        return Err(WrongUse(text.to_owned()).into());
    }
    args.connect.run(|client| async move {
        let second = "ended at once; the same command goes on from there".to_owned();
        let mut interrupt = Interrupt::catch(Words { first: None, second })?;
        let (tally, progress) = (RefCell::<Tally>::default(), Progress::of_count("deleted"));
        let work = async {
            for prefix in &args.keys {
                delete_below(&client, &as_directory(prefix), &tally, &progress).await?;
            }
            Ok(())
        };
        let result: Option<Result<(), Error>> = tokio::select! {
            biased;
            () = interrupt.comes() => None,
            result = work => Some(result),
        };
        progress.finish();
        Ok(report(&tally.into_inner(), result))
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
        progress.done(tally.borrow_mut().note(&page.keys, ends)?);
        if page.next.is_empty() {
            return Ok(());
        }
        options.start = Some(page.next);
    }
}

impl Tally {
    /// How many of these were deleted; an error where nothing else is to be expected of those that are left.
    fn note(&mut self, keys: &[String], ends: Vec<Result<(), Error>>) -> Result<u64, Error> {
        self.in_flight = 0;
        let mut failures = ends.iter().filter_map(|end| end.as_ref().err()).peekable();
        if let Some(first) = failures.peek().copied()
            && failures.clone().count() == keys.len()
            && failures.all(Error::is_temporary)
        {
            return Err(first.clone());
        }
        let mut deleted = 0;
        for (key, end) in keys.iter().zip(ends) {
            match end {
                Ok(()) => deleted += 1,
                // Somebody else was faster.
                Err(Error::NotFound { .. }) => {}
                Err(error) => self.failures.add(key, &error.into()),
            }
        }
        self.deleted += deleted;
        Ok(deleted)
    }
}

fn report(tally: &Tally, result: Option<Result<(), Error>>) -> Exit {
    tally.failures.tell();
    let deleted = format!("{} deleted", tally.deleted);
    let all = match tally.failures.count() {
        0 => deleted,
        failed => format!("{deleted}, {failed} not"),
    };
    let end = match result {
        None => {
            let doubt = match tally.in_flight {
                0 => String::new(),
                keys => format!(", and of {keys} more it is not known"),
            };
            tell_one(&format!("interrupted: {all}{doubt}; the same command goes on from there"));
            if tally.in_flight == 0 { Exit::Failed } else { Exit::OutcomeUnknown }
        }
        Some(Err(error)) => {
            let error = anyhow::Error::new(error);
            tell_one(&format!("{all}; given up: {}", exit::sentence(&error)));
            exit::of(&error)
        }
        Some(Ok(())) => {
            output::said(&all);
            Exit::Done
        }
    };
    exit::worst([tally.failures.worst(), end])
}
