//! Seeded histories of appends, drops, seals, compactions and restarts, with the power cut at any step: what was acknowledged holds.

mod needles;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hayrick_disk::FaultyDisk;
use hayrick_disk::replay::histories;
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::messages::volume::{AppendError, ReadError};
use hayrick_volume::{Store, StoreOptions};
use needles::{data, needle};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const HISTORIES: u64 = 120;
const CRASHES_PER_HISTORY: u64 = 3;

/// What a client knows of a needle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belief {
    /// Its append was acknowledged.
    There,
    /// Its drop was acknowledged.
    Gone,
    /// An answer is missing.
    Unknown,
}

struct History {
    random: StdRng,
    next_id: u64,
    needles: BTreeMap<u64, (usize, Belief)>,
}

fn open(disk: &FaultyDisk) -> Option<Store> {
    let mut options = StoreOptions::new("/volume/needles", 16 << 20);
    options.segment_bytes = 64 << 10;
    options.zero_ahead_bytes = 0;
    options.compact_bytes_per_s = 0;
    options.idle_mark_after = Duration::from_millis(1);
    Store::open(Arc::new(disk.clone()), options).ok()
}

impl History {
    /// Works until the power fails, or for long enough.
    async fn run(&mut self, disk: &FaultyDisk) {
        let Some(mut store) = open(disk) else { return };
        for _ in 0..30 {
            if store.status().read_only.is_some() {
                return;
            }
            match self.random.random_range(0..11) {
                0..6 => self.append(&store).await,
                6..8 => self.delete(&store).await,
                8 => store.seal(),
                9 => store.compact(),
                _ => {
                    store.close();
                    match open(disk) {
                        Some(opened) => store = opened,
                        None => return,
                    }
                }
            }
        }
    }

    async fn append(&mut self, store: &Store) {
        let batch: Vec<_> = (0..self.random.random_range(1..5))
            .map(|_| {
                self.next_id += 1;
                let size =
                    if self.random.random_bool(0.05) { 90_000 } else { self.random.random_range(0..3000) };
                (self.next_id, size)
            })
            .collect();
        let outcomes = store.append(batch.iter().map(|(id, size)| needle(*id, *size)).collect()).await;
        for ((id, size), outcome) in batch.into_iter().zip(outcomes) {
            let belief = if outcome.is_ok() { Belief::There } else { Belief::Unknown };
            self.needles.insert(id, (size, belief));
        }
    }

    async fn delete(&mut self, store: &Store) {
        let ids: Vec<_> = (0..3).map(|_| self.random.random_range(1..=self.next_id.max(1))).collect();
        let named: Vec<_> = ids.iter().copied().map(NeedleId).collect();
        let dropped = store.delete(&named).await.is_ok();
        for id in ids {
            if let Some((_, belief)) = self.needles.get_mut(&id) {
                *belief = if dropped || *belief == Belief::Gone { Belief::Gone } else { Belief::Unknown };
            }
        }
    }

    /// Looks at all needles after a recovery; what was unknown is known then.
    async fn check(&mut self, store: &Store, context: &str) {
        assert_eq!(store.status().bad, 0, "{context}: a torn tail is no damage");
        for (id, (size, belief)) in &mut self.needles {
            let found = store
                .open_needle(NeedleId(*id))
                .and_then(|opened| store.read_blocks(&opened, 0, u32::MAX))
                .map(|bytes| bytes == data(*id, *size));
            let there = match found {
                Ok(right) => {
                    assert!(right, "{context}: needle {id} has other bytes");
                    true
                }
                Err(ReadError::NotFound) => false,
                Err(error) => panic!("{context}: needle {id}: {error}"),
            };
            match belief {
                Belief::There => assert!(there, "{context}: acknowledged needle {id} is lost"),
                Belief::Gone => assert!(!there, "{context}: dropped needle {id} came back"),
                Belief::Unknown => {
                    // Asking again settles it: it is there for good, or was dropped.
                    let [outcome] = &store.append(vec![needle(*id, *size)]).await[..] else {
                        panic!("{context}")
                    };
                    *belief = match outcome {
                        Ok(_) => Belief::There,
                        Err(AppendError::Conflict(_)) if !there => Belief::Gone,
                        Err(error) => panic!("{context}: needle {id} again: {error}"),
                    };
                }
            }
        }
    }
}

#[tokio::test]
async fn acknowledged_needles_survive_every_crash_and_dropped_ones_stay_dropped() {
    let test = "acknowledged_needles_survive_every_crash_and_dropped_ones_stay_dropped";
    for replay in histories(env!("CARGO_PKG_NAME"), test, HISTORIES) {
        let seed = replay.seed();
        let mut history =
            History { random: StdRng::seed_from_u64(seed), next_id: 0, needles: BTreeMap::new() };
        let mut disk = FaultyDisk::new(seed);
        for crash in 0..CRASHES_PER_HISTORY {
            disk.fail_power_after(history.random.random_range(0..150));
            history.run(&disk).await;
            disk = disk.crash(history.random.random());
            let context = format!("crash {crash}");
            let store = open(&disk).unwrap_or_else(|| panic!("{context}: it opens again"));
            history.check(&store, &context).await;
        }
    }
}
