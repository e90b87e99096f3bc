//! `hayrick cp`: files and trees of files into a cluster, and out of it.
//!
//! Owns the command line, and what both ways have in common: how many are copied at a time, what is counted, and how it
//! ends. `up` and `down` say what is copied; `walk` finds it in a directory, `remote` in the cluster, and `tree` puts it into
//! a directory. Invariants: what is there already with the same bytes is left alone, so that a copy which was broken off goes
//! on when the command is given again; and what was not copied is told.

mod down;
mod remote;
mod tally;
mod tree;
mod up;
mod walk;

use std::cell::{Cell, RefCell};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::builder::BoolishValueParser;
use futures_util::{Stream, StreamExt, TryStreamExt};
use hayrick_client::{Client, Error};

use crate::commands::connect::Connect;
use crate::commands::interrupt::{Interrupt, Words};
use crate::commands::progress::Progress;
use crate::exit::{Exit, WrongUse};
use tally::{Ended, Tally};

/// What a path in the cluster begins with.
const SCHEME: &str = "hay:";
/// What is found before it is copied: so far is known ahead how much there is.
const AHEAD_MAX: usize = 64 * 1024;
/// How long a cluster may not serve before a copy is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Copy files into the cluster or out of it; one of SRC and DST begins with hay:
///
/// With -r all that is in a directory, in the cluster all that is below a prefix: hay:photos/ is everything whose key begins
/// with photos/. What is there already with the same size and MD5 is left alone, so that a copy which was interrupted goes
/// on when the command is given again. Nothing is deleted at the target. Symbolic links are not followed: those that are found
/// are told, as is all else that cannot be copied, and the exit code is 1 then; 5 where it is not known of some whether they are
/// stored: the same command finds out.
///
/// Every file is verified on both ways by its MD5. A file that comes out of the cluster is written beside its place and renamed:
/// there is never half of one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick cp cat.jpg hay:photos/cat.jpg
  hayrick cp cat.jpg hay:photos/               as photos/cat.jpg
  hayrick cp -r ~/photos hay:photos/           what is in ~/photos, as photos/…
  hayrick cp -r hay:photos/2024/ ./2024        the way back
  hayrick cp -r hay: ./all                     everything
  hayrick cp ./hay:odd hay:odd                 a file whose name begins so")]
pub(crate) struct Args {
    /// What is copied: a path, or a key or prefix as hay:KEY
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Where to
    #[arg(value_name = "DST")]
    target: PathBuf,
    /// What a pattern of the shell made of the source
    #[arg(hide = true)]
    more: Vec<PathBuf>,
    /// All that is below the source
    #[arg(short, long, env = "HAYRICK_RECURSIVE", value_parser = BoolishValueParser::new())]
    recursive: bool,
    /// Files that are copied at a time
    #[arg(long, env = "HAYRICK_JOBS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Of what is stored [default: what each file's name stands for]
    #[arg(long, env = "HAYRICK_CONTENT_TYPE", value_name = "TYPE")]
    content_type: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// A copy that is being made.
struct Job {
    client: Client,
    jobs: usize,
    recursive: bool,
    content_type: Option<String>,
    progress: Progress,
    tally: RefCell<Tally>,
    /// Copies that failed in a row for what may pass.
    in_vain: Cell<usize>,
    /// Whether there was anything below what is copied out of the cluster.
    found: Cell<bool>,
}

enum Route {
    Up { from: PathBuf, to: String },
    Down { from: String, to: PathBuf },
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    if !args.more.is_empty() {
        let text = "cp takes one SRC and one DST; copy several files one by one, or, with -r, all that is in a directory";
        return Err(WrongUse(text.to_owned()).into());
    }
    let route = Route::of(&args.source, &args.target)?;
    let progress = Progress::of_bytes("files");
    let waits = progress.waits();
    args.connect.run_with(
        |client| client.patience(PATIENCE).on_wait(move |error| waits.tell(&error.to_string())),
        |client| async move {
            let job = Job {
                client,
                jobs: args.jobs.into(),
                recursive: args.recursive,
                content_type: args.content_type,
                progress,
                tally: RefCell::default(),
                in_vain: Cell::new(0),
                found: Cell::new(false),
            };
            let second = "ended at once; give the same command again, and it goes on from there".to_owned();
            let mut interrupt = Interrupt::catch(Words { first: None, second })?;
            let work = async {
                match route {
                    Route::Up { from, to } => up::copy(&job, &from, &to).await,
                    Route::Down { from, to } => down::copy(&job, &from, &to).await,
                }
            };
            let ended = tokio::select! {
                biased;
                () = interrupt.comes() => Ended::Interrupted,
                result = work => result.map_or_else(Ended::GivenUp, |()| Ended::Through),
            };
            job.progress.finish();
            Ok(job.tally.into_inner().report(ended))
        },
    )
}

impl Route {
    fn of(source: &Path, target: &Path) -> Result<Self> {
        match (in_cluster(source)?, in_cluster(target)?) {
            (None, Some(to)) => Ok(Self::Up { from: source.to_owned(), to }),
            (Some(from), None) => Ok(Self::Down { from, to: target.to_owned() }),
            _ => {
                let text = "one of SRC and DST is in the cluster and begins with hay:, as in \
                            hayrick cp -r ./photos hay:photos/";
                Err(WrongUse(text.to_owned()).into())
            }
        }
    }
}

/// What is behind `hay:`, if that is there.
fn in_cluster(path: &Path) -> Result<Option<String>> {
    let Some(rest) = path.as_os_str().as_bytes().strip_prefix(SCHEME.as_bytes()) else { return Ok(None) };
    let text = String::from_utf8(rest.to_vec());
    let text =
        text.map_err(|_| WrongUse(format!("{}: a key is UTF-8, which this is not", path.display())))?;
    Ok(Some(text))
}

/// A text with which the keys of a tree begin: a directory, as it were.
pub(crate) fn as_directory(prefix: &str) -> String {
    if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") }
}

/// How one file ended.
enum Copied {
    /// With so many bytes.
    Whole(u64),
    /// The same bytes were there.
    Already,
}

impl Job {
    /// Copies one after the other, several at a time. Ends early only where nothing more can be expected.
    async fn copy_all<F: Future<Output = Result<()>>>(
        &self,
        copies: impl Stream<Item = Result<F>>,
    ) -> Result<()> {
        copies.map(|copy| async move { copy?.await }).buffer_unordered(self.jobs).try_collect::<()>().await
    }

    /// Notes how the copy of `what` ended; an error if the others will end no better.
    fn note(&self, what: &str, end: Result<Copied>) -> Result<()> {
        let mut tally = self.tally.borrow_mut();
        let error = match end {
            Ok(copied) => {
                self.in_vain.set(0);
                tally.copied(&copied);
                return Ok(());
            }
            Err(error) => error,
        };
        let is_vain = match error.downcast_ref::<Error>() {
            Some(Error::NoMaster { .. } | Error::NoRoom { .. }) => true,
            // One object may be missing, and one answer lost; that many in a row are the cluster.
            Some(known) if known.is_temporary() || known.is_unknown() => {
                self.in_vain.set(self.in_vain.get() + 1);
                self.in_vain.get() > self.jobs
            }
            _ => false,
        };
        if is_vain {
            tally.last_failed();
            return Err(error.context(what.to_owned()));
        }
        tally.failed(what, &error);
        Ok(())
    }
}

/// Runs on a thread where it holds nobody up.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a thread ended early")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_end_is_in_the_cluster() {
        let route = |source: &str, target: &str| Route::of(Path::new(source), Path::new(target));
        assert!(matches!(route("a", "hay:b/"), Ok(Route::Up { to, .. }) if to == "b/"));
        assert!(matches!(route("hay:", "a"), Ok(Route::Down { from, .. }) if from.is_empty()));
        assert!(matches!(route("./hay:a", "hay:hay:a"), Ok(Route::Up { to, .. }) if to == "hay:a"));
        for (source, target) in [("a", "b"), ("hay:a", "hay:b")] {
            let refused = route(source, target).err().expect("refused");
            assert!(refused.is::<WrongUse>() && refused.to_string().contains("hay:photos/"), "{refused}");
        }
    }
}
