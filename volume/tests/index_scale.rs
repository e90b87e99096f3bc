//! What ten million needles of 100 bytes cost in memory and at start. Run:
//! cargo test --release -p hayrick-volume --test index_scale -- --ignored --nocapture
//!
//! Three processes, with the servers' allocator: one drives; one appends the needles, waits for the index files and is
//! killed; one opens the store again, with the page cache warm. Ids are as one volume of four gets them from three
//! gateways. `HAYRICK_SCALE_NEEDLES` sets another number, `HAYRICK_BENCH_DIR` another place than `target`.

#![expect(clippy::print_stdout, reason = "a measurement")]

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hayrick_disk::RealDisk;
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::needle::Body;
use hayrick_volume::{Store, StoreOptions};
use tokio::time::{Instant, sleep};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Which of the three processes this is, and the directory it works in.
const ROLE: &str = "HAYRICK_SCALE_ROLE";

const DATA_BYTES: usize = 100;
const BATCH: u64 = 512;
const BATCHES_IN_FLIGHT: usize = 32;

fn needles() -> u64 {
    std::env::var("HAYRICK_SCALE_NEEDLES").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000_000)
}

fn options(dir: &Path) -> StoreOptions {
    StoreOptions::new(dir, 64 << 30)
}

/// The id of the n-th needle: of each epoch, this volume holds three seqs in four.
fn id(n: u64) -> NeedleId {
    let (epoch, seq) = (1 + n % 3, n / 3);
    NeedleId(epoch << 32 | (seq + seq / 3))
}

fn needle(n: u64) -> Bytes {
    let key = format!("photos/{n:09}");
    let body = Body::new([key.as_bytes(), &[n as u8; DATA_BYTES]].concat(), key.len());
    let placement = PlacementId(1 + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as u32);
    body.with_header(id(n), placement, 1_700_000_000).concat().into()
}

/// Bytes of this process in memory, those of files aside.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn file_bytes(dir: &Path, extension: &str) -> (u64, u64) {
    let entries = std::fs::read_dir(dir).expect("it is there").map(|entry| entry.expect("it is there"));
    let of_kind = entries.filter(|entry| entry.path().extension().is_some_and(|found| found == extension));
    of_kind.fold((0, 0), |(files, bytes), entry| {
        (files + 1, bytes + entry.metadata().expect("it is there").len())
    })
}

async fn append_all(dir: &Path) {
    let store = Store::open(Arc::new(RealDisk), options(dir)).expect("the store opens");
    let mut in_flight = VecDeque::new();
    let mut next = 0;
    while next < needles() || !in_flight.is_empty() {
        if next < needles() && in_flight.len() < BATCHES_IN_FLIGHT {
            let batch = next..(next + BATCH).min(needles());
            next = batch.end;
            in_flight.push_back(store.append(batch.map(needle).collect()));
        } else if let Some(batch) = in_flight.pop_front() {
            assert!(batch.await.iter().all(Result::is_ok));
        }
    }
    let sealed = store.segments(usize::MAX).iter().filter(|segment| segment.sealed).count() as u64;
    while file_bytes(dir, "idx").0 < sealed {
        sleep(Duration::from_millis(50)).await;
    }
    // The allocator gives back what was needed to write the index files a moment later.
    sleep(Duration::from_secs(1)).await;
    println!(
        "in the process that appended them: {:.1} bytes a needle",
        resident_bytes() as f64 / needles() as f64
    );
    let (indexes, bytes) = file_bytes(dir, "idx");
    let indexed: u64 = store
        .segments(usize::MAX)
        .iter()
        .filter(|segment| segment.sealed)
        .map(|segment| segment.needles)
        .sum();
    println!("{indexes} index files of {bytes} bytes, {:.2} bytes a needle", bytes as f64 / indexed as f64);
    std::process::abort();
}

fn open_and_look(dir: &Path) {
    let before = resident_bytes();
    let began = Instant::now();
    let store = Store::open(Arc::new(RealDisk), options(dir)).expect("the store opens");
    let took = began.elapsed();
    let resident = resident_bytes() - before;
    assert_eq!(store.status().needles, needles());
    println!("open: {:.2} s", took.as_secs_f64());
    println!("resident: {:.1} bytes a needle", resident as f64 / needles() as f64);
    for segment in store.segments(usize::MAX) {
        println!("  {segment:?}");
    }
    let reads = 1_000_000;
    let began = Instant::now();
    let mut found = 0;
    for n in 0..reads {
        let id = id((n * 7_654_321) % needles());
        found += u64::from(store.open_needle(id).is_ok_and(|needle| needle.size() as usize == DATA_BYTES));
    }
    assert_eq!(found, reads);
    println!("random verified reads: {:.2} us each", began.elapsed().as_secs_f64() * 1e6 / reads as f64);
}

#[ignore = "a measurement"]
#[tokio::test]
async fn ten_million_needles() {
    let role = std::env::var(ROLE).unwrap_or_default();
    match role.split_once(' ') {
        Some(("append", dir)) => return append_all(Path::new(dir)).await,
        Some(("open", dir)) => return open_and_look(Path::new(dir)),
        _ => {}
    }
    let base = std::env::var("HAYRICK_BENCH_DIR").unwrap_or_else(|_| "target".to_owned());
    let dir = tempfile::tempdir_in(base).expect("a directory on a disk");
    for role in ["append", "open", "open"] {
        let own = std::env::current_exe().expect("it runs");
        let status = Command::new(own)
            .args(["--ignored", "--nocapture", "--exact", "ten_million_needles"])
            .env(ROLE, format!("{role} {}", dir.path().join("needles").display()))
            .status()
            .expect("it starts");
        assert!(status.success() || role == "append", "{role} failed");
    }
}
