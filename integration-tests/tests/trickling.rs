//! Readers that take a large object in drips, from a master and from a volume, keep nobody from being served, and are given up.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::trickle::Readers;
use hayrick_integration_tests::{cluster, content, figure, metrics, raw};
use hayrick_launcher::Process;
use tokio::time::{Instant, sleep, timeout};

/// As many as an object has copies: each holds every object.
const VOLUMES: u32 = 3;
/// What the bodies of answers may take is as much; a piece of a large one takes up to 1 MiB.
const MEMORY: [&str; 4] = ["--body-memory", "64MiB", "--index-cache", "64MiB"];
/// More pieces than there is memory for.
const READERS: usize = 96;
/// Beyond what the kernel takes for each of them.
const LARGE_BYTES: usize = 4 << 20;
/// Between two looks at them.
const PAUSE: Duration = Duration::from_millis(100);
/// What an honest request may take beside them; a failure is three times that.
const SERVED_AIM: Duration = Duration::from_secs(1);
/// Half a minute, and 64 KB a second for what they take; and once more for those whose pieces wait for the memory of the first.
const GIVEN_UP_AIM: Duration = Duration::from_secs(70);
/// Of either server: 64 MiB at a master and 128 MiB at a volume for answers, itself, and what the allocator keeps of both.
const RESIDENT_BYTES_MAX: u64 = 320 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_trickle_keep_nobody_from_being_served_and_are_given_up() -> Result<()> {
    let seed = content::seed("trickling");
    let cluster = cluster::start_set(VOLUMES, &MEMORY).await?;
    let client = cluster::client_any(&cluster)?;
    cluster::put_copies(&client, "small", VOLUMES as usize, || "meow").await?;
    let large = content::Content { seed, size_bytes: LARGE_BYTES }.bytes();
    cluster::put_copies(&client, "large", VOLUMES as usize, || large.clone()).await?;

    let mut beside = Vec::new();
    for server in [cluster.master(1), cluster.volume(1)] {
        let before = descriptors(server).await?;
        let readers = Readers::start(server.http_addr(), "/large", READERS).await?;
        beside.push(Beside { server, before, readers, begun: Instant::now(), given_up: None, resident: 0 });
    }
    let mut slowest = Duration::ZERO;
    while beside.iter().any(|one| one.given_up.is_none()) {
        for one in &mut beside {
            let took = served(one.server.http_addr()).await.with_context(|| one.server.name())?;
            slowest = slowest.max(took);
            one.look().await?;
        }
        sleep(PAUSE).await;
    }
    figure::at_most(&format!("the slowest small GET beside {READERS} that trickle"), slowest, SERVED_AIM)?;
    for Beside { server, readers, given_up, resident, .. } in beside {
        let name = server.name();
        figure::say(&format!("{name} had {} MiB", resident >> 20));
        ensure!(resident < RESIDENT_BYTES_MAX, "{name}: {} MiB are too much", resident >> 20);
        figure::at_most(&format!("{name} has given them up"), given_up.unwrap_or_default(), GIVEN_UP_AIM)?;
        drop(readers);
        let read = raw::get(server.http_addr(), "/large").await?;
        ensure!(read == large, "{name} answers with other bytes");
    }
    cluster::no_panics(&cluster)
}

/// A server, and those that trickle at it.
struct Beside<'a> {
    server: &'a Process,
    /// Descriptors that it had before they came.
    before: f64,
    readers: Readers,
    begun: Instant,
    /// After so long nearly all of them were gone.
    given_up: Option<Duration>,
    /// The most that it was seen to take.
    resident: u64,
}

impl Beside<'_> {
    async fn look(&mut self) -> Result<()> {
        self.resident = self.resident.max(raw::resident_bytes(self.server.pid().context("it runs")?)?);
        let left = descriptors(self.server).await? - self.before;
        let took = self.begun.elapsed();
        if left < READERS as f64 / 10.0 {
            self.given_up.get_or_insert(took);
        }
        ensure!(
            took < 3 * GIVEN_UP_AIM || self.given_up.is_some(),
            "{left} are left at {}",
            self.server.name()
        );
        Ok(())
    }
}

/// How long a small GET takes.
async fn served(addr: SocketAddr) -> Result<Duration> {
    let begun = Instant::now();
    let read = timeout(3 * SERVED_AIM, raw::get(addr, "/small")).await;
    ensure!(read.context("it was kept waiting")?? == b"meow", "other bytes");
    Ok(begun.elapsed())
}

/// How many files and connections a server has open.
async fn descriptors(server: &Process) -> Result<f64> {
    metrics::of(server).await?.get("process_open_fds").copied().context("it shows that")
}
