//! A volume that is lost is made up for, by itself: what it held has all its copies again, on other volumes, whatever dies
//! meanwhile, and nobody's request fails for it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::ledger::{self, Ledger};
use hayrick_integration_tests::load::Load;
use hayrick_integration_tests::{cluster, copies, figure, wait};
use hayrick_launcher::Cluster;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::block_in_place;
use tokio::time::Instant;

const COPIES: usize = 3;
/// `HAYRICK_OBJECTS` makes them more.
const OBJECTS: usize = 3000;
const SIZE_BYTES_MAX: usize = 8 * 1024;
const CLIENTS: usize = 4;
const SETTINGS: [&str; 4] = ["--repair-after", "1s", "--move-rate", "200MiB"];
/// For a repair that is to be interrupted: it has seconds of work.
const SLOW_SETTINGS: [&str; 4] = ["--repair-after", "1s", "--move-rate", "256KiB"];
/// Servers that die during one repair, the pause before each, and how long it is dead.
const DEATHS: u32 = 5;
const DEATHS_APART_MAX: Duration = Duration::from_millis(1500);
const DEAD_MAX: Duration = Duration::from_secs(5);
/// Together some seven seconds of work.
const DYING_OBJECTS: usize = 1500;
const DYING_BYTES: usize = 4 * 1024;
const HEALED_TIMEOUT: Duration = Duration::from_secs(120);
const STATE_TIMEOUT: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_volume_held_has_three_copies_again_and_no_request_fails() -> Result<()> {
    let seed = content::seed("healing");
    let cluster = cluster::start_set(5, &SETTINGS).await?;
    let ledger = fill(&cluster, "healing", objects(), seed).await?;
    let load = Load::start(&cluster::client_each(&cluster)?, CLIENTS, seed);
    load.more_puts(20, &[0, 1, 2], STATE_TIMEOUT).await?;

    let lost = cluster.volume(1);
    block_in_place(|| lost.kill())?;
    std::fs::remove_dir_all(lost.data_dir()).context("its disk is gone, too")?;
    let died = Instant::now();
    cluster::volume_seen(&cluster, 1, "down").await?;
    healed(&cluster).await?;
    let (took, bytes) = (died.elapsed(), cluster::client_any(&cluster)?.status().await?.object_bytes);
    figure::say(&format!(
        "a lost volume was made up for after {:.1} s, from its death on: {:.0} s/GiB",
        took.as_secs_f64(),
        took.as_secs_f64() * f64::from(1 << 30) / bytes as f64
    ));

    let report = load.finish().await?;
    ensure!(report.failures.is_empty(), "requests failed: {:#?}", report.failures);
    let any = cluster::client_any(&cluster)?;
    let mut all = ledger;
    all.extend(report.ledger);
    // What the load wrote last may have had two copies for a moment.
    healed(&cluster).await?;
    copies::verify(&cluster, &any, &all, COPIES).await?;
    for client in cluster::client_each(&cluster)? {
        all.verify(&client).await?;
    }
    cluster::states_agree(&cluster).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_whose_servers_die_goes_on_where_it_was() -> Result<()> {
    for seed in content::seeds()? {
        figure::say(&format!("healing while servers die: seed {seed} (again with HAYRICK_TEST_SEED={seed})"));
        heals_while_servers_die(seed).await.with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    /// Who pulls, of some move.
    Newcomer,
    /// Any other volume: each is the source of some.
    Source,
    Leader,
}

async fn heals_while_servers_die(seed: u64) -> Result<()> {
    let mut rng = content::rng(seed, 1);
    let cluster = cluster::start_set(5, &SLOW_SETTINGS).await?;
    let contents = Content::of_size(seed, DYING_OBJECTS, DYING_BYTES);
    let ledger = ledger::fill(&cluster::client_each(&cluster)?, "dying", contents).await?;
    block_in_place(|| cluster.volume(1).kill())?;
    let died = Instant::now();
    wait::until("copies are being made", STATE_TIMEOUT, async || newcomer(&cluster).await).await?;
    let mut during = 0;
    for _ in 0..DEATHS {
        sleep_up_to(&mut rng, DEATHS_APART_MAX).await;
        let victim = [Victim::Newcomer, Victim::Source, Victim::Leader][rng.random_range(0..3)];
        let pulls = newcomer(&cluster).await.ok();
        during += u32::from(pulls.is_some());
        let any_volume = 2 + rng.random_range(0..4);
        let process = match victim {
            Victim::Newcomer => cluster.volume(pulls.unwrap_or(any_volume)),
            Victim::Source => cluster.volume(match pulls {
                Some(pulls) if pulls == any_volume => 2 + (pulls - 1) % 4,
                _ => any_volume,
            }),
            Victim::Leader => cluster.master(cluster::leader(&cluster).await?),
        };
        block_in_place(|| process.kill())?;
        // Long enough, now and then, that it is given up.
        sleep_up_to(&mut rng, DEAD_MAX).await;
        block_in_place(|| process.start())?;
    }
    healed(&cluster).await?;
    let took = died.elapsed().as_secs_f64();
    figure::say(&format!(
        "healed after {took:.1} s and {DEATHS} deaths, {during} of them while copies were made"
    ));
    copies::verify(&cluster, &cluster::client_any(&cluster)?, &ledger, COPIES).await?;
    cluster::states_agree(&cluster).await?;
    cluster::no_panics(&cluster)
}

async fn sleep_up_to(rng: &mut StdRng, most: Duration) {
    tokio::time::sleep(most.mul_f64(rng.random())).await;
}

/// The number of a volume that pulls just now, as the leader tells.
async fn newcomer(cluster: &Cluster) -> Result<u32> {
    let leader = cluster::leader(cluster).await?;
    let client = cluster::client(&[cluster.master(leader).http_addr().to_string()])?;
    let status = client.status().await?;
    let waiting = &status.waiting;
    let to = status.moves.first().with_context(|| format!("nothing moves: {waiting:?}"))?.to;
    let number =
        (1..).zip(cluster.volumes()).find(|(_, volume)| volume.server_id().map(u64::from) == Some(to));
    Ok(number.context("it is one of them")?.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_volume_that_dies_during_the_repair_of_the_first_loses_nothing() -> Result<()> {
    let seed = content::seed("two deaths");
    let cluster = cluster::start_set(5, &SETTINGS).await?;
    let any = cluster::client_any(&cluster)?;
    let ledger = fill(&cluster, "two", objects() / 2, seed).await?;
    for number in [1, 2] {
        let lost = cluster.volume(number);
        block_in_place(|| lost.kill())?;
        std::fs::remove_dir_all(lost.data_dir())?;
        cluster::volume_seen(&cluster, number, "down").await?;
    }
    healed(&cluster).await?;
    copies::verify(&cluster, &any, &ledger, COPIES).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_with_two_copies_gets_its_third_when_the_volume_is_back() -> Result<()> {
    let seed = content::seed("third copies");
    let cluster = cluster::start_set(3, &SETTINGS).await?;
    let any = cluster::client_any(&cluster)?;
    let mut ledger = fill(&cluster, "before", 100, seed).await?;
    block_in_place(|| cluster.volume(1).kill())?;
    let mut rng = content::rng(seed, 2);
    for number in 0..200 {
        let content = Content::random(&mut rng, SIZE_BYTES_MAX);
        ledger.put(&any, &format!("meanwhile/{number}"), content).await?;
    }
    let waiting = wait::until("the status says what repair waits for", STATE_TIMEOUT, async || {
        let leader = cluster::leader(&cluster).await?;
        let client = cluster::client(&[cluster.master(leader).http_addr().to_string()])?;
        let status = client.status_json().await?;
        let waiting = status["waiting"].to_string();
        ensure!(waiting.contains("every volume that takes writes holds a copy already"), "{waiting}");
        Ok(status["under_replicated"].as_u64().unwrap_or_default())
    })
    .await?;
    ensure!(waiting > 0, "some objects have two copies");
    block_in_place(|| cluster.volume(1).start())?;
    healed(&cluster).await?;
    copies::verify(&cluster, &any, &ledger, COPIES).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_was_killed_while_it_pulled_pulls_again_once_it_is_back() -> Result<()> {
    let seed = content::seed("killed while pulling");
    let cluster = cluster::start_set(5, &SLOW_SETTINGS).await?;
    let any = cluster::client_any(&cluster)?;
    let ledger = fill(&cluster, "killed", 1000, seed).await?;
    block_in_place(|| cluster.volume(1).kill())?;
    let number = wait::until("a volume pulls", STATE_TIMEOUT, async || newcomer(&cluster).await).await?;
    block_in_place(|| cluster.volume(number).kill())?;
    cluster::volume_seen(&cluster, number, "down").await?;
    healed(&cluster).await?;
    block_in_place(|| cluster.volume(number).start())?;
    cluster::volume_seen(&cluster, number, "up").await?;
    // With three left, each has to hold everything.
    let third = (2..=5).find(|third| *third != number).context("there are five")?;
    block_in_place(|| cluster.volume(third).kill())?;
    cluster::volume_seen(&cluster, third, "down").await?;
    healed(&cluster).await?;
    copies::verify(&cluster, &any, &ledger, COPIES).await?;
    cluster::no_panics(&cluster)
}

fn objects() -> usize {
    std::env::var("HAYRICK_OBJECTS").ok().and_then(|count| count.parse().ok()).unwrap_or(OBJECTS)
}

/// Puts so many objects through all masters.
async fn fill(cluster: &Cluster, prefix: &str, count: usize, seed: u64) -> Result<Ledger> {
    let contents = Content::randoms(seed, 100, count, SIZE_BYTES_MAX);
    ledger::fill(&cluster::client_each(cluster)?, prefix, contents).await
}

async fn healed(cluster: &Cluster) -> Result<()> {
    copies::all_made(cluster, COPIES, HEALED_TIMEOUT).await
}
