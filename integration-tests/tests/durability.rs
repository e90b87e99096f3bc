//! Claim 3: `kill -9` of all processes at once, under load, loses nothing that was acknowledged.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::ledger::Ledger;
use hayrick_integration_tests::load::Load;
use hayrick_integration_tests::{cluster, content, figure, metrics, segments};
use tokio::task::block_in_place;
use tokio::time::Instant;

const CLIENTS: usize = 16;
const ROUNDS: u64 = 3;
const PUTS_BEFORE: u64 = 300;
const READY_AIM: Duration = Duration::from_secs(10);
const STOP_AIM: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_death_of_everything() -> Result<()> {
    let seed = content::seed("durability");
    let cluster = cluster::start(4).await?;
    let clients = cluster::client_each(&cluster)?;
    let mut ledgers = Ledger::default();
    for round in 0..ROUNDS {
        let load = Load::start(&clients, CLIENTS, seed.wrapping_add(round));
        load.more_puts(PUTS_BEFORE, &[0, 1, 2], Duration::from_secs(60)).await?;
        block_in_place(|| cluster.kill_all())?;
        let report = load.finish().await?;
        ensure!(cluster.processes().all(|process| !process.is_running()), "something survived");
        segments::tear(cluster.volume(1).data_dir())?;

        let started = Instant::now();
        block_in_place(|| cluster.start_all())?;
        block_in_place(|| cluster.wait_ready(READY_AIM * 3))?;
        figure::at_most("ready again after the death of everything", started.elapsed(), READY_AIM)?;
        figure::say(&format!(
            "{} objects acknowledged, {} keys uncertain",
            report.ledger.acknowledged(),
            report.ledger.keys.values().filter(|possible| !possible.is_certain()).count()
        ));
        for client in &clients {
            report.ledger.verify(client).await?;
        }
        ledgers.extend(report.ledger);
    }
    metrics::moved("durability::what_was_acknowledged_survives_the_death_of_everything", &cluster).await?;
    // Nothing that an earlier round acknowledged was lost in a later one.
    ledgers.verify(&clients[0]).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_under_load_takes_no_longer_than_promised_and_loses_nothing() -> Result<()> {
    let seed = content::seed("clean stop");
    let cluster = cluster::start(3).await?;
    let clients = cluster::client_each(&cluster)?;
    let load = Load::start(&clients, CLIENTS, seed);
    load.more_puts(PUTS_BEFORE, &[0, 1, 2], Duration::from_secs(60)).await?;
    let stopping = Instant::now();
    block_in_place(|| cluster.stop_all())?;
    figure::at_most("stopping everything under load", stopping.elapsed(), STOP_AIM)?;
    for process in cluster.processes() {
        let status = process.exit_status().context("it has ended")?;
        // On a busy machine a server may need more than its time; then it says so, and ends all the same.
        let late = process.log_tail().contains("did not stop within");
        ensure!(status.success() || late, "{} ended with {status}", process.name());
    }
    let report = load.finish().await?;
    block_in_place(|| cluster.start_all())?;
    cluster::all_up(&cluster, 3).await?;
    for client in &clients {
        report.ledger.verify(client).await?;
    }
    cluster::states_agree(&cluster).await?;
    cluster::no_panics(&cluster)
}
