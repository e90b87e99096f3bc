//! A volume is drained under load, stopped and removed: nobody notices, and nothing moves afterwards.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::{Error, VolumeChange};
use hayrick_integration_tests::load::Load;
use hayrick_integration_tests::{cluster, content, copies, wait};
use tokio::task::block_in_place;

const COPIES: usize = 3;
const CLIENTS: usize = 4;
const VOLUMES: u32 = 5;
const PUTS: u64 = 150;
const DRAINED_TIMEOUT: Duration = Duration::from_secs(120);
const STATE_TIMEOUT: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_drained_stopped_and_removed_and_nobody_notices() -> Result<()> {
    let seed = content::seed("draining");
    let cluster = cluster::start_set(VOLUMES, &["--move-rate", "200MiB"]).await?;
    let any = cluster::client_any(&cluster)?;
    let load = Load::start(&cluster::client_each(&cluster)?, CLIENTS, seed);
    load.more_puts(PUTS, &[0, 1, 2], STATE_TIMEOUT).await?;
    let drained = cluster.volume(2);
    let id = u64::from(drained.server_id().context("its listening line names an id")?);

    let refused = any.change_volume(id, VolumeChange::Remove).await;
    let text = refused.expect_err("it is in use").to_string();
    ensure!(text.contains("drain it first"), "{text}");
    let found = any.rehearse_volume(id, VolumeChange::Drain).await?;
    ensure!(found.changes && found.placements > 0 && found.bytes > 0, "{found:?}");
    let status = any.status().await?;
    ensure!(cluster::volume_state(&status, id.try_into()?) == "up", "a rehearsal changes nothing");

    let said = any.change_volume(id, VolumeChange::Drain).await?;
    ensure!(said.contains("is being drained"), "{said}");
    wait::until("nothing is on the volume that anybody counts on", DRAINED_TIMEOUT, async || {
        let found = any.rehearse_volume(id, VolumeChange::Drain).await?;
        ensure!(!found.changes && found.placements == 0, "{found:?}");
        Ok(())
    })
    .await?;
    let said = any.change_volume(id, VolumeChange::Drain).await?;
    ensure!(said.contains("is drained"), "{said}");
    load.more_puts(20, &[0, 1, 2], STATE_TIMEOUT).await?;

    block_in_place(|| drained.stop())?;
    let said = any.change_volume(id, VolumeChange::Remove).await?;
    ensure!(said.contains("removed for good"), "{said}");
    load.more_puts(20, &[0, 1, 2], STATE_TIMEOUT).await?;
    let report = load.finish().await?;
    ensure!(report.failures.is_empty(), "requests failed: {:#?}", report.failures);
    let status = any.status().await?;
    ensure!(status.under_replicated == 0, "{} objects have fewer copies", status.under_replicated);
    ensure!(status.moves.is_empty() && status.waiting.is_empty(), "{:?} {:?}", status.moves, status.waiting);
    copies::verify(&cluster, &any, &report.ledger, COPIES).await?;

    // It is told so when it comes back, and ends.
    block_in_place(|| drained.spawn())?;
    block_in_place(|| drained.wait_ended(STATE_TIMEOUT))?;
    let log = drained.log_tail();
    ensure!(log.contains("removed"), "{log}");
    let gone = any.change_volume(id, VolumeChange::Drain).await.expect_err("it is gone");
    ensure!(matches!(gone, Error::Refused { status: 409, .. }), "{gone}");
    cluster::states_agree(&cluster).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_is_ended_and_refused_where_writes_would_stop() -> Result<()> {
    let cluster = cluster::start(4).await?;
    let any = cluster::client_any(&cluster)?;
    let id = |number| cluster.volume(number).server_id().map(u64::from).context("it has an id");
    any.change_volume(id(1)?, VolumeChange::Drain).await?;
    let refused = any.change_volume(id(2)?, VolumeChange::Drain).await.expect_err("two would be left");
    ensure!(refused.to_string().contains("--replicas"), "{refused}");
    any.put("meanwhile", "yes").await?;
    let lies_on = cluster::volumes_of(&any.head("meanwhile").await?.placement);
    ensure!(lies_on.len() == COPIES && !lies_on.contains(&u32::try_from(id(1)?)?), "{lies_on:?}");
    let said = any.change_volume(id(1)?, VolumeChange::Undrain).await?;
    ensure!(said.contains("is not being drained"), "{said}");
    any.change_volume(id(2)?, VolumeChange::Drain).await?;
    let unknown = any.change_volume(99, VolumeChange::Drain).await.expect_err("there is none");
    ensure!(matches!(unknown, Error::Refused { status: 404, .. }), "{unknown}");
    cluster::no_panics(&cluster)
}
