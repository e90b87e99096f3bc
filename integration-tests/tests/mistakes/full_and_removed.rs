//! A cluster as it is after a while, when nobody looked after it: full, and with two servers fewer.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hayrick_client::{Client, Error, VolumeChange};
use hayrick_integration_tests::{cluster, wait};
use hayrick_launcher::Cluster;
use tokio::task::block_in_place;

use crate::cases::MOVIE_BYTES;

const CAPACITY: &str = "32MiB";
/// More objects than volumes of that capacity hold.
const OBJECTS_MAX: usize = (32 << 20) / MOVIE_BYTES * 2;
const DRAINED_TIMEOUT: Duration = Duration::from_secs(120);
const ENDED_TIMEOUT: Duration = Duration::from_secs(40);

/// The fourth volume and the third master were removed; the three volumes that are left take nothing more.
pub(crate) async fn cluster() -> Result<Cluster> {
    let builder = cluster::builder(4)?.volume_arg("--capacity").volume_arg(CAPACITY);
    let cluster = cluster::start_with(builder, 4).await?;
    let any = cluster::client_any(&cluster)?;
    remove_volume(&cluster, &any, 4).await?;
    fill(&any).await?;
    any.remove_master(3).await?;
    block_in_place(|| cluster.master(3).wait_ended(ENDED_TIMEOUT))?;
    Ok(cluster)
}

async fn remove_volume(cluster: &Cluster, any: &Client, number: u32) -> Result<()> {
    let volume = cluster.volume(number);
    let id = u64::from(volume.server_id().context("its listening line names an id")?);
    wait::until("the volume is drained", DRAINED_TIMEOUT, async || {
        let said = any.change_volume(id, VolumeChange::Drain).await?;
        ensure!(said.contains("is drained"), "{said}");
        Ok(())
    })
    .await?;
    block_in_place(|| volume.stop())?;
    any.change_volume(id, VolumeChange::Remove).await?;
    Ok(())
}

async fn fill(any: &Client) -> Result<()> {
    for number in 0..OBJECTS_MAX {
        match any.put(&format!("full/{number}"), vec![0; MOVIE_BYTES]).await {
            Ok(_) => {}
            Err(Error::NoRoom { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    bail!("{OBJECTS_MAX} objects fit into volumes of {CAPACITY}")
}
