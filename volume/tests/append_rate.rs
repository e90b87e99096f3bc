//! Durable appends against this machine's own fdatasync. Run: cargo test --release -p hayrick-volume --test append_rate -- --ignored --nocapture

mod needles;

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hayrick_disk::RealDisk;
use hayrick_volume::{Store, StoreOptions};
use needles::needle;
use tokio::time::Instant;

const RUN: Duration = Duration::from_secs(3);

/// One stream of 4 KiB writes, each synced, over a file that was written before.
fn fdatasyncs_per_s(dir: &std::path::Path) -> f64 {
    let file = std::fs::File::create(dir.join("plain")).expect("a file");
    let zeros = vec![0; 64 << 20];
    file.write_all_at(&zeros, 0).expect("written");
    file.sync_all().expect("synced");
    let began = Instant::now();
    let mut done = 0u64;
    while began.elapsed() < RUN {
        file.write_all_at(&[7; 4096], done % (16 << 10) * 4096).expect("written");
        file.sync_data().expect("synced");
        done += 1;
    }
    done as f64 / began.elapsed().as_secs_f64()
}

async fn appends_per_s(store: &Arc<Store>, ids: &Arc<AtomicU64>, writers: usize) -> f64 {
    let began = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (store, ids) = (Arc::clone(store), Arc::clone(ids));
            tokio::spawn(async move {
                let mut done = 0u64;
                while began.elapsed() < RUN {
                    let id = ids.fetch_add(1, Ordering::Relaxed);
                    assert!(store.append(vec![needle(id, 1024)]).await[0].is_ok());
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.expect("no panic");
    }
    done as f64 / began.elapsed().as_secs_f64()
}

#[ignore = "a measurement"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_appends_against_fdatasync() {
    let dir =
        tempfile::tempdir_in(std::env::var("HAYRICK_BENCH_DIR").unwrap_or_else(|_| "target".to_owned()))
            .expect("a directory on a disk");
    let ids = Arc::new(AtomicU64::new(1));
    let store = Store::open(Arc::new(RealDisk), StoreOptions::new(dir.path().join("needles"), 16 << 30));
    let store = Arc::new(store.expect("the store opens"));
    let limit = fdatasyncs_per_s(dir.path());
    println!("fdatasync: {limit:.0}/s");
    for writers in [1, 32, 128] {
        let rate = appends_per_s(&store, &ids, writers).await;
        println!("append 1 KiB, {writers} writers: {rate:.0}/s, {:.2} x fdatasync", rate / limit);
    }
}
