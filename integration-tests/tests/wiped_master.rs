//! A master that lost its data directory is not let back in under its old id: it may have voted, and forgot for whom.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::{cluster, ledger};
use tokio::task::block_in_place;

const VOLUMES: u32 = 3;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_master_refuses_to_start_and_says_what_to_do() -> Result<()> {
    let cluster = cluster::start(VOLUMES).await?;
    let leader = cluster::leader(&cluster).await?;
    // The leader last: its place is the one that an empty log would do most harm in.
    for id in [leader % 3 + 1, leader] {
        wiped(&cluster, id).await.with_context(|| format!("master {id}, the leader was {leader}"))?;
    }
    cluster::no_panics(&cluster)
}

async fn wiped(cluster: &hayrick_launcher::Cluster, id: u32) -> Result<()> {
    let clients = cluster::client_each(cluster)?;
    let victim = cluster.master(id);
    let before = format!("wiped/{id}/before");
    clients[id as usize - 1].put(&before, before.clone()).await?;

    block_in_place(|| victim.stop())?;
    let aside = victim.data_dir().with_extension("aside");
    std::fs::rename(victim.data_dir(), &aside)?;
    block_in_place(|| victim.spawn())?;
    let status = block_in_place(|| victim.wait_ended(REFUSAL_TIMEOUT))?;
    let said = victim.log_tail();
    ensure!(!status.success(), "it ended with {status}: {said}");
    for words in [&format!("the cluster knows master {id}"), "start it with its own directory"] {
        ensure!(said.contains(words), "it does not say {words:?}: {said}");
    }

    // Again, now that its directory holds whatever the first attempt left there.
    block_in_place(|| victim.spawn())?;
    let status = block_in_place(|| victim.wait_ended(REFUSAL_TIMEOUT))?;
    ensure!(!status.success(), "it ended with {status} the second time: {}", victim.log_tail());

    let meanwhile = format!("wiped/{id}/meanwhile");
    for other in (1..=3).filter(|other| *other != id) {
        let client = &clients[other as usize - 1];
        client.put(&meanwhile, meanwhile.clone()).await.with_context(|| format!("through {other}"))?;
        let found = ledger::read(client, &before).await?;
        ensure!(found.as_deref() == Some(before.as_bytes()), "{before} reads {found:?} through {other}");
    }

    std::fs::remove_dir_all(victim.data_dir())?;
    std::fs::rename(&aside, victim.data_dir())?;
    block_in_place(|| victim.start())?;
    cluster::all_up(cluster, VOLUMES).await?;
    for client in &clients {
        for key in [&before, &meanwhile] {
            let found = ledger::read(client, key).await?;
            ensure!(found.as_deref() == Some(key.as_bytes()), "{key} reads {found:?}");
        }
    }
    Ok(())
}
