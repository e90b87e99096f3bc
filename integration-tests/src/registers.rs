//! A load on registers that are written and read through all masters at once, and the history of each.
//!
//! Each writer writes numbers to a key of its own through one master, and goes on with another key where it does not know what
//! became of one; readers of each master read the keys that are written just now. See `history` for what is checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::Client;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::content::rng;
use crate::history::{History, Outcome, Read, Write};
use crate::ledger;
use crate::wait;

/// Writers and readers for each master.
const WRITERS: usize = 2;
const READERS: usize = 3;
/// How long one waits after a failure: it would only fail again.
const FAILED_PAUSE: Duration = Duration::from_millis(10);
/// Of many wrong reads, so many are shown.
const SHOWN_MAX: usize = 10;

/// A running load.
pub struct Registers {
    shared: Arc<Shared>,
    tasks: JoinSet<BTreeMap<String, History>>,
}

/// How much came to a good end through one master.
#[derive(Debug, Default)]
struct Done {
    reads: AtomicU64,
    writes: AtomicU64,
}

struct Shared {
    stop: AtomicBool,
    /// Of each master.
    done: Vec<Done>,
    /// At which of its keys each writer is.
    at: Vec<AtomicU64>,
}

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Reads that succeeded, all of them checked.
    pub reads: usize,
    /// Writes that were acknowledged.
    pub writes: usize,
    /// Keys that were left because of an unknown outcome.
    pub unknown: usize,
}

impl Registers {
    /// Starts it on these clients, each of which asks one master.
    pub fn start(clients: &[Client], seed: u64) -> Self {
        let writers = clients.len() * WRITERS;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            done: clients.iter().map(|_| Done::default()).collect(),
            at: (0..writers).map(|_| AtomicU64::new(0)).collect(),
        });
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let master = writer % clients.len();
            tasks.spawn(write(Arc::clone(&shared), clients[master].clone(), master, writer));
        }
        for reader in 0..clients.len() * READERS {
            let master = reader % clients.len();
            tasks.spawn(read(Arc::clone(&shared), clients[master].clone(), master, rng(seed, reader as u64)));
        }
        Self { shared, tasks }
    }

    /// Waits until each of these masters (their places in the list) has served so many more reads and writes.
    ///
    /// # Errors
    /// When they have not after `timeout`.
    pub async fn more(&self, count: u64, masters: &[usize], timeout: Duration) -> Result<()> {
        let now = || -> Vec<(u64, u64)> {
            let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
            masters
                .iter()
                .map(|at| &self.shared.done[*at])
                .map(|done| (load(&done.reads), load(&done.writes)))
                .collect()
        };
        let before = now();
        wait::until(
            &format!("the masters {masters:?} served {count} more reads and writes"),
            timeout,
            async || {
                let now = now();
                let enough = |(now, before): (&(u64, u64), &(u64, u64))| {
                    now.0 >= before.0 + count && now.1 >= before.1 + count
                };
                ensure!(now.iter().zip(&before).all(enough), "{before:?} → {now:?}");
                Ok(())
            },
        )
        .await
    }

    /// Stops it and checks what was seen.
    ///
    /// # Errors
    /// When a read returned what it must not.
    pub async fn finish(mut self) -> Result<Seen> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut histories = BTreeMap::<String, History>::new();
        while let Some(seen) = self.tasks.join_next().await {
            for (key, part) in seen.context("a task of the load panicked")? {
                let history = histories.entry(key).or_default();
                history.writes.extend(part.writes);
                history.reads.extend(part.reads);
            }
        }
        let wrong: Vec<String> = histories
            .iter()
            .flat_map(|(key, history)| {
                history.wrong().into_iter().map(move |wrong| format!("{key}: {wrong}"))
            })
            .collect();
        ensure!(
            wrong.is_empty(),
            "{} reads are wrong: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(SHOWN_MAX)]
        );
        let outcomes =
            || histories.values().flat_map(|history| history.writes.values()).map(|write| write.outcome);
        Ok(Seen {
            reads: histories.values().map(|history| history.reads.len()).sum(),
            writes: outcomes().filter(|outcome| matches!(outcome, Outcome::Acknowledged(_))).count(),
            unknown: outcomes().filter(|outcome| *outcome == Outcome::Unknown).count(),
        })
    }
}

fn key(writer: usize, at: u64) -> String {
    format!("register/{writer}/{at}")
}

async fn write(
    shared: Arc<Shared>,
    client: Client,
    master: usize,
    writer: usize,
) -> BTreeMap<String, History> {
    let mut histories = BTreeMap::<String, History>::new();
    for value in 1.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let key = key(writer, shared.at[writer].load(Ordering::Relaxed));
        let begun = Instant::now();
        let outcome = match client.put(&key, value.to_string()).await {
            Ok(_) => Outcome::Acknowledged(Instant::now()),
            Err(error) if error.is_unknown() => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
        histories.entry(key).or_default().writes.insert(value, Write { begun, outcome });
        match outcome {
            Outcome::Acknowledged(_) => drop(shared.done[master].writes.fetch_add(1, Ordering::Relaxed)),
            Outcome::Unknown => drop(shared.at[writer].fetch_add(1, Ordering::Relaxed)),
            Outcome::Refused => tokio::time::sleep(FAILED_PAUSE).await,
        }
    }
    histories
}

async fn read(
    shared: Arc<Shared>,
    client: Client,
    master: usize,
    mut rng: StdRng,
) -> BTreeMap<String, History> {
    let mut histories = BTreeMap::<String, History>::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let writer = rng.random_range(0..shared.at.len());
        let at = shared.at[writer].load(Ordering::Relaxed);
        // The one that was left last may change late.
        let key = key(writer, at.saturating_sub(rng.random_range(0..2)));
        let begun = Instant::now();
        let Ok(found) = ledger::read(&client, &key).await else {
            tokio::time::sleep(FAILED_PAUSE).await;
            continue;
        };
        // What is no number was not written by anybody.
        let text = found.as_deref().map(String::from_utf8_lossy);
        let value = text.map_or(0, |text| text.parse().unwrap_or(u64::MAX));
        let read = Read { begun, ended: Instant::now(), value, master };
        histories.entry(key).or_default().reads.push(read);
        shared.done[master].reads.fetch_add(1, Ordering::Relaxed);
    }
    histories
}
