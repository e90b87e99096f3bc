//! Masters and volumes whose disks stop answering: one is done without, and where a majority of the masters stalls requests are
//! refused in time, in words, and without memory growing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use hayrick_client::Error;
use hayrick_integration_tests::disk_shim::DiskShim;
use hayrick_integration_tests::load::Load;
use hayrick_integration_tests::{cluster, content, figure, ledger, metrics, raw, wait};
use hayrick_launcher::{Cluster, Process};
use tokio::task::block_in_place;
use tokio::time::Instant;

const VOLUMES: u32 = 3;
const CLIENTS: usize = 12;
const PUTS: u64 = 50;
const PUTS_TIMEOUT: Duration = Duration::from_secs(60);
const GAP_AIM: Duration = Duration::from_secs(4);
/// Writers at once while a majority stalls, and the objects that each tries to store.
const WRITERS: usize = 64;
const TRIES: usize = 2;
const OBJECT_BYTES: usize = 64 << 10;
/// A request's own time, and a little.
const ANSWER_AIM: Duration = Duration::from_secs(6);
/// Room for what is on its way, with what the allocator keeps of it.
const GROWTH_BYTES_MAX: u64 = 192 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_stalls_lets_another_one_lead() -> Result<()> {
    let seed = content::seed("stalled leader");
    let dir = tempfile::tempdir()?;
    let (cluster, shims) = with_shims(dir.path()).await?;
    let leader = cluster::leader(&cluster).await?;
    let stalled = leader as usize - 1;
    let others: Vec<usize> = (0..3).filter(|place| *place != stalled).collect();
    let load = Load::start(&cluster::client_each(&cluster)?, CLIENTS, seed);
    load.more_puts(PUTS, &[0, 1, 2], PUTS_TIMEOUT).await?;

    let from = Instant::now();
    shims[stalled].hang()?;
    let next = cluster.master(leader % 3 + 1).http_addr().to_string();
    let next = cluster::client(&[next])?;
    let took = wait::until("another master leads", PUTS_TIMEOUT, async || {
        let leads = next.status().await?.leader;
        ensure!(leads.is_some_and(|id| id != u64::from(leader)), "master {leads:?} leads");
        Ok(from.elapsed())
    })
    .await?;
    figure::say(&format!("a leader whose disk stalled was replaced after {:.2} s", took.as_secs_f64()));
    load.more_puts(PUTS, &others, PUTS_TIMEOUT).await?;
    let to = Instant::now();
    shims[stalled].release()?;
    cluster::all_up(&cluster, VOLUMES).await?;
    load.more_puts(PUTS, &[0, 1, 2], PUTS_TIMEOUT).await?;
    let report = load.finish().await?;
    figure::at_most("longest gap without a PUT", report.longest_gap(from, to, &others), GAP_AIM)?;
    for client in cluster::client_each(&cluster)? {
        report.ledger.verify(&client).await?;
    }
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_majority_stalls_writes_are_refused_in_time_and_memory_does_not_grow() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (cluster, shims) = with_shims(dir.path()).await?;
    let clients = cluster::client_each(&cluster)?;
    clients[0].put("before", "kept").await?;
    let pids = cluster.masters().iter().map(|master| master.pid().context("it runs"));
    let pids = pids.collect::<Result<Vec<u32>>>()?;
    let resident = || pids.iter().map(|pid| raw::resident_bytes(*pid)).collect::<Result<Vec<u64>>>();
    let before = resident()?;
    for shim in &shims[..2] {
        shim.hang()?;
    }

    let body = vec![7_u8; OBJECT_BYTES];
    let mut slowest = Duration::ZERO;
    for try_number in 0..TRIES {
        let tries = (0..WRITERS).map(async |writer| {
            let began = Instant::now();
            let key = format!("stalled/{try_number}/{writer}");
            let result = clients[writer % 3].put(&key, body.clone()).await;
            (began.elapsed(), result)
        });
        for (took, result) in join_all(tries).await {
            slowest = slowest.max(took);
            match result {
                // What was under way when the disks stalled may have got through.
                Ok(_) | Err(Error::Unknown { .. } | Error::Refused { status: 503, .. }) => {}
                Err(other) => anyhow::bail!("an answer that says something else: {other:?}"),
            }
        }
    }
    let refused = raw::send(
        cluster.master(3).http_addr(),
        b"PUT /one-more HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
    )
    .await?;
    let in_words = match refused.status {
        Some(503) => refused.field("retry-after").is_some(),
        Some(504) => refused.body().contains("outcome unknown"),
        _ => false,
    };
    ensure!(in_words, "{:?}", refused.text);
    for (before, after) in before.iter().zip(resident()?) {
        let growth = after.saturating_sub(*before);
        figure::say(&format!("resident {} MiB, {} MiB more than before", after >> 20, growth >> 20));
        ensure!(growth <= GROWTH_BYTES_MAX, "memory grew by {growth} bytes");
    }
    figure::at_most("slowest answer while a majority stalled", slowest, ANSWER_AIM)?;

    for shim in &shims[..2] {
        shim.release()?;
    }
    for client in &clients {
        wait::until("writes go on", PUTS_TIMEOUT, async || {
            client.put("after", "new").await?;
            Ok(())
        })
        .await?;
        let found = ledger::read(client, "before").await?;
        ensure!(found.as_deref() == Some(b"kept"), "an acknowledged object is lost: {found:?}");
    }
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_whose_disk_stalls_says_so_and_is_done_without() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut cluster = cluster::builder(VOLUMES + 1)?.build()?;
    let shim = shim(dir.path(), cluster.volume(1))?;
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, VOLUMES + 1).await?;
    let any = cluster::client_any(&cluster)?;

    shim.hang()?;
    let keys: Vec<String> = (0..PUTS).map(|number| format!("meanwhile/{number}")).collect();
    for key in &keys {
        any.put(key, key.clone()).await?;
    }
    let own = "stalled_disk::a_volume_whose_disk_stalls_says_so_and_is_done_without";
    metrics::raised(own, &cluster).await?;

    shim.release()?;
    cluster::all_up(&cluster, VOLUMES + 1).await?;
    for key in &keys {
        let found = ledger::read(&any, key).await?;
        ensure!(found.as_deref() == Some(key.as_bytes()), "{key} reads as {found:?}");
    }
    cluster::no_panics(&cluster)
}

/// A cluster whose masters' syncs can be held, each master's on its own.
async fn with_shims(dir: &Path) -> Result<(Cluster, Vec<DiskShim>)> {
    let mut cluster = cluster::builder(VOLUMES)?.build()?;
    let mut shims = Vec::new();
    for master in cluster.masters() {
        let own = dir.join(master.number().to_string());
        std::fs::create_dir(&own)?;
        shims.push(shim(&own, master)?);
    }
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    Ok((cluster, shims))
}

/// Puts the server's syncs into our hands, from its next start on.
fn shim(dir: &Path, server: &Process) -> Result<DiskShim> {
    let shim = DiskShim::compile(dir)?;
    for (name, value) in shim.env() {
        server.set_env(name, value);
    }
    Ok(shim)
}
