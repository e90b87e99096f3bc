//! Into the cluster: each file is read for its MD5, compared with what is there, and put if that is not the same.
//!
//! Invariant: a PUT of unknown outcome is given as a new one, with the same bytes and no condition: whatever became of the
//! first, the object is the file then.

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_util::{Stream, stream};
use hayrick_client::{Error, ListedObject, PutOptions, Source};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::remote::Remote;
use super::walk::{self, Found};
use super::{Copied, Job, as_directory};
use crate::commands::media_type;
use crate::commands::progress::Moving;
use crate::commands::put::not_too_large;
use crate::exit::WrongUse;

/// How often one file is put whose outcome is not known: a master dies, and then another one.
const PUTS_MAX: u32 = 5;
const PUT_PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked how much of a file was sent.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn copy(job: &Job, from: &Path, to: &str) -> Result<()> {
    let shown = from.display();
    // A link that is named is meant; those that are found are not.
    let about = fs::metadata(from).with_context(|| format!("cannot read {shown}"))?;
    if about.is_dir() {
        if !job.recursive {
            return Err(WrongUse(format!("{shown} is a directory; copy all that is in it with -r")).into());
        }
        let prefix = as_directory(to);
        let remote = Remote::new(job.client.clone(), &prefix);
        return job.copy_all(copies(job, walk::start(job, from, &prefix), remote)).await;
    }
    let name = from.file_name().with_context(|| format!("{shown} names no file"))?;
    let key = match to {
        "" => walk::key("", name),
        _ if to.ends_with('/') => walk::key(to, name),
        _ => walk::key("", to.as_ref()),
    };
    let key = key.map_err(|why| anyhow!("{shown}: {why}"))?;
    job.progress.counter().add(about.len());
    let there = Remote::new(job.client.clone(), &key).find(&key).await?;
    put(job, from.to_owned(), key, about.len(), there).await
}

/// What is to be done for each that is found.
fn copies<'a>(
    job: &'a Job,
    found: mpsc::Receiver<Found>,
    remote: Remote,
) -> impl Stream<Item = Result<impl Future<Output = Result<()>> + 'a>> + 'a {
    stream::try_unfold((found, remote), move |(mut found, mut remote)| async move {
        loop {
            match found.recv().await {
                None => return Ok(None),
                Some(Found::EmptyDirectory) => job.tally.borrow_mut().empty_directory(),
                Some(Found::Odd { path, why }) => {
                    job.tally.borrow_mut().failed(&path.display().to_string(), &anyhow!(why));
                }
                Some(Found::File { path, key, size_bytes }) => {
                    let there = remote.find(&key).await?;
                    return Ok(Some((put(job, path, key, size_bytes, there), (found, remote))));
                }
            }
        }
    })
}

async fn put(
    job: &Job,
    path: PathBuf,
    key: String,
    size_bytes: u64,
    there: Option<ListedObject>,
) -> Result<()> {
    let moving = job.progress.begin(size_bytes);
    let end = put_unless(job, &path, &key, there, &moving).await;
    drop(moving);
    job.note(&path.display().to_string(), end)
}

async fn put_unless(
    job: &Job,
    path: &Path,
    key: &str,
    there: Option<ListedObject>,
    moving: &Moving<'_>,
) -> Result<Copied> {
    // All of it is read for its MD5, which for what is too large would be in vain.
    not_too_large(tokio::fs::metadata(path).await.context("cannot be read")?.len())?;
    let sent = Arc::<AtomicU64>::default();
    let source = Source::file(path).await.context("cannot be read")?.counted(Arc::clone(&sent));
    let is_same = |there: &ListedObject| {
        Some(there.size) == source.bytes_known() && Some(&there.etag) == source.etag_known().as_ref()
    };
    if there.as_ref().is_some_and(is_same) {
        return Ok(Copied::Already);
    }
    let content_type = job.content_type.clone().or_else(|| media_type::of(path));
    let options = PutOptions { content_type, ..PutOptions::default() };
    let put = put_until_known(job, key, &source, &options);
    job.tally.borrow_mut().in_flight += 1;
    let put = watched(put, || moving.has_moved(sent.load(Ordering::Relaxed))).await;
    job.tally.borrow_mut().in_flight -= 1;
    put?;
    Ok(Copied::Whole(source.bytes_known().unwrap_or_default()))
}

async fn put_until_known(job: &Job, key: &str, source: &Source, options: &PutOptions) -> Result<()> {
    let mut puts = 1;
    loop {
        match job.client.put_from(key, source, options).await {
            Ok(_) => return Ok(()),
            Err(Error::Unknown { .. } | Error::Damaged { .. }) if puts < PUTS_MAX => {
                sleep(PUT_PAUSE * puts).await;
                puts += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Does it, and looks now and then, and at the end, how far it is.
async fn watched<T>(work: impl Future<Output = T>, look: impl Fn()) -> T {
    let mut work = pin!(work);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            done = &mut work => {
                look();
                return done;
            }
            _ = looks.tick() => look(),
        }
    }
}
