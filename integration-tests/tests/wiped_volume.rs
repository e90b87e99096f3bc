//! A volume whose disk was lost is started again: it is a new one, all copies are made again, and the old id goes by itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::ledger::{Ledger, Possible};
use hayrick_integration_tests::{cluster, copies, wait};
use tokio::task::block_in_place;

const COPIES: usize = 3;
const VOLUMES: u32 = 4;
const OBJECTS: u64 = 200;
const OBJECT_BYTES: usize = 2000;
const HEALED_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_volume_is_a_new_one_and_the_old_id_is_removed_without_a_command() -> Result<()> {
    let seed = content::seed("wiped volume");
    let builder = cluster::builder(VOLUMES)?.master_arg("--repair-after").master_arg("1s");
    let cluster = cluster::start_with(builder, VOLUMES).await?;
    let any = cluster::client_any(&cluster)?;
    let mut ledger = Ledger::default();
    for number in 0..OBJECTS {
        let content = Content { seed: seed.wrapping_add(number), size_bytes: OBJECT_BYTES };
        let key = format!("wiped/{number}");
        any.put(&key, content.bytes()).await?;
        ledger.keys.insert(key, Possible::exactly(Some(content)));
    }
    let id = |number| cluster.volume(number).server_id().context("its listening line names an id");
    let (wiped, away) = (cluster.volume(1), cluster.volume(2));
    let (old, other) = (id(1)?, id(2)?);
    block_in_place(|| wiped.kill())?;
    std::fs::remove_dir_all(wiped.data_dir())?;
    block_in_place(|| wiped.start())?;
    let new = id(1)?;
    ensure!(new == VOLUMES + 1, "it is volume {new}");
    wait::until("the old id is removed", HEALED_TIMEOUT, async || {
        let status = any.status().await?;
        let state = cluster::volume_state(&status, old);
        ensure!(state == "removed", "it is {state:?}, {:?}, {:?}", status.repair, status.waiting);
        // It was not removed before all copies were made again.
        ensure!(status.under_replicated == 0, "{} objects lack a copy", status.under_replicated);
        Ok(())
    })
    .await?;
    copies::verify(&cluster, &any, &ledger, COPIES).await?;

    // One that is away and that nobody has replaced stays, though nothing names it any more.
    block_in_place(|| away.kill())?;
    wait::until("what it held is on the others", HEALED_TIMEOUT, async || {
        let status = any.status().await?;
        let state = cluster::volume_state(&status, other);
        ensure!(state == "down" && status.under_replicated == 0, "{state:?}, {:?}", status.waiting);
        ensure!(status.repair.placements == 0 && status.moves.is_empty(), "{:?}", status.repair);
        Ok(())
    })
    .await?;
    block_in_place(|| away.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    ensure!(id(2)? == other, "it came back as another one");
    copies::verify(&cluster, &any, &ledger, COPIES).await?;
    cluster::states_agree(&cluster).await?;
    cluster::no_panics(&cluster)
}
