//! Claim 12: a flipped byte in a segment file is never returned: the reader gets the bytes from another member. So does one
//! whose volume's disk cannot be read.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hayrick_client::{ByteRange, Client, Error, GetOptions};
use hayrick_integration_tests::content::Content;
use hayrick_integration_tests::disk_shim::DiskShim;
use hayrick_integration_tests::gate::Gate;
use hayrick_integration_tests::{cluster, content, ledger, metrics, raw, segments, wait};
use hayrick_launcher::Cluster;
use rand::Rng;
use tokio::task::block_in_place;

/// As many as an object has copies: each holds every object.
const VOLUMES: u32 = 3;
const OBJECTS: usize = 12;
/// From one byte's block to several blocks of 64 KiB.
const SIZES: [usize; 4] = [40, 5_000, 70_000, 300_000];
/// Enough of an object to find it in a segment file.
const MARK_BYTES: usize = 32;
/// A copy may be mended just before the last good one goes.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(40);
/// Before the key, as docs/format.md has it.
const HEADER_BYTES: i64 = 29;
/// `Read`, as `protocol/src/messages/volume.rs` numbers it.
const READ: u16 = 0x0103;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_never_returned() -> Result<()> {
    let seed = content::seed("corruption");
    let cluster = cluster::start(VOLUMES).await?;
    let clients = cluster::client_each(&cluster)?;
    let mut rng = content::rng(seed, 0);
    for number in 0..OBJECTS {
        let key = format!("flipped/{number}");
        // Other bytes each time: a copy of the same in another needle might be found and damaged instead.
        let content = || Content { seed: rng.random(), size_bytes: SIZES[number % SIZES.len()] };
        let content = cluster::put_copies(&clients[number % 3], &key, VOLUMES as usize, content).await?;
        let flipped_at = rng.random_range(0..content.size_bytes);

        // One member damaged, then two: the bytes come from whoever has them.
        damage(&cluster, 1, content, flipped_at)?;
        reads_are_right(&clients, &key, content, flipped_at).await?;
        damage(&cluster, 2, content, flipped_at)?;
        reads_are_right(&clients, &key, content, flipped_at).await?;
        // All three: an error, never the wrong bytes, and never "there is no such key".
        nobody_has_it(&cluster, &clients, &key, content, flipped_at).await?;
    }

    // Nor does anything but the data: what says whose the bytes are, and what they are verified by.
    for (number, part) in ["header", "key", "block table"].into_iter().enumerate() {
        let key = format!("flipped/{part}");
        let content = || Content { seed: rng.random(), size_bytes: SIZES[1] };
        let content = cluster::put_copies(&clients[number], &key, VOLUMES as usize, content).await?;
        let key_bytes = key.len() as i64;
        let at = match part {
            "header" => -key_bytes - HEADER_BYTES / 2,
            "key" => -key_bytes,
            _ => content.size_bytes as i64,
        };
        for volume in [1, 2] {
            damage_at(&cluster, volume, content, at)?;
            reads_are_right(&clients, &key, content, 0).await?;
        }
    }

    metrics::moved("corruption::a_flipped_byte_is_never_returned", &cluster).await?;

    // Recovery does not let damage through either.
    let content = || Content { seed: rng.random(), size_bytes: SIZES[1] };
    let content = cluster::put_copies(&clients[0], "flipped/restart", VOLUMES as usize, content).await?;
    clients[0].put("flipped/after", "a later record").await?;
    damage(&cluster, 1, content, 100)?;
    block_in_place(|| cluster.volume(1).restart())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    reads_are_right(&clients, "flipped/restart", content, 100).await?;
    ensure!(ledger::read(&clients[1], "flipped/after").await?.as_deref() == Some(b"a later record"), "lost");
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_read_fails_no_reader() -> Result<()> {
    let seed = content::seed("unreadable disk");
    let dir = tempfile::tempdir()?;
    let shim = DiskShim::compile(dir.path())?;
    let mut cluster = cluster::builder(VOLUMES)?.build()?;
    for (name, value) in shim.env() {
        cluster.volume(1).set_env(name, value);
    }
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    let clients = cluster::client_each(&cluster)?;
    let mut rng = content::rng(seed, 0);
    let mut contents = Vec::new();
    for number in 0..OBJECTS {
        let key = format!("unreadable/{number}");
        let content = || Content { seed: rng.random(), size_bytes: SIZES[number % SIZES.len()] };
        contents.push((
            key.clone(),
            cluster::put_copies(&clients[number % 3], &key, VOLUMES as usize, content).await?,
        ));
    }
    shim.fail_reads()?;
    for (key, content) in &contents {
        reads_are_right(&clients, key, *content, 0).await?;
    }
    // It said so itself: whose disk it is can be seen.
    let answer = raw::send(
        cluster.volume(1).http_addr(),
        b"GET /-/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await?;
    let status: serde_json::Value = serde_json::from_str(answer.body())?;
    ensure!(status["bad"].as_u64() > Some(0), "it reports nothing: {status}");
    shim.let_read()?;
    for (key, content) in &contents {
        reads_are_right(&clients, key, *content, 0).await?;
    }
    ensure!(cluster.volume(1).is_running(), "it died of it");
    cluster::no_panics(&cluster)
}

/// The volume reads right bytes from its disk and sends others: only the checksum in the index can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_rot_behind_a_volumes_own_check_are_never_returned() -> Result<()> {
    let seed = content::seed("bad memory");
    let mut cluster = cluster::builder(VOLUMES)?.build()?;
    let gate = Gate::start(cluster.volume(1).peer_addr()).await?;
    cluster.volume(1).set_flag("--peer-advertise", gate.addr().to_string());
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    let clients = cluster::client_each(&cluster)?;
    gate.spoil(READ);
    let mut rng = content::rng(seed, 0);
    for number in 0..OBJECTS {
        let key = format!("spoiled/{number}");
        let content = || Content { seed: rng.random(), size_bytes: SIZES[number % SIZES.len()] };
        let content = cluster::put_copies(&clients[number % 3], &key, VOLUMES as usize, content).await?;
        reads_are_right(&clients, &key, content, 0).await?;
    }
    ensure!(gate.counts().spoiled > 0, "{:?}", gate.counts());
    let own = "corruption::bytes_that_rot_behind_a_volumes_own_check_are_never_returned";
    metrics::moved(own, &cluster).await?;
    cluster::no_panics(&cluster)
}

/// Flips a byte of the object in the segment file of a volume.
fn damage(cluster: &Cluster, volume: u32, content: Content, at: usize) -> Result<()> {
    damage_at(cluster, volume, content, at as i64)
}

/// Damages every copy there is, also those that were mended meanwhile, until all reads are refused.
async fn nobody_has_it(
    cluster: &Cluster,
    clients: &[Client],
    key: &str,
    content: Content,
    flipped_at: usize,
) -> Result<()> {
    let bytes = content.bytes();
    wait::until("no copy is whole", REFUSED_TIMEOUT, async || {
        // The third is the one that the others are mended from.
        for volume in [3, 2, 1] {
            while let Some((path, at)) = segments::find(cluster.volume(volume).data_dir(), &bytes)? {
                segments::flip(&path, at + flipped_at as u64)?;
            }
        }
        for client in clients {
            match ledger::read(client, key).await {
                Err(Error::Refused { status: 503, .. }) => {}
                Ok(Some(found)) => {
                    // Never mended by waiting.
                    assert_eq!(found, bytes, "{key} reads wrong");
                    bail!("a copy was mended just now");
                }
                other => panic!("{key}: all copies are damaged, the answer is {other:?}"),
            }
        }
        Ok(())
    })
    .await
}

/// Flips a byte of the needle: `at` counts from the first byte of the object; header and key lie before that.
fn damage_at(cluster: &Cluster, volume: u32, content: Content, at: i64) -> Result<()> {
    let volume = cluster.volume(volume);
    let bytes = content.bytes();
    let mark = &bytes[..bytes.len().min(MARK_BYTES)];
    let found = segments::find(volume.data_dir(), mark)?;
    let (path, offset) = found.with_context(|| format!("{} does not hold the object", volume.name()))?;
    segments::flip(&path, offset.checked_add_signed(at).context("it lies in the file")?)
}

/// Whole and in part, through every master, more often than there are members.
async fn reads_are_right(clients: &[Client], key: &str, content: Content, flipped_at: usize) -> Result<()> {
    let expected = content.bytes();
    let at = flipped_at as u64;
    let range = GetOptions { range: Some(ByteRange::Closed(at, at)), ..GetOptions::default() };
    for client in clients.iter().cycle().take(6) {
        let read = ledger::read(client, key).await.with_context(|| key.to_owned())?;
        ensure!(read.as_ref() == Some(&expected), "{key}: other bytes came back");
        let part = client.get_with(key, &range).await?.bytes().await?;
        ensure!(part[..] == expected[flipped_at..=flipped_at], "{key}: the range has the flipped byte");
    }
    Ok(())
}
