//! The objects of one run: where they lie, what they hold, and how they come and go.
//!
//! All hold the same bytes, drawn by lot, so that many clients with large objects need the memory of one; what is read is
//! compared with them as it comes. Invariant: every key that was ever sent begins with the prefix of the run and a number below
//! the next one, so what was put is known without a list of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hayrick_client::{BuildError, Client, Error, PutOptions, Source};
use rand::RngCore;

use super::failure::{Failed, Failure};
use super::interrupt::Interrupt;
use super::teller::Teller;

/// How often something is tried that has to succeed, ...
const ATTEMPTS: usize = 10;
/// ... and the pause before it is tried again: a new leader is elected meanwhile.
const PAUSE: Duration = Duration::from_millis(500);

/// What an object holds.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    pub(super) etag: String,
}

/// The objects of one run.
#[derive(Debug)]
pub(super) struct Objects {
    /// One for each master that is asked first.
    clients: Vec<Client>,
    prefix: String,
    content: Content,
    /// The same, with what every PUT says of it.
    source: Source,
    next: AtomicU64,
}

/// What became of the objects at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) removed: u64,
    /// May be there still.
    pub(super) left: u64,
    /// Why something is left.
    pub(super) why: Option<String>,
}

/// Clients of these masters: each begins with another one. They ask each master once, so that a refusal is seen as one, and not
/// as a request that took longer.
pub(super) fn clients(masters: &[String]) -> Result<Vec<Client>, BuildError> {
    // An empty list is for the client to refuse.
    let turns = 0..masters.len().max(1);
    let client = |turn| {
        let masters = masters.iter().cycle().skip(turn).take(masters.len());
        Client::builder(masters).patience(Duration::ZERO).build()
    };
    turns.map(client).collect()
}

/// The prefix of a run that no other has.
pub(super) fn prefix_of_run(prefix: &str) -> String {
    format!("{prefix}{:016x}/", rand::rng().next_u64())
}

impl Objects {
    /// Puts the first one, of which is known then that all can be put, and which ETag they have.
    pub(super) async fn begin(clients: Vec<Client>, prefix: String, size: usize) -> Result<Self> {
        let mut bytes = vec![0; size];
        rand::rng().fill_bytes(&mut bytes);
        let bytes = Bytes::from(bytes);
        let first = clients.first().context("there is no master to ask")?;
        let source = Source::bytes(bytes.clone()).await;
        let key = key(&prefix, 0);
        let put = first.put_from(&key, &source, &PutOptions::default()).await;
        let etag = put.with_context(|| format!("the first object, {key}, could not be put"))?.etag;
        Ok(Self { clients, prefix, content: Content { bytes, etag }, source, next: AtomicU64::new(1) })
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// How many may be there.
    pub(super) fn count(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Puts one more.
    pub(super) async fn put_next(&self, client: usize) -> Result<(), Failed> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.put(client, number).await
    }

    /// Reads one of those that are there.
    pub(super) async fn get(&self, client: usize, number: u64) -> Result<(), Failed> {
        read(self.client(client), &key(&self.prefix, number), &self.content).await
    }

    /// Puts objects until there are so many, or it is interrupted.
    pub(super) async fn fill(
        &self,
        count: u64,
        at_once: usize,
        interrupt: &Interrupt,
        teller: &mut Teller,
    ) -> Result<()> {
        let missing = self.count()..count;
        self.next.fetch_max(count, Ordering::Relaxed);
        let puts =
            missing.map(async |number| tried(PAUSE, async || self.put(number as usize, number).await).await);
        let mut puts = stream::iter(puts).buffer_unordered(at_once);
        let mut done = 1;
        while let Some(put) = puts.next().await {
            if let Err(failed) = put {
                bail!("the objects that are to be read could not be put: {}", failed.words);
            }
            if interrupt.has_come() {
                return Ok(());
            }
            done += 1;
            teller.tell("putting what is to be read", || format!("{done} of {count} objects"));
        }
        Ok(())
    }

    /// Removes all of them; gives up when one cannot be removed.
    pub(super) async fn remove(&self, at_once: usize, teller: &mut Teller) -> Removal {
        let count = self.count();
        let deletes = (0..count).map(async |number| {
            tried(PAUSE, async || {
                match self.client(number as usize).delete(&key(&self.prefix, number)).await {
                    Ok(()) => Ok(true),
                    // Its PUT failed, or a DELETE that was answered with an error happened all the same.
                    Err(Error::NotFound { .. }) => Ok(false),
                    Err(error) => Err(error.into()),
                }
            })
            .await
        });
        let mut deletes = stream::iter(deletes).buffer_unordered(at_once);
        let mut removal = Removal { left: count, ..Removal::default() };
        while let Some(deleted) = deletes.next().await {
            match deleted {
                Ok(was_there) => {
                    removal.left -= 1;
                    removal.removed += u64::from(was_there);
                }
                Err(failed) => {
                    removal.why = Some(failed.words);
                    return removal;
                }
            }
            teller.tell("removing", || format!("{} of {count} objects", count - removal.left));
        }
        removal
    }

    async fn put(&self, client: usize, number: u64) -> Result<(), Failed> {
        let key = key(&self.prefix, number);
        // It compares the ETag of the answer with the MD5 of the bytes.
        self.client(client).put_from(&key, &self.source, &PutOptions::default()).await?;
        Ok(())
    }

    fn client(&self, number: usize) -> &Client {
        &self.clients[number % self.clients.len()]
    }
}

fn key(prefix: &str, number: u64) -> String {
    format!("{prefix}{number}")
}

/// Reads an object and compares it with what it must hold.
pub(super) async fn read(client: &Client, key: &str, content: &Content) -> Result<(), Failed> {
    let object = client.get(key).await?;
    if object.meta().etag != content.etag {
        return Err(wrong("another ETag than that of what was put"));
    }
    let mut chunks = object.stream();
    let mut rest = content.bytes.as_ref();
    while let Some(chunk) = chunks.next().await {
        rest = rest.strip_prefix(chunk?.as_ref()).ok_or_else(|| wrong("other bytes than were put"))?;
    }
    if rest.is_empty() { Ok(()) } else { Err(wrong("fewer bytes than were put")) }
}

fn wrong(words: &str) -> Failed {
    Failed { failure: Failure::Wrong, words: words.to_owned() }
}

/// Does it until it succeeds, or has failed often enough. To put the same bytes, or to delete, twice does no harm here.
async fn tried<T>(pause: Duration, work: impl AsyncFn() -> Result<T, Failed>) -> Result<T, Failed> {
    for _ in 1..ATTEMPTS {
        match work().await {
            Err(Failed { failure: Failure::Refused | Failure::Unknown | Failure::NoAnswer, .. }) => {
                tokio::time::sleep(pause).await;
            }
            ended => return ended,
        }
    }
    work().await
}

#[cfg(test)]
impl Objects {
    /// None that was put.
    pub(super) async fn of_nobody(clients: Vec<Client>) -> Self {
        let content = Content { bytes: Bytes::new(), etag: String::new() };
        let source = Source::bytes(Bytes::new()).await;
        Self { clients, prefix: "bench/".to_owned(), content, source, next: AtomicU64::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_begins_with_another_master() {
        let masters = ["a:1", "b:1", "c:1"].map(str::to_owned);
        let clients = clients(&masters).expect("addresses");
        let order: Vec<String> = clients.iter().map(|client| client.masters().join(" ")).collect();
        assert_eq!(order, ["a:1 b:1 c:1", "b:1 c:1 a:1", "c:1 a:1 b:1"]);
        assert!(super::clients(&[]).is_err() && super::clients(&["a".to_owned()]).is_err());
    }

    #[test]
    fn two_runs_have_two_prefixes() {
        let (one, other) = (prefix_of_run("bench/"), prefix_of_run("bench/"));
        assert!(one != other && one.starts_with("bench/") && one.ends_with('/'), "{one} {other}");
    }

    #[tokio::test]
    async fn what_fails_for_a_moment_is_tried_again_and_what_is_wrong_is_not() {
        let calls = AtomicU64::new(0);
        let failing = async |times: u64, failure: Failure| {
            calls.store(0, Ordering::Relaxed);
            let ended = tried(Duration::ZERO, async || match calls.fetch_add(1, Ordering::Relaxed) < times {
                true => Err(Failed { failure, words: String::new() }),
                false => Ok(()),
            })
            .await;
            (ended.is_ok(), calls.load(Ordering::Relaxed))
        };
        assert_eq!(failing(3, Failure::Refused).await, (true, 4));
        assert_eq!(failing(100, Failure::NoAnswer).await, (false, ATTEMPTS as u64));
        assert_eq!(failing(100, Failure::Wrong).await, (false, 1));
    }
}
