//! Out of the cluster: each object that is not there as a file with the same MD5 is written beside its place and renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{Stream, StreamExt, stream};
use hayrick_client::{Error, GetOptions, ListOptions, Listed, ListedObject};
use md5::{Digest, Md5};
use tokio::sync::mpsc;

use super::tree::Tree;
use super::{AHEAD_MAX, Copied, Job, as_directory, on_thread};
use crate::commands::progress::Moving;
use crate::commands::save::{Beside, dir_of, sync_dir, sync_dir_of};

/// So much of a file is gathered before a thread writes it.
const WRITE_BYTES: usize = 256 << 10;

pub(super) async fn copy(job: &Job, from: &str, to: &Path) -> Result<()> {
    if !job.recursive {
        return copy_one(job, from, to).await;
    }
    let (prefix, to) = (as_directory(from), to.to_owned());
    let tree = Arc::new(on_thread(move || Tree::at(&to)).await?);
    let copied = job.copy_all(copies(job, prefix.clone(), tree)).await;
    // Also of what was copied before it was given up.
    let dirs = std::mem::take(&mut job.tally.borrow_mut().written_to);
    on_thread(move || {
        dirs.iter().try_for_each(|dir| {
            sync_dir(dir).with_context(|| format!("cannot write the directory {}", dir.display()))
        })
    })
    .await?;
    // A cluster may be empty; a name behind which there is nothing is a mistake.
    if copied.is_ok() && !job.found.get() && !prefix.is_empty() {
        return Err(Error::NotFound { key: prefix }.into());
    }
    copied
}

async fn copy_one(job: &Job, key: &str, to: &Path) -> Result<()> {
    ensure!(!key.is_empty(), "name a key behind hay:, or copy all of them with -r");
    let meta = job.client.head(key).await?;
    let dir_wanted = to.as_os_str().as_encoded_bytes().ends_with(b"/");
    let (dir, name) = if to.is_dir() || dir_wanted {
        (to.to_owned(), key.rsplit('/').next().unwrap_or(key).to_owned())
    } else {
        let name = to.file_name().with_context(|| format!("{} names no file", to.display()))?;
        let name = name.to_str().context("the name of the file is not UTF-8; hayrick get -o takes any")?;
        (dir_of(to).to_owned(), name.to_owned())
    };
    let tree = on_thread(move || Tree::at(&dir)).await?;
    let path = tree.path_of(&name)?;
    job.progress.counter().add(meta.size_bytes);
    let object = Wanted { key: key.to_owned(), size: meta.size_bytes, etag: meta.etag };
    get(job, object, Arc::new(tree), path.clone()).await?;
    on_thread(move || Ok(sync_dir_of(&path)?)).await
}

/// An object that is to be copied.
#[derive(Clone)]
struct Wanted {
    key: String,
    size: u64,
    etag: String,
}

/// Lists ahead of what is copied.
fn list(job: &Job, prefix: &str) -> mpsc::Receiver<Result<Listed<ListedObject>, Error>> {
    let (found, receiver) = mpsc::channel(AHEAD_MAX);
    let (mut objects, counted) =
        (job.client.list_all_with(prefix, &ListOptions::default()), job.progress.counter());
    tokio::spawn(async move {
        while let Some(object) = objects.next().await {
            if let Ok(Listed::Key(ListedObject { size, .. })) = &object {
                counted.add(*size);
            }
            if found.send(object).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// What is to be done for each that is listed.
fn copies<'a>(
    job: &'a Job,
    prefix: String,
    tree: Arc<Tree>,
) -> impl Stream<Item = Result<impl Future<Output = Result<()>> + 'a>> + 'a {
    let first = (list(job, &prefix), Above::default());
    stream::try_unfold(first, move |(mut listed, mut above)| {
        let (prefix, tree) = (prefix.clone(), Arc::clone(&tree));
        async move {
            while let Some(line) = listed.recv().await {
                // Prefixes come with a delimiter only.
                let Listed::Key(ListedObject { key, size, etag, .. }) = line? else { continue };
                job.found.set(true);
                let name = key.strip_prefix(&prefix).unwrap_or(&key);
                match above.check(name).and_then(|()| tree.path_of(name)) {
                    Ok(path) => {
                        let copy = get(job, Wanted { key, size, etag }, tree, path);
                        return Ok(Some((copy, (listed, above))));
                    }
                    Err(why) => {
                        drop(job.progress.begin(size));
                        job.note(&key, Err(why))?;
                    }
                }
            }
            Ok(None)
        }
    })
}

/// The names of files that the one which is listed next may lie below.
#[derive(Default)]
struct Above(Vec<String>);

impl Above {
    /// In the order of the keys: all between `a` and `a/b` begin with `a`.
    fn check(&mut self, name: &str) -> Result<()> {
        while self.0.last().is_some_and(|last| !name.starts_with(last.as_str())) {
            self.0.pop();
        }
        let below = |file: &&String| name[file.len()..].starts_with('/');
        if let Some(file) = self.0.iter().find(below) {
            bail!("{file:?} is a key, too: a file cannot be a directory as well");
        }
        self.0.push(name.to_owned());
        Ok(())
    }
}

async fn get(job: &Job, object: Wanted, tree: Arc<Tree>, path: PathBuf) -> Result<()> {
    let moving = job.progress.begin(object.size);
    let end = get_unless(job, &object, tree, &path, &moving).await;
    drop(moving);
    job.note(&object.key, end)
}

async fn get_unless(
    job: &Job,
    object: &Wanted,
    tree: Arc<Tree>,
    path: &Path,
    moving: &Moving<'_>,
) -> Result<Copied> {
    let (wanted, at) = (object.clone(), path.to_owned());
    let beside = on_thread(move || {
        tree.make_way_to(&at)?;
        if is_there(&wanted, &at)? {
            return Ok(None);
        }
        Ok(Some(Beside::new(&at).context("cannot write it")?))
    });
    let Some(mut beside) = beside.await? else { return Ok(Copied::Already) };
    let options = GetOptions { verify: true, ..GetOptions::default() };
    let mut chunks = job.client.get_with(&object.key, &options).await?.stream();
    let (mut size_bytes, mut gathered) = (0, Vec::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        size_bytes += chunk.len() as u64;
        moving.has_moved(size_bytes);
        gathered.extend_from_slice(&chunk);
        if gathered.len() >= WRITE_BYTES {
            beside = written(beside, std::mem::take(&mut gathered)).await?;
        }
    }
    on_thread(move || {
        beside.file().write_all(&gathered).context("cannot write it")?;
        beside.replace().context("cannot write it")
    })
    .await?;
    job.tally.borrow_mut().written_to.insert(dir_of(path).to_owned());
    Ok(Copied::Whole(size_bytes))
}

/// A disk that hangs holds up this file, and none of those that are read meanwhile.
async fn written(mut beside: Beside, bytes: Vec<u8>) -> Result<Beside> {
    on_thread(move || {
        beside.file().write_all(&bytes).context("cannot write it")?;
        Ok(beside)
    })
    .await
}

/// Whether the file has these bytes already; a link is none.
fn is_there(object: &Wanted, path: &Path) -> Result<bool> {
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).context("cannot be compared"),
    };
    ensure!(!about.is_dir(), "{} is a directory", path.display());
    if !about.is_file() || about.len() != object.size {
        return Ok(false);
    }
    let mut hash = Md5::new();
    let mut file = File::open(path).context("cannot be compared")?;
    io::copy(&mut file, &mut hash).context("cannot be compared")?;
    Ok(object.etag == hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_lie_below_a_file_is_found_however_many_keys_are_between() {
        let names = ["a", "a!", "a-b", "a-b/c", "a/b", "a/b/c", "ab", "b/c", "b/c/d", "b/d"];
        assert!(names.is_sorted());
        let mut above = Above::default();
        let refused: Vec<&str> = names.into_iter().filter(|name| above.check(name).is_err()).collect();
        assert_eq!(refused, ["a-b/c", "a/b", "a/b/c", "b/c/d"]);
    }
}
