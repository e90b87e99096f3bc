//! Claim: a linearizable read never returns less than was acknowledged before it, whoever is asked, while the leader is
//! paused, cut off one way, or cut off and replaced without knowing. It may fail meanwhile.
//!
//! Registers are written and read through all three masters all the time, and each read is checked at the end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::{Client, Error, GetOptions};
use hayrick_integration_tests::links::Links;
use hayrick_integration_tests::registers::{Registers, Seen};
use hayrick_integration_tests::{cluster, content, figure, wait};
use hayrick_launcher::Cluster;
use tokio::time::Instant;

/// What each master that can must serve before, during and after a fault: enough to see that it really does.
const SERVED: u64 = 100;
/// From the fault until both others name another leader.
const ELECTION_AIM: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(40);
/// What lies there all the time.
const KEPT: &str = "kept";

struct Scene {
    cluster: Cluster,
    links: Links,
    clients: Vec<Client>,
    load: Registers,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_right_while_the_leader_is_paused() -> Result<()> {
    let scene = Scene::start("reads_are_right_while_the_leader_is_paused").await?;
    for _ in 0..2 {
        let leader = cluster::leader(&scene.cluster).await?;
        scene.cluster.master(leader).pause()?;
        scene.is_replaced(leader).await?;
        // Whatever was asked of it meanwhile it answers now, and it believes that it leads.
        scene.cluster.master(leader).resume()?;
        scene.all_serve().await?;
    }
    scene.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_right_while_the_leader_is_not_heard() -> Result<()> {
    let scene = Scene::start("reads_are_right_while_the_leader_is_not_heard").await?;
    let leader = cluster::leader(&scene.cluster).await?;
    scene.links.hold_from(leader);
    scene.is_replaced(leader).await?;
    scene.answers_stale_reads_only(leader).await?;
    scene.links.heal();
    scene.all_serve().await?;
    scene.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_right_while_the_leader_hears_nobody() -> Result<()> {
    let scene = Scene::start("reads_are_right_while_the_leader_hears_nobody").await?;
    let leader = cluster::leader(&scene.cluster).await?;
    scene.links.hold_to(leader);
    scene.is_replaced(leader).await?;
    scene.answers_stale_reads_only(leader).await?;
    scene.links.heal();
    scene.all_serve().await?;
    scene.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_through_a_leader_that_was_cut_off_and_replaced_fail_or_are_right() -> Result<()> {
    let scene =
        Scene::start("reads_through_a_leader_that_was_cut_off_and_replaced_fail_or_are_right").await?;
    for _ in 0..2 {
        let leader = cluster::leader(&scene.cluster).await?;
        scene.links.hold_from(leader);
        scene.links.hold_to(leader);
        scene.is_replaced(leader).await?;
        scene.answers_stale_reads_only(leader).await?;
        scene.links.heal();
        scene.all_serve().await?;
    }
    scene.finish().await
}

impl Scene {
    async fn start(test: &str) -> Result<Self> {
        let seed = content::seed(test);
        let mut cluster = cluster::builder(3)?.build()?;
        let links = Links::between(&mut cluster).await?;
        tokio::task::block_in_place(|| cluster.start())?;
        cluster::all_up(&cluster, 3).await?;
        let clients = cluster::client_each(&cluster)?;
        clients[0].put(KEPT, KEPT).await?;
        for client in &clients {
            // Now each has it in its own state.
            client.get(KEPT).await?.bytes().await?;
        }
        let load = Registers::start(&clients, seed);
        let scene = Self { cluster, links, clients, load };
        scene.all_serve().await?;
        Ok(scene)
    }

    async fn all_serve(&self) -> Result<()> {
        self.load.more(SERVED, &[0, 1, 2], TIMEOUT).await
    }

    /// The two others have another leader, and serve reads and writes.
    async fn is_replaced(&self, old: u32) -> Result<()> {
        let begun = Instant::now();
        let others: Vec<usize> = (1..=3).filter(|id| *id != old).map(|id| id as usize - 1).collect();
        wait::until("the others have another leader", TIMEOUT, async || {
            for at in &others {
                let leader = self.clients[*at].status().await?.leader;
                ensure!(leader.is_some_and(|leader| leader != u64::from(old)), "it is {leader:?}");
            }
            Ok(())
        })
        .await?;
        figure::at_most("another master leads", begun.elapsed(), ELECTION_AIM)?;
        self.load.more(SERVED, &others, TIMEOUT).await
    }

    /// A master that is cut off says that it cannot tell, and shows what it has to who wants no more than that.
    async fn answers_stale_reads_only(&self, id: u32) -> Result<()> {
        let client = &self.clients[id as usize - 1];
        let refused = client.get(KEPT).await;
        ensure!(
            matches!(refused, Err(Error::Refused { status: 503, .. })),
            "a read of the cut-off: {refused:?}"
        );
        let stale = GetOptions { stale: true, ..GetOptions::default() };
        let found = client.get_with(KEPT, &stale).await.context("a stale read needs no leader")?;
        ensure!(found.bytes().await? == KEPT, "the stale read has other bytes");
        Ok(())
    }

    async fn finish(self) -> Result<()> {
        let Seen { reads, writes, unknown } = self.load.finish().await?;
        figure::say(&format!(
            "{reads} reads were right beside {writes} writes, {unknown} writes had no known end"
        ));
        cluster::no_panics(&self.cluster)
    }
}
