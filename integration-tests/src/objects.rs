//! A few small objects under one prefix, put through one master and read back through another.

use std::time::Duration;

use anyhow::{Result, ensure};
use hayrick_launcher::Cluster;

use crate::{cluster, ledger, wait};

/// How many there are under a prefix.
pub const COUNT: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Puts them through this master once it takes them.
///
/// # Errors
/// When it does not in time.
pub async fn put(cluster: &Cluster, id: u32, prefix: &str) -> Result<()> {
    let client = cluster::client(&[cluster.master(id).http_addr().to_string()])?;
    wait::until(&format!("master {id} takes PUTs"), TIMEOUT, async || {
        for key in keys(prefix) {
            client.put(&key, key.clone()).await?;
        }
        Ok(())
    })
    .await
}

/// Reads them back through this master.
///
/// # Errors
/// When one is not there, or has other bytes.
pub async fn intact(cluster: &Cluster, id: u32, prefix: &str) -> Result<()> {
    let client = cluster::client(&[cluster.master(id).http_addr().to_string()])?;
    for key in keys(prefix) {
        let found = ledger::read(&client, &key).await?;
        ensure!(found.as_deref() == Some(key.as_bytes()), "{key} reads {found:?} through master {id}");
    }
    Ok(())
}

fn keys(prefix: &str) -> impl Iterator<Item = String> + use<> {
    let prefix = prefix.to_owned();
    (0..COUNT).map(move |number| format!("{prefix}/{number}"))
}
