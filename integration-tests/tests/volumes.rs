//! Claim 11: an empty disk at a volume's address is never taken for it; a volume whose syncs hang is taken for down.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::Client;
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::disk_shim::DiskShim;
use hayrick_integration_tests::ledger::{Ledger, Possible};
use hayrick_integration_tests::load::Load;
use hayrick_integration_tests::{cluster, figure, wait};
use tokio::task::block_in_place;
use tokio::time::Instant;

const VOLUMES: u32 = 4;
const OBJECTS: usize = 100;
const SIZE_BYTES_MAX: usize = 8 * 1024;
const STATE_TIMEOUT: Duration = Duration::from_secs(40);
const GAP_AIM: Duration = Duration::from_secs(4);
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_disk_at_the_address_of_another_volume_is_never_taken_for_it() -> Result<()> {
    let seed = content::seed("impostor");
    let cluster = cluster::start(VOLUMES).await?;
    let any = cluster::client_any(&cluster)?;
    let mut rng = content::rng(seed, 0);
    let mut ledger = Ledger::default();
    for number in 0..OBJECTS {
        let content = Content::random(&mut rng, SIZE_BYTES_MAX);
        let key = format!("impostor/{number}");
        any.put(&key, content.bytes()).await?;
        ledger.keys.insert(key, Possible::exactly(Some(content)));
    }

    let original = cluster.volume(1);
    let id = original.server_id().context("its listening line names an id")?;
    block_in_place(|| original.kill())?;
    let impostor = cluster.impostor_of(1)?;
    block_in_place(|| impostor.spawn())?;
    // It brings no identity, so the cluster takes it for what it is: one more volume, with the next id.
    wait::until("the impostor is a volume of its own", STATE_TIMEOUT, async || {
        let own_id = impostor.server_id().context("no listening line yet")?;
        ensure!(own_id == VOLUMES + 1, "the impostor became volume {own_id}");
        ensure!(impostor.is_running(), "it ended: {}", impostor.log_tail());
        Ok(())
    })
    .await?;
    for client in cluster::client_each(&cluster)? {
        ledger.verify(&client).await?;
    }
    wait::until("the original is seen down", STATE_TIMEOUT, async || {
        let status = any.status().await?;
        ensure!(cluster::volume_state(&status, id) == "down", "{:?}", status.volumes);
        Ok(())
    })
    .await?;
    for client in cluster::client_each(&cluster)? {
        ledger.verify(&client).await?;
    }

    block_in_place(|| impostor.stop())?;
    block_in_place(|| original.start())?;
    ensure!(original.server_id() == Some(id), "the original came back as {:?}", original.server_id());
    cluster::volume_seen(&cluster, 1, "up").await?;
    for client in cluster::client_each(&cluster)? {
        ledger.verify(&client).await?;
    }
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_whose_syncs_hang_while_its_heartbeats_go_on_is_taken_for_down() -> Result<()> {
    let seed = content::seed("hung syncs");
    let dir = tempfile::tempdir()?;
    let shim = DiskShim::compile(dir.path())?;
    let mut cluster = cluster::builder(VOLUMES)?.build()?;
    for (name, value) in shim.env() {
        cluster.volume(1).set_env(name, value);
    }
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    let id = cluster.volume(1).server_id().context("its listening line names an id")?;
    let any = cluster::client_any(&cluster)?;

    let load = Load::start(&cluster::client_each(&cluster)?, CLIENTS, seed);
    load.more_puts(50, &[0, 1, 2], STATE_TIMEOUT).await?;
    let hung = Instant::now();
    shim.hang()?;
    let seen = wait::until("the hung volume is taken for down", STATE_TIMEOUT, async || {
        let status = any.status().await?;
        let state = cluster::volume_state(&status, id);
        ensure!(state == "down", "it is {state:?}");
        Ok(hung.elapsed())
    })
    .await?;
    figure::say(&format!("the hung volume was taken for down after {:.2} s", seen.as_secs_f64()));
    load.more_puts(50, &[0, 1, 2], STATE_TIMEOUT).await?;
    writes_go_elsewhere(&any, id).await?;
    let (went_on, status) = (Instant::now(), any.status().await?);
    let state = cluster::volume_state(&status, id);
    ensure!(state == "down", "it is {state:?} again while its syncs hang");
    ensure!(cluster.volume(1).is_running(), "the hung volume died");

    shim.release()?;
    cluster::all_up(&cluster, VOLUMES).await?;
    load.more_puts(50, &[0, 1, 2], STATE_TIMEOUT).await?;
    let report = load.finish().await?;
    let gap = report.longest_gap(hung, went_on, &[0, 1, 2]);
    figure::at_most("longest gap without a PUT after a volume's syncs hung", gap, GAP_AIM)?;
    let failed = report.failed_reads(hung, went_on);
    ensure!(failed.is_empty(), "reads failed because of one hung volume: {failed:#?}");
    for client in cluster::client_each(&cluster)? {
        report.ledger.verify(&client).await?;
    }
    cluster::no_panics(&cluster)
}

/// No current placement names the volume: new objects lie on the others.
async fn writes_go_elsewhere(client: &Client, id: u32) -> Result<()> {
    for number in 0..OBJECTS {
        let key = format!("elsewhere/{number}");
        client.put(&key, key.clone()).await?;
        let lies_on = cluster::volumes_of(&client.head(&key).await?.placement);
        ensure!(!lies_on.is_empty() && !lies_on.contains(&id), "{key} lies on {lies_on:?}");
    }
    Ok(())
}
