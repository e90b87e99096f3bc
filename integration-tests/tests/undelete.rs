//! Undelete against whoever else wants the key or the bytes: others that undelete, writers, and the reaper.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::{join_all, try_join_all};
use hayrick_client::{Client, Condition, Error, PutOptions};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::figure::say;
use hayrick_integration_tests::ledger::{self, Ledger, Possible};
use hayrick_integration_tests::links::Links;
use hayrick_integration_tests::{cluster, copies, raw, wait};
use hayrick_launcher::Cluster;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::block_in_place;

const VOLUMES: u32 = 3;
const SIZE_BYTES_MAX: usize = 64 * 1024;

/// Rounds of each kind in which clients race each other.
const ROUNDS: usize = 60;
const RACERS: usize = 6;

/// The grace is a second: never less than twice the request timeout.
const SETTINGS: [&str; 4] = ["--reap-after", "1s", "--request-timeout", "500ms"];
/// Races against the reaper, unless `HAYRICK_RACES` says how many.
const RACES: usize = 200;
/// How many are run side by side.
const LANES: usize = 50;
/// By how much all that one master sends to the others comes later. Undeletes go through it: from its look at what was deleted
/// until its command is applied takes as long, in which the reaper dooms the row of one in ten or so.
const LINK_DELAY: Duration = Duration::from_millis(50);
/// When an undelete may come, counted from the answer to its delete: the reaper looks every 250 ms for what is a second old.
const AIM_MS: std::ops::RangeInclusive<u64> = 700..=2500;
/// How much later the next one comes after a success, or sooner after a failure, at most: so they keep to the moment at which
/// the one becomes the other.
const STEP_MS: u64 = 120;
/// Tries for each race: one whose PUT or DELETE was not answered in time, or whose object has too few copies, is none.
const TRIES_PER_RACE: usize = 5;
const REAPED_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_who_want_a_deleted_key_at_once_exactly_one_gets_it() -> Result<()> {
    let cluster = cluster::start(VOLUMES).await?;
    let clients = cluster::client_each(&cluster)?;
    for round in 0..ROUNDS {
        one_of_many_brings_it_back(&clients, &format!("many/{round}")).await?;
        either_brought_back_or_created(&clients, &format!("either/{round}"), round).await?;
    }
    cluster::states_agree(&cluster).await?;
    cluster::no_panics(&cluster)
}

/// Undeletes through all masters at once.
async fn one_of_many_brings_it_back(clients: &[Client], key: &str) -> Result<()> {
    clients[0].put(key, key.to_owned()).await?;
    clients[1].delete(key).await?;
    let undeletes = (0..RACERS).map(|racer| clients[racer % clients.len()].undelete(key));
    let mut won = 0;
    for outcome in join_all(undeletes).await {
        match outcome {
            Ok(()) => won += 1,
            Err(Error::NothingToBringBack { .. }) => {}
            Err(error) => bail!("{key}: {error}"),
        }
    }
    ensure!(won == 1, "{key}: {won} brought it back");
    for client in clients {
        ensure!(ledger::read(client, key).await?.as_deref() == Some(key.as_bytes()), "{key}");
    }
    Ok(())
}

/// An undelete and a PUT that creates: whichever is first, the other one finds the key taken.
async fn either_brought_back_or_created(clients: &[Client], key: &str, round: usize) -> Result<()> {
    let client = |number: usize| &clients[(round + number) % clients.len()];
    client(0).put(key, "deleted").await?;
    client(1).delete(key).await?;
    let create = PutOptions { condition: Condition::Absent, ..PutOptions::default() };
    let created = client(2).put_with(key, "created", &create);
    let want = match tokio::join!(client(0).undelete(key), created) {
        (Ok(()), Err(Error::PreconditionFailed { .. })) => "deleted",
        (Err(Error::Taken { .. }), Ok(_)) => "created",
        other => bail!("{key}: {other:?}"),
    };
    let found = ledger::read(client(1), key).await?;
    ensure!(found.as_deref() == Some(want.as_bytes()), "{key}: {found:?} instead of {want}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_whose_undelete_races_the_reaper_is_whole_everywhere_or_gone_everywhere() -> Result<()> {
    let seed = content::seed("undelete");
    let given = std::env::var("HAYRICK_RACES").ok().and_then(|races| races.parse().ok());
    let races: usize = given.unwrap_or(RACES);
    let mut builder = cluster::builder(VOLUMES)?;
    for setting in SETTINGS {
        builder = builder.master_arg(setting);
    }
    let mut cluster = builder.build()?;
    let links = Links::between(&mut cluster).await?;
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    let clients = cluster::client_each(&cluster)?;
    let slow = cluster::leader(&cluster).await? % 3 + 1;
    links.slow_from(slow, LINK_DELAY);

    let (started, tried) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let lanes = (0..LANES.min(races)).map(|lane| {
        let gateway = &clients[slow as usize - 1];
        let lane = Lane { clients: &clients, gateway, lane, rng: content::rng(seed, lane as u64) };
        lane.run(races, &started, &tried)
    });
    let ended = try_join_all(lanes).await?.concat();
    let (back, gone): (Vec<&Race>, Vec<&Race>) = ended.iter().partition(|race| race.came_back);
    let tried = tried.load(Ordering::Relaxed);
    say(&format!("{} races: {} brought back, {} gone ({tried} tried)", ended.len(), back.len(), gone.len()));
    ensure!(ended.len() == races, "{} of {races} races were run", ended.len());
    ensure!(
        back.len() * 20 > races && gone.len() * 20 > races,
        "hardly a race: it is always the same who wins"
    );

    links.heal();

    // Now the reaper comes to its end. What it has doomed goes, and nothing else.
    wait::until("the garbage is reaped", REAPED_TIMEOUT, async || {
        let garbage = &clients[0].status_json().await?["garbage"];
        ensure!(garbage["needles"] == 0, "garbage: {garbage}");
        Ok(())
    })
    .await?;
    let mut ledger = Ledger::default();
    for race in &ended {
        let content = race.came_back.then_some(race.content);
        ledger.keys.insert(race.key.clone(), Possible::exactly(content));
    }
    for client in &clients {
        ledger.verify(client).await?;
    }
    copies::verify(&cluster, &clients[0], &ledger, VOLUMES as usize).await?;
    no_volume_has_what_is_gone(&cluster, &gone).await?;
    for Race { key, .. } in gone {
        let again = clients[0].undelete(key).await;
        ensure!(matches!(again, Err(Error::NothingToBringBack { .. })), "{key} was reaped: {again:?}");
    }
    cluster::states_agree(&cluster).await?;
    cluster::no_panics(&cluster)
}

/// A race that was run: both answers are known.
#[derive(Debug, Clone)]
struct Race {
    key: String,
    content: Content,
    needle: u64,
    came_back: bool,
}

/// One race after the other.
struct Lane<'a> {
    clients: &'a [Client],
    /// The slow master, for undeletes.
    gateway: &'a Client,
    lane: usize,
    rng: StdRng,
}

impl Lane<'_> {
    async fn run(mut self, races: usize, started: &AtomicUsize, tried: &AtomicUsize) -> Result<Vec<Race>> {
        let mut ended = Vec::new();
        let mut aim_ms = self.rng.random_range(1000..=1500);
        while started.fetch_add(1, Ordering::Relaxed) < races {
            let race = loop {
                let number = tried.fetch_add(1, Ordering::Relaxed);
                ensure!(number < TRIES_PER_RACE * races, "the cluster hardly ever answers in time");
                if let Some(race) = self.race(number, Duration::from_millis(aim_ms)).await? {
                    break race;
                }
            };
            let step_ms = self.rng.random_range(0..=STEP_MS);
            aim_ms = if race.came_back { aim_ms + step_ms } else { aim_ms - step_ms.min(aim_ms) };
            aim_ms = aim_ms.clamp(*AIM_MS.start(), *AIM_MS.end());
            ended.push(race);
        }
        Ok(ended)
    }

    /// Puts an object, deletes it, and brings it back so much later; `None` if that came to no race.
    async fn race(&mut self, number: usize, aim: Duration) -> Result<Option<Race>> {
        let key = format!("reaper/{number}");
        let client = |step: usize| &self.clients[(self.lane + number + step) % self.clients.len()];
        let content = Content::random(&mut self.rng, SIZE_BYTES_MAX);
        if known(client(0).put(&key, content).await)?.is_none() {
            return Ok(None);
        }
        let Some(meta) = known(client(1).head(&key).await)? else { return Ok(None) };
        let has_all_copies = cluster::volumes_of(&meta.placement).len() == VOLUMES as usize;
        if !has_all_copies || known(client(1).delete(&key).await)?.is_none() {
            return Ok(None);
        }
        tokio::time::sleep(aim).await;
        let came_back = match self.gateway.undelete(&key).await {
            Err(Error::NothingToBringBack { .. }) => false,
            outcome => match known(outcome)? {
                Some(()) => true,
                None => return Ok(None),
            },
        };
        Ok(Some(Race { key, content, needle: meta.needle, came_back }))
    }
}

/// `None` where it is not known, or was not done in time: with so short a timeout on a busy machine, no finding.
fn known<T>(outcome: Result<T, Error>) -> Result<Option<T>> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(Error::Unknown { .. } | Error::NoMaster { .. } | Error::Refused { status: 503, .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn no_volume_has_what_is_gone(cluster: &Cluster, gone: &[&Race]) -> Result<()> {
    let addresses: BTreeMap<u32, SocketAddr> =
        (1..=VOLUMES).map(|number| (number, cluster.volume(number).http_addr())).collect();
    for Race { key, needle, .. } in gone {
        for (volume, address) in &addresses {
            let request = format!("GET /-/needles/{needle} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = raw::send(*address, request.as_bytes()).await?;
            let status = answer.status.context("no answer")?;
            ensure!(status == 404, "{key} is gone, and volume {volume} answers {status} for its needle");
        }
    }
    Ok(())
}
