//! A volume that is there comes to hold exactly what it must: what it lacks or has damaged it gets from the others, and what
//! died while nobody told it goes.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::ledger::{self, Ledger, Possible};
use hayrick_integration_tests::{cluster, copies, figure, wait};
use hayrick_launcher::Cluster;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::block_in_place;
use tokio::time::Instant;

const COPIES: usize = 3;
const OBJECTS: usize = 1200;
/// Of these, three quarters lie on each of four volumes.
const FLIPPED_OBJECTS: usize = 1800;
/// So many needles of one volume are flipped.
const FLIPPED_NEEDLES: usize = 1000;
const SIZE_BYTES_MAX: usize = 8 * 1024;
const LARGE_OBJECTS: usize = 400;
const LARGE_BYTES: usize = 32 * 1024;
/// Before the key, as docs/format.md has it.
const NEEDLE_HEADER_BYTES: u64 = 29;
/// One byte of so many is flipped, on average.
const FLIPS_APART: u64 = 1024;
const MENDED_TIMEOUT: Duration = Duration::from_secs(120);
const STATE_TIMEOUT: Duration = Duration::from_secs(40);
/// Never less than twice the request timeout, so both are short here.
const REAPED: [&str; 4] = ["--reap-after", "1s", "--request-timeout", "3s"];
/// Nothing is copied because a volume is away.
const UNREPAIRED: [&str; 2] = ["--repair-after", "120s"];
/// The lowest rate that there is, and with large objects: each group of placements takes many seconds, so that it is surely
/// seen.
const SLOWLY: [&str; 4] = ["--repair-after", "1s", "--move-rate", "64KiB"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_all_over_a_volume_are_mended_and_nobody_reads_one() -> Result<()> {
    let seed = content::seed("flips");
    let cluster = cluster::start_set(4, &[&REAPED[..], &UNREPAIRED].concat()).await?;
    let any = cluster::client_any(&cluster)?;
    let ledger = fill(&cluster, "flips", FLIPPED_OBJECTS, seed).await?;
    cluster::fence_epochs(&cluster, 4).await?;
    let volume = cluster.volume(1);
    let (needles, mut rng) = (volume.data_dir().join("needles"), content::rng(seed, 1));
    // One in each, and then anywhere: in headers, keys and marks, too.
    let flipped = flip_needles(&needles, &mut rng)?;
    let flips = flip_all_over(&needles, &mut rng)?;
    figure::say(&format!("{flipped} needles are flipped, and {flips} bits anywhere"));
    ensure!(flipped == FLIPPED_NEEDLES && flips > 200, "only {flipped} needles and {flips} flips");
    let began = Instant::now();
    for client in cluster::client_each(&cluster)? {
        ledger.verify(&client).await?;
    }
    // Each copy is read; what turns out damaged is known from then on.
    wait::until("every copy is right again", MENDED_TIMEOUT, async || {
        copies::verify(&cluster, &any, &ledger, COPIES).await
    })
    .await?;
    figure::say(&format!("all copies are right after {:.1} s", began.elapsed().as_secs_f64()));
    block_in_place(|| volume.restart())?;
    cluster::all_up(&cluster, 4).await?;
    copies::exactly(&cluster, &any, &ledger, MENDED_TIMEOUT).await?;
    copies::verify(&cluster, &any, &ledger, COPIES).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_died_while_a_volume_was_away_never_comes_back_and_its_space_does() -> Result<()> {
    let seed = content::seed("away");
    let cluster = cluster::start_set(4, &[&REAPED[..], &UNREPAIRED].concat()).await?;
    let any = cluster::client_any(&cluster)?;
    let mut ledger = fill(&cluster, "away", OBJECTS, seed).await?;
    let away = cluster.volume(2);
    block_in_place(|| away.kill())?;
    let mut rng = content::rng(seed, 1);
    for number in 0..OBJECTS {
        let key = format!("away/{number}");
        match number % 3 {
            0 => {
                any.delete(&key).await?;
                ledger.keys.insert(key, Possible::exactly(None));
            }
            1 => ledger.put(&any, &key, Content::random(&mut rng, SIZE_BYTES_MAX)).await?,
            _ => {}
        }
    }
    wait::until("the garbage is reaped", STATE_TIMEOUT, async || {
        let garbage = any.status_json().await?["garbage"]["needles"].as_u64();
        ensure!(garbage == Some(0), "{garbage:?} needles are garbage");
        Ok(())
    })
    .await?;
    block_in_place(|| away.start())?;
    cluster::all_up(&cluster, 4).await?;
    // Its gateways' epochs are open: what they name nowhere may be on its way. A restarted master fences them.
    cluster::fence_epochs(&cluster, 4).await?;
    copies::exactly(&cluster, &any, &ledger, MENDED_TIMEOUT).await?;
    for volume in cluster.volumes() {
        block_in_place(|| volume.restart())?;
    }
    cluster::all_up(&cluster, 4).await?;
    copies::exactly(&cluster, &any, &ledger, MENDED_TIMEOUT).await?;
    for client in cluster::client_each(&cluster)? {
        ledger.verify(&client).await?;
    }
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_is_back_during_its_repair_keeps_its_place_and_half_made_copies_go() -> Result<()> {
    let seed = content::seed("back too soon");
    let cluster = cluster::start_set(5, &[&REAPED[..], &SLOWLY].concat()).await?;
    let any = cluster::client_any(&cluster)?;
    let contents = Content::of_size(seed, LARGE_OBJECTS, LARGE_BYTES);
    let ledger = ledger::fill(&cluster::client_each(&cluster)?, "soon", contents).await?;
    block_in_place(|| cluster.volume(3).kill())?;
    wait::until("copies are being made", STATE_TIMEOUT, async || {
        let leader = cluster::leader(&cluster).await?;
        let client = cluster::client(&[cluster.master(leader).http_addr().to_string()])?;
        let status = client.status_json().await?;
        let done = |step: &serde_json::Value| step["done"].as_u64().unwrap_or_default();
        let moved: u64 = status["moves"].as_array().into_iter().flatten().map(done).sum();
        ensure!(moved > 0, "moves: {}, waiting: {}", status["moves"], status["waiting"]);
        Ok(())
    })
    .await?;
    block_in_place(|| cluster.volume(3).start())?;
    cluster::all_up(&cluster, 5).await?;
    copies::all_made(&cluster, COPIES, MENDED_TIMEOUT).await?;
    cluster::fence_epochs(&cluster, 5).await?;
    copies::exactly(&cluster, &any, &ledger, MENDED_TIMEOUT).await?;
    copies::verify(&cluster, &any, &ledger, COPIES).await?;
    cluster::no_panics(&cluster)
}

async fn fill(cluster: &Cluster, prefix: &str, objects: usize, seed: u64) -> Result<Ledger> {
    let contents = Content::randoms(seed, 100, objects, SIZE_BYTES_MAX);
    ledger::fill(&cluster::client_each(cluster)?, prefix, contents).await
}

/// Flips a bit in the data of each of [`FLIPPED_NEEDLES`] needles, or of as many as there are; how many.
fn flip_needles(needles: &Path, rng: &mut StdRng) -> Result<usize> {
    let mut flipped = 0;
    for entry in std::fs::read_dir(needles).with_context(|| needles.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let mut inspect = Command::new(cluster::binary()?);
        inspect.args(["inspect", "segment", "--needles", "--json"]).arg(&path);
        let shown: serde_json::Value = serde_json::from_slice(&block_in_place(|| inspect.output())?.stdout)?;
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let records = shown["records"].as_array().context("it lists its records")?;
        for record in records.iter().filter(|record| record["what"] == "live" && record["size"] != 0) {
            let (offset, size) = (record["offset"].as_u64(), record["size"].as_u64());
            let key = record["key"].as_str().context("it has a key")?;
            let data = offset.context("an offset")? + NEEDLE_HEADER_BYTES + key.len() as u64;
            let at = data + rng.random_range(0..size.context("a size")?);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            byte[0] ^= 1 << rng.random_range(0..8);
            file.write_all_at(&byte, at)?;
            flipped += 1;
            if flipped == FLIPPED_NEEDLES {
                return Ok(flipped);
            }
        }
    }
    Ok(flipped)
}

/// Flips bits in all segments of a volume, behind their headers; how many. What was never written is left alone.
fn flip_all_over(needles: &Path, rng: &mut StdRng) -> Result<u64> {
    let mut flips = 0;
    for entry in std::fs::read_dir(needles).with_context(|| needles.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let (len, mut at) = (file.metadata()?.len(), 4096);
        loop {
            at += rng.random_range(1..2 * FLIPS_APART);
            let mut around = [0; 64];
            if at + 64 >= len {
                break;
            }
            file.read_exact_at(&mut around, at)?;
            if around == [0; 64] {
                // Behind the last needle, or in one of nothing but zeros.
                continue;
            }
            around[0] ^= 1 << rng.random_range(0..8);
            file.write_all_at(&around[..1], at)?;
            flips += 1;
        }
    }
    Ok(flips)
}
