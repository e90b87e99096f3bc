//! What every master shows of the cluster: what cannot be read and what to start, and what it cannot know.

use std::time::Duration;

use anyhow::{Result, ensure};
use hayrick_integration_tests::{cluster, objects, wait};
use tokio::task::block_in_place;

const STATE_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_names_the_volume_to_start_and_without_a_leader_moves_are_not_known() -> Result<()>
{
    let cluster = cluster::start(3).await?;
    objects::put(&cluster, 1, "readable").await?;
    for volume in cluster.volumes() {
        block_in_place(|| volume.kill())?;
    }
    let mut helps = String::new();
    for client in cluster::client_each(&cluster)? {
        helps = wait::until("it is said what to start", STATE_TIMEOUT, async || {
            let status = client.status().await?;
            let all = format!("{} objects cannot be read at the moment", objects::COUNT);
            let said = status.waiting.iter().find(|reason| reason.starts_with(&all));
            let reason = said.ok_or_else(|| anyhow::anyhow!("{:?}", status.waiting))?;
            // All three hold everything, so that one is enough.
            let helps = reason.split("; start volume ").nth(1).unwrap_or_default();
            ensure!(!helps.is_empty() && !helps.contains(','), "{reason}");
            ensure!(status.placements_by_copies[&0] > 0 && status.placements_by_copies[&3] == 0);
            Ok(helps.to_owned())
        })
        .await?;
    }
    let volume = cluster.volumes().iter().find(|volume| helps.contains(&volume.http_addr().to_string()));
    let volume = volume.ok_or_else(|| anyhow::anyhow!("none is at {helps}"))?;
    block_in_place(|| volume.spawn())?;
    let any = cluster::client_any(&cluster)?;
    wait::until("everything can be read", STATE_TIMEOUT, async || {
        let waiting = any.status().await?.waiting;
        ensure!(!waiting.iter().any(|reason| reason.contains("cannot be read")), "{waiting:?}");
        Ok(())
    })
    .await?;
    objects::intact(&cluster, 2, "readable").await?;

    let leader = cluster::leader(&cluster).await?;
    let last = leader % 3 + 1;
    for master in
        cluster.masters().iter().filter(|master| master.http_addr() != cluster.master(last).http_addr())
    {
        block_in_place(|| master.kill())?;
    }
    let alone = cluster::client(&[cluster.master(last).http_addr().to_string()])?;
    wait::until("it is said that moves are not known", STATE_TIMEOUT, async || {
        let status = alone.status().await?;
        ensure!(
            status.waiting.iter().any(|reason| reason.contains("the leader was not reached")),
            "{status:?}"
        );
        ensure!(status.moves.is_empty());
        Ok(())
    })
    .await?;
    cluster::no_panics(&cluster)
}
