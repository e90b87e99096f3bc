//! Which random histories a test runs, and the one line that replays a failed one. All tests of the workspace that draw
//! histories from a seed go through here.
//!
//! What a history is, is left to the test. The invariant: a test that fails within a [`Replay`] prints its line.
//!
//! A crash at every step looks so:
//!
//! ```
//! use hayrick_disk::{Disk, FaultyDisk, replay, write_atomically};
//! use std::path::Path;
//!
//! for replay in replay::histories(env!("CARGO_PKG_NAME"), "a_file_is_old_or_new", 10) {
//!     let disk = FaultyDisk::new(replay.seed());
//!     disk.keep_moments();
//!     // The history. Of what was acknowledged it notes when.
//!     write_atomically(&disk, Path::new("/file"), b"new").expect("it is written");
//!     let written = disk.counts().steps;
//!     for moment in replay.moments(&disk) {
//!         for seed in 0..4 {
//!             replay.note(format!("crash {seed}"));
//!             let found = moment.crash(seed).bytes(Path::new("/file"));
//!             let whole = found.as_deref() == Some(b"new");
//!             assert!(whole || moment.steps() < written && found.is_none());
//!         }
//!     }
//! }
//! ```
//!
//! | variable | meaning |
//! |---|---|
//! | `HAYRICK_SEED` | run the history of this seed alone |
//! | `HAYRICK_STEP` | and of that, this step alone |
//! | `HAYRICK_HISTORIES` | run so many histories instead of the usual number |

use std::cell::{Cell, RefCell};
use std::env;
use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::faulty::{FaultyDisk, Moment};

/// One history of a test. Dropped in a panic, it prints how to see that again.
pub struct Replay {
    package: &'static str,
    test: &'static str,
    seed: u64,
    step: Cell<Option<u64>>,
    note: RefCell<String>,
}

/// The histories to run: seeds from 0 on, `histories` of them, if the environment does not say otherwise. `package` is
/// `env!("CARGO_PKG_NAME")`, `test` the name of the test.
pub fn histories(package: &'static str, test: &'static str, histories: u64) -> impl Iterator<Item = Replay> {
    let seeds = match variable("HAYRICK_SEED") {
        Some(seed) => seed..=seed,
        None => 0..=variable("HAYRICK_HISTORIES").unwrap_or(histories).saturating_sub(1),
    };
    seeds.map(move |seed| Replay { package, test, seed, step: Cell::default(), note: RefCell::default() })
}

impl Replay {
    /// What everything random in this history is drawn from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The steps to try: all of these, or the one that is to be replayed.
    pub fn steps(&self, all: RangeInclusive<u64>) -> impl Iterator<Item = u64> {
        let only = variable("HAYRICK_STEP");
        all.filter(move |step| only.is_none_or(|only| only == *step))
            .inspect(|step| self.step.set(Some(*step)))
    }

    /// The moments of a disk that kept them, or the one that is to be replayed.
    pub fn moments(&self, disk: &FaultyDisk) -> impl Iterator<Item = Moment> {
        let only = variable("HAYRICK_STEP");
        let moments = disk.moments().into_iter();
        moments
            .filter(move |moment| only.is_none_or(|only| only == moment.steps()))
            .inspect(|moment| self.step.set(Some(moment.steps())))
    }

    /// Notes what is going on, such as the plan of faults, to be printed with the line.
    pub fn note(&self, note: impl Display) {
        *self.note.borrow_mut() = note.to_string();
    }

    /// The line that runs this history again, up to the point where it is.
    #[must_use]
    pub fn line(&self) -> String {
        let step = self.step.get().map_or(String::new(), |step| format!(" HAYRICK_STEP={step}"));
        format!("HAYRICK_SEED={}{step} cargo test -p {} {}", self.seed, self.package, self.test)
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let note = self.note.borrow();
            let note = if note.is_empty() { String::new() } else { format!("   # {note}") };
            eprintln!("replay it with:\n  {}{note}", self.line());
        }
    }
}

/// A number from the environment.
fn variable(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}; it must be a number")))
}

#[cfg(test)]
mod tests {
    use super::histories;

    #[test]
    fn the_line_names_seed_step_and_test() {
        // With the environment as the one who runs the tests has set it.
        for replay in histories("a-package", "a_test", 2) {
            let seed = replay.seed();
            for step in replay.steps(7..=8) {
                let line = format!("HAYRICK_SEED={seed} HAYRICK_STEP={step} cargo test -p a-package a_test");
                assert_eq!(replay.line(), line);
            }
        }
    }
}
