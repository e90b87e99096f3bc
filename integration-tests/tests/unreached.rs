//! A master that hears the others and is not reached by them must not look like one that follows.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::proxy::{Answers, Proxy};
use hayrick_integration_tests::{cluster, wait};
use hayrick_launcher::{Cluster, Role};
use serde_json::Value;
use tokio::task::block_in_place;

const VOLUMES: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_the_leader_does_not_reach_is_shown_so_whoever_is_asked() -> Result<()> {
    let mut cluster = cluster::builder(VOLUMES)?.build()?;
    // The others dial master 3 through it; master 3 dials them as ever.
    let proxy = Proxy::start(cluster.master(3).peer_addr()).await?;
    cluster.advertise_peer(Role::Master, 3, proxy.addr());
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    wait::until("another one leads", TIMEOUT, async || {
        let leader = cluster::leader(&cluster).await?;
        if leader == 3 {
            cluster::client_any(&cluster)?.transfer_leader(1).await?;
        }
        ensure!(leader != 3, "master 3 leads");
        Ok(())
    })
    .await?;
    wait::until("master 3 follows", TIMEOUT, async || role_of_3(&cluster, 1, "follower", "now")).await?;

    proxy.set_answers(Answers::Lose);
    for asked in 1..=3 {
        let what = format!("master {asked} says who is not reached");
        wait::until(&what, TIMEOUT, async || role_of_3(&cluster, asked, "unreachable", "s-ago")).await?;
    }
    let shown = ls(&cluster, 2, &["--json"])?;
    let shown: Value = serde_json::from_slice(&shown.stdout)?;
    let third = shown["masters"].as_array().context("a list")?.iter().find(|it| it["id"] == 3);
    let (heard, reached) = third.map(|it| (&it["seen_ms"], &it["reached_ms"])).context("it is a member")?;
    ensure!(heard.as_u64() < Some(3000) && reached.as_u64() >= Some(3000), "{shown}");

    proxy.set_answers(Answers::Pass);
    proxy.cut();
    wait::until("it is reached again", TIMEOUT, async || role_of_3(&cluster, 2, "follower", "now")).await?;
    cluster::no_panics(&cluster)
}

/// Whether the table of the master that is asked has this of master 3.
fn role_of_3(cluster: &Cluster, asked: u32, role: &str, reached: &str) -> Result<()> {
    let output = ls(cluster, asked, &[])?;
    let (table, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|cells| cells.first() == Some(&"3")).unwrap_or_default();
    let is_so = row.get(1) == Some(&role) && row.get(2).is_some_and(|cell| cell.ends_with(reached));
    ensure!(is_so && said.is_empty(), "{table}{said}");
    Ok(())
}

fn ls(cluster: &Cluster, asked: u32, flags: &[&str]) -> Result<Output> {
    let mut command = Command::new(cluster::binary()?);
    command.args(["master", "ls"]).args(flags);
    command.env("HAYRICK_SERVER", cluster.master(asked).http_addr().to_string());
    block_in_place(|| command.output()).context("the binary runs")
}
