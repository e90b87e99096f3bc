//! Many large objects at once, of which the memory for bodies holds a few: all wait their turn, and none is refused.
//!
//! `HAYRICK_LARGE_MIB=64` makes them of full size, under the default budget.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use hayrick_integration_tests::{cluster, content, figure, raw};
use tokio::time::Instant;

const OBJECTS: usize = 64;
/// A server has so much beside the bodies of requests and answers.
const BESIDE_BYTES: u64 = 120 << 20;
/// Longer than any of them waits on a machine that does other things as well.
const SILENCE_MAX: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_objects_wait_their_turn_and_none_is_refused() -> Result<()> {
    let full_size: Option<u64> =
        std::env::var("HAYRICK_LARGE_MIB").ok().map(|mib| mib.parse()).transpose()?;
    let (mib, budget_mib, largest) = full_size.map_or((4, 32, "16MiB"), |mib| (mib, 256, "64MiB"));
    let seed = content::seed("large");
    let budget = format!("{budget_mib}MiB");
    let cluster = cluster::start_set(
        3,
        &["--body-memory", &budget, "--max-object-size", largest, "--index-cache", "32MiB"],
    )
    .await?;
    let master = cluster.master(1);
    let client = hayrick_client::Client::builder([master.http_addr().to_string()])
        .silence_max(SILENCE_MAX)
        // None is asked again: a refusal is one.
        .patience(Duration::ZERO)
        .build()?;
    let size = usize::try_from(mib << 20)?;
    let body: Bytes =
        (0..size).map(|at| (at as u64).wrapping_mul(seed | 1).to_le_bytes()[3]).collect::<Vec<u8>>().into();

    let begun = Instant::now();
    let puts =
        (0..OBJECTS).map(|number| {
            let (client, body) = (client.clone(), body.clone());
            async move {
                client.put(&format!("large/{number}"), body).await.with_context(|| format!("PUT {number}"))
            }
        });
    try_join_all(puts).await?;
    let put_in = begun.elapsed();
    let begun = Instant::now();
    let gets = (0..OBJECTS).map(|number| {
        let (client, body) = (client.clone(), body.clone());
        async move {
            let got =
                client.get(&format!("large/{number}")).await.with_context(|| format!("GET {number}"))?;
            let got = got.bytes().await.with_context(|| format!("GET {number}"))?;
            ensure!(got == body, "object {number} is another");
            Ok(())
        }
    });
    try_join_all(gets).await?;
    figure::say(&format!(
        "{OBJECTS} of {mib} MiB at once: stored in {put_in:.1?}, read in {:.1?}",
        begun.elapsed()
    ));

    // What it had at most, as the system counted.
    let most = raw::peak_resident_bytes(master.pid().context("the master runs")?)?;
    let bound = 2 * (budget_mib << 20) + BESIDE_BYTES;
    figure::say(&format!("the master had at most {} MiB, with {budget} for each way", most >> 20));
    ensure!(most < bound, "{} MiB are more than {} MiB", most >> 20, bound >> 20);
    cluster::no_panics(&cluster)
}
