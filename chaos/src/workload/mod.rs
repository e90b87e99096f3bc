//! Many clients that write and read, and write down what they asked and were told.
//!
//! Two streams: `contended`, many clients on few keys, where what may be read depends on who was first; and `write_once`,
//! thousands of keys that are written by one PUT, some deleted, and of those some brought back, and read now and then. All speak through
//! random masters, repeat as a real client does, and keep every answer as `answer` classifies it.

mod answer;
mod contended;
mod value;
mod write_once;

pub(crate) use answer::of as ask;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use hayrick_launcher::Role;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use crate::history::{Answer, Call, History, Moment, Operation, Value};
use crate::scene::Scene;

/// The longest time for which a client stays with a master.
const STAYS_MS_MAX: u64 = 800;

/// What the load shall be.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Clients on contended keys.
    pub contended_clients: u32,
    /// Contended keys at a time; every while they are left for others, so that no history grows without end.
    pub contended_keys: u32,
    /// Clients that write each key once.
    pub once_clients: u32,
    /// The largest value.
    pub size_bytes_max: usize,
}

impl Default for Load {
    fn default() -> Self {
        Self { contended_clients: 10, contended_keys: 5, once_clients: 3, size_bytes_max: 1 << 20 }
    }
}

/// A running load.
pub struct Workload {
    shared: Arc<Shared>,
    tasks: JoinSet<Vec<Operation>>,
}

/// What is known of it while it runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Operations that ended.
    pub operations: u64,
    /// Of those, how many were done or told what is there.
    pub done: u64,
    /// Writes whose outcome nobody knows.
    pub unknown: u64,
    /// Answers that no history allows.
    pub wrong: u64,
}

struct Shared {
    scene: Arc<Scene>,
    load: Load,
    stop: AtomicBool,
    operations: AtomicU64,
    done: AtomicU64,
    unknown: AtomicU64,
    wrong: AtomicU64,
    /// What each value is, for people, and to know those that nobody made up.
    values: Mutex<BTreeMap<Value, String>>,
}

/// One client: it has one request under way at a time.
struct Client {
    shared: Arc<Shared>,
    number: u32,
    rng: StdRng,
    /// The master that it speaks to, and until when.
    home: Option<(u32, Moment)>,
    /// Values that it made up so far.
    made: u64,
    operations: Vec<Operation>,
}

impl Workload {
    /// Starts it.
    pub fn start(scene: &Arc<Scene>, load: Load, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            scene: Arc::clone(scene),
            load,
            stop: AtomicBool::default(),
            operations: AtomicU64::default(),
            done: AtomicU64::default(),
            unknown: AtomicU64::default(),
            wrong: AtomicU64::default(),
            values: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for number in 0..load.contended_clients + load.once_clients {
            let client = Client {
                shared: Arc::clone(&shared),
                number,
                rng: StdRng::seed_from_u64(seed ^ ((u64::from(number) + 1) << 32)),
                home: None,
                made: 0,
                operations: Vec::new(),
            };
            if number < load.contended_clients {
                tasks.spawn(client.contend());
            } else {
                tasks.spawn(client.write_once());
            }
        }
        Self { shared, tasks }
    }

    /// How it fares.
    pub fn tally(&self) -> Tally {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            operations: load(&self.shared.operations),
            done: load(&self.shared.done),
            unknown: load(&self.shared.unknown),
            wrong: load(&self.shared.wrong),
        }
    }

    /// Stops it, and gives what was seen.
    ///
    /// # Errors
    /// When a client panicked.
    pub async fn finish(mut self) -> Result<History> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut operations = Vec::new();
        while let Some(seen) = self.tasks.join_next().await {
            operations.extend(seen.context("a client panicked")?);
        }
        let values = self.shared.values.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(History { operations, values })
    }
}

impl Client {
    fn stops(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Which master to ask: for a while the same one, as long as it serves. Where one stands still, only those wait for it that
    /// were with it, and the others go on.
    fn master(&mut self) -> u32 {
        let now = self.shared.scene.clock.now();
        let masters = self.shared.scene.members(Role::Master);
        match self.home {
            Some((master, until)) if now < until && masters.contains(&master) => master,
            _ => {
                let master = self.other_master();
                let stays_ms = self.rng.random_range(0..=STAYS_MS_MAX);
                self.home = Some((master, Moment(now.0 + stays_ms * 1_000_000)));
                master
            }
        }
    }

    /// Any of them.
    fn other_master(&mut self) -> u32 {
        let masters = self.shared.scene.members(Role::Master);
        masters.choose(&mut self.rng).copied().unwrap_or(1)
    }

    /// Makes one request through a master, and notes it.
    async fn ask(&mut self, master: u32, call: Call, bytes: bytes::Bytes) -> Answer {
        let scene = &self.shared.scene;
        let begun = scene.clock.now();
        let answer = answer::of(scene.client(master), &call, bytes).await;
        let ended = scene.clock.now();
        self.shared.operations.fetch_add(1, Ordering::Relaxed);
        if matches!(answer, Answer::Refused { .. } | Answer::Unknown { .. }) {
            self.home = None;
        }
        match &answer {
            Answer::Refused { .. } => 0,
            Answer::Unknown { .. } => self.shared.unknown.fetch_add(1, Ordering::Relaxed),
            Answer::Wrong { .. } => self.shared.wrong.fetch_add(1, Ordering::Relaxed),
            _ => self.shared.done.fetch_add(1, Ordering::Relaxed),
        };
        let operation = Operation { client: self.number, master, begun, ended, call, answer: answer.clone() };
        self.operations.push(operation);
        answer
    }
}
