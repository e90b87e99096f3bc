//! Claim 2: the death of the leader, of a follower, of a volume, under load, loses nothing and stops nobody for long.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::TryStreamExt;
use hayrick_client::Client;
use hayrick_integration_tests::load::{Load, Report};
use hayrick_integration_tests::{cluster, content, figure, wait};
use hayrick_launcher::{Cluster, Process};
use tokio::task::block_in_place;
use tokio::time::Instant;

const CLIENTS: usize = 16;
/// The longest time without a successful PUT through a surviving master.
const GAP_AIM: Duration = Duration::from_secs(4);
/// What each surviving master must take before the dead one comes back: enough to see that writes really go on.
const PUTS_BETWEEN: u64 = 100;
const PUTS_TIMEOUT: Duration = Duration::from_secs(60);
const VOLUMES: u32 = 4;

/// A death, from the kill until everything is up again.
struct Death {
    what: &'static str,
    /// When it was killed, when it was started again, when all was up.
    killed: Instant,
    started: Instant,
    healed: Instant,
    /// The masters that survived it, by their place in the list.
    survivors: Vec<usize>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_death_at_a_time_loses_nothing_and_stops_nobody_for_long() -> Result<()> {
    let seed = content::seed("failover");
    let cluster = cluster::start(VOLUMES).await?;
    let clients = cluster::client_each(&cluster)?;
    let load = Load::start(&clients, CLIENTS, seed);
    load.more_puts(PUTS_BETWEEN, &[0, 1, 2], PUTS_TIMEOUT).await?;

    let leader = cluster::leader(&cluster).await?;
    let of_leader = die(&cluster, &load, "the leader", cluster.master(leader)).await?;
    let leader = cluster::leader(&cluster).await?;
    let of_follower = die(&cluster, &load, "a follower", cluster.master(leader % 3 + 1)).await?;
    let of_volume = die(&cluster, &load, "a volume", cluster.volume(2)).await?;

    let report = load.finish().await?;
    figure::say(&format!(
        "{} PUTs acknowledged, {} objects, {} requests failed",
        report.puts.len(),
        report.ledger.acknowledged(),
        report.failures.len()
    ));
    for death in [&of_leader, &of_follower, &of_volume] {
        gap_is_short(&report, death)?;
    }
    let failed = report.failed_reads(of_volume.killed, of_volume.healed);
    ensure!(failed.is_empty(), "reads failed because of one dead volume: {failed:#?}");

    for client in &clients {
        report.ledger.verify(client).await?;
        nothing_came_back(&report, client).await?;
    }
    cluster::no_panics(&cluster)
}

/// Kills a process, waits until the others do the work, and brings it back.
async fn die(cluster: &Cluster, load: &Load, what: &'static str, victim: &Process) -> Result<Death> {
    let killed = Instant::now();
    let id = victim.server_id();
    block_in_place(|| victim.kill())?;
    let survivors: Vec<usize> = cluster
        .masters()
        .iter()
        .enumerate()
        .filter(|(_, m)| m.is_running())
        .map(|(place, _)| place)
        .collect();
    load.more_puts(PUTS_BETWEEN, &survivors, PUTS_TIMEOUT).await?;
    if survivors.len() == cluster.masters().len() {
        let client = cluster::client_any(cluster)?;
        wait::until("the dead volume is seen down", Duration::from_secs(30), async || {
            let status = client.status().await?;
            let state = cluster::volume_state(&status, id.unwrap_or_default()).to_owned();
            ensure!(state == "down", "it is {state:?}");
            Ok(())
        })
        .await?;
        load.more_puts(PUTS_BETWEEN, &survivors, PUTS_TIMEOUT).await?;
    }
    let started = Instant::now();
    block_in_place(|| victim.start())?;
    cluster::all_up(cluster, VOLUMES).await?;
    load.more_puts(PUTS_BETWEEN, &[0, 1, 2], PUTS_TIMEOUT).await?;
    Ok(Death { what, killed, started, healed: Instant::now(), survivors })
}

fn gap_is_short(report: &Report, death: &Death) -> Result<()> {
    let gap = report.longest_gap(death.killed, death.started, &death.survivors);
    figure::at_most(&format!("longest gap without a PUT after the death of {}", death.what), gap, GAP_AIM)?;
    let failures = report.failures.iter().filter(|failure| {
        death.survivors.contains(&failure.master) && (death.killed..=death.started).contains(&failure.at)
    });
    let failures: Vec<_> = failures.collect();
    if let Some(first) = failures.first() {
        figure::say(&format!(
            "{} requests to survivors failed then, the first with {:?}",
            failures.len(),
            first.message
        ));
    }
    Ok(())
}

/// The list has exactly the keys that may be there: no deleted one has come back.
async fn nothing_came_back(report: &Report, client: &Client) -> Result<()> {
    let listed: std::collections::BTreeSet<String> = client.list_all("load/").try_collect().await?;
    for (key, possible) in &report.ledger.keys {
        let may_be = possible.contents.iter().any(Option::is_some);
        let must_be = possible.contents.iter().all(Option::is_some);
        let is = listed.contains(key);
        ensure!(if is { may_be } else { !must_be }, "{key}: listed is {is}, may hold {possible:?}");
    }
    Ok(())
}
