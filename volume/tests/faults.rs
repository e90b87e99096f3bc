//! Seeded histories of a store on a disk of which one operation fails: a read, write or sync with an error, for want of
//! space, in part, with a flipped bit, at another place, or unnoticed. Each kind of operation and failure at several
//! places of each history; then the machine crashes, or the process is killed, and another start finds all that was
//! acknowledged.
//!
//! Crashes at every step of histories without a fault are in `crash`. What an error says is asked in `store`.

mod needles;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hayrick_disk::replay::{Replay, histories};
use hayrick_disk::{Counts, Disk, Failure, Fault, FaultyDisk, Op};
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::messages::volume::{AppendError, ReadError};
use hayrick_volume::{Store, StoreError, StoreOptions};
use needles::{data, needle};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const DIR: &str = "/volume/needles";
const HISTORIES: u64 = 100;
const VERBS: usize = 24;
/// Of each kind of operation and failure, so many places in a history.
const PLACES: u64 = 1;

fn open(disk: &FaultyDisk) -> Result<Store, StoreError> {
    let mut options = StoreOptions::new(DIR, 4 << 20);
    options.segment_bytes = 32 << 10;
    options.zero_ahead_bytes = 16 << 10;
    // Raised to an eighth of a segment.
    options.index_every_bytes = 0;
    options.scrub_round = Duration::from_secs(600);
    options.threads = false;
    Store::open(Arc::new(disk.clone()), options)
}

/// How sure it is that something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sure {
    No,
    Maybe,
    Yes,
}

impl Sure {
    /// That it was tried comes to this.
    fn of<T>(outcome: &Result<T, AppendError>) -> Self {
        match outcome {
            Ok(_) => Self::Yes,
            Err(AppendError::Failed(_)) => Self::Maybe,
            Err(AppendError::Busy | AppendError::Full { .. } | AppendError::ReadOnly(_)) => Self::No,
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a client knows of a needle.
#[derive(Debug, Clone)]
struct Told {
    size: usize,
    /// Whether it has to be found.
    is_there: Sure,
}

impl Told {
    /// It was tried to bring it there, or away, and that surely was done, or surely not, or nobody knows.
    fn tried(&mut self, there: bool, done: Sure) {
        let after = if there { Sure::Yes } else { Sure::No };
        self.is_there = match done {
            Sure::Yes => after,
            Sure::Maybe if self.is_there != after => Sure::Maybe,
            Sure::Maybe | Sure::No => self.is_there,
        };
    }
}

struct History {
    random: StdRng,
    needles: BTreeMap<u64, Told>,
    /// Of what was written something may not lie where it should, and the disk said nothing.
    may_be_damaged: bool,
    /// A mark may lie on the very needle behind which it is missing: then that is taken for a torn tail.
    may_be_cut: bool,
    /// Of what was read something may have been wrong, once.
    may_read_wrongly: bool,
}

impl History {
    fn new(seed: u64, failure: Option<(Op, Failure)>) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            needles: BTreeMap::new(),
            may_be_damaged: matches!(failure, Some((Op::Write, Failure::Flipped | Failure::Misdirected))),
            may_be_cut: matches!(failure, Some((Op::Write, Failure::Misdirected))),
            may_read_wrongly: matches!(failure, Some((Op::Read, _))),
        }
    }

    /// One life, as long as the store opens.
    fn live(&mut self, disk: &FaultyDisk, fault: Option<&Fault>) -> Counts {
        let first = open(disk).expect("a sound disk");
        let opened = disk.counts();
        fault.into_iter().for_each(|fault| disk.order(fault.clone()));
        let mut store = Some(first);
        for _ in 0..VERBS {
            let verb = self.random.random_range(0..18);
            let Some(open_store) = &store else { break };
            match verb {
                0..5 => self.append(open_store),
                5..8 => self.delete(open_store),
                8 | 9 => drop(self.read_all(open_store, "in the same life")),
                10 => {
                    open_store.seal();
                    open_store.work();
                }
                11 => open_store.keep_house(),
                12 => open_store.compact(),
                13 => open_store.scrub(&mut |_| true),
                14 | 15 => self.revive(open_store),
                _ => {
                    drop(store.take());
                    store = open(disk).ok();
                }
            }
        }
        if let Some(store) = &store {
            // Idle for a moment: what was acknowledged is not the last thing in its segment.
            store.keep_house();
            self.append(store);
            store.keep_house();
        }
        disk.counts().since(&opened)
    }

    fn append(&mut self, store: &Store) {
        let batch: Vec<(u64, usize)> = (0..self.random.random_range(1..5))
            .map(|number| {
                let id = self.needles.len() as u64 + 1 + number;
                let large = self.random.random_bool(0.05);
                (id, if large { 40_000 } else { self.random.random_range(0..6000) })
            })
            .collect();
        let was_read_only = store.status().read_only.is_some();
        let outcomes = store.append(batch.iter().map(|(id, size)| needle(*id, *size)).collect());
        store.work();
        let outcomes = outcomes.now_or_never().expect("it was answered");
        for ((id, size), outcome) in batch.into_iter().zip(outcomes) {
            assert!(outcome.is_err() || !was_read_only, "needle {id} is acknowledged after a write failed");
            let appended = Sure::of(&outcome);
            assert!(
                appended != Sure::Maybe || store.status().read_only.is_some(),
                "needle {id}: {outcome:?}"
            );
            self.needles.insert(id, Told { size, is_there: appended });
        }
    }

    fn delete(&mut self, store: &Store) {
        let count = self.random.random_range(0..6).min(self.needles.len());
        let ids: Vec<u64> =
            (0..count).map(|_| self.random.random_range(1..=self.needles.len() as u64)).collect();
        let dropped = store.delete(&ids.iter().copied().map(NeedleId).collect::<Vec<_>>());
        store.work();
        let dropped = Sure::of(&dropped.now_or_never().expect("it was answered"));
        for id in ids {
            self.needles.entry(id).and_modify(|told| told.tried(false, dropped));
        }
    }

    /// As a pull appends what was dropped, or is there, or never came to be.
    fn revive(&mut self, store: &Store) {
        let count = self.random.random_range(0..4).min(self.needles.len());
        let ids: Vec<u64> =
            (0..count).map(|_| self.random.random_range(1..=self.needles.len() as u64)).collect();
        let pulled = ids.iter().map(|id| (needle(*id, self.needles[id].size), true)).collect();
        let outcomes = store.append_pulled(pulled);
        store.work();
        for (id, outcome) in ids.into_iter().zip(outcomes.now_or_never().expect("it was answered")) {
            self.needles.entry(id).and_modify(|told| told.tried(true, Sure::of(&outcome)));
        }
    }

    /// Reads every needle; those that are there.
    fn read_all(&self, store: &Store, when: &str) -> Vec<u64> {
        let mut there = Vec::new();
        for (id, told) in &self.needles {
            let opened = store.open_needle(NeedleId(*id));
            let found = opened.and_then(|opened| store.read_blocks(&opened, 0, u32::MAX));
            // Whatever is lost by damage is on the list of it.
            let excused = self.may_be_damaged && (self.may_be_cut || store.status().bad > 0);
            match found {
                Ok(bytes) => {
                    assert!(bytes == data(*id, told.size), "{when}: needle {id} has other bytes");
                    assert!(told.is_there != Sure::No || excused, "{when}: needle {id} is there: {told:?}");
                    there.push(*id);
                }
                Err(ReadError::NotFound) => {
                    assert!(told.is_there != Sure::Yes || excused, "{when}: needle {id} is lost: {told:?}");
                }
                Err(error) => {
                    assert!(self.may_read_wrongly || excused, "{when}: needle {id}: {error}");
                    there.push(*id);
                }
            }
        }
        there
    }

    /// Another start, on a disk that is sound from now on.
    fn check(&self, disk: &FaultyDisk, when: &str) {
        let store = open(disk).unwrap_or_else(|error| panic!("{when}: it does not open: {error}"));
        let there = self.read_all(&store, when);
        assert_eq!(store.status().read_only, None, "{when}");
        assert_eq!(store.status().used_bytes, bytes_on(disk), "{when}: the account of space");
        assert_eq!(store.status().needles, there.len() as u64, "{when}: nothing is invented");
        // What was thought damaged because it was once read wrongly is well.
        store.scrub(&mut |_| true);
        if !self.may_be_damaged {
            assert_eq!((store.status().bad, store.scrubbed().last_round_found_bad), (0, 0), "{when}");
            let held: u64 = there.iter().map(|id| needle(*id, self.needles[id].size).len() as u64).sum();
            let segments = store.segments(usize::MAX);
            assert_eq!(segments.iter().map(|one| one.live_bytes).sum::<u64>(), held, "{when}");
        }
        // It goes on as if nothing had been, and what is compacted now is compacted well.
        let next = self.needles.len() as u64 + 1;
        let appended = store.append(vec![needle(next, 700)]);
        store.work();
        appended
            .now_or_never()
            .expect("it was written")
            .remove(0)
            .unwrap_or_else(|error| panic!("{when}: {error}"));
        store.seal();
        store.work();
        store.compact();
        store.keep_house();
        self.read_all(&store, when);
        store.close();
        let store = open(disk).unwrap_or_else(|error| panic!("{when}: it does not open again: {error}"));
        self.read_all(&store, when);
        assert_eq!(store.status().used_bytes, bytes_on(disk), "{when}: the account of space");
    }
}

/// Bytes of the files in the store's directory.
fn bytes_on(disk: &FaultyDisk) -> u64 {
    let dir = Path::new(DIR);
    let names = disk.list(dir).expect("a sound disk");
    names.iter().map(|name| disk.bytes(&dir.join(name)).expect("it is listed").len() as u64).sum()
}

/// The history with this fault, and each way in which it may end. Whether the fault happened.
fn run(replay: &Replay, fault: &Fault, kind: (Op, Failure)) -> bool {
    let mut history = History::new(replay.seed(), Some(kind));
    let disk = FaultyDisk::new(replay.seed());
    history.live(&disk, Some(fault));
    let fired = !disk.fired().is_empty();
    history.check(&disk.restart(), "after a kill");
    // All is lost, nothing is lost, or a part.
    history.check(&disk.crash(replay.seed() % 8), "after a crash");
    fired
}

#[test]
fn acknowledged_needles_survive_any_failed_operation_and_dropped_ones_stay_dropped() {
    let test = "acknowledged_needles_survive_any_failed_operation_and_dropped_ones_stay_dropped";
    let (mut planned, mut fired) = (0, 0);
    for replay in histories(env!("CARGO_PKG_NAME"), test, HISTORIES) {
        let did = History::new(replay.seed(), None).live(&FaultyDisk::new(replay.seed()), None);
        let mut places = StdRng::seed_from_u64(replay.seed());
        for (op, failure) in
            Op::ALL.into_iter().flat_map(|op| op.failures().iter().map(move |how| (op, *how)))
        {
            for _ in 0..PLACES.min(did.of(op)) {
                let fault = Fault::new(op, places.random_range(1..=did.of(op)), failure);
                replay.note(&fault);
                planned += 1;
                fired += u64::from(run(&replay, &fault, (op, failure)));
            }
        }
    }
    assert_eq!(fired, planned, "each fault happens");
    println!("{fired} faults");
}
