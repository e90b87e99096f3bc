//! What nobody has any more holds up nothing else, and comes back with whoever has it. Placements that nobody needs go.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::{Client, Error};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::ledger::{Ledger, Possible};
use hayrick_integration_tests::{cluster, copies, ledger, metrics, segments, wait};
use hayrick_launcher::{Builder, Cluster, Process};
use rand::Rng;
use tokio::task::block_in_place;

const COPIES: usize = 3;
const OBJECTS: usize = 60;
/// From less than a block to several.
const SIZES: [usize; 3] = [300, 5_000, 150_000];
const MENDED_TIMEOUT: Duration = Duration::from_secs(120);
/// Grace is never less than twice the request timeout, so both are short.
const SETTINGS: [&str; 6] = ["--reap-after", "1s", "--request-timeout", "3s", "--repair-after", "1s"];

fn builder(volumes: u32, partitions: &str) -> Result<Builder> {
    let builder = cluster::builder(volumes)?.master_arg("--partitions").master_arg(partitions);
    Ok(SETTINGS.into_iter().fold(builder, |builder, setting| builder.master_arg(setting)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_is_missing_all_else_is_repaired_and_it_comes_back_with_its_volume() -> Result<()> {
    let seed = content::seed("missing");
    // One partition: all objects lie in the same placement.
    let cluster = cluster::start_with(builder(4, "1")?, 4).await?;
    let any = cluster::client_any(&cluster)?;
    let mut ledger = fill(&any, seed).await?;
    let holders = cluster::volumes_of(&any.head("object/0").await?.placement);
    let [a, b, third] = holders[..] else { anyhow::bail!("it lies on {holders:?}") };
    // x has a good copy here, y there; of z and w only the third volume has one, and that dies. The others rot while they are
    // down, or they would mend each other meanwhile.
    let third = of_id(&cluster, third)?;
    let others = [of_id(&cluster, a)?, of_id(&cluster, b)?];
    for volume in [&[third], &others[..]].concat() {
        block_in_place(|| volume.kill())?;
    }
    for (key, volumes) in [("x", &[a][..]), ("y", &[b]), ("z", &[a, b]), ("w", &[a, b])] {
        for volume in volumes {
            damage(&cluster, *volume, &ledger, key)?;
        }
    }
    for volume in others {
        block_in_place(|| volume.start())?;
    }
    let lost: Vec<_> = ["z", "w"].into_iter().filter_map(|key| ledger.keys.remove_entry(key)).collect();
    wait::until("all but two have three copies", MENDED_TIMEOUT, async || {
        missing(&any, 2).await?;
        copies::verify(&cluster, &any, &ledger, COPIES).await
    })
    .await?;
    for (key, _) in &lost {
        match ledger::read(&any, key).await {
            Err(Error::Refused { status: 503, message, .. }) => {
                ensure!(message.contains("missing"), "{message}")
            }
            other => anyhow::bail!("{key} reads as {other:?}"),
        }
        ensure!(any.head(key).await?.size_bytes > 0, "{key} is there to be seen");
    }
    let damaged: Vec<_> = any.status().await?.volumes.into_iter().filter(|volume| volume.bad > 0).collect();
    ensure!(damaged.len() == 2, "what is left of them is kept, on {damaged:?}");
    let own = "missing::what_nobody_has_is_missing_all_else_is_repaired_and_it_comes_back_with_its_volume";
    metrics::raised(own, &cluster).await?;
    // One of them is not wanted any more; its damaged copies go with it.
    any.delete("w").await?;
    wait::until("one is missing", MENDED_TIMEOUT, async || missing(&any, 1).await).await?;
    // The third volume is no member any more, and has the last good copy.
    block_in_place(|| third.start())?;
    let found = lost.into_iter().filter(|(key, _)| key == "z");
    ledger.keys.extend(found);
    wait::until("every object has three copies", MENDED_TIMEOUT, async || {
        missing(&any, 0).await?;
        copies::verify(&cluster, &any, &ledger, COPIES).await
    })
    .await?;
    metrics::moved(own, &cluster).await?;
    // A restarted master fences the epochs, so that nothing may be on its way.
    for master in cluster.masters() {
        block_in_place(|| master.restart())?;
    }
    cluster::all_up(&cluster, 4).await?;
    copies::exactly(&cluster, &any, &ledger, MENDED_TIMEOUT).await?;
    for client in cluster::client_each(&cluster)? {
        ledger.verify(&client).await?;
    }
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn placements_that_hold_nothing_are_forgotten_and_what_volumes_have_of_them_goes() -> Result<()> {
    let seed = content::seed("forgotten");
    const PARTITIONS: u64 = 64;
    let cluster = cluster::start_with(builder(4, &PARTITIONS.to_string())?, 4).await?;
    let any = cluster::client_any(&cluster)?;
    let ledger = fill(&any, seed).await?;
    // Each makes new placements; what is written meanwhile lies in those.
    let mut later = Ledger::default();
    for (round, volume) in [1, 2, 4].into_iter().enumerate() {
        let volume = cluster.volume(volume);
        block_in_place(|| volume.kill())?;
        cluster::all_up(&cluster, 3).await?;
        for number in 0..OBJECTS {
            let content = Content { seed: seed.wrapping_add(number as u64), size_bytes: 100 };
            put(&any, &mut later, format!("later/{round}/{number}"), content).await?;
        }
        block_in_place(|| volume.start())?;
        cluster::all_up(&cluster, 4).await?;
    }
    // One is away while all of it is deleted, so that it keeps what it has.
    let away = cluster.volume(3);
    block_in_place(|| away.kill())?;
    for key in ledger.keys.keys().chain(later.keys.keys()) {
        any.delete(key).await?;
    }
    wait::until("each partition has one placement", MENDED_TIMEOUT, async || {
        let status = any.status().await?;
        ensure!(status.placements == PARTITIONS, "there are {}", status.placements);
        Ok(())
    })
    .await?;
    block_in_place(|| away.start())?;
    cluster::all_up(&cluster, 4).await?;
    for master in cluster.masters() {
        block_in_place(|| master.restart())?;
    }
    cluster::all_up(&cluster, 4).await?;
    let nothing = Ledger::default();
    copies::exactly(&cluster, &any, &nothing, MENDED_TIMEOUT).await?;
    cluster::no_panics(&cluster)
}

/// Whether so many objects are missing and all others have their copies.
async fn missing(any: &Client, objects: u64) -> Result<()> {
    let status = any.status().await?;
    let (missing, under, waiting) = (status.missing.objects, status.under_replicated, status.waiting);
    ensure!(
        (missing, under) == (objects, objects),
        "{missing} missing, {under} with fewer copies; {waiting:?}"
    );
    let says_so = waiting.iter().any(|why| why.contains("missing: no volume that is up has"));
    ensure!(says_so == (objects > 0), "{waiting:?}");
    Ok(())
}

/// Some objects, each of its own bytes on three volumes; x, y, z and w are among them.
async fn fill(any: &Client, seed: u64) -> Result<Ledger> {
    const NAMES: [&str; 5] = ["object/0", "x", "y", "z", "w"];
    let mut rng = content::rng(seed, 1);
    let mut ledger = Ledger::default();
    for number in 0..OBJECTS {
        let key = NAMES.get(number).map_or_else(|| format!("object/{number}"), |name| (*name).to_owned());
        let size_bytes = SIZES[number % SIZES.len()];
        let content =
            cluster::put_copies(any, &key, COPIES, || Content { seed: rng.random(), size_bytes }).await?;
        ledger.keys.insert(key, Possible::exactly(Some(content)));
    }
    Ok(ledger)
}

/// The volume with this id.
fn of_id(cluster: &Cluster, id: u32) -> Result<&Process> {
    let found = cluster.volumes().iter().find(|volume| volume.server_id() == Some(id));
    found.with_context(|| format!("no process is volume {id}"))
}

/// Flips a byte in the middle of the object in a volume's segments.
fn damage(cluster: &Cluster, volume: u32, ledger: &Ledger, key: &str) -> Result<()> {
    let content = ledger.keys.get(key).and_then(|possible| possible.contents.first().copied().flatten());
    let bytes = content.context("it holds something")?.bytes();
    let found = segments::find(of_id(cluster, volume)?.data_dir(), &bytes[..SIZES[0]])?;
    let (path, at) = found.with_context(|| format!("volume {volume} does not hold {key}"))?;
    segments::flip(&path, at + bytes.len() as u64 / 2)
}

async fn put(any: &Client, ledger: &mut Ledger, key: String, content: Content) -> Result<()> {
    any.put(&key, content.bytes()).await.with_context(|| key.clone())?;
    ledger.keys.insert(key, Possible::exactly(Some(content)));
    Ok(())
}
