//! While one client pages through all keys, over and over, those beside it store and read as if it were not there.
//!
//! `HAYRICK_OBJECTS=1000000` makes it a million (`make soak-list`).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use hayrick_client::{Client, ListOptions, ListedObject};
use hayrick_integration_tests::{cluster, figure};
use tokio::sync::watch;
use tokio::time::Instant;

const OBJECTS: usize = 20_000;
const PUTS_TOGETHER: usize = 64;
/// The longest page there is.
const LIMIT: usize = 10_000;
/// PUTs and GETs of each kind that are measured.
const ROUNDS: usize = 300;
/// What one of a hundred of them may take; a failure is three times that.
const PUT_AIM: Duration = Duration::from_millis(200);
const GET_AIM: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_pages_through_all_keys_holds_nobody_up() -> Result<()> {
    let objects = std::env::var("HAYRICK_OBJECTS").ok().map(|objects| objects.parse()).transpose()?;
    let objects: usize = objects.unwrap_or(OBJECTS);
    let cluster = cluster::start(3).await?;
    let any = cluster::client_any(&cluster)?;
    let begun = Instant::now();
    stream::iter(0..objects)
        .map(|number| {
            let any = any.clone();
            async move { any.put(&key(number), "x").await.with_context(|| key(number)) }
        })
        .buffer_unordered(PUTS_TOGETHER)
        .try_for_each(async |_| Ok(()))
        .await?;
    figure::say(&format!("{objects} objects were stored in {:.1?}", begun.elapsed()));

    // All at one master, which lists and serves.
    let client = cluster::client(&[cluster.master(1).http_addr().to_string()])?;
    let quiet = measure(&client, "quiet", objects, || true).await?;
    let (pages, paged) = watch::channel(0);
    let lister = tokio::spawn(list(client.clone(), objects, pages));
    // Until it has seen all of them.
    let all = objects.div_ceil(LIMIT);
    let is_over = || *paged.borrow() >= all || lister.is_finished();
    let beside = measure(&client, "beside", objects, is_over).await?;
    if lister.is_finished() {
        lister.await??;
        anyhow::bail!("the list came to an end");
    }
    lister.abort();
    figure::say(&format!("{} pages were listed meanwhile", *paged.borrow()));
    for (what, quiet, beside, aim) in
        [("PUT", quiet.puts, beside.puts, PUT_AIM), ("GET", quiet.gets, beside.gets, GET_AIM)]
    {
        let ((in_peace, _), (p99, longest)) = (p99_and_longest(quiet), p99_and_longest(beside));
        figure::say(&format!("{what}: p99 {p99:.1?}, longest {longest:.1?}; in peace p99 {in_peace:.1?}"));
        figure::at_most(&format!("p99 of {what} beside a list of {objects} keys"), p99, aim)?;
    }
    cluster::no_panics(&cluster)
}

fn key(number: usize) -> String {
    format!("list/{number:09}")
}

/// Pages through all keys again and again, with and without details in turns, and counts the pages.
async fn list(client: Client, objects: usize, pages: watch::Sender<usize>) -> Result<()> {
    let limit = Some(u32::try_from(LIMIT)?);
    for round in 0.. {
        let (mut start, mut seen) = (String::new(), 0);
        loop {
            let options = ListOptions { start: Some(start), limit, ..ListOptions::default() };
            let (keys, next) = if round % 2 == 0 {
                let page = client.list("list/", &options).await?;
                (page.keys, page.next)
            } else {
                let page = client.list_objects("list/", &options).await?;
                (page.keys.into_iter().map(|object: ListedObject| object.key).collect(), page.next)
            };
            for found in keys {
                ensure!(found == key(seen), "{found} is listed in place of {}", key(seen));
                seen += 1;
            }
            pages.send_modify(|pages| *pages += 1);
            if next.is_empty() {
                break;
            }
            start = next;
        }
        ensure!(seen == objects, "{seen} of {objects} are listed");
    }
    Ok(())
}

/// How long requests took.
#[derive(Default)]
struct Took {
    puts: Vec<Duration>,
    gets: Vec<Duration>,
}

/// So many PUTs and GETs, and more until it is over.
async fn measure(client: &Client, prefix: &str, objects: usize, is_over: impl Fn() -> bool) -> Result<Took> {
    let mut took = Took::default();
    let mut number = 0;
    while number < ROUNDS || !is_over() {
        let begun = Instant::now();
        client.put(&format!("{prefix}/{number}"), "x").await?;
        took.puts.push(begun.elapsed());
        let begun = Instant::now();
        // Spread over all of them: a prime apart.
        let read = client.get(&key(number * 7919 % objects)).await?.bytes().await?;
        took.gets.push(begun.elapsed());
        ensure!(read == "x", "other bytes");
        number += 1;
    }
    Ok(took)
}

fn p99_and_longest(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort_unstable();
    let at = |index: usize| took.get(index).copied().unwrap_or_default();
    (at(took.len() * 99 / 100), at(took.len().saturating_sub(1)))
}
