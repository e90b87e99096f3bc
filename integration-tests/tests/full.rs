//! A full cluster says so, 507, keeps serving reads and deletes, survives a restart, and takes writes again when
//! there is room.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::{Client, Error};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::ledger::{self, Ledger, Possible};
use hayrick_integration_tests::{cluster, figure, metrics, wait};
use hayrick_launcher::Cluster;
use rand::RngCore;
use tokio::task::block_in_place;
use tokio::time::Instant;

/// What each volume may hold: it makes its segments smaller, keeps two of them in reserve, and is soon full.
const CAPACITY: &str = "32MiB";
const CAPACITY_BYTES: u64 = 32 << 20;
const OBJECT_BYTES: usize = 300_000;
/// Until there is room again: a request's time, a pass of the reaper, and compaction.
const ROOM_TIMEOUT: Duration = Duration::from_secs(120);
/// More objects than would fit if nothing were kept in reserve.
const OBJECTS_MAX: usize = CAPACITY_BYTES as usize / OBJECT_BYTES * 3 / 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_cluster_answers_507_serves_the_rest_and_recovers_with_room() -> Result<()> {
    let seed = content::seed("full");
    let mut cluster =
        cluster::start_with(cluster::builder(3)?.volume_arg("--capacity").volume_arg(CAPACITY), 3).await?;
    let any = cluster::client_any(&cluster)?;
    let mut ledger = Ledger::default();
    let (refused_key, why) = fill(&any, seed, &mut ledger).await?;
    figure::say(&format!("507 after {} objects: {why}", ledger.acknowledged()));
    ensure!(why.contains("full"), "507 does not say why: {why:?}");
    reserve_is_untouched(&cluster)?;
    let own = "full::a_full_cluster_answers_507_serves_the_rest_and_recovers_with_room";
    metrics::moved(own, &cluster).await?;

    // A 507 means no effect; everything else goes on.
    ensure!(ledger::read(&any, &refused_key).await?.is_none(), "{refused_key} was refused and is there");
    let keys: Vec<String> = ledger.keys.keys().step_by(4).cloned().collect();
    for key in keys {
        any.delete(&key).await.with_context(|| format!("deleting {key}"))?;
        ledger.keys.insert(key, Possible::exactly(None));
    }
    for client in cluster::client_each(&cluster)? {
        ledger.verify(&client).await?;
    }

    block_in_place(|| cluster.kill_all())?;
    block_in_place(|| cluster.start_all())?;
    for client in cluster::client_each(&cluster)? {
        wait::until("reads are served again", cluster::READY_TIMEOUT, async || {
            Ok(client.list("", &hayrick_client::ListOptions::default()).await?)
        })
        .await?;
        ledger.verify(&client).await?;
    }

    for _ in 0..2 {
        let newcomer = cluster.add_volume()?;
        block_in_place(|| newcomer.start())?;
    }
    wait::until("writes are taken where there is room", Duration::from_secs(30), async || {
        any.put(&refused_key, "now it fits").await?;
        Ok(())
    })
    .await?;
    ensure!(ledger::read(&any, &refused_key).await?.as_deref() == Some(b"now it fits"), "other bytes");
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_cluster_takes_writes_again_after_deletes_long_before_the_grace_is_over() -> Result<()> {
    let seed = content::seed("full and deleted");
    // The grace stays an hour; that what is dead is kept for as long as a request may take is what is waited for.
    let builder = cluster::builder(3)?.volume_arg("--capacity").volume_arg(CAPACITY);
    let builder = builder.master_arg("--request-timeout").master_arg("3s");
    let cluster = cluster::start_with(builder, 3).await?;
    let any = cluster::client_any(&cluster)?;
    let mut ledger = Ledger::default();
    let (refused_key, _) = fill(&any, seed, &mut ledger).await?;
    let keys: Vec<String> = ledger.keys.keys().step_by(2).cloned().collect();
    for key in keys {
        any.delete(&key).await.with_context(|| format!("deleting {key}"))?;
        ledger.keys.insert(key, Possible::exactly(None));
    }
    let began = Instant::now();
    wait::until("writes are taken again", ROOM_TIMEOUT, async || {
        any.put(&refused_key, Content { seed, size_bytes: OBJECT_BYTES }.bytes()).await?;
        Ok(())
    })
    .await?;
    figure::say(&format!("writes are taken again {:.1} s after the deletes", began.elapsed().as_secs_f64()));
    ledger.keys.insert(refused_key, Possible::exactly(Some(Content { seed, size_bytes: OBJECT_BYTES })));
    for client in cluster::client_each(&cluster)? {
        ledger.verify(&client).await?;
    }
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_avoid_a_volume_that_is_full_and_come_back_to_it_after_deletes() -> Result<()> {
    let seed = content::seed("one is full");
    let mut cluster = cluster::builder(4)?.master_arg("--request-timeout").master_arg("3s").build()?;
    // The third zone has one volume, a small one: every object has a copy on it.
    for (number, zone) in (1..).zip(["a", "a", "b", "c"]) {
        cluster.volume(number).set_flag("--zone", zone);
    }
    cluster.volume(4).set_flag("--capacity", CAPACITY);
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, 4).await?;
    let any = cluster::client_any(&cluster)?;
    let small = cluster.volume(4).server_id().context("it has an id")?;
    let state = async || {
        let volumes = any.status().await?.volumes;
        let found = volumes.into_iter().find(|volume| volume.id == u64::from(small));
        anyhow::Ok(found.context("it is listed")?.state)
    };
    let mut rng = content::rng(seed, 0);
    let mut ledger = Ledger::default();
    let mut put = async |key: String| {
        let content = Content { seed: rng.next_u64(), size_bytes: OBJECT_BYTES };
        any.put(&key, content.bytes()).await.with_context(|| key.clone())?;
        let lies_on = cluster::volumes_of(&any.head(&key).await?.placement);
        ledger.keys.insert(key, Possible::exactly(Some(content)));
        anyhow::Ok(lies_on)
    };
    let mut on_it = Vec::new();
    for number in 0.. {
        ensure!(number < OBJECTS_MAX, "it does not fill up");
        let key = format!("one/{number}");
        if put(key.clone()).await?.contains(&small) {
            on_it.push(key);
        }
        if state().await? == "full" {
            break;
        }
    }
    for number in 0..20 {
        let lies_on = put(format!("behind/{number}")).await?;
        ensure!(lies_on.len() == 3 && !lies_on.contains(&small), "it lies on {lies_on:?}");
    }
    for key in on_it.iter().step_by(2) {
        any.delete(key).await?;
        ledger.keys.insert(key.clone(), Possible::exactly(None));
    }
    wait::until("it takes writes again", ROOM_TIMEOUT, async || {
        let state = state().await?;
        ensure!(state == "up", "it is {state}");
        Ok(())
    })
    .await?;
    for client in cluster::client_each(&cluster)? {
        ledger.verify(&client).await?;
    }
    cluster::no_panics(&cluster)
}

/// Puts objects until one is refused for want of space: its key, and the words.
async fn fill(client: &Client, seed: u64, ledger: &mut Ledger) -> Result<(String, String)> {
    let mut rng = content::rng(seed, 0);
    for number in 0..OBJECTS_MAX {
        let key = format!("full/{number}");
        let content = Content { seed: rng.next_u64(), size_bytes: OBJECT_BYTES };
        match client.put(&key, content.bytes()).await {
            Ok(_) => {
                ledger.keys.insert(key, Possible::exactly(Some(content)));
            }
            Err(Error::NoRoom { message }) => return Ok((key, message)),
            Err(error) => return Err(error).with_context(|| format!("{key} on a cluster that fills up")),
        }
    }
    anyhow::bail!("{OBJECTS_MAX} objects fit into volumes of {CAPACITY}")
}

/// The segments of a full volume leave two of their kind unmade.
fn reserve_is_untouched(cluster: &Cluster) -> Result<()> {
    for volume in cluster.volumes() {
        let mut used_bytes = 0;
        for entry in std::fs::read_dir(volume.data_dir().join("needles"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "seg") {
                used_bytes += path.metadata()?.len();
            }
        }
        let most = CAPACITY_BYTES - CAPACITY_BYTES / 4;
        ensure!(used_bytes <= most, "{} has {used_bytes} bytes of segments, over {most}", volume.name());
    }
    Ok(())
}
