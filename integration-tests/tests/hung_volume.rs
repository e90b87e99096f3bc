//! A volume that hangs, its connections open: requests take no longer than the waits of docs/operations.md say, then no
//! longer than ever; and what it did not hear of it has afterwards.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::load::{Load, Report, Verb};
use hayrick_integration_tests::{cluster, copies, figure, ledger};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

const VOLUMES: u32 = 4;
const COPIES: usize = 3;
const CLIENTS: usize = 6;
const READERS: usize = 3;
const OBJECTS: usize = 300;
const SIZE_BYTES_MAX: usize = 16 * 1024;
const PUTS: u64 = 100;
/// How long the volume hangs; `HAYRICK_HANG_SECONDS` makes it more.
const HANG_SECONDS: u64 = 20;
/// Measured before the volume hangs, and again once it is back.
const QUIET: Duration = Duration::from_secs(6);
/// By then the volume is avoided.
const NOTICED: Duration = Duration::from_secs(5);
/// What one PUT waits for: an append 1.5 s, the leader's probe 1 s, a new table and another append 0.5 s.
const PUT_AIM: Duration = Duration::from_secs(3);
/// What one GET waits for: a member that does not answer has company after 0.1 s.
const GET_AIM: Duration = Duration::from_millis(150);
/// Over the p99 of a quiet cluster.
const SLOWER_MAX: u32 = 3;
const STATE_TIMEOUT: Duration = Duration::from_secs(60);
const EXACT_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_hangs_is_waited_for_as_long_as_is_said_and_then_no_more() -> Result<()> {
    let seed = content::seed("hung volume");
    let cluster = cluster::start_set(VOLUMES, &["--reap-after", "1s"]).await?;
    let (any, clients) = (cluster::client_any(&cluster)?, cluster::client_each(&cluster)?);
    let contents = Content::randoms(seed, 100, OBJECTS, SIZE_BYTES_MAX);
    let filled = ledger::fill(&clients, "read", contents).await?;
    let load = Load::start(&clients, CLIENTS, seed);
    // Readers of their own: the others soon wait for their writes.
    let reads = Load::reads(&clients, READERS, "read", &filled, seed);
    load.more_puts(PUTS, &[0, 1, 2], STATE_TIMEOUT).await?;
    let quiet = span(QUIET).await;

    let hung = cluster.volume(1);
    let id = hung.server_id().context("its listening line names an id")?;
    block_in_place(|| hung.pause())?;
    let stopped = Instant::now();
    sleep(NOTICED).await;
    let noticed = Instant::now();
    let status = any.status().await?;
    let state = cluster::volume_state(&status, id);
    ensure!(["suspect", "down"].contains(&state), "after {NOTICED:?} the volume is {state:?}");
    sleep((stopped + hang()).saturating_duration_since(noticed)).await;
    block_in_place(|| hung.resume())?;
    let resumed = Instant::now();
    cluster::volume_seen(&cluster, 1, "up").await?;
    sleep(QUIET).await;
    let ended = Instant::now();

    let mut report = load.finish().await?;
    report.extend(reads.finish().await?);
    ensure!(report.failures.is_empty(), "requests failed: {:#?}", report.failures);
    for (verb, aim) in [(Verb::Put, PUT_AIM), (Verb::Get, GET_AIM)] {
        // The clients that wait send nothing meanwhile, so the longest says more than the percentile.
        let (p99, longest) = report.p99_and_longest(verb, stopped, noticed);
        figure::at_most(&format!("p99 of {verb:?} in the first {NOTICED:?} of the hang"), p99, aim)?;
        figure::at_most(&format!("longest {verb:?} in the first {NOTICED:?} of the hang"), longest, aim)?;
        no_slower(&report, verb, quiet, (noticed, resumed), "while it hangs")?;
        no_slower(&report, verb, quiet, (resumed, ended), "while it comes back")?;
    }

    copies::all_made(&cluster, COPIES, EXACT_TIMEOUT).await?;
    copies::verify(&cluster, &any, &report.ledger, COPIES).await?;
    // What came to it too late is nobody's once the epochs of those who sent it are fenced.
    cluster::fence_epochs(&cluster, VOLUMES).await?;
    copies::exactly(&cluster, &any, &report.ledger, EXACT_TIMEOUT).await?;
    copies::verify(&cluster, &any, &report.ledger, COPIES).await?;
    cluster::no_panics(&cluster)
}

fn hang() -> Duration {
    let given = std::env::var("HAYRICK_HANG_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(HANG_SECONDS)).max(2 * NOTICED)
}

async fn span(length: Duration) -> (Instant, Instant) {
    let from = Instant::now();
    sleep(length).await;
    (from, Instant::now())
}

fn no_slower(
    report: &Report,
    verb: Verb,
    quiet: (Instant, Instant),
    (from, to): (Instant, Instant),
    when: &str,
) -> Result<()> {
    let (quiet, _) = report.p99_and_longest(verb, quiet.0, quiet.1);
    ensure!(quiet > Duration::ZERO, "nothing was measured in peace");
    let (measured, _) = report.p99_and_longest(verb, from, to);
    figure::at_most(&format!("p99 of {verb:?} {when}"), measured, SLOWER_MAX * quiet)
}
