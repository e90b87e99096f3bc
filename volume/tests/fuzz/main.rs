//! Bytes that nobody wrote, or that something ruined, do no harm: what decodes them never panics, takes no more memory than
//! a bound, serves nothing that was not stored, and opens again as it was opened.
//!
//! A case is made from its seed alone: a real file of the corpus is ruined in a few ways, and in some cases its checksums
//! are then made right again, so that what lies behind them is reached, too. `make test` runs the same thousand cases
//! each time. `make fuzz` goes on for `FUZZ_SECONDS` with others, and both print the line that runs a failed one again. Where
//! cargo-fuzz is installed, `make fuzz` has it try to do harm to the same targets instead (`fuzz/`).

mod corpus;
mod messages;
mod mutate;
#[path = "../needles/mod.rs"]
mod needles;
mod repair;
mod targets;

use std::time::Duration;

use corpus::Image;
use peak_alloc::PeakAlloc;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Cases without `FUZZ_SECONDS`: a second or two.
const CASES: u64 = 1000;

/// What a case may take beside four times what it was given: the failing disk has two copies of that itself. A store's
/// tables take some 100 KiB.
const EXTRA_BYTES_MAX: usize = 1 << 20;

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

#[test]
fn no_bytes_do_harm() {
    let images = corpus::images();
    if let Some(seed) = number_of("HAYRICK_SEED") {
        eprintln!("fuzz: case {seed} took {} bytes of memory", run(&images, seed));
        return;
    }
    let Some(seconds) = number_of("FUZZ_SECONDS") else {
        return (0..CASES).for_each(|seed| {
            run(&images, seed);
        });
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    let (first, mut cases, mut most_taken) = (rand::random::<u64>() >> 1, 0, 0);
    while Instant::now() < end {
        most_taken = most_taken.max(run(&images, first + cases));
        cases += 1;
    }
    eprintln!(
        "fuzz: {cases} cases from seed {first} on did no harm and took at most {most_taken} bytes of memory"
    );
}

/// Tells how to run a case again, if it ends with a panic.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("again: HAYRICK_SEED={seed} cargo test -p hayrick-volume --test fuzz -- --nocapture");
        }
    }
}

/// Runs a case; the memory that it took.
fn run(images: &[Image], seed: u64) -> usize {
    let replay = Replay(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let case = mutate::case(images, &mut random);
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    targets::run(&case, images, random.random());
    let taken = MEMORY.peak_usage().saturating_sub(before);
    let bound = EXTRA_BYTES_MAX + 4 * case.bytes();
    assert!(taken <= bound, "{taken} bytes were taken, the bound is {bound}: {case:?}");
    drop(replay);
    taken
}
