//! Claim 5: without a majority of masters nothing is promised, quickly and in plain words; a restart heals it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::{Client, Error, GetOptions};
use hayrick_integration_tests::{cluster, figure, ledger, raw, wait};
use hayrick_launcher::Cluster;
use tokio::task::block_in_place;
use tokio::time::Instant;

/// How long a master without a quorum may take to say so.
const ANSWER_AIM: Duration = Duration::from_secs(5);
/// What a request may take (`--request-timeout`), with nothing said.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Writes that are sent once the master knows that it is alone.
const LATE_WRITES: usize = 3;
/// One of these words says why.
const WHY: [&str; 4] = ["leader", "quorum", "majority", "masters"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_lost_both_followers_promises_nothing_and_says_why() -> Result<()> {
    let cluster = cluster::start(3).await?;
    let leader = cluster::leader(&cluster).await?;
    let others: Vec<u32> = (1..=3).filter(|id| *id != leader).collect();
    without_majority(&cluster, leader, &others).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lost_the_others_promises_nothing_and_says_why() -> Result<()> {
    let cluster = cluster::start(3).await?;
    let leader = cluster::leader(&cluster).await?;
    let survivor = leader % 3 + 1;
    let others: Vec<u32> = (1..=3).filter(|id| *id != survivor).collect();
    without_majority(&cluster, survivor, &others).await?;
    cluster::no_panics(&cluster)
}

async fn without_majority(cluster: &Cluster, survivor: u32, others: &[u32]) -> Result<()> {
    let client = cluster::client(&[cluster.master(survivor).http_addr().to_string()])?;
    client.put("quorum/old", "kept").await?;
    // A linearizable read through the survivor: now it has applied the write itself, and may show it when alone.
    ensure!(ledger::read(&client, "quorum/old").await?.as_deref() == Some(b"kept"), "the object is lost");
    for id in others {
        block_in_place(|| cluster.master(*id).kill())?;
    }

    // At once, when the survivor may not know yet.
    refuses_write(&client, "quorum/early", &[503, 504]).await?;
    refuses_read(&client, "quorum/old").await?;

    wait::until("the survivor knows that it is alone", Duration::from_secs(20), async || {
        let ready = client.ready().await;
        ensure!(matches!(ready, Err(Error::Refused { status: 503, .. })), "ready says {ready:?}");
        Ok(())
    })
    .await?;
    // It may still believe that a write was proposed just now; from some moment on it proposes nothing.
    wait::until("a write is refused as not proposed", Duration::from_secs(20), async || {
        let result = client.put("quorum/middle", "x").await;
        ensure!(matches!(result, Err(Error::Refused { status: 503, .. })), "{result:?}");
        Ok(())
    })
    .await?;
    for number in 0..LATE_WRITES {
        refuses_write(&client, &format!("quorum/late/{number}"), &[503]).await?;
    }
    refuses_read(&client, "quorum/old").await?;
    // And from some moment on it waits no more for an election that cannot come.
    let addr = cluster.master(survivor).http_addr();
    for line in
        ["PUT /quorum/late/0", "GET /quorum/old", "HEAD /quorum/old", "GET /?list", "DELETE /quorum/old"]
    {
        wait::until(&format!("{line} is refused at once"), Duration::from_secs(20), async || {
            refuses_at_once(addr, line).await
        })
        .await?;
    }
    let stale = GetOptions { stale: true, ..GetOptions::default() };
    let bytes = client.get_with("quorum/old", &stale).await.context("a stale read needs no quorum")?;
    ensure!(bytes.bytes().await? == "kept", "the stale read has other bytes");

    for id in others {
        block_in_place(|| cluster.master(*id).spawn())?;
    }
    cluster::all_up(cluster, 3).await?;
    for client in cluster::client_each(cluster)? {
        ensure!(ledger::read(&client, "quorum/old").await?.as_deref() == Some(b"kept"), "the object is lost");
        for number in 0..LATE_WRITES {
            let found = ledger::read(&client, &format!("quorum/late/{number}")).await?;
            ensure!(found.is_none(), "write {number} was refused with 503 and took effect");
        }
    }
    client.put("quorum/old", "new").await?;
    Ok(())
}

async fn refuses_write(client: &Client, key: &str, allowed: &[u16]) -> Result<()> {
    let started = Instant::now();
    let result = client.put(key, "never").await;
    let (status, message) = match result {
        Err(Error::Refused { status, message }) => (status, message),
        Err(Error::Unknown { message }) => (504, message),
        other => anyhow::bail!("a write without a majority: {other:?}"),
    };
    ensure!(allowed.contains(&status), "{key}: {status} {message:?}, expected one of {allowed:?}");
    ensure!(status != 504 || message.contains("outcome unknown"), "504 says {message:?}");
    says_why(&message)?;
    figure::at_most(&format!("PUT without a majority answered {status}"), started.elapsed(), ANSWER_AIM)
}

/// Long before the request's time is up: at half of it, whatever else the machine has to do.
async fn refuses_at_once(addr: SocketAddr, line: &str) -> Result<()> {
    let request = format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let started = Instant::now();
    let answer = raw::send(addr, request.as_bytes()).await?;
    let took = started.elapsed();
    ensure!(took < REQUEST_TIMEOUT / 2, "it took {took:?}: {:?}", answer.text);
    ensure!(answer.status == Some(503) && answer.field("retry-after").is_some(), "{:?}", answer.text);
    if !line.starts_with("HEAD") {
        says_why(answer.body())?;
    }
    Ok(())
}

async fn refuses_read(client: &Client, key: &str) -> Result<()> {
    let started = Instant::now();
    let result = client.get(key).await;
    let Err(Error::Refused { status: 503, message }) = result else {
        anyhow::bail!("a linearizable read without a majority: {result:?}");
    };
    says_why(&message)?;
    figure::at_most("GET without a majority answered 503", started.elapsed(), ANSWER_AIM)
}

fn says_why(message: &str) -> Result<()> {
    let message = message.to_lowercase();
    ensure!(WHY.iter().any(|word| message.contains(word)), "does not say why: {message:?}");
    Ok(())
}
