//! Claim 8: a master that was away for longer than the log is kept comes back by snapshot; a new volume joins.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use hayrick_client::GetOptions;
use hayrick_integration_tests::load::Load;
use hayrick_integration_tests::{cluster, content, figure, ledger, metrics, wait};
use tokio::task::block_in_place;
use tokio::time::Instant;

/// How often the masters of this test take snapshots, and how many log entries they keep: few, to be quick.
const SNAPSHOT_AFTER: u64 = 500;
const LOG_KEEP: u64 = 500;
/// How far the log moves on meanwhile.
const ENTRIES_AWAY: u64 = 3000;
/// What a master logs that came back by snapshot.
const BY_SNAPSHOT: &str = "installed a snapshot from the leader";
const CLIENTS: usize = 16;
const AWAY_TIMEOUT: Duration = Duration::from_secs(180);
const CATCH_UP_AIM: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_away_for_longer_than_the_log_comes_back_and_a_new_volume_takes_writes() -> Result<()> {
    let seed = content::seed("snapshot");
    let mut builder = cluster::builder(3)?;
    for (flag, entries) in [("--snapshot-after", SNAPSHOT_AFTER), ("--log-keep", LOG_KEEP)] {
        builder = builder.master_arg(flag).master_arg(entries.to_string());
    }
    let mut cluster = cluster::start_with(builder, 3).await?;
    let leader = cluster::leader(&cluster).await?;
    let away = leader % 3 + 1;
    let clients = cluster::client_each(&cluster)?;
    block_in_place(|| cluster.master(away).kill())?;

    let staying: Vec<_> =
        (1..=3).filter(|id| *id != away).map(|id| clients[id as usize - 1].clone()).collect();
    let before = staying[0].status().await?.applied;
    let load = Load::start(&staying, CLIENTS, seed);
    wait::until("the log has moved on", AWAY_TIMEOUT, async || {
        let applied = staying[0].status().await?.applied;
        ensure!(applied >= before + ENTRIES_AWAY, "applied {applied}, from {before}");
        Ok(())
    })
    .await?;
    let report = load.finish().await?;

    let log_path = cluster.master(away).log_path();
    let logged_before = std::fs::metadata(log_path)?.len() as usize;
    let started = Instant::now();
    block_in_place(|| cluster.master(away).start())?;
    let target = staying[0].status().await?.applied;
    let returned = &clients[away as usize - 1];
    wait::until("the master has caught up", CATCH_UP_AIM * 3, async || {
        let applied = returned.status().await?.applied;
        ensure!(applied >= target, "applied {applied} of {target}");
        Ok(())
    })
    .await?;
    figure::at_most("a returned master has caught up", started.elapsed(), CATCH_UP_AIM)?;
    let log = std::fs::read(log_path)?;
    let log = String::from_utf8_lossy(&log[logged_before..]);
    ensure!(log.contains(BY_SNAPSHOT), "it came back by log, not by snapshot: {log}");

    report.ledger.verify(returned).await?;
    let stale = GetOptions { stale: true, ..GetOptions::default() };
    for (key, possible) in report.ledger.keys.iter().take(200) {
        let found = match returned.get_with(key, &stale).await {
            Ok(object) => Some(object.bytes().await?),
            Err(hayrick_client::Error::NotFound { .. }) => None,
            Err(error) => return Err(error).context(key.clone()),
        };
        ensure!(possible.allows(found.as_deref()), "{key}: the returned master's own state is wrong");
    }
    let through_others: Vec<String> = staying[0].list_all("").try_collect().await?;
    let through_returned: Vec<String> = returned.list_all("").try_collect().await?;
    ensure!(through_others == through_returned, "the lists differ");
    cluster::states_agree(&cluster).await?;
    let own = "snapshot::a_master_away_for_longer_than_the_log_comes_back_and_a_new_volume_takes_writes";
    metrics::moved(own, &cluster).await?;

    a_new_volume_takes_writes(&mut cluster).await?;
    cluster::no_panics(&cluster)
}

async fn a_new_volume_takes_writes(cluster: &mut hayrick_launcher::Cluster) -> Result<()> {
    let any = cluster::client_any(cluster)?;
    let newcomer = cluster.add_volume()?;
    block_in_place(|| newcomer.start())?;
    let id = newcomer.server_id().context("its listening line names an id")?;
    cluster::all_up(cluster, 4).await?;
    let mut number = 0;
    wait::until("an object lies on the new volume", Duration::from_secs(30), async || {
        number += 1;
        let key = format!("joined/{number}");
        any.put(&key, key.clone()).await?;
        let meta = any.head(&key).await?;
        let lies_on = cluster::volumes_of(&meta.placement);
        ensure!(lies_on.contains(&id), "{key} lies on {lies_on:?}, not on {id}");
        let read = ledger::read(&any, &key).await?;
        ensure!(read.as_deref() == Some(key.as_bytes()), "{key} reads {read:?}");
        Ok(())
    })
    .await
}
