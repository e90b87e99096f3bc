//! What a client's request needs of the cluster: a seat for its body, a needle id, durable copies, a commit, a
//! linearizable read, verified bytes.
//!
//! Owns the gateway's side of the write and read protocol, one step a file. Leaves the order of the steps to
//! `api/`, and all decisions about volumes and placements to `cluster/` on the leader.

pub(crate) mod abandon;
pub(crate) mod append;
pub(crate) mod bodies;
pub(crate) mod commit;
pub(crate) mod copies;
pub(crate) mod epoch;
pub(crate) mod fetch;
mod gather;
pub(crate) mod hand_over;
pub(crate) mod read_index;
pub(crate) mod report;
pub(crate) mod target;

use std::sync::Arc;

use hayrick_web::Answers;
use tokio::sync::Semaphore;

use crate::master::Master;
use crate::options::Options;

/// Listings that are made at a time: each walks the index.
const LISTS_MAX: usize = 4;

/// Undeletes that look for what was deleted at a time: each may walk through all garbage.
const UNDELETES_MAX: usize = 2;

/// Backups that are told at a time: while one is, the index keeps what it holds, and grows by what is changed.
const BACKUPS_MAX: usize = 1;

/// Explanations that are made at a time: each computes whole tables of placements, and reads three copies.
const EXPLANATIONS_MAX: usize = 2;

/// Checks that this master makes at a time: each has every volume list all that it holds.
const CHECKS_MAX: usize = 1;

/// The gateway's own state: queues in front of volumes and leader, epochs, memory.
pub(crate) struct Gateway {
    /// For the bodies of requests.
    pub(crate) bodies: bodies::Bodies,
    /// For the bodies of answers: as much again as for those of requests.
    pub(crate) answers: Answers,
    /// For listings, which are whole in memory.
    pub(crate) lists: Arc<Semaphore>,
    /// For undeletes, while they look.
    pub(crate) undeletes: Arc<Semaphore>,
    /// For backups, each of which holds on to a view.
    pub(crate) backups: Arc<Semaphore>,
    /// For checks, while they last.
    pub(crate) checks: Arc<Semaphore>,
    /// For explanations.
    pub(crate) explanations: Arc<Semaphore>,
    /// For the one scrape that may look at the index.
    pub(crate) scrapes: Arc<Semaphore>,
    /// For needles of refused writes that are dropped.
    pub(crate) abandoned: Arc<Semaphore>,
    pub(crate) epochs: epoch::Epochs,
    pub(crate) appends: append::Appends,
    pub(crate) commits: commit::Commits,
    pub(crate) reads: read_index::Rounds,
    pub(crate) fetches: fetch::Fetches,
}

impl Gateway {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            bodies: bodies::Bodies::new(options.body_memory_bytes, bodies::PATIENCE),
            answers: Answers::new(options.body_memory_bytes),
            lists: Arc::new(Semaphore::new(LISTS_MAX)),
            scrapes: Arc::new(Semaphore::new(1)),
            undeletes: Arc::new(Semaphore::new(UNDELETES_MAX)),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
            explanations: Arc::new(Semaphore::new(EXPLANATIONS_MAX)),
            abandoned: Arc::new(Semaphore::new(abandon::ABANDONED_MAX)),
            epochs: epoch::Epochs::new(),
            appends: append::Appends::new(),
            commits: commit::Commits::new(),
            reads: read_index::Rounds::new(),
            fetches: fetch::Fetches::new(),
        }
    }

    /// Keeps an epoch open until the master stops, and fences the last one then.
    pub(crate) async fn run(&self, master: Arc<Master>) {
        self.epochs.run(master).await;
    }
}
