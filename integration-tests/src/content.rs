//! Bytes that can be made again: from a seed and a size.

use anyhow::{Context, Result};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::figure::say;

/// The seed of a random test: `HAYRICK_TEST_SEED`, or a new one; printed either way.
pub fn seed(test: &str) -> u64 {
    let given = std::env::var("HAYRICK_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| rand::rng().random());
    say(&format!("{test}: seed {seed} (again with HAYRICK_TEST_SEED={seed})"));
    seed
}

/// The seeds of a test that is run with several, each to be printed where it is used: so many new ones as `HAYRICK_SEEDS` says,
/// one unless it does; or `HAYRICK_TEST_SEED` alone.
///
/// # Errors
/// When one of the two is no number.
pub fn seeds() -> Result<Vec<u64>> {
    let given = |variable| {
        let text: Option<String> = std::env::var(variable).ok();
        text.map(|text| text.parse().with_context(|| format!("{variable}={text}"))).transpose()
    };
    if let Some(seed) = given("HAYRICK_TEST_SEED")? {
        return Ok(vec![seed]);
    }
    let count: u64 = given("HAYRICK_SEEDS")?.unwrap_or(1);
    Ok((0..count).map(|_| rand::rng().random()).collect())
}

/// A generator for one part of a test.
pub fn rng(seed: u64, part: u64) -> StdRng {
    StdRng::seed_from_u64(seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// What a key holds, as a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Where its bytes come from.
    pub seed: u64,
    /// How many there are.
    pub size_bytes: usize,
}

impl Content {
    /// A new one, of a size up to `size_bytes_max`, small ones more often.
    pub fn random(rng: &mut StdRng, size_bytes_max: usize) -> Self {
        let bits = rng.random_range(0..=size_bytes_max.max(1).ilog2());
        let size_bytes = rng.random_range(0..=(1_usize << bits)).min(size_bytes_max);
        Self { seed: rng.next_u64(), size_bytes }
    }

    /// So many new ones, for one part of a test.
    pub fn randoms(seed: u64, part: u64, count: usize, size_bytes_max: usize) -> impl Iterator<Item = Self> {
        let mut rng = rng(seed, part);
        (0..count).map(move |_| Self::random(&mut rng, size_bytes_max))
    }

    /// So many new ones of one size.
    pub fn of_size(seed: u64, count: usize, size_bytes: usize) -> impl Iterator<Item = Self> {
        (0..count).map(move |number| Self { seed: seed.wrapping_add(number as u64), size_bytes })
    }

    /// Its bytes.
    pub fn bytes(self) -> Bytes {
        let mut bytes = vec![0; self.size_bytes];
        StdRng::seed_from_u64(self.seed).fill_bytes(&mut bytes);
        bytes.into()
    }
}

impl From<Content> for Bytes {
    fn from(content: Content) -> Self {
        content.bytes()
    }
}
