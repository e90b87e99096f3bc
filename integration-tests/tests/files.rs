//! Claim 1: files of all sizes come back byte for byte, through every master; overwritten, listed, deleted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use futures_util::{TryStreamExt, stream};
use hayrick_client::{ByteRange, Client, Error, GetOptions, ListOptions, PutOptions};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::{cluster, ledger, picture};
use rand::Rng;

const FILES: usize = 1000;
const PICTURES: usize = 40;
/// The largest files: 8 MiB, the last of them exactly.
const HUGE: usize = 10;
const LARGE: usize = 60;
const HUGE_BYTES: usize = 8 << 20;
const LARGE_BYTES_MAX: usize = 1 << 20;
const SMALL_BYTES_MAX: usize = 64 << 10;
const AT_ONCE: usize = 3;

struct Stored {
    key: String,
    path: PathBuf,
    content_type: &'static str,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_files_come_back_byte_for_byte_through_every_master() -> Result<()> {
    let seed = content::seed("files");
    let cluster = cluster::start(4).await?;
    let clients = cluster::client_each(&cluster)?;
    let dir = tempfile::tempdir()?;
    let files = make_files(dir.path(), seed)?;

    put_all(&clients, &files, true).await?;
    for client in &clients {
        read_all(client, &files).await?;
    }

    overwrite_some(&clients, &files, seed).await?;
    let left = delete_some(&clients, &files).await?;
    for client in &clients {
        list_is(client, &left).await?;
        read_all(client, left.values().copied()).await?;
    }
    ranges_are_cut_out(&clients[0], &files[FILES - 1]).await?;
    cluster::no_panics(&cluster)
}

/// Real files on disk: pictures, and random bytes from 1 B to 8 MiB.
fn make_files(dir: &Path, seed: u64) -> Result<Vec<Stored>> {
    let mut rng = content::rng(seed, 0);
    let mut files = Vec::new();
    for number in 0..FILES {
        let (name, content_type, bytes) = if number < PICTURES {
            let side = rng.random_range(8..200);
            let picture = picture::png(side, side, rng.random());
            (format!("photos/{number:03} – näher.png"), "image/png", picture)
        } else {
            let left = FILES - number;
            let size_bytes = if number == PICTURES {
                1
            } else if left <= HUGE {
                HUGE_BYTES - (left - 1) * 1001
            } else if left <= LARGE {
                rng.random_range(1..=LARGE_BYTES_MAX)
            } else {
                Content::random(&mut rng, SMALL_BYTES_MAX).size_bytes.max(1)
            };
            let content = Content { seed: rng.random(), size_bytes };
            (
                format!("files/{}/{number:04}", number % 7),
                "application/octet-stream",
                content.bytes().to_vec(),
            )
        };
        let path = dir.join(format!("{number:04}"));
        std::fs::write(&path, bytes)?;
        files.push(Stored { key: name, path, content_type });
    }
    Ok(files)
}

/// Puts every file through the masters in turn.
async fn put_all(clients: &[Client], files: &[Stored], is_new: bool) -> Result<()> {
    stream::iter(files.iter().enumerate().map(Ok))
        .try_for_each_concurrent(AT_ONCE, async |(number, file)| {
            let client = &clients[number % clients.len()];
            let bytes = tokio::fs::read(&file.path).await?;
            let content_type = Some(file.content_type.to_owned());
            let options = PutOptions { content_type, ..PutOptions::default() };
            let outcome = client.put_with(&file.key, bytes, &options).await.context(file.key.clone())?;
            ensure!(outcome.created == is_new, "{}: created is {}", file.key, outcome.created);
            ensure!(outcome.etag.len() == 32, "{}: the ETag {:?} is no MD5", file.key, outcome.etag);
            Ok(())
        })
        .await
}

async fn read_all<'a>(client: &Client, files: impl IntoIterator<Item = &'a Stored>) -> Result<()> {
    stream::iter(files.into_iter().map(Ok))
        .try_for_each_concurrent(AT_ONCE, async |file| {
            let expected = tokio::fs::read(&file.path).await?;
            let object = client.get(&file.key).await.context(file.key.clone())?;
            let meta = object.meta().clone();
            ensure!(meta.content_type == file.content_type, "{}: {}", file.key, meta.content_type);
            ensure!(meta.size_bytes == expected.len() as u64, "{}: {}", file.key, meta.size_bytes);
            ensure!(object.bytes().await? == expected, "{}: other bytes came back", file.key);
            let head = client.head(&file.key).await.context(file.key.clone())?;
            ensure!(
                (head.etag, head.size_bytes) == (meta.etag, meta.size_bytes),
                "{}: HEAD differs",
                file.key
            );
            Ok(())
        })
        .await
}

/// Overwrites every fifth file, with other bytes and through another master.
async fn overwrite_some(clients: &[Client], files: &[Stored], seed: u64) -> Result<()> {
    let mut rng = content::rng(seed, 1);
    for (number, file) in files.iter().enumerate().step_by(5) {
        let content = Content::random(&mut rng, SMALL_BYTES_MAX);
        std::fs::write(&file.path, content.bytes())?;
        let options =
            PutOptions { content_type: Some(file.content_type.to_owned()), ..PutOptions::default() };
        let outcome =
            clients[(number + 1) % clients.len()].put_with(&file.key, content.bytes(), &options).await?;
        ensure!(!outcome.created, "{}: was there, yet it says created", file.key);
        for client in clients {
            let read = ledger::read(client, &file.key).await?;
            ensure!(read.as_deref() == Some(&content.bytes()[..]), "{}: not the new bytes", file.key);
        }
    }
    Ok(())
}

/// Deletes every seventh file; what is left, by key.
async fn delete_some<'a>(clients: &[Client], files: &'a [Stored]) -> Result<BTreeMap<String, &'a Stored>> {
    let mut left: BTreeMap<String, &Stored> = files.iter().map(|file| (file.key.clone(), file)).collect();
    for (number, file) in files.iter().enumerate().step_by(7) {
        clients[number % clients.len()].delete(&file.key).await?;
        left.remove(&file.key);
        for client in clients {
            ensure!(ledger::read(client, &file.key).await?.is_none(), "{}: deleted, yet read", file.key);
        }
        let again = clients[(number + 1) % clients.len()].delete(&file.key).await;
        ensure!(matches!(again, Err(Error::NotFound { .. })), "{}: deleted twice: {again:?}", file.key);
    }
    Ok(left)
}

async fn list_is(client: &Client, left: &BTreeMap<String, &Stored>) -> Result<()> {
    let expected: Vec<&String> = left.keys().collect();
    let all: Vec<String> = client.list_all("").try_collect().await?;
    ensure!(all.iter().eq(expected.iter().copied()), "the list has {} of {} keys", all.len(), expected.len());

    let mut start = None;
    let mut paged = Vec::new();
    loop {
        let page = client
            .list("files/3/", &ListOptions { limit: Some(13), start, ..ListOptions::default() })
            .await?;
        ensure!(page.keys.len() <= 13, "a page of {} keys", page.keys.len());
        paged.extend(page.keys);
        if page.next.is_empty() {
            break;
        }
        start = Some(page.next);
    }
    let expected: Vec<&String> = left.keys().filter(|key| key.starts_with("files/3/")).collect();
    ensure!(paged.iter().eq(expected.iter().copied()), "pages: {paged:?}, expected {expected:?}");
    Ok(())
}

async fn ranges_are_cut_out(client: &Client, file: &Stored) -> Result<()> {
    let whole = tokio::fs::read(&file.path).await?;
    let len = whole.len();
    let cases = [
        (ByteRange::Closed(0, 0), 0..1),
        (ByteRange::Closed(65_530, 131_080), 65_530..131_081),
        (ByteRange::From(len as u64 - 5), len - 5..len),
        (ByteRange::Last(70_000), len - 70_000..len),
        (ByteRange::Closed(len as u64 - 2, u64::MAX / 2), len - 2..len),
    ];
    for (range, expected) in cases {
        let options = GetOptions { range: Some(range), ..GetOptions::default() };
        let bytes = client.get_with(&file.key, &options).await?.bytes().await?;
        ensure!(bytes == whole[expected], "{range:?}: {} other bytes", bytes.len());
    }
    let options = GetOptions { range: Some(ByteRange::From(len as u64)), ..GetOptions::default() };
    let beyond = client.get_with(&file.key, &options).await;
    ensure!(matches!(beyond, Err(Error::Refused { status: 416, .. })), "beyond the end: {beyond:?}");
    Ok(())
}
