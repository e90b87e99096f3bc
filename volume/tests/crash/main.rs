//! Seeded histories of appends, drops, pulls of what was dropped, seals, index files, compactions, scrub and restarts, and a crash at every step of
//! each, with several subsets of what was not synced: what was acknowledged holds, and nothing else is there; scrub takes
//! nothing that a crash leaves for damage, and goes on where it was.

#[path = "../needles/mod.rs"]
mod needles;
mod places;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hayrick_disk::replay::{Replay, histories};
use hayrick_disk::{Disk, FaultyDisk};
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::messages::volume::ReadError;
use hayrick_volume::{Store, StoreOptions};
use needles::{data, needle};
use places::{Place, Places};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const DIR: &str = "/volume/needles";
const HISTORIES: u64 = 200;
/// The second begins with what a crash of the first left.
const LIVES: u64 = 2;
const VERBS: usize = 16;
/// Of each moment: all is lost, nothing is lost, and parts.
const CRASHES_PER_MOMENT: u64 = 3;

fn open(disk: &FaultyDisk) -> Store {
    let mut options = StoreOptions::new(DIR, 4 << 20);
    options.segment_bytes = 32 << 10;
    options.zero_ahead_bytes = 16 << 10;
    // Raised to an eighth of a segment.
    options.index_every_bytes = 0;
    options.scrub_round = Duration::from_secs(600);
    options.threads = false;
    Store::open(Arc::new(disk.clone()), options).expect("it opens")
}

/// When something was asked for, and when it was acknowledged, in steps of the disk.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: u64,
    acked: Option<u64>,
}

/// What a client knows of a needle.
#[derive(Debug, Clone)]
struct Told {
    size: usize,
    /// Appends and drops of it, one after the other; whether it is there after each.
    verbs: Vec<(bool, Asked)>,
}

/// What must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belief {
    There,
    NotThere,
    Either,
}

impl Told {
    /// After a crash at this moment.
    fn belief(&self, steps: u64) -> Belief {
        let mut belief = Belief::NotThere;
        for (is_there, asked) in &self.verbs {
            let after = if *is_there { Belief::There } else { Belief::NotThere };
            if asked.acked.is_some_and(|at| at <= steps) {
                belief = after;
            } else if asked.at < steps && belief != after {
                return Belief::Either;
            }
        }
        belief
    }

    fn is_dropped(&self, steps: u64) -> bool {
        self.verbs.iter().any(|(is_there, asked)| !is_there && asked.at < steps)
    }
}

struct History {
    random: StdRng,
    next_id: u64,
    needles: BTreeMap<u64, Told>,
    /// Where scrub was.
    places: Places,
    /// Starts that found an index file of the beginning of the segment that is appended to.
    from_beginnings: Cell<u64>,
}

impl History {
    /// One life. It ends with what is synced and what is not as chance has it.
    fn live(&mut self, disk: &FaultyDisk) {
        self.places = Places::default();
        let mut store = self.open(disk);
        for _ in 0..VERBS {
            match self.random.random_range(0..18) {
                0..5 => self.append(disk, &store),
                5..8 => self.delete(disk, &store),
                8 => {
                    store.seal();
                    store.work();
                }
                9 | 14 | 15 => store.keep_house(),
                10 => store.compact(),
                16 | 17 => self.revive(disk, &store),
                11 | 12 => self.scrub(disk, &store),
                _ => {
                    store.close();
                    store = self.open(disk);
                }
            }
        }
    }

    fn open(&mut self, disk: &FaultyDisk) -> Store {
        let at = disk.counts().steps;
        let store = open(disk);
        self.places.opened(at, Place::of(&store));
        store
    }

    /// Some of a round, or what is left of it. In a wait the segment that is at hand may be compacted.
    fn scrub(&mut self, disk: &FaultyDisk, store: &Store) {
        let mut waits = self.random.random_range(0..20);
        store.scrub(&mut |wait| {
            if self.random.random_bool(0.05) {
                store.compact();
            }
            self.places.waits(disk.counts().steps, Place::of(store), wait);
            waits -= 1;
            waits >= 0
        });
        self.places.saved(disk.counts().steps, Place::of(store));
        assert_eq!((store.scrubbed().found_bad, store.status().bad), (0, 0), "nothing is damaged");
    }

    fn append(&mut self, disk: &FaultyDisk, store: &Store) {
        let batch: Vec<_> = (0..self.random.random_range(1..5))
            .map(|_| {
                self.next_id += 1;
                let large = self.random.random_bool(0.05);
                (self.next_id, if large { 40_000 } else { self.random.random_range(0..6000) })
            })
            .collect();
        let at = disk.counts().steps;
        let outcomes = store.append(batch.iter().map(|(id, size)| needle(*id, *size)).collect());
        store.work();
        let outcomes = outcomes.now_or_never().expect("it was written");
        for ((id, size), outcome) in batch.into_iter().zip(outcomes) {
            outcome.unwrap_or_else(|error| panic!("needle {id}: {error}"));
            let append = Asked { at, acked: Some(disk.counts().steps) };
            self.needles.insert(id, Told { size, verbs: vec![(true, append)] });
        }
    }

    fn delete(&mut self, disk: &FaultyDisk, store: &Store) {
        let count = self.random.random_range(1..6);
        let ids: Vec<_> = (0..count).map(|_| self.random.random_range(1..=self.next_id.max(1))).collect();
        let named: Vec<_> = ids.iter().copied().map(NeedleId).collect();
        let at = disk.counts().steps;
        let dropped = store.delete(&named);
        store.work();
        dropped.now_or_never().expect("it was written").expect("nothing fails");
        let drop = Asked { at, acked: Some(disk.counts().steps) };
        for id in ids {
            self.needles.entry(id).and_modify(|told| told.verbs.push((false, drop)));
        }
    }

    /// As a pull appends, most of what was dropped.
    fn revive(&mut self, disk: &FaultyDisk, store: &Store) {
        let dropped =
            self.needles.iter().filter(|(_, told)| !told.verbs.last().is_some_and(|(there, _)| *there));
        let mut ids: Vec<u64> = dropped.map(|(id, _)| *id).collect();
        ids.retain(|_| self.random.random_bool(0.7));
        ids.push(self.random.random_range(1..=self.next_id.max(1)));
        ids.retain(|id| self.needles.contains_key(id));
        let pulled = ids.iter().map(|id| (needle(*id, self.needles[id].size), true)).collect();
        let at = disk.counts().steps;
        let outcomes = store.append_pulled(pulled);
        store.work();
        for (id, outcome) in ids.into_iter().zip(outcomes.now_or_never().expect("it was written")) {
            outcome.unwrap_or_else(|error| panic!("needle {id} comes back: {error}"));
            let append = Asked { at, acked: Some(disk.counts().steps) };
            self.needles.entry(id).and_modify(|told| told.verbs.push((true, append)));
        }
    }

    /// Opens the store after a crash at this moment, and looks at everything; which needles are there.
    fn check(&self, disk: &FaultyDisk, steps: u64) -> Vec<u64> {
        self.check_opened(disk, &open(disk), steps)
    }

    /// The same, and scrub looks at everything, too.
    fn check_with_scrub(&self, disk: &FaultyDisk, steps: u64) {
        let store = open(disk);
        self.check_opened(disk, &store, steps);
        let place = Place::of(&store);
        store.scrub(&mut |_| true);
        assert_eq!(Place::of(&store), place.next_round(), "scrub goes on to the end of its round");
        assert_eq!(store.scrubbed().last_round_found_bad, 0, "scrub takes a torn tail for damage");
        assert_eq!((store.status().bad, store.status().used_bytes), (0, bytes_on(disk)));
    }

    fn check_opened(&self, disk: &FaultyDisk, store: &Store, steps: u64) -> Vec<u64> {
        let active = store.segments(usize::MAX).into_iter().find(|segment| !segment.sealed);
        let has_beginning = active.is_some_and(|active| {
            disk.exists(&Path::new(DIR).join(format!("{}.idx", active.id))).expect("a sound disk")
        });
        self.from_beginnings.update(|starts| starts + u64::from(has_beginning));
        let mut there = Vec::new();
        for (id, told) in &self.needles {
            let opened = store.open_needle(NeedleId(*id));
            let found = opened.and_then(|opened| store.read_blocks(&opened, 0, u32::MAX));
            let belief = told.belief(steps);
            match found {
                Ok(bytes) => {
                    assert!(bytes == data(*id, told.size), "needle {id} has other bytes");
                    assert_ne!(
                        belief,
                        Belief::NotThere,
                        "needle {id} was dropped, or never appended: {told:?}"
                    );
                    there.push(*id);
                }
                Err(ReadError::NotFound) => {
                    assert_ne!(belief, Belief::There, "acknowledged needle {id} is lost: {told:?}");
                }
                Err(error) => panic!("needle {id}: {error}"),
            }
        }
        let status = store.status();
        assert_eq!(status.bad, 0, "a torn tail is no damage");
        assert_eq!(status.needles, there.len() as u64, "nothing is invented");
        let held: u64 = there.iter().map(|id| needle(*id, self.needles[id].size).len() as u64).sum();
        let segments = store.segments(usize::MAX);
        assert_eq!(segments.iter().map(|segment| segment.live_bytes).sum::<u64>(), held);
        assert_eq!(status.used_bytes, bytes_on(disk), "the account of space is exact");
        self.places.assert_may_be_found(Place::of(store), steps);
        there
    }

    /// Asks again about what is not known since a crash, and goes on from what is found.
    fn settle(&mut self, disk: &FaultyDisk, steps: u64) {
        let there = self.check(disk, steps);
        let store = open(disk);
        let zero = Asked { at: 0, acked: Some(0) };
        for (id, told) in &mut self.needles {
            let is_there = there.contains(id);
            let is_dropped = told.is_dropped(steps);
            told.verbs = vec![(true, zero)];
            if !is_there && is_dropped {
                // It may have been dropped. No gateway appends it again.
                told.verbs.push((false, zero));
                continue;
            }
            let again = store.append(vec![needle(*id, told.size)]);
            store.work();
            let outcome = again.now_or_never().expect("it was written").remove(0);
            outcome.unwrap_or_else(|error| panic!("needle {id} again: {error}"));
        }
    }
}

/// Bytes of the files in the store's directory.
fn bytes_on(disk: &FaultyDisk) -> u64 {
    let dir = Path::new(DIR);
    let names = disk.list(dir).expect("a sound disk");
    names.iter().map(|name| disk.bytes(&dir.join(name)).expect("it is listed").len() as u64).sum()
}

/// Lives, with a crash at every moment of each.
fn run(replay: &Replay) -> (u64, u64) {
    let random = StdRng::seed_from_u64(replay.seed());
    let mut history = History {
        random,
        next_id: 0,
        needles: BTreeMap::new(),
        places: Places::default(),
        from_beginnings: Cell::default(),
    };
    let mut disk = FaultyDisk::new(replay.seed());
    let mut crashes = 0;
    for life in 0..LIVES {
        disk.keep_moments();
        let begun = disk.counts().steps;
        history.live(&disk);
        for moment in replay.moments(&disk).filter(|moment| moment.steps() >= begun) {
            for seed in 0..CRASHES_PER_MOMENT {
                replay.note(format!("life {life}, crash {seed}"));
                let (crashed, steps) = (moment.crash(seed), moment.steps());
                // Scrub reads all that was just read: after one crash of each moment is enough.
                if steps % CRASHES_PER_MOMENT == seed {
                    history.check_with_scrub(&crashed, steps);
                } else {
                    history.check(&crashed, steps);
                }
                crashes += 1;
            }
        }
        let moments = disk.moments();
        let last = &moments[history.random.random_range(moments.len() / 2..moments.len())];
        disk = last.crash(history.random.random());
        history.settle(&disk, last.steps());
    }
    (crashes, history.from_beginnings.get())
}

#[test]
fn acknowledged_needles_survive_a_crash_at_every_step_and_dropped_ones_stay_dropped() {
    let test = "acknowledged_needles_survive_a_crash_at_every_step_and_dropped_ones_stay_dropped";
    let (mut crashes, mut from_beginnings) = (0, 0);
    for replay in histories(env!("CARGO_PKG_NAME"), test, HISTORIES) {
        let (more, of_them) = run(&replay);
        (crashes, from_beginnings) = (crashes + more, from_beginnings + of_them);
    }
    // A replay of one history, or of one step, may have none.
    let is_enough = crashes < 10_000 || from_beginnings > crashes / 20;
    assert!(is_enough, "{from_beginnings} of {crashes} starts find an index file of the active segment");
    println!("{crashes} crashes, {from_beginnings} starts read only the tail of the active segment");
}
