//! Chance that does not depend on what else happens: each decision is drawn from the seed and from *what* is decided,
//! never from a common stream. So a write of one file meets the same fate whatever other threads do to other files.

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What unsynced things are likely to meet in one crash, or one failed sync.
pub(super) struct Chance {
    seed: u64,
    kept: f64,
    torn: f64,
}

/// What becomes of a single one.
pub(super) enum Fate {
    Kept,
    Lost,
    /// Some sectors of it are kept: those before a boundary, those behind it, or any.
    Torn(SmallRng),
}

impl Chance {
    /// With seed 0 all is lost, with seed 1 all is kept; other seeds are of kinds between, in turn.
    pub(super) fn new(seed: u64) -> Self {
        let (kept, torn) = match seed {
            0 => (0.0, 0.0),
            1 => (1.0, 0.0),
            _ => [(0.5, 0.3), (0.9, 0.05), (0.1, 0.05), (0.5, 0.0), (0.0, 1.0), (0.4, 0.6)]
                [(seed % 6) as usize],
        };
        Self { seed, kept, torn }
    }

    /// The fate of what `what` names.
    pub(super) fn fate(&self, what: impl Hash) -> Fate {
        let mut random = draw((self.seed, what));
        if random.random_bool(self.torn) {
            Fate::Torn(random)
        } else if random.random_bool(self.kept) {
            Fate::Kept
        } else {
            Fate::Lost
        }
    }

    /// Whether `what`, which is never torn, is kept.
    pub(super) fn keeps(&self, what: impl Hash) -> bool {
        match self.fate(what) {
            Fate::Kept => true,
            Fate::Lost => false,
            Fate::Torn(mut random) => random.random_bool(0.5),
        }
    }
}

/// A generator of its own for each decision.
pub(super) fn draw(what: impl Hash) -> SmallRng {
    SmallRng::seed_from_u64(mix(what))
}

/// One number out of many.
pub(super) fn mix(what: impl Hash) -> u64 {
    // With fixed keys: the same in each process of one build.
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
