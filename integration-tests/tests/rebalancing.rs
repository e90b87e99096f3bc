//! Volumes join: what is planned is what then moves, no more than need be, and all are evenly full.

use std::time::Duration;

use anyhow::{Result, ensure};
use hayrick_client::RebalanceRehearsal;
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::{cluster, copies, figure, ledger, wait};
use tokio::task::block_in_place;

const COPIES: usize = 3;
const OBJECTS: usize = 6000;
const SIZE_BYTES: usize = 1000;
const SETTINGS: [&str; 6] = ["--move-rate", "200MiB", "--reap-after", "1s", "--request-timeout", "3s"];
const BALANCED_TIMEOUT: Duration = Duration::from_secs(120);
/// The fullest over the mean; what chance adds with so few objects included.
const SPREAD_MAX: f64 = 1.15;
/// What moves over the least possible.
const MOVED_MAX: f64 = 1.15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_volumes_join_and_get_their_share_of_what_was_written_before() -> Result<()> {
    let seed = content::seed("rebalancing");
    // All alike: their share goes by their capacity, which would be what the disk has left when each of them starts.
    let builder = cluster::builder(4)?.volume_arg("--capacity").volume_arg("4GiB");
    let mut cluster = cluster::start_with(cluster::with_master_args(builder, &SETTINGS), 4).await?;
    let contents = Content::of_size(seed, OBJECTS, SIZE_BYTES);
    let ledger = ledger::fill(&cluster::client_each(&cluster)?, "rebalancing", contents).await?;
    cluster::fence_epochs(&cluster, 4).await?;
    let before = copies::wanted(&cluster::client_any(&cluster)?, &ledger).await?;
    for _ in 0..2 {
        block_in_place(|| cluster.add_volume()?.start())?;
    }
    cluster::all_up(&cluster, 6).await?;
    let any = cluster::client_any(&cluster)?;
    let planned = wait::until("the table names the new volumes", BALANCED_TIMEOUT, async || {
        let planned = any.rehearse_rebalance().await?;
        ensure!(planned.needles > 0, "nothing is to be moved");
        // Two tables may follow each other.
        tokio::time::sleep(Duration::from_secs(1)).await;
        ensure!(any.rehearse_rebalance().await? == planned, "the table moves");
        Ok(planned)
    })
    .await?;
    ensure!(any.status_json().await?["moves"].as_array().is_some_and(Vec::is_empty), "nothing moves unasked");
    let said = any.rebalance(true).await?;
    ensure!(said.contains("rebalancing"), "{said}");
    wait::until("nothing is left to be moved", BALANCED_TIMEOUT, async || {
        let left = any.rehearse_rebalance().await?;
        ensure!(left == RebalanceRehearsal::default(), "{left:?}");
        Ok(())
    })
    .await?;
    copies::exactly(&cluster, &any, &ledger, BALANCED_TIMEOUT).await?;
    copies::verify(&cluster, &any, &ledger, COPIES).await?;

    let after = copies::wanted(&any, &ledger).await?;
    let come = |id: &u64| after[id].saturating_sub(before.get(id).copied().unwrap_or_default());
    let moved: u64 = after.keys().map(come).sum();
    ensure!(moved == planned.needles, "{moved} needles moved, {} were planned", planned.needles);
    let mean = (OBJECTS * COPIES) as f64 / after.len() as f64;
    let least = 2.0 * mean;
    let most = after.values().max().copied().unwrap_or_default() as f64 / mean;
    figure::say(&format!(
        "{moved} needles moved, {:.3} of the least; the fullest has {most:.3}",
        moved as f64 / least
    ));
    ensure!(moved as f64 <= MOVED_MAX * least, "{moved} needles moved, at least {least} had to");
    ensure!(most <= SPREAD_MAX, "the fullest volume holds {most} times the mean: {after:?}");
    cluster::no_panics(&cluster)
}
