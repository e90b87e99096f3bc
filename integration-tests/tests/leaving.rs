//! A volume leaves placements, and may come back into them: what it held goes then and no sooner, and never by an order that
//! was given before.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::{Client, VolumeChange};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::gate::Gate;
use hayrick_integration_tests::{cluster, copies, figure, ledger, metrics, wait};
use hayrick_launcher::Cluster;
use tokio::task::block_in_place;

const VOLUMES: u32 = 4;
const COPIES: usize = 3;
const OBJECTS: usize = 600;
const SIZE_BYTES_MAX: usize = 4 * 1024;
/// `Drop`, as `protocol/src/messages/volume.rs` numbers it.
const DROP: u16 = 0x010c;
const REAPED: [&str; 4] = ["--reap-after", "1s", "--request-timeout", "3s"];
const MOVED_TIMEOUT: Duration = Duration::from_secs(120);

const LARGE_OBJECTS: usize = 1000;
const LARGE_BYTES: usize = 16 * 1024;
const SEGMENT_BYTES: u64 = 2 << 20;
/// What has moved when draining is called off.
const MOVED_BYTES: u64 = 2 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_to_drop_that_comes_after_the_volume_is_a_member_again_drops_nothing() -> Result<()> {
    let seed = content::seed("late drop");
    // Few partitions, so that the first order names nearly everything.
    let settings = [&REAPED[..], &["--repair-after", "1s", "--partitions", "32"]].concat();
    let mut cluster = cluster::with_master_args(cluster::builder(VOLUMES)?, &settings).build()?;
    let gate = Gate::start(cluster.volume(1).peer_addr()).await?;
    cluster.volume(1).set_flag("--peer-advertise", gate.addr().to_string());
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    let (any, clients) = (cluster::client_any(&cluster)?, cluster::client_each(&cluster)?);
    let contents = Content::randoms(seed, 1, OBJECTS, SIZE_BYTES_MAX);
    let mut ledger = ledger::fill(&clients, "before", contents).await?;

    gate.hold(DROP);
    change(&any, &cluster, 1, VolumeChange::Drain).await?;
    drained(&any, &cluster, 1).await?;
    // What comes meanwhile it has to pull.
    let contents = Content::randoms(seed, 2, OBJECTS / 4, SIZE_BYTES_MAX);
    ledger.extend(ledger::fill(&clients, "meanwhile", contents).await?);
    wait::until("it is told to drop what it held", MOVED_TIMEOUT, async || {
        ensure!(gate.counts().held > 0, "{:?}", gate.counts());
        Ok(())
    })
    .await?;
    let held = needles_of(&any, &cluster, 1).await?;
    ensure!(held > OBJECTS as u64 / 2, "it holds {held} needles, though it was not told yet to drop them");

    // Of four volumes three are left: it becomes a member of everything again.
    change(&any, &cluster, 1, VolumeChange::Undrain).await?;
    let lost = cluster.volume(2);
    block_in_place(|| lost.kill())?;
    std::fs::remove_dir_all(lost.data_dir()).context("its disk is gone, too")?;
    cluster::volume_seen(&cluster, 2, "down").await?;
    copies::all_made(&cluster, COPIES, MOVED_TIMEOUT).await?;
    ensure!(gate.counts().answered == 0, "the order came through: {:?}", gate.counts());
    gate.release();
    wait::until("the order has arrived", MOVED_TIMEOUT, async || {
        ensure!(gate.counts().answered > 0, "{:?}", gate.counts());
        Ok(())
    })
    .await?;
    copies::verify(&cluster, &any, &ledger, COPIES).await?;
    cluster::fence_epochs(&cluster, VOLUMES - 1).await?;
    copies::exactly(&cluster, &any, &ledger, MOVED_TIMEOUT).await?;
    figure::say(&format!("{held} needles were to be dropped: {:?}", gate.counts()));
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_held_or_half_pulled_what_lies_elsewhere_gets_the_space_back() -> Result<()> {
    let seed = content::seed("space of moves");
    let settings = [&REAPED[..], &["--move-rate", "2MiB", "--partitions", "256"]].concat();
    let builder = cluster::with_master_args(cluster::builder(VOLUMES)?, &settings).segment_size("2MiB");
    let cluster = cluster::start_with(builder, VOLUMES).await?;
    let (any, clients) = (cluster::client_any(&cluster)?, cluster::client_each(&cluster)?);
    let contents = Content::of_size(seed, LARGE_OBJECTS, LARGE_BYTES);
    let ledger = ledger::fill(&clients, "space", contents).await?;
    cluster::fence_epochs(&cluster, VOLUMES).await?;

    // Called off while copies are being made: some placements have moved, of others there are pieces.
    change(&any, &cluster, 1, VolumeChange::Drain).await?;
    wait::until("copies are being made", MOVED_TIMEOUT, async || {
        let leader = cluster::leader(&cluster).await?;
        let client = cluster::client(&[cluster.master(leader).http_addr().to_string()])?;
        let status = client.status().await?;
        let done: u64 = status.moves.iter().map(|step| step.done).sum();
        ensure!(done >= MOVED_BYTES, "{done} bytes are copied: {:?}", status.moves);
        Ok(())
    })
    .await?;
    change(&any, &cluster, 1, VolumeChange::Undrain).await?;
    copies::exactly(&cluster, &any, &ledger, MOVED_TIMEOUT).await?;
    copies::tight(&cluster, &any, &ledger, SEGMENT_BYTES, MOVED_TIMEOUT).await?;

    // And to its end: it holds nothing.
    let before = used_of(&any, &cluster, 1).await?;
    change(&any, &cluster, 1, VolumeChange::Drain).await?;
    drained(&any, &cluster, 1).await?;
    copies::exactly(&cluster, &any, &ledger, MOVED_TIMEOUT).await?;
    copies::tight(&cluster, &any, &ledger, SEGMENT_BYTES, MOVED_TIMEOUT).await?;
    let after = used_of(&any, &cluster, 1).await?;
    figure::say(&format!("a drained volume uses {after} bytes, before {before}"));
    ensure!(after <= 3 * SEGMENT_BYTES && 2 * after < before, "it uses {after} bytes, before {before}");
    let own = "leaving::who_held_or_half_pulled_what_lies_elsewhere_gets_the_space_back";
    metrics::moved(own, &cluster).await?;
    copies::verify(&cluster, &any, &ledger, COPIES).await?;
    cluster::no_panics(&cluster)
}

async fn change(client: &Client, cluster: &Cluster, number: u32, change: VolumeChange) -> Result<()> {
    client.change_volume(id(cluster, number)?, change).await?;
    Ok(())
}

async fn drained(client: &Client, cluster: &Cluster, number: u32) -> Result<()> {
    let id = id(cluster, number)?;
    wait::until("nothing is on the volume that anybody counts on", MOVED_TIMEOUT, async || {
        let left = client.rehearse_volume(id, VolumeChange::Drain).await?;
        ensure!(!left.changes && left.placements == 0, "{left:?}");
        Ok(())
    })
    .await
}

async fn needles_of(client: &Client, cluster: &Cluster, number: u32) -> Result<u64> {
    let (id, status) = (id(cluster, number)?, client.status().await?);
    Ok(status.volumes.iter().find(|volume| volume.id == id).context("it is known")?.needles)
}

async fn used_of(client: &Client, cluster: &Cluster, number: u32) -> Result<u64> {
    let (id, status) = (id(cluster, number)?, client.status().await?);
    Ok(status.volumes.iter().find(|volume| volume.id == id).context("it is known")?.used)
}

fn id(cluster: &Cluster, number: u32) -> Result<u64> {
    Ok(cluster.volume(number).server_id().context("its listening line names an id")?.into())
}
