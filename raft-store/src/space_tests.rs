//! What the index file takes: for each key, and however often keys are overwritten. The bench measures it at size.

use std::path::Path;
use std::sync::Arc;

use hayrick_disk::{Disk, FaultyDisk};
use hayrick_protocol::command::Command;
use hayrick_protocol::{AppliedVersion, NodeId};

use crate::bench::{self, Applier, Space};
use crate::machine_tests::{commit, prelude};
use crate::options::Options;

/// Commands of one entry.
const ENTRY_COMMANDS: u32 = 50;
/// Far fewer than a master's, as there are far fewer keys.
const CHECKPOINT_AFTER_ROWS: usize = 2_000;
/// What a key of 32 bytes may take; the tests fail at three times that.
const KEY_BYTES_AIM: u64 = 150;
const KEYS: u32 = 40_000;
/// Of the keys that are overwritten.
const FEW_KEYS: u32 = 1_000;
const ROUNDS: u32 = 40;

/// Key `number`: 32 bytes, of which the first 16 have no order.
fn key(number: u32) -> String {
    format!("{:016x}{number:016}", u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

async fn open() -> Applier {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
    disk.create_dir_all(Path::new("/raft")).expect("a directory");
    let options = Options {
        checkpoint_after_rows: CHECKPOINT_AFTER_ROWS,
        index_cache_bytes: 16 << 20,
        ..Options::new(NodeId(1), "/raft")
    };
    let mut applier = Applier::open(disk, &options).expect("the index opens");
    apply(&mut applier, &prelude()).await;
    applier
}

async fn apply(applier: &mut Applier, commands: &[Command]) {
    applier.apply([bench::entry(commands)]).await.expect("applied");
}

async fn space(applier: &Applier) -> Space {
    applier.checkpoint().await.expect("durable");
    applier.space().await.expect("readable")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_takes_little_in_whatever_order_keys_come() {
    let mut applier = open().await;
    for first in (1..=KEYS).step_by(ENTRY_COMMANDS as usize) {
        let commits: Vec<_> = (first..first + ENTRY_COMMANDS).map(|n| commit(n, &key(n))).collect();
        apply(&mut applier, &commits).await;
    }
    space(&applier).await;
    // What the last checkpoint replaced is free with the next one.
    apply(&mut applier, &[commit(KEYS + 1, &key(KEYS + 1))]).await;
    let Space { file_bytes, allocated_bytes, tree_bytes } = space(&applier).await;
    let keys = applier.counters().objects;
    println!(
        "of each key {} bytes in pages with rows, {} in use, {} in the file",
        tree_bytes / keys,
        allocated_bytes / keys,
        file_bytes / keys
    );
    assert_eq!(keys, u64::from(KEYS) + 1);
    assert!(allocated_bytes <= 3 * KEY_BYTES_AIM * keys, "{allocated_bytes} bytes of {keys} keys");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overwrites_that_are_reaped_leave_the_file_as_large_as_it_was() {
    let mut applier = open().await;
    let (mut seq, mut sizes) = (0, Vec::new());
    for round in 0..ROUNDS {
        for _ in 0..FEW_KEYS / ENTRY_COMMANDS {
            let first = seq;
            let commits: Vec<_> = (1..=ENTRY_COMMANDS)
                .map(|n| commit(first + n, &key((first + n).wrapping_mul(7) % FEW_KEYS)))
                .collect();
            apply(&mut applier, &commits).await;
            seq += ENTRY_COMMANDS;
        }
        if round > 0 {
            // Each of them overwrote something a round ago; but for the first, which made the keys.
            let before = u64::from(seq - 2 * FEW_KEYS).max(u64::from(FEW_KEYS));
            let versions: Vec<_> = (before + 1..=u64::from(seq - FEW_KEYS)).map(AppliedVersion).collect();
            apply(&mut applier, &[Command::Doom(versions.clone()), Command::Reaped(versions)]).await;
        }
        sizes.push(space(&applier).await.file_bytes);
    }
    println!("bytes of the file after each round: {sizes:?}");
    let counters = applier.counters();
    assert_eq!((counters.objects, counters.garbage_needles), (u64::from(FEW_KEYS), u64::from(FEW_KEYS)));
    assert!(sizes[ROUNDS as usize - 1] <= 3 * sizes[3], "{sizes:?}");
}
