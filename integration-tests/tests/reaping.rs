//! The garbage of overwrites and deletes is dropped once its grace is over, also when the leader dies meanwhile, and
//! nothing that lives goes with it.

use std::time::Duration;

use anyhow::{Result, ensure};
use hayrick_client::Client;
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::ledger::{Ledger, Possible};
use hayrick_integration_tests::{cluster, metrics, wait};
use tokio::task::block_in_place;

/// As many as an object has copies: each holds every object.
const VOLUMES: u32 = 3;
const OBJECTS: usize = 60;
const SIZE_BYTES_MAX: usize = 8 * 1024;
/// Never less than twice the request timeout, so both are short here.
const SETTINGS: [&str; 4] = ["--reap-after", "1s", "--request-timeout", "3s"];
const REAPED_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_dropped_everywhere_and_nothing_that_lives() -> Result<()> {
    let seed = content::seed("reaping");
    let cluster = cluster::start_set(VOLUMES, &SETTINGS).await?;
    let any = cluster::client_any(&cluster)?;
    let mut ledger = Ledger::default();

    make_garbage(&any, &mut ledger, seed).await?;
    only_the_living_are_left(&any, &ledger).await?;
    let own = "reaping::garbage_is_dropped_everywhere_and_nothing_that_lives";
    metrics::moved(own, &cluster).await?;
    metrics::raised(own, &cluster).await?;

    // Again, and the leader that saw the garbage first dies: its successor starts over and does it all the same.
    make_garbage(&any, &mut ledger, seed.wrapping_add(1)).await?;
    let leader = cluster::leader(&cluster).await?;
    block_in_place(|| cluster.master(leader).kill())?;
    only_the_living_are_left(&any, &ledger).await?;
    block_in_place(|| cluster.master(leader).start())?;

    // What was dropped stays dropped after a restart of all volumes, and what lives lives.
    for volume in cluster.volumes() {
        block_in_place(|| volume.restart())?;
    }
    cluster::all_up(&cluster, VOLUMES).await?;
    only_the_living_are_left(&any, &ledger).await?;
    for client in cluster::client_each(&cluster)? {
        ledger.verify(&client).await?;
    }
    cluster::no_panics(&cluster)
}

/// Puts objects, overwrites some and deletes some.
async fn make_garbage(client: &Client, ledger: &mut Ledger, seed: u64) -> Result<()> {
    let mut rng = content::rng(seed, 0);
    for number in 0..OBJECTS {
        let key = format!("reaping/{number}");
        for _ in 0..if number % 3 == 0 { 2 } else { 1 } {
            let content = || Content::random(&mut rng, SIZE_BYTES_MAX);
            let content = cluster::put_copies(client, &key, VOLUMES as usize, content).await?;
            ledger.keys.insert(key.clone(), Possible::exactly(Some(content)));
        }
        if number % 5 == 0 {
            client.delete(&key).await?;
            ledger.keys.insert(key, Possible::exactly(None));
        }
    }
    let garbage = client.status_json().await?["garbage"]["needles"].as_u64().unwrap_or_default();
    ensure!(garbage > 0, "overwrites and deletes made no garbage");
    Ok(())
}

/// Waits until there is no garbage, and each volume holds as many needles as there are objects.
async fn only_the_living_are_left(client: &Client, ledger: &Ledger) -> Result<()> {
    wait::until("the garbage is reaped", REAPED_TIMEOUT, async || {
        let status = client.status_json().await?;
        ensure!(status["garbage"]["needles"] == 0, "garbage: {}", status["garbage"]);
        ensure!(status["garbage"]["bytes"] == 0, "garbage: {}", status["garbage"]);
        for volume in status["volumes"].as_array().into_iter().flatten() {
            let needles = volume["needles"].as_u64().unwrap_or_default();
            ensure!(needles == ledger.acknowledged() as u64, "not {}: {volume}", ledger.acknowledged());
        }
        Ok(())
    })
    .await?;
    ledger.verify(client).await
}
