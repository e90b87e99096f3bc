//! Masters come, go and lead in turns, through the command line and under load, and nobody who asks another one notices.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::load::Load;
use hayrick_integration_tests::{cluster, content, figure, objects, raw, wait};
use hayrick_launcher::{Cluster, Process};
use tokio::task::block_in_place;
use tokio::time::Instant;

const VOLUMES: u32 = 3;
const CLIENTS: usize = 12;
/// What each master must take between two steps: enough to see that writes really go on.
const PUTS_BETWEEN: u64 = 50;
const PUTS_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest that a request through another master may take while one is restarted.
const REQUEST_AIM: Duration = Duration::from_secs(2);
/// How long a removed master may take until it has ended.
const END_AIM: Duration = Duration::from_secs(10);
const END_TIMEOUT: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_request_through_the_others() -> Result<()> {
    let seed = content::seed("membership");
    let cluster = cluster::start(VOLUMES).await?;
    let load = Load::start(&cluster::client_each(&cluster)?, CLIENTS, seed);
    load.more_puts(PUTS_BETWEEN, &[0, 1, 2], PUTS_TIMEOUT).await?;
    // Two followers and at least once the leader, whoever that is by then.
    let mut restarts = Vec::new();
    for place in 0..3 {
        let victim = &cluster.masters()[place];
        let led = cluster::leader(&cluster).await? == victim.number();
        let from = Instant::now();
        block_in_place(|| victim.restart())?;
        cluster::all_up(&cluster, VOLUMES).await?;
        restarts.push((place, led, from, Instant::now()));
        load.more_puts(PUTS_BETWEEN, &[0, 1, 2], PUTS_TIMEOUT).await?;
    }
    ensure!(restarts.iter().any(|(_, led, ..)| *led), "no leader was restarted: {restarts:?}");

    let report = load.finish().await?;
    let is_own = |at: Instant, master: usize| {
        restarts.iter().any(|(place, _, from, to)| *place == master && (*from..=*to).contains(&at))
    };
    let failed: Vec<_> =
        report.failures.iter().filter(|failure| !is_own(failure.at, failure.master)).collect();
    figure::say(&format!(
        "{} PUTs acknowledged; {} requests failed, all but {} at a master that was being restarted",
        report.puts.len(),
        report.failures.len(),
        failed.len()
    ));
    ensure!(failed.is_empty(), "{failed:#?}");
    let others = report.requests.iter().filter(|request| !is_own(request.at, request.master));
    let slowest = others.map(|request| request.took).max().unwrap_or_default();
    figure::at_most("slowest request through the other masters", slowest, REQUEST_AIM)?;
    for client in cluster::client_each(&cluster)? {
        report.ledger.verify(&client).await?;
    }
    cluster::states_agree(&cluster).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_master_is_replaced_by_a_new_id() -> Result<()> {
    let mut cluster = cluster::start(VOLUMES).await?;
    objects::put(&cluster, 1, "first").await?;
    let dead = cluster::leader(&cluster).await?;
    block_in_place(|| cluster.master(dead).kill())?;
    // Until the others have a leader.
    objects::put(&cluster, dead % 3 + 1, "after").await?;

    let id = dead.to_string();
    said(&hayrick(&cluster, &["remove", &id])?, 0, &format!("master {id} is removed"))?;
    said(&hayrick(&cluster, &["remove", &id])?, 0, &format!("master {id} is removed"))?;
    let nobody = hayrick(&cluster, &["add", "4", "127.0.0.1:9", "--wait", "1s"])?;
    said(&nobody, 1, "nobody answers as master 4 at 127.0.0.1:9")?;
    let asked = dead % 3 + 1;
    block_in_place(|| cluster.add_master(asked).and_then(Process::start))?;
    let peer = cluster.master(4).peer_addr().to_string();
    said(&hayrick(&cluster, &["add", "4", &peer])?, 0, "master 4 votes")?;
    said(&hayrick(&cluster, &["add", "4", &peer])?, 0, "master 4 votes")?;
    said(&hayrick(&cluster, &["add", "4", "127.0.0.1:9"])?, 1, &format!("master 4 is at {peer}"))?;
    said(&hayrick(&cluster, &["add", &id, &peer])?, 1, &format!("master {id} was removed"))?;
    cluster::all_up(&cluster, VOLUMES).await?;
    let mut members: Vec<u64> = (1..=4).filter(|it| *it != u64::from(dead)).collect();
    ensure!(listed(&cluster)? == members, "{:?}", listed(&cluster)?);
    objects::intact(&cluster, 4, "first").await?;

    // The dead one comes back as it was: it hears that it has no place any more.
    ended_saying(cluster.master(dead), &format!("master {id} was removed from its cluster"))?;
    ended_saying(cluster.master(dead), &format!("master {id} was removed from its cluster"))?;

    // Started anew without a word of whom to join, the new one is the same; wiped, it is not.
    let new = cluster.master(4);
    block_in_place(|| new.stop())?;
    let aside = new.data_dir().with_extension("aside");
    std::fs::rename(new.data_dir(), &aside)?;
    ended_saying(new, "the cluster knows master 4 by another data directory")?;
    std::fs::remove_dir_all(new.data_dir())?;
    std::fs::rename(&aside, new.data_dir())?;
    new.without_flag("--join");
    block_in_place(|| new.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;

    // Three are three: any one may die.
    let leader = cluster::leader(&cluster).await?;
    block_in_place(|| cluster.master(leader).kill())?;
    members.retain(|it| *it != u64::from(leader));
    for survivor in members {
        objects::put(&cluster, u32::try_from(survivor)?, "last").await?;
        objects::intact(&cluster, u32::try_from(survivor)?, "first").await?;
    }
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_master_stops_and_says_why() -> Result<()> {
    let cluster = cluster::start(VOLUMES).await?;
    objects::put(&cluster, 1, "first").await?;
    let leader = cluster::leader(&cluster).await?;
    let next = leader % 3 + 1;
    let output = hayrick(&cluster, &["transfer", &next.to_string()])?;
    said(&output, 0, &format!("master {next} leads"))?;
    ensure!(cluster::leader(&cluster).await? == next, "another one leads");
    said(&hayrick(&cluster, &["transfer", "9"])?, 1, "there is no master 9")?;
    said(&hayrick(&cluster, &["remove", "9"])?, 1, "there is no master 9")?;

    refuses(&cluster, "POST /-/masters", "{\"id\": 4}", 400, "missing field `peer`").await?;
    refuses(&cluster, "POST /-/masters", "{\"id\": 0, \"peer\": \"a:1\"}", 400, "a number from 1").await?;
    refuses(&cluster, "DELETE /-/masters/x", "", 400, "ids are numbers from 1").await?;
    refuses(&cluster, "GET /-/masters", "", 405, "it takes POST").await?;
    refuses(&cluster, "DELETE /-/masters/9", "", 404, "there are 1, 2, 3").await?;

    // The leader itself, while it runs.
    let began = Instant::now();
    let victim = cluster.master(next);
    let output = hayrick(&cluster, &["remove", &next.to_string()])?;
    said(&output, 0, &format!("master {next} is removed"))?;
    let status = block_in_place(|| victim.wait_ended(END_TIMEOUT))?;
    figure::at_most("a removed master has ended", began.elapsed(), END_AIM)?;
    let why = format!("master {next} was removed from its cluster");
    ensure!(!status.success() && victim.log_tail().contains(&why), "{status}: {}", victim.log_tail());
    ended_saying(victim, &why)?;

    let others: Vec<u32> = (1..=3).filter(|id| *id != next).collect();
    for id in &others {
        objects::put(&cluster, *id, "after").await?;
        objects::intact(&cluster, *id, "first").await?;
    }
    // Of two, none may go while the other one does not answer.
    let (stays, dies) = match cluster::leader(&cluster).await? {
        leader if leader == others[0] => (others[0], others[1]),
        _ => (others[1], others[0]),
    };
    block_in_place(|| cluster.master(dies).kill())?;
    let alone = hayrick(&cluster, &["remove", &stays.to_string()])?;
    ensure!(matches!(alone.status.code(), Some(1 | 5)), "{alone:?}");
    block_in_place(|| cluster.master(dies).start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    objects::intact(&cluster, stays, "after").await?;
    cluster::no_panics(&cluster)
}

/// `hayrick master …` against all masters that run.
fn hayrick(cluster: &Cluster, args: &[&str]) -> Result<Output> {
    let running = cluster.masters().iter().filter(|master| master.is_running());
    let servers: Vec<String> = running.map(|master| master.http_addr().to_string()).collect();
    let mut command = Command::new(cluster::binary()?);
    command.arg("master").args(args).env("HAYRICK_SERVER", servers.join(","));
    block_in_place(|| command.output()).context("the binary runs")
}

async fn refuses(cluster: &Cluster, line: &str, body: &str, status: u16, words: &str) -> Result<()> {
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let answer = raw::send(cluster.master(1).http_addr(), request.as_bytes()).await?;
    ensure!(answer.status == Some(status) && answer.body().contains(words), "{line}: {:?}", answer.text);
    Ok(())
}

fn said(output: &Output, code: i32, words: &str) -> Result<()> {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    ensure!(
        output.status.code() == Some(code) && text.contains(words),
        "{}, not {code} {words:?}: {text}",
        output.status
    );
    Ok(())
}

fn listed(cluster: &Cluster) -> Result<Vec<u64>> {
    let output = hayrick(cluster, &["ls", "--json"])?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let masters = answer["masters"].as_array().context("a list")?;
    Ok(masters.iter().filter_map(|master| master["id"].as_u64()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_moved_while_another_took_the_lead_is_found_again() -> Result<()> {
    let cluster = cluster::start(VOLUMES).await?;
    objects::put(&cluster, 1, "first").await?;
    let leader = cluster::leader(&cluster).await?;
    let (next, moved) = (leader % 3 + 1, cluster.master((leader + 1) % 3 + 1));
    block_in_place(|| moved.stop())?;
    said(&hayrick(&cluster, &["transfer", &next.to_string()])?, 0, &format!("master {next} leads"))?;
    let address = format!("127.0.0.1:{}", hayrick_launcher::free_port()?);
    moved.set_flag("--peer-listen", &address);
    moved.set_flag("--peer-advertise", &address);
    block_in_place(|| moved.start())?;
    objects::put(&cluster, moved.number(), "moved").await?;
    objects::intact(&cluster, moved.number(), "first").await?;
    wait::until("the cluster knows its new address", END_TIMEOUT, async || {
        let output = hayrick(&cluster, &["ls"])?;
        said(&output, 0, &address)
    })
    .await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_comes_back_though_all_that_it_knew_were_replaced_meanwhile() -> Result<()> {
    let mut cluster = cluster::start(VOLUMES).await?;
    objects::put(&cluster, 1, "first").await?;
    block_in_place(|| cluster.master(3).kill())?;
    for id in [4, 5] {
        block_in_place(|| cluster.add_master(1).and_then(Process::start))?;
        let peer = cluster.master(id).peer_addr().to_string();
        said(&hayrick(&cluster, &["add", &id.to_string(), &peer])?, 0, &format!("master {id} votes"))?;
    }
    for id in [1, 2] {
        let id_text = id.to_string();
        said(&hayrick(&cluster, &["remove", &id_text])?, 0, &format!("master {id} is removed"))?;
        block_in_place(|| cluster.master(id).wait_ended(END_TIMEOUT))?;
    }
    block_in_place(|| cluster.master(3).start())?;
    objects::put(&cluster, 3, "again").await?;
    objects::intact(&cluster, 3, "first").await?;
    // It counts: one of the others may die.
    block_in_place(|| cluster.master(4).kill())?;
    objects::put(&cluster, 3, "last").await?;
    cluster::no_panics(&cluster)
}

/// Starts a master that must not go on.
fn ended_saying(process: &Process, words: &str) -> Result<()> {
    block_in_place(|| process.spawn())?;
    let status = block_in_place(|| process.wait_ended(END_TIMEOUT))?;
    let tail = process.log_tail();
    ensure!(!status.success() && tail.contains(words), "{status}, without {words:?}: {tail}");
    Ok(())
}
