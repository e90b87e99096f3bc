//! A load of clients that write, read and delete, and keep a ledger of every answer.
//!
//! Each client is bound to one master, so that it shows what a user of that master sees, and owns its keys; or it only reads
//! keys that nobody writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::{Client, Error};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::content::{Content, rng};
use crate::ledger::{Ledger, Possible, read};
use crate::wait;

/// The largest object of the load.
const SIZE_BYTES_MAX: usize = 64 * 1024;
/// How long a client waits after a refusal: it would only ask the same again.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    started: Instant,
    /// Successful PUTs so far, by master.
    successes: Arc<[AtomicU64]>,
    tasks: JoinSet<Worker>,
}

/// What a load saw.
pub struct Report {
    /// What each key may hold.
    pub ledger: Ledger,
    /// Every successful PUT: when, and through which master (its place in the list).
    pub puts: Vec<(Instant, usize)>,
    /// Every failed request: when, through which master, what.
    pub failures: Vec<Failure>,
    /// Every request, failed or not.
    pub requests: Vec<Request>,
    /// When it began and ended.
    pub span: (Instant, Instant),
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A new object, or an overwrite.
    Put,
    /// An object's bytes.
    Get,
    /// A delete.
    Delete,
}

/// A request and how long it took.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// What it was.
    pub verb: Verb,
    /// When it was sent.
    pub at: Instant,
    /// Through which master (its place in the list).
    pub master: usize,
    /// How long it took.
    pub took: Duration,
}

/// A request that failed.
#[derive(Debug)]
pub struct Failure {
    /// When the answer came.
    pub at: Instant,
    /// Through which master (its place in the list).
    pub master: usize,
    /// Whether it was a read.
    pub is_read: bool,
    /// What it said.
    pub message: String,
}

struct Worker {
    /// Its own keys begin with this.
    prefix: String,
    master: usize,
    client: Client,
    rng: StdRng,
    successes: Arc<[AtomicU64]>,
    only_reads: bool,
    ledger: Ledger,
    puts: Vec<(Instant, usize)>,
    failures: Vec<Failure>,
    requests: Vec<Request>,
    /// Answers that no history allows.
    wrong: Vec<String>,
}

impl Load {
    /// Starts `count` clients, spread over the given ones, each of which asks one master.
    pub fn start(clients: &[Client], count: usize, seed: u64) -> Self {
        Self::of(clients, (0..count).map(|number| (format!("load/{seed:x}/{number}/"), None)), seed)
    }

    /// Starts `count` clients that only read what [`fill`](crate::ledger::fill) put under `prefix`.
    pub fn reads(clients: &[Client], count: usize, prefix: &str, ledger: &Ledger, seed: u64) -> Self {
        Self::of(clients, (0..count).map(|_| (format!("{prefix}/"), Some(ledger.clone()))), seed)
    }

    /// One client for each of these: what its keys begin with, and what they hold if it is only to read.
    fn of(clients: &[Client], workers: impl Iterator<Item = (String, Option<Ledger>)>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let successes: Arc<[AtomicU64]> = clients.iter().map(|_| AtomicU64::new(0)).collect();
        let mut tasks = JoinSet::new();
        for (number, (prefix, readable)) in workers.enumerate() {
            let master = number % clients.len();
            let worker = Worker {
                prefix,
                master,
                client: clients[master].clone(),
                rng: rng(seed, number as u64),
                successes: Arc::clone(&successes),
                only_reads: readable.is_some(),
                ledger: readable.unwrap_or_default(),
                puts: Vec::new(),
                failures: Vec::new(),
                requests: Vec::new(),
                wrong: Vec::new(),
            };
            tasks.spawn(worker.run(Arc::clone(&stop)));
        }
        Self { stop, started: Instant::now(), successes, tasks }
    }

    /// Waits until each of these masters has taken `count` more PUTs.
    ///
    /// # Errors
    /// When they have not after `timeout`.
    pub async fn more_puts(&self, count: u64, masters: &[usize], timeout: Duration) -> Result<()> {
        let before = self.puts(masters);
        wait::until(&format!("each of the masters {masters:?} took {count} PUTs"), timeout, async || {
            let now = self.puts(masters);
            ensure!(
                now.iter().zip(&before).all(|(now, before)| *now >= before + count),
                "{before:?} → {now:?}"
            );
            Ok(())
        })
        .await
    }

    fn puts(&self, masters: &[usize]) -> Vec<u64> {
        masters.iter().map(|master| self.successes[*master].load(Ordering::Relaxed)).collect()
    }

    /// Stops it and gathers what it saw.
    ///
    /// # Errors
    /// When a client got an answer that its own history does not allow.
    pub async fn finish(mut self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let mut report = Report {
            ledger: Ledger::default(),
            puts: Vec::new(),
            failures: Vec::new(),
            requests: Vec::new(),
            span: (self.started, Instant::now()),
        };
        let mut wrong = Vec::new();
        while let Some(worker) = self.tasks.join_next().await {
            let worker = worker.context("a client of the load panicked")?;
            report.ledger.extend(worker.ledger);
            report.puts.extend(worker.puts);
            report.failures.extend(worker.failures);
            report.requests.extend(worker.requests);
            wrong.extend(worker.wrong);
        }
        report.puts.sort_unstable();
        ensure!(wrong.is_empty(), "answers that cannot be: {wrong:#?}");
        Ok(report)
    }
}

impl Report {
    /// Takes over what another load saw, of other clients.
    pub fn extend(&mut self, other: Report) {
        self.ledger.extend(other.ledger);
        self.puts.extend(other.puts);
        self.puts.sort_unstable();
        self.failures.extend(other.failures);
        self.requests.extend(other.requests);
    }

    /// The longest time within `from..to` without a successful PUT through any of these masters.
    pub fn longest_gap(&self, from: Instant, to: Instant, masters: &[usize]) -> Duration {
        let mut longest = Duration::ZERO;
        let mut last = from;
        let within = |at: &Instant| (from..=to).contains(at);
        for (at, _) in self.puts.iter().filter(|(at, master)| within(at) && masters.contains(master)) {
            longest = longest.max(*at - last);
            last = *at;
        }
        longest.max(to.saturating_duration_since(last))
    }

    /// The 99th percentile of what these requests took that were sent within `from..to`, and the longest; zero if there
    /// was none.
    pub fn p99_and_longest(&self, verb: Verb, from: Instant, to: Instant) -> (Duration, Duration) {
        let is_meant = |request: &&Request| request.verb == verb && (from..to).contains(&request.at);
        let mut took: Vec<Duration> =
            self.requests.iter().filter(is_meant).map(|request| request.took).collect();
        took.sort_unstable();
        let at = (took.len() * 99 / 100).min(took.len().saturating_sub(1));
        (took.get(at).copied().unwrap_or_default(), took.last().copied().unwrap_or_default())
    }

    /// The reads that failed within `from..to`.
    pub fn failed_reads(&self, from: Instant, to: Instant) -> Vec<&Failure> {
        self.failures.iter().filter(|failure| failure.is_read && (from..=to).contains(&failure.at)).collect()
    }
}

impl Worker {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Self {
        let mut next_key = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            let old = self.pick_old_key();
            let at = Instant::now();
            let drawn = if self.only_reads { 9 } else { self.rng.random_range(0..10) };
            let verb = match (drawn, old) {
                (0..=3, _) | (_, None) => {
                    let key = format!("{}{next_key}", self.prefix);
                    next_key += 1;
                    self.put(key).await;
                    Verb::Put
                }
                (4..=5, Some(key)) => {
                    self.put(key).await;
                    Verb::Put
                }
                (6, Some(key)) => {
                    self.delete(key).await;
                    Verb::Delete
                }
                (_, Some(key)) => {
                    self.get(key).await;
                    Verb::Get
                }
            };
            self.requests.push(Request { verb, at, master: self.master, took: at.elapsed() });
        }
        self
    }

    /// A key of its own whose content is certain.
    fn pick_old_key(&mut self) -> Option<String> {
        if self.ledger.keys.is_empty() {
            return None;
        }
        let from = format!("{}{}", self.prefix, self.rng.random_range(0..self.ledger.keys.len()));
        let mut candidates = self.ledger.keys.range(from..);
        candidates.find(|(_, possible)| possible.is_certain()).map(|(key, _)| key.clone())
    }

    fn possible(&mut self, key: String) -> &mut Possible {
        self.ledger.keys.entry(key).or_insert_with(|| Possible::exactly(None))
    }

    async fn put(&mut self, key: String) {
        let content = Content::random(&mut self.rng, SIZE_BYTES_MAX);
        match self.client.put(&key, content.bytes()).await {
            Ok(_) => {
                self.puts.push((Instant::now(), self.master));
                self.successes[self.master].fetch_add(1, Ordering::Relaxed);
                *self.possible(key) = Possible::exactly(Some(content));
            }
            Err(error) => {
                if error.is_unknown() {
                    self.possible(key).contents.push(Some(content));
                }
                self.failed(false, &error).await;
            }
        }
    }

    async fn delete(&mut self, key: String) {
        match self.client.delete(&key).await {
            Ok(()) => {
                if self.possible(key.clone()).contents == [None] {
                    self.wrong.push(format!("{key}: deleted, but it was deleted before"));
                }
                *self.possible(key) = Possible::exactly(None);
            }
            Err(Error::NotFound { .. }) => {
                if self.possible(key.clone()).contents != [None] {
                    let holds = self.possible(key.clone()).clone();
                    self.wrong.push(format!("{key}: nothing to delete, but it holds {holds:?}"));
                }
            }
            Err(error) => {
                if error.is_unknown() {
                    self.possible(key).contents.push(None);
                }
                self.failed(false, &error).await;
            }
        }
    }

    async fn get(&mut self, key: String) {
        match read(&self.client, &key).await {
            Ok(found) => {
                let possible = self.possible(key.clone()).clone();
                if !possible.allows(found.as_deref()) {
                    let found = found.map(|bytes| bytes.len());
                    self.wrong.push(format!("{key}: read {found:?} bytes, may hold {possible:?}"));
                }
            }
            Err(error) => self.failed(true, &error).await,
        }
    }

    async fn failed(&mut self, is_read: bool, error: &Error) {
        let failure =
            Failure { at: Instant::now(), master: self.master, is_read, message: error.to_string() };
        self.failures.push(failure);
        tokio::time::sleep(REFUSED_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_gap_counts_only_surviving_masters_and_the_edges() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let report = Report {
            ledger: Ledger::default(),
            puts: vec![(at(100), 0), (at(200), 1), (at(600), 0), (at(900), 1)],
            failures: Vec::new(),
            requests: Vec::new(),
            span: (start, at(1000)),
        };
        assert_eq!(report.longest_gap(start, at(1000), &[0, 1]), Duration::from_millis(400));
        assert_eq!(report.longest_gap(start, at(1000), &[1]), Duration::from_millis(700));
        assert_eq!(report.longest_gap(at(900), at(2000), &[0]), Duration::from_millis(1100));
    }
}
