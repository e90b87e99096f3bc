//! The rows that measure what clients notice of a repair: the p99 of their requests while copies are made, beside that before.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::{cluster, wait};
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::runtime::Runtime;

use crate::cluster::{WARM_UP, random_bytes, read};
use crate::load::{Sample, Until};
use crate::program::Figure;
use crate::report::Result as Measured;
use crate::rows::{KIB, Row, Scale};
use crate::target::{Target, read_path};

/// One of them dies; the others hold everything afterwards.
const VOLUMES: u32 = 4;
const CLIENTS: usize = 8;
/// What is there to be copied, and the rate of copying is the default: longer than a row is measured.
const SIZE_BYTES: usize = 16 * KIB;
const OBJECTS: u64 = 40_000;
/// Of what clients put.
const PUT_BYTES: usize = KIB;
const BEGINS_TIMEOUT: Duration = Duration::from_secs(60);

/// What clients ask for.
#[derive(Clone, Copy)]
pub(crate) enum Verb {
    Put,
    Get,
}

/// Measures one row on a cluster of its own.
pub(crate) fn run(dir: &Path, scale: Scale, row: &Row, verb: Verb) -> Result<Measured> {
    let dir = dir.join("repair");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let target = Target::start(&dir, VOLUMES, &["--repair-after", "1s"])?;
    let objects = OBJECTS.min(scale.objects_max);
    println!("  putting {objects} objects of {SIZE_BYTES} bytes");
    target.fill(&random_bytes(SIZE_BYTES), objects)?;
    let quiet = requests(&target, verb, objects, scale.measured)?;
    target.cluster.volume(1).kill()?;
    runtime.block_on(wait::until("copies are being made", BEGINS_TIMEOUT, async || {
        ensure!(copied(&target).await?.is_some(), "none is yet");
        Ok(())
    }))?;
    let busy = requests(&target, verb, objects, scale.measured)?;
    still_going_on(&runtime, &target)?;
    ensure!(quiet.failed + busy.failed == 0, "{} and {} requests failed", quiet.failed, busy.failed);
    drop(target);
    std::fs::remove_dir_all(&dir)?;
    let percentile = |percent| Some(busy.percentile_ms(percent));
    let figure = Figure {
        value: busy.percentile_ms(99),
        p50_ms: percentile(50),
        p99_ms: percentile(99),
        baseline: None,
    };
    println!("  {:.0} a second, in peace {:.0}", busy.per_second(), quiet.per_second());
    Ok(Measured::figure(row, &figure, "ms", Some(("in peace", quiet.percentile_ms(99)))))
}

fn requests(target: &Target, verb: Verb, objects: u64, measured: Duration) -> Result<Sample> {
    match verb {
        Verb::Put => {
            target.put_new(&random_bytes(PUT_BYTES), CLIENTS, Until::Time { warm_up: WARM_UP, measured })
        }
        Verb::Get => {
            let path = |rng: &mut SmallRng| read_path(SIZE_BYTES, rng.random_range(0..objects));
            read(&target.masters(), SIZE_BYTES, CLIENTS, measured, &path)
        }
    }
}

fn still_going_on(runtime: &Runtime, target: &Target) -> Result<()> {
    let copied = runtime.block_on(copied(target))?;
    let (done, total) = copied.context("the repair was over before its end was measured")?;
    println!("  {done} of {total} bytes of the moves under way are copied");
    Ok(())
}

/// Bytes that the moves under way have copied, and all that they are to copy; none if there is no move.
async fn copied(target: &Target) -> Result<Option<(u64, u64)>> {
    let leader = cluster::leader(&target.cluster).await?;
    let client = cluster::client(&[target.cluster.master(leader).http_addr().to_string()])?;
    let moves = client.status().await?.moves;
    let sums = moves.iter().map(|step| (step.done, step.total));
    Ok(sums.reduce(|one, other| (one.0 + other.0, one.1 + other.1)))
}
