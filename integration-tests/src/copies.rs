//! Every copy of every object, read straight from the volumes that should have it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream};
use hayrick_client::Client;
use hayrick_launcher::Cluster;

use crate::ledger::{Ledger, Possible};
use crate::{cluster, raw, wait};

/// Objects that are looked at together.
const CONCURRENCY: usize = 8;
/// How many wrong ones are shown.
const SHOWN_MAX: usize = 10;

/// Sees that each object which the ledger knows for certain lies on `copies` volumes, and that each of those has its
/// bytes.
///
/// # Errors
/// When one lies on fewer, or a copy is not what was put.
pub async fn verify(cluster: &Cluster, client: &Client, ledger: &Ledger, copies: usize) -> Result<()> {
    let running = cluster.volumes().iter().filter(|volume| volume.is_running());
    let addresses: BTreeMap<u32, SocketAddr> =
        running.filter_map(|volume| Some((volume.server_id()?, volume.http_addr()))).collect();
    let addresses = &addresses;
    let wrong: Vec<String> = stream::iter(&ledger.keys)
        .map(|(key, possible)| async move {
            let checked = check(client, addresses, key, possible, copies).await;
            checked.err().map(|error| format!("{key}: {error:#}"))
        })
        .buffer_unordered(CONCURRENCY)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    let shown = &wrong[..wrong.len().min(SHOWN_MAX)];
    ensure!(wrong.is_empty(), "{} of {} objects: {shown:#?}", wrong.len(), ledger.keys.len());
    Ok(())
}

async fn check(
    client: &Client,
    addresses: &BTreeMap<u32, SocketAddr>,
    key: &str,
    possible: &Possible,
    copies: usize,
) -> Result<()> {
    let [Some(content)] = possible.contents[..] else { return Ok(()) };
    let meta = client.head(key).await?;
    let holders = cluster::volumes_of(&meta.placement);
    ensure!(holders.len() == copies, "it lies on {holders:?}");
    for volume in holders {
        let address = addresses.get(&volume).with_context(|| format!("volume {volume} does not run"))?;
        let bytes = raw::get(*address, &format!("/-/needles/{}", meta.needle)).await;
        let bytes = bytes.with_context(|| format!("volume {volume}"))?;
        ensure!(bytes == content.bytes(), "volume {volume} has {} other bytes", bytes.len());
    }
    Ok(())
}

/// Waits until every object has all its copies, and as many volumes are up as that takes.
///
/// # Errors
/// When it does not happen in time: what the leader says is waited for.
pub async fn all_made(cluster: &Cluster, copies: usize, timeout: Duration) -> Result<()> {
    let any = cluster::client_any(cluster)?;
    wait::until("every object has all its copies", timeout, async || {
        let status = any.status().await?;
        let json = any.status_json().await?;
        let (made, waiting) = (&json["copies"], &json["waiting"]);
        let up = status.volumes.iter().filter(|volume| volume.state == "up").count();
        ensure!(up >= copies && status.under_replicated == 0, "{made}, {up} up, waiting: {waiting}");
        Ok(())
    })
    .await
}

/// How many of the ledger's objects each volume is to hold a copy of.
///
/// # Errors
/// When an object is not there.
pub async fn wanted(client: &Client, ledger: &Ledger) -> Result<BTreeMap<u64, u64>> {
    let live = ledger.keys.iter().filter(|(_, possible)| matches!(possible.contents[..], [Some(_)]));
    let heads: Vec<_> =
        stream::iter(live).map(|(key, _)| client.head(key)).buffer_unordered(CONCURRENCY).collect().await;
    let mut wanted: BTreeMap<u64, u64> = BTreeMap::new();
    for head in heads {
        for volume in cluster::volumes_of(&head?.placement) {
            *wanted.entry(volume.into()).or_default() += 1;
        }
    }
    Ok(wanted)
}

/// Waits until every volume holds as many needles as there are copies on it of what lives: nothing lacks, and nothing that
/// is dead is left.
///
/// # Errors
/// When it does not happen in time.
pub async fn exactly(cluster: &Cluster, client: &Client, ledger: &Ledger, timeout: Duration) -> Result<()> {
    wait::until("every volume holds exactly what lives", timeout, async || {
        let wanted = wanted(client, ledger).await?;
        let status = client.status().await?;
        let running = cluster.volumes().iter().filter(|volume| volume.is_running());
        for id in running.filter_map(|volume| volume.server_id()) {
            let known = status.volumes.iter().find(|volume| volume.id == u64::from(id));
            let (held, bad) = known.map_or((0, 0), |volume| (volume.needles, volume.bad));
            let wanted = wanted.get(&u64::from(id)).copied().unwrap_or_default();
            ensure!(
                held == wanted && bad == 0,
                "volume {id} holds {held} needles, {bad} bad, and not {wanted}"
            );
        }
        Ok(())
    })
    .await
}

/// Waits until no volume uses much more than its needles take: what is dead may be three tenths of a segment, one segment is
/// appended to, one is prepared behind it, and one may be moved just now.
///
/// # Errors
/// When it does not happen in time.
pub async fn tight(
    cluster: &Cluster,
    client: &Client,
    ledger: &Ledger,
    segment_bytes: u64,
    timeout: Duration,
) -> Result<()> {
    let mut held: BTreeMap<u64, u64> = BTreeMap::new();
    for (key, possible) in &ledger.keys {
        let [Some(content)] = possible.contents[..] else { continue };
        for volume in cluster::volumes_of(&client.head(key).await?.placement) {
            *held.entry(volume.into()).or_default() += content.size_bytes as u64;
        }
    }
    wait::until("the space of what is dead has come back", timeout, async || {
        let status = client.status().await?;
        for id in cluster.volumes().iter().filter_map(|volume| Some(u64::from(volume.server_id()?))) {
            let used = status.volumes.iter().find(|volume| volume.id == id).map_or(0, |volume| volume.used);
            let held = held.get(&id).copied().unwrap_or_default();
            let allowed = held * 3 / 2 + 3 * segment_bytes;
            ensure!(used <= allowed, "volume {id} uses {used} bytes for {held}, more than {allowed}");
        }
        Ok(())
    })
    .await
}
