//! Three zones, one of which dies whole: every object still has two copies, writes go on, and there are three again when the
//! zone is back.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::ledger::{Ledger, Possible};
use hayrick_integration_tests::{cluster, copies, wait};
use tokio::task::block_in_place;

const ZONES: [&str; 3] = ["a", "b", "c"];
const VOLUMES: u32 = 6;
const COPIES: usize = 3;
const OBJECTS: usize = 200;
const SIZE_BYTES_MAX: usize = 8 * 1024;
const STATE_TIMEOUT: Duration = Duration::from_secs(40);
const HEALED_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_dies_takes_one_copy_of_each_object_and_no_more() -> Result<()> {
    let seed = content::seed("zones");
    let mut cluster = cluster::builder(VOLUMES)?.build()?;
    let zone_of = |number: u32| ZONES[number as usize % ZONES.len()];
    for number in 1..=VOLUMES {
        cluster.volume(number).set_flag("--zone", zone_of(number));
    }
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    let any = cluster::client_any(&cluster)?;
    let mut zones = BTreeMap::new();
    for number in 1..=VOLUMES {
        zones.insert(cluster.volume(number).server_id().context("it has an id")?, zone_of(number));
    }
    let mut rng = content::rng(seed, 0);
    let mut ledger = Ledger::default();
    for number in 0..OBJECTS {
        let (key, content) = (format!("zones/{number}"), Content::random(&mut rng, SIZE_BYTES_MAX));
        any.put(&key, content.bytes()).await?;
        let lies_on = cluster::volumes_of(&any.head(&key).await?.placement);
        let mut in_zones: Vec<_> = lies_on.iter().map(|id| zones[id]).collect();
        in_zones.sort_unstable();
        ensure!(in_zones == ZONES, "{key} lies in {in_zones:?}");
        ledger.keys.insert(key, Possible::exactly(Some(content)));
    }

    let dead: Vec<u32> = (1..=VOLUMES).filter(|number| zone_of(*number) == ZONES[1]).collect();
    for number in &dead {
        block_in_place(|| cluster.volume(*number).kill())?;
    }
    wait::until("the zone is seen dead", STATE_TIMEOUT, async || {
        let status = any.status_json().await?;
        ensure!(status["copies"]["2"] == OBJECTS && status["copies"]["1"] == 0, "{}", status["copies"]);
        Ok(())
    })
    .await?;
    ledger.verify(&any).await?;
    for number in 0..OBJECTS {
        let (key, content) = (format!("meanwhile/{number}"), Content::random(&mut rng, SIZE_BYTES_MAX));
        any.put(&key, content.bytes()).await?;
        ledger.keys.insert(key, Possible::exactly(Some(content)));
    }

    for number in &dead {
        block_in_place(|| cluster.volume(*number).start())?;
    }
    cluster::all_up(&cluster, VOLUMES).await?;
    wait::until("every object has three copies", HEALED_TIMEOUT, async || {
        let status = any.status().await?;
        ensure!(status.under_replicated == 0, "{} have fewer", status.under_replicated);
        Ok(())
    })
    .await?;
    copies::verify(&cluster, &any, &ledger, COPIES).await?;
    cluster::no_panics(&cluster)
}
