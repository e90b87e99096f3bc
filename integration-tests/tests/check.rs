//! A check says that all is well where it is, and what is not where it is not: counts, ids and, when asked to, bytes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::check::{Finding, Report};
use hayrick_client::{Client, Condition, Error, PutOptions};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::{cluster, command, raw, segments, wait};
use hayrick_launcher::{Builder, Cluster};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::block_in_place;

const OBJECTS: usize = 120;
const SIZE_BYTES_MAX: usize = 4000;
/// More than a segment, so that the first one is sealed.
const FILLERS: usize = 40;
const FILLER_BYTES: usize = 64 << 10;
/// The grace is never less than twice the request timeout.
const SETTINGS: [&str; 6] = ["--reap-after", "1s", "--request-timeout", "3s", "--repair-after", "1s"];
const SETTLED_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_cluster_passes_and_every_needle_is_accounted_for() -> Result<()> {
    let seed = content::seed("check");
    let cluster = start(4).await?;
    let any = cluster::client_any(&cluster)?;
    let mut rng = content::rng(seed, 0);
    fill(&any, &mut rng).await?;
    // Two thirds live on, a third of them overwritten; and one is appended, and refused when it is committed.
    for number in 0..OBJECTS {
        match number % 3 {
            0 => any.delete(&key(number)).await?,
            1 => drop(any.put(&key(number), Content::random(&mut rng, SIZE_BYTES_MAX).bytes()).await?),
            _ => {}
        }
    }
    let live = (OBJECTS - OBJECTS / 3) as u64;
    let create = PutOptions { condition: Condition::Absent, ..PutOptions::default() };
    let refused = any.put_with(&key(1), "too late", &create).await;
    ensure!(matches!(refused, Err(Error::PreconditionFailed { .. })), "{refused:?}");

    // What was refused leaves nothing behind, though its gateway's epoch is open.
    wait::until("the bytes of the refused write are gone", SETTLED_TIMEOUT, async || {
        let total = any.check(false, |_| ()).await?.total;
        ensure!(total.unaccounted.needles == 0, "{total:?}");
        Ok(())
    })
    .await?;
    for client in cluster::client_each(&cluster)? {
        let report = client.check(false, |_| ()).await?;
        ensure!(report.findings.is_empty() && !report.deep, "{report:#?}");
        let total = report.total;
        ensure!(total.live.needles == 3 * live, "{total:?}");
        ensure!(total.unaccounted.needles == 0, "{total:?}");
        ensure!(total.moving.needles == 0 && total.left_over.needles == 0, "{total:?}");
        let (lacks, wrong) =
            report.volumes.iter().fold((0, 0), |sum, of| (sum.0 + of.lacks.needles, sum.1 + of.wrong));
        ensure!((lacks, wrong) == (0, 0), "{report:#?}");
    }
    // A restarted master fences its epochs; then what nobody committed is an orphan, and goes.
    for master in cluster.masters() {
        block_in_place(|| master.restart())?;
    }
    cluster::all_up(&cluster, 4).await?;
    wait::until("only what lives is left", SETTLED_TIMEOUT, async || {
        let report = any.check(true, |_| ()).await?;
        ensure!(report.findings.is_empty(), "{:#?}", report.findings);
        let total = report.total;
        ensure!(total.unaccounted.needles == 0 && total.live.needles == 3 * live, "{total:?}");
        ensure!(total.garbage.needles == 0 && total.orphan.needles == 0, "{total:?}");
        Ok(())
    })
    .await?;
    let (text, code) = command::run(&cluster, &["check"])?;
    ensure!(code == 0 && text.contains("Everything is as it should be."), "{code}: {text}");
    let (text, code) = command::run(&cluster, &["check", "--deep", "--json"])?;
    let report: Report = serde_json::from_str(&text)?;
    ensure!(code == 0 && report.deep && report.total.live.needles == 3 * live, "{code}: {text}");
    let answer =
        raw::send(cluster.master(1).http_addr(), b"GET /-/check?deap HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    ensure!(answer.status == Some(400) && answer.body().contains("takes deep"), "{answer:?}");
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_found_by_reading_and_mended_and_what_lacks_is_named() -> Result<()> {
    let seed = content::seed("check damage");
    let cluster = start_with(cluster::builder(3)?.segment_size("1MiB"), 3).await?;
    let any = cluster::client_any(&cluster)?;
    let content = Content { seed, size_bytes: 1000 };
    any.put("first", content.bytes()).await?;
    let mut rng = content::rng(seed, 0);
    for number in 0..FILLERS {
        any.put(&key(number), Content { seed: rng.random(), size_bytes: FILLER_BYTES }.bytes()).await?;
    }
    let (segment, offset) = place(&cluster, content)?;
    wait::until(
        "it lies in a segment that is listed without reading its data",
        SETTLED_TIMEOUT,
        async || {
            ensure!(
                segment.with_extension("idx").is_file(),
                "there is no index file of {}",
                segment.display()
            );
            Ok(())
        },
    )
    .await?;
    segments::flip(&segment, offset + 500)?;
    let shallow = any.check(false, |_| ()).await?;
    ensure!(shallow.findings.is_empty(), "nobody has read it: {shallow:#?}");
    let (text, code) = command::run(&cluster, &["check", "--deep"])?;
    ensure!(code == 1, "{code}: {text}");
    ensure!(text.contains("1 needles that are damaged") && text.contains("of first (placement"), "{text}");
    passes(&any, true).await?;

    // Now it is known before the check, which sees that it lacks, and who has it; as long as it is not mended yet.
    let mut round = 0;
    wait::until("what lacks is named", SETTLED_TIMEOUT, async || {
        round += 1;
        let name = format!("lacking/{round}");
        flip(&cluster, &any, &name, Content { seed: seed.wrapping_add(round), size_bytes: 1000 }).await?;
        any.explain(&name, None).await?;
        let report = any.check(false, |_| ()).await?;
        let lacks = finding(&report, "lacks")?;
        ensure!(lacks.count == 1 && lacks.lines[0].ends_with(&format!(" of {name}")), "{lacks:?}");
        ensure!(report.volumes.iter().map(|volume| volume.lacks.needles).sum::<u64>() == 1, "{report:?}");
        Ok(())
    })
    .await?;
    passes(&any, false).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_volume_is_a_finding_until_nothing_names_it_any_more() -> Result<()> {
    let seed = content::seed("check death");
    let cluster = start(5).await?;
    let any = cluster::client_any(&cluster)?;
    fill(&any, &mut content::rng(seed, 0)).await?;

    block_in_place(|| cluster.volume(1).kill())?;
    let lost = cluster.volume(1).server_id().context("it has an id")?;
    wait::until("it is found", SETTLED_TIMEOUT, async || {
        let report = any.check(false, |_| ()).await?;
        let volume = finding(&report, "volume")?;
        ensure!(volume.lines[0].starts_with(&format!("volume {lost} does not show")), "{volume:?}");
        Ok(())
    })
    .await?;
    wait::until("its copies are made elsewhere, and its absence is none", SETTLED_TIMEOUT, async || {
        let (text, code) = command::run(&cluster, &["check"])?;
        ensure!(code == 0, "{code}: {text}");
        Ok(())
    })
    .await?;
    let report = any.check(true, |_| ()).await?;
    let shown = report.volumes.iter().find(|volume| volume.id == lost).context("it is shown")?;
    ensure!(shown.state == "down" && !shown.unseen.is_empty(), "{shown:?}");
    ensure!(report.total.live.needles == 3 * OBJECTS as u64, "{report:?}");

    // With two of five left, there is nowhere to copy to.
    for number in [2, 3] {
        block_in_place(|| cluster.volume(number).kill())?;
    }
    wait::until("what has too few copies is found", SETTLED_TIMEOUT, async || {
        let (text, code) = command::run(&cluster, &["check"])?;
        ensure!(code == 1 && text.contains("placements with too few copies"), "{code}: {text}");
        ensure!(text.contains("more\n"), "there are more than are shown: {text}");
        let report = any.check(false, |_| ()).await?;
        let (volumes, copies) = (finding(&report, "volume")?, finding(&report, "copies")?);
        // And one for all partitions that hold nothing.
        ensure!(volumes.count >= 2 && copies.count == report.placements_short + 1, "{report:#?}");
        ensure!(copies.count > 20 && copies.lines.len() == 20, "{copies:?}");
        Ok(())
    })
    .await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_check_at_a_time_which_ends_with_its_client() -> Result<()> {
    let seed = content::seed("check twice");
    // At this pace reading all takes minutes.
    let builder = cluster::builder(3)?.volume_arg("--scrub-rate").volume_arg("4KiB");
    let cluster = cluster::start_with(builder, 3).await?;
    let any = cluster::client_any(&cluster)?;
    fill(&any, &mut content::rng(seed, 0)).await?;
    let addr = cluster.master(2).http_addr();
    let mut first = TcpStream::connect(addr).await?;
    first.write_all(b"GET /-/check?deep HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let mut text = String::new();
    while !text.contains("\"progress\"") {
        let mut chunk = [0; 1024];
        let read = first.read(&mut chunk).await?;
        ensure!(read > 0, "it ended: {text}");
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    ensure!(text.starts_with("HTTP/1.1 200 ") && text.contains("application/x-ndjson"), "{text}");
    let second = check_at(addr).await?;
    ensure!(second.status == Some(429) && second.body().contains("ask another master"), "{second:?}");
    let elsewhere = check_at(cluster.master(3).http_addr()).await?;
    ensure!(elsewhere.status == Some(200), "{elsewhere:?}");
    drop(first);
    wait::until("the first one has ended with its client", SETTLED_TIMEOUT, async || {
        let third = check_at(addr).await?;
        ensure!(third.status == Some(200) && third.body().contains("\"report\""), "{third:?}");
        Ok(())
    })
    .await?;
    cluster::no_panics(&cluster)
}

async fn check_at(addr: SocketAddr) -> Result<raw::Answer> {
    raw::send(addr, b"GET /-/check HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await
}

async fn start(volumes: u32) -> Result<Cluster> {
    start_with(cluster::builder(volumes)?, volumes).await
}

async fn start_with(mut builder: Builder, volumes: u32) -> Result<Cluster> {
    for setting in SETTINGS {
        builder = builder.master_arg(setting);
    }
    cluster::start_with(builder, volumes).await
}

fn key(number: usize) -> String {
    format!("check/{number}")
}

async fn fill(client: &Client, rng: &mut StdRng) -> Result<()> {
    for number in 0..OBJECTS {
        client.put(&key(number), Content::random(rng, SIZE_BYTES_MAX).bytes()).await?;
    }
    Ok(())
}

/// Puts an object, and flips a bit of it on one volume.
async fn flip(cluster: &Cluster, client: &Client, key: &str, content: Content) -> Result<()> {
    client.put(key, content.bytes()).await?;
    let (segment, offset) = place(cluster, content)?;
    segments::flip(&segment, offset + 500)
}

/// Where an object's bytes lie on one volume.
fn place(cluster: &Cluster, content: Content) -> Result<(PathBuf, u64)> {
    let found = segments::find(cluster.volume(2).data_dir(), &content.bytes()[..64])?;
    found.context("each of three volumes holds everything")
}

fn finding<'a>(report: &'a Report, kind: &str) -> Result<&'a Finding> {
    report
        .findings
        .iter()
        .find(|finding| finding.kind == kind)
        .with_context(|| format!("no {kind}: {report:#?}"))
}

/// Waits until a check finds nothing.
async fn passes(client: &Client, deep: bool) -> Result<()> {
    wait::until("a check finds nothing", SETTLED_TIMEOUT, async || {
        let report = client.check(deep, |_| ()).await?;
        ensure!(report.findings.is_empty(), "{:#?}", report.findings);
        Ok(())
    })
    .await
}
