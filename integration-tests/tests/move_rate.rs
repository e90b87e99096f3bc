//! How fast copies are made is set while a repair is under way, and holds at once, whoever leads.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use hayrick_client::{Client, Error, MoveRate, Status};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::ledger::{Ledger, Possible};
use hayrick_integration_tests::{cluster, copies, figure, metrics, wait};
use hayrick_launcher::Cluster;
use tokio::task::block_in_place;
use tokio::time::Instant;

const COPIES: usize = 3;
const OBJECTS: u64 = 800;
const OBJECT_BYTES: usize = 32 * 1024;
const PUTS_TOGETHER: usize = 8;
/// Of so many objects one surely belongs on a certain volume of five.
const MEETING: usize = 24;
/// The least there is: what is to be copied takes each of four volumes two minutes, as giving and taking both count.
const LOW: u64 = 64 << 10;
const HIGH: u64 = 500 << 20;
/// What a repair at the low rate surely does not end within.
const CRAWLS: Duration = Duration::from_secs(10);
const STATE_TIMEOUT: Duration = Duration::from_secs(40);
/// Less than the low rate would take.
const HEALED_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_crawls_or_ends_soon_as_it_is_told_and_a_new_leader_keeps_to_it() -> Result<()> {
    let seed = content::seed("move rate");
    let builder = cluster::builder(5)?.master_arg("--repair-after").master_arg("1s");
    let builder = builder.master_arg("--move-rate").master_arg("200MiB");
    let cluster = cluster::start_with(builder, 5).await?;
    let any = cluster::client_any(&cluster)?;
    ensure!(any.move_rate().await? == MoveRate { bytes_per_s: 200 << 20, is_default: true });
    for wrong in [1, LOW - 1, (1 << 40) + 1] {
        let refused = any.set_move_rate(Some(wrong)).await.expect_err("it is out of bounds");
        ensure!(matches!(refused, Error::Refused { status: 400, .. }), "{refused}");
        ensure!(refused.to_string().contains("64KiB"), "{refused}");
    }
    let said = any.set_move_rate(Some(LOW)).await?;
    ensure!(said.contains("64.0 KiB"), "{said}");
    let ledger = fill(&any, seed).await?;

    let died = Instant::now();
    block_in_place(|| cluster.volume(1).kill())?;
    // Whoever meets it says so, long before its silence does.
    for number in 0..MEETING {
        any.put(&format!("met/{number}"), "x").await?;
    }
    copied(&cluster).await?;
    let former = cluster::leader(&cluster).await?;
    let next = former % 3 + 1;
    any.transfer_leader(next.into()).await?;
    wait::until("another master leads", STATE_TIMEOUT, async || {
        let leader = cluster::leader(&cluster).await?;
        ensure!(leader != former, "master {former} leads still");
        Ok(())
    })
    .await?;
    copied(&cluster).await?;
    for client in cluster::client_each(&cluster)? {
        let rate = MoveRate { bytes_per_s: LOW, is_default: false };
        ensure!(client.move_rate().await? == rate && client.status().await?.move_rate == LOW);
    }
    tokio::time::sleep_until(died + CRAWLS).await;
    let left = any.status().await?.under_replicated;
    ensure!(
        left > OBJECTS / 8,
        "only {left} objects lack a copy after {:?}: that is no crawling",
        died.elapsed()
    );
    let own = "move_rate::a_repair_crawls_or_ends_soon_as_it_is_told_and_a_new_leader_keeps_to_it";
    metrics::raised(own, &cluster).await?;

    any.set_move_rate(Some(HIGH)).await?;
    let raised = Instant::now();
    wait::until("every object has all its copies", HEALED_TIMEOUT, async || {
        let status = any.status().await?;
        ensure!(status.under_replicated == 0, "{} lack one", status.under_replicated);
        Ok(())
    })
    .await?;
    figure::say(&format!(
        "{left} objects lacked a copy {:.1} s after a volume's death; {:.1} s after the rate was raised, none",
        (raised - died).as_secs_f64(),
        raised.elapsed().as_secs_f64()
    ));
    copies::verify(&cluster, &any, &ledger, COPIES).await?;
    metrics::moved(own, &cluster).await?;
    any.set_move_rate(None).await?;
    ensure!(any.move_rate().await?.is_default, "nobody sets it any more");
    cluster::states_agree(&cluster).await?;
    cluster::no_panics(&cluster)
}

/// Waits until every master, whoever leads, tells of copies that are made, and how long all of it takes.
async fn copied(cluster: &Cluster) -> Result<()> {
    for client in cluster::client_each(cluster)? {
        wait::until("copies are being made", STATE_TIMEOUT, async || {
            let Status { node, leader, moves, repair, waiting, .. } = client.status().await?;
            let told = format!("master {node}, while {leader:?} leads: {moves:?}, {repair:?}, {waiting:?}");
            let done: u64 = moves.iter().map(|step| step.done).sum();
            let at_work: u64 = moves.iter().map(|step| step.placements).sum();
            ensure!(done > 0 && repair.placements >= at_work && repair.bytes_left > 0, "{told}");
            let eta_ms = repair.bytes_left.saturating_mul(1000).checked_div(repair.bytes_per_s);
            ensure!(eta_ms.is_some() && eta_ms == repair.eta_ms, "{told}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn fill(client: &Client, seed: u64) -> Result<Ledger> {
    let put = async |number: u64| {
        let key = format!("rate/{number}");
        let content = Content { seed: seed.wrapping_add(number), size_bytes: OBJECT_BYTES };
        client.put(&key, content.bytes()).await.with_context(|| key.clone())?;
        anyhow::Ok((key, Possible::exactly(Some(content))))
    };
    let keys = stream::iter(0..OBJECTS).map(put).buffer_unordered(PUTS_TOGETHER).try_collect().await?;
    Ok(Ledger { keys })
}
