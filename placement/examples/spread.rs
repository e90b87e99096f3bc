//! Prints the tables of docs/placement.md: how even the load is, and how much moves when a volume joins or leaves.
//!
//! Owns the measuring and its definitions. Leaves what must hold to the property tests.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use hayrick_placement::{Candidate, changes, table};
use hayrick_protocol::ids::VolumeId;

const PARTITIONS: u32 = 4096;
const REPLICAS: u8 = 3;
const VOLUMES: [u32; 3] = [4, 10, 50];

type Table = Vec<Vec<VolumeId>>;

fn main() {
    println!("A table made at once, for equal weights in one zone:\n");
    print_rows(fresh);
    println!("\nA table that grew from 3 volumes, one joining at a time:\n");
    print_rows(grown);
}

fn fresh(volumes: u32) -> Table {
    next(volumes, &[], None)
}

fn grown(volumes: u32) -> Table {
    (3..=volumes).fold(Vec::new(), |table, volumes| next(volumes, &table, None))
}

/// The table for volumes 1 to `volumes`, without `absent`, after `current`.
fn next(volumes: u32, current: &[Vec<VolumeId>], absent: Option<u32>) -> Table {
    let candidates: Vec<Candidate> = (1..=volumes)
        .filter(|id| Some(*id) != absent)
        .map(|id| Candidate { id: VolumeId(id), weight: 1 << 40, zone: String::new() })
        .collect();
    table(&candidates, PARTITIONS, REPLICAS, current)
}

fn print_rows(start: impl Fn(u32) -> Table) {
    println!(
        "| volumes | most loaded / mean | join: touched / least | leave: touched / least | return: as before |"
    );
    println!("|---|---|---|---|---|");
    for volumes in VOLUMES {
        let before = start(volumes);
        let joined = next(volumes + 1, &before, None);
        let join_least = PARTITIONS * u32::from(REPLICAS) / (volumes + 1);
        let (mut leave_touched, mut leave_least, mut restored_least) = (0, 0, f64::INFINITY);
        let (mut restored, mut load_max) = (0.0, 0);
        for leaver in 1..=volumes {
            let held = before.iter().filter(|members| members.contains(&VolumeId(leaver))).count();
            let without = next(volumes, &before, Some(leaver));
            let again = next(volumes, &without, None);
            load_max = load_max.max(held);
            leave_touched += changes(&before, &without).len();
            leave_least += held;
            let back = 1.0 - changes(&before, &again).len() as f64 / held as f64;
            restored_least = back.min(restored_least);
            restored += back / f64::from(volumes);
        }
        let mean = f64::from(PARTITIONS) * f64::from(REPLICAS) / f64::from(volumes);
        let join_touched = changes(&before, &joined).len();
        println!(
            "| {volumes} | {:.3} | {join_touched} / {join_least} = {:.3} | {leave_touched} / {leave_least} = {:.3} | {:.1} % (worst volume {:.1} %) |",
            load_max as f64 / mean,
            join_touched as f64 / f64::from(join_least),
            leave_touched as f64 / leave_least as f64,
            restored * 100.0,
            restored_least * 100.0,
        );
    }
}
