//! Figures, not claims: run with `cargo test --release -p hayrick-disk rates -- --ignored --nocapture`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::disk::{Disk, File};
use crate::real::RealDisk;
use crate::stream::{Options, Stream};
use crate::testing::{Noting, Plain, append};

const SPAN: Duration = Duration::from_secs(3);

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

/// Appends of 4 KiB with a sync each, per second.
fn single_rate(file: &dyn File) -> f64 {
    let (begun, mut count) = (clock(), 0_u32);
    while begun.elapsed() < SPAN {
        file.write_all_at(&[7; 4096], u64::from(count) * 4096).expect("it is written");
        file.sync_data().expect("it is synced");
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn growing(dir: &Path) -> f64 {
    single_rate(RealDisk.create(&dir.join("growing")).expect("it is made").as_ref())
}

fn prepared(dir: &Path, zeroed: bool) -> f64 {
    let file = RealDisk.create(&dir.join(format!("prepared-{zeroed}"))).expect("it is made");
    file.allocate(0, 256 << 20).expect("there is room");
    if zeroed {
        crate::append_file::write_zeros(file.as_ref(), 0..256 << 20).expect("it is written");
    }
    file.sync_all().expect("it is synced");
    single_rate(file.as_ref())
}

/// Appends of 4 KiB per second by so many submitters, each of which waits for its own.
fn group_rate(dir: &Path, submitters: u64) -> f64 {
    let options = Options { reserve_bytes: 0, ..Options::new(dir.join(format!("by-{submitters}")), "log") };
    let stream = Stream::<Plain>::open(Arc::new(RealDisk), options, Noting::default()).expect("it opens");
    let total = AtomicU64::new(0);
    let begun = clock();
    std::thread::scope(|scope| {
        for _ in 0..submitters {
            scope.spawn(|| {
                while begun.elapsed() < SPAN {
                    append(&stream, &[&[7; 4000]]).expect("it is acked");
                    total.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    total.into_inner() as f64 / begun.elapsed().as_secs_f64()
}

#[test]
#[ignore = "measures for half a minute"]
fn rates_of_zeroed_files_and_of_group_commit() {
    let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
    for _ in 0..2 {
        let (growing, allocated) = (growing(dir.path()), prepared(dir.path(), false));
        let zeroed = prepared(dir.path(), true);
        let (one, many) = (group_rate(dir.path(), 1), group_rate(dir.path(), 32));
        println!(
            "growing {growing:.0}/s, allocated {allocated:.0}/s, zeroed {zeroed:.0}/s: {:.2} x growing; \
             stream with 1 submitter {one:.0}/s, with 32 {many:.0}/s: {:.1} x, {:.1} x the zeroed fdatasync",
            zeroed / growing,
            many / one,
            many / zeroed
        );
        for name in ["growing", "prepared-false", "prepared-true"] {
            RealDisk.remove(&dir.path().join(name)).expect("it goes");
        }
    }
}
