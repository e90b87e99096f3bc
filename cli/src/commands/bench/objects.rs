//! The objects of one run: where they lie, what they hold, and how they come and go.
//!
//! All hold the same bytes, drawn by lot, so that many clients with large objects need the memory of one; what is read is
//! compared with them as it comes. Invariants: every key that was ever sent begins with the prefix of the run and a number below
//! the next one, so what was put is known without a list of it; and nothing is removed before all PUTs have ended, so that what is
//! not there then comes no more, but for those of unknown outcome, which are remembered.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hayrick_client::{BuildError, Client, Error, PutOptions, Source};
use rand::RngCore;

use super::failure::{Failed, Failure};
use crate::commands::interrupt::Interrupt;
use crate::commands::teller::Teller;
use crate::output;

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
    /// Those whose PUT may happen yet.
    unknown: Mutex<BTreeSet<u64>>,
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
    /// Puts the first one, of which is known then that all can be put, and which ETag they have. Unlike those that are measured it
    /// is sent again where it is refused for a moment: a run may begin while a leader is elected.
    pub(super) async fn begin(clients: Vec<Client>, prefix: String, size: usize) -> Result<Self> {
        let mut bytes = vec![0; size];
        rand::rng().fill_bytes(&mut bytes);
        let bytes = Bytes::from(bytes);
        let first = clients.first().context("there is no master to ask")?;
        let first = Client::new(first.masters().iter().cloned())?;
        let source = Source::bytes(bytes.clone()).await;
        let key = key(&prefix, 0);
        let put = first.put_from(&key, &source, &PutOptions::default()).await;
        if let Err(Error::Unknown { .. } | Error::Damaged { .. }) = put {
            let left =
                format!("if the first object is there, or comes yet, `hayrick rm -r {prefix}` removes it");
            output::noted(&left);
        }
        let etag = put.with_context(|| format!("the first object, {key}, could not be put"))?.etag;
        let (content, unknown) = (Content { bytes, etag }, Mutex::default());
        Ok(Self { clients, prefix, content, source, next: AtomicU64::new(1), unknown })
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
        let gave_up = AtomicBool::new(false);
        let puts = missing.map(async |number| {
            let put = async || match interrupt.has_come() || gave_up.load(Ordering::Relaxed) {
                true => Ok(false),
                false => self.put(number as usize, number).await.map(|()| true),
            };
            tried(PAUSE, put).await
        });
        let mut puts = stream::iter(puts).buffer_unordered(at_once);
        let (mut done, mut first_failed) = (1, None);
        // To the last one, also where it ends early: no PUT is left behind that could come after its DELETE.
        while let Some(put) = puts.next().await {
            match put {
                Ok(was_put) => done += u64::from(was_put),
                Err(failed) => {
                    gave_up.store(true, Ordering::Relaxed);
                    first_failed.get_or_insert(failed.words);
                }
            }
            teller.tell("putting what is to be read", || format!("{done} of {count} objects"));
        }
        match first_failed {
            Some(words) => bail!("the objects that are to be read could not be put: {words}"),
            None => Ok(()),
        }
    }

    /// Removes all of them; gives up when one cannot be removed.
    pub(super) async fn remove(&self, at_once: usize, teller: &mut Teller) -> Removal {
        let count = self.count();
        let deletes = (0..count).map(async |number| tried(PAUSE, async || self.delete(number).await).await);
        let mut deletes = stream::iter(deletes).buffer_unordered(at_once);
        let mut removal = Removal { left: count, ..Removal::default() };
        let mut may_come = 0;
        while let Some(deleted) = deletes.next().await {
            match deleted {
                Ok(Deleted::MayCome) => may_come += 1,
                Ok(found) => {
                    removal.left -= 1;
                    removal.removed += u64::from(found == Deleted::WasThere);
                }
                Err(failed) => {
                    removal.why = Some(failed.words);
                    return removal;
                }
            }
            teller.tell("removing", || format!("{} of {count} objects", count - removal.left + may_come));
        }
        if may_come > 0 {
            removal.why = Some("the outcome of their PUTs is not known, and they may come yet".to_owned());
        }
        removal
    }

    async fn delete(&self, number: u64) -> Result<Deleted, Failed> {
        match self.client(number as usize).delete(&key(&self.prefix, number)).await {
            Ok(()) => Ok(Deleted::WasThere),
            Err(Error::NotFound { .. }) if self.unknown().contains(&number) => Ok(Deleted::MayCome),
            // Its PUT failed, or a DELETE that was answered with an error happened all the same.
            Err(Error::NotFound { .. }) => Ok(Deleted::WasNot),
            Err(error) => Err(error.into()),
        }
    }

    async fn put(&self, client: usize, number: u64) -> Result<(), Failed> {
        let key = key(&self.prefix, number);
        // It compares the ETag of the answer with the MD5 of the bytes.
        let put = self.client(client).put_from(&key, &self.source, &PutOptions::default()).await;
        if put.as_ref().is_err_and(Error::is_unknown) {
            self.unknown().insert(number);
        }
        put?;
        Ok(())
    }

    fn unknown(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, number: usize) -> &Client {
        &self.clients[number % self.clients.len()]
    }
}

/// What a DELETE found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deleted {
    WasThere,
    WasNot,
    /// It was not, but its PUT may happen yet.
    MayCome,
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
        let (prefix, unknown) = ("bench/".to_owned(), Mutex::default());
        Self { clients, prefix, content, source, next: AtomicU64::new(0), unknown }
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
