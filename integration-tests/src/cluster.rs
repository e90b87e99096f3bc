//! A running cluster and the clients to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hayrick_client::{Client, Status};
use hayrick_launcher::{Builder, Cluster};

use crate::{raw, wait};

/// How long a new cluster may take to serve. Generous: the figure that counts is measured by its own test.
pub const READY_TIMEOUT: Duration = Duration::from_secs(40);

/// How often an object is put anew for want of a copy, and the pause before: together longer than a volume that was
/// slow once stays suspect.
const PUTS_MAX: usize = 50;
const PUT_PAUSE: Duration = Duration::from_millis(500);

/// The binary under test: `HAYRICK_BIN`, or `hayrick` in the directory where this test was built.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HAYRICK_BIN") {
        return Ok(path.into());
    }
    beside_this_test("hayrick", "hayrick-cli")
}

/// The build that can be told to have a bug, in the directory where this test was built.
///
/// # Errors
/// When there is none.
pub fn chaos_binary() -> Result<PathBuf> {
    beside_this_test("hayrick-chaos", "hayrick-cli --features chaos --bin hayrick-chaos")
}

/// The program behind `make cluster`, in the directory where this test was built.
///
/// # Errors
/// When there is none.
pub fn launcher_binary() -> Result<PathBuf> {
    beside_this_test("cluster", "hayrick-launcher")
}

fn beside_this_test(name: &str, package: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let candidates = own.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    let found = candidates.into_iter().find(|path| path.is_file());
    found.with_context(|| {
        format!("no binary `{name}` beside {}; build it: cargo build -p {package}", own.display())
    })
}

/// A cluster to be started: 3 masters and `volumes` volumes.
///
/// # Errors
/// When there is no binary.
pub fn builder(volumes: u32) -> Result<Builder> {
    Ok(Cluster::builder(binary()?).masters(3).volumes(volumes))
}

/// Starts a cluster and waits until every master serves and all volumes are up.
///
/// # Errors
/// When it does not come up.
pub async fn start(volumes: u32) -> Result<Cluster> {
    start_with(builder(volumes)?, volumes).await
}

/// The same, with these arguments for every master.
///
/// # Errors
/// When it does not come up.
pub async fn start_set(volumes: u32, master_args: &[&str]) -> Result<Cluster> {
    start_with(with_master_args(builder(volumes)?, master_args), volumes).await
}

/// The builder with these arguments for every master.
pub fn with_master_args(builder: Builder, args: &[&str]) -> Builder {
    args.iter().fold(builder, |builder, arg| builder.master_arg(arg))
}

/// The same, of a builder with settings of its own.
///
/// # Errors
/// When it does not come up.
pub async fn start_with(builder: Builder, volumes: u32) -> Result<Cluster> {
    let cluster = tokio::task::block_in_place(|| builder.start())?;
    all_up(&cluster, volumes).await?;
    Ok(cluster)
}

/// Restarts the masters, one after the other: the epochs of those before are fenced, so that needles which no key names are
/// nobody's, and go. Such are left by a PUT that met a new table or a volume that was slow, on a busy machine even in peace.
///
/// # Errors
/// When they do not come up.
pub async fn fence_epochs(cluster: &Cluster, volumes: u32) -> Result<()> {
    for master in cluster.masters() {
        tokio::task::block_in_place(|| master.restart())?;
    }
    all_up(cluster, volumes).await
}

/// Waits until every running master serves and sees so many volumes up.
///
/// # Errors
/// When it does not happen in time.
pub async fn all_up(cluster: &Cluster, volumes: u32) -> Result<()> {
    tokio::task::block_in_place(|| cluster.wait_ready(READY_TIMEOUT))?;
    for master in cluster.masters().iter().filter(|master| master.is_running()) {
        let client = client(&[master.http_addr().to_string()])?;
        let what = format!("{} sees {volumes} volumes up", master.name());
        wait::until(&what, READY_TIMEOUT, async || {
            let status = client.status().await?;
            let up = status.volumes.iter().filter(|volume| volume.state == "up").count();
            ensure!(up == volumes as usize, "{up} are up: {:?}", status.volumes);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A client of these masters. It asks each once: what a master refuses is of interest here.
///
/// # Errors
/// When an address is none.
pub fn client<S: AsRef<str>>(masters: &[S]) -> Result<Client> {
    let masters = masters.iter().map(|master| master.as_ref().to_owned());
    Ok(Client::builder(masters).patience(Duration::ZERO).build()?)
}

/// One client for each master, which asks only that one.
///
/// # Errors
/// When an address is none.
pub fn client_each(cluster: &Cluster) -> Result<Vec<Client>> {
    cluster.client_addrs().iter().map(|addr| client(&[addr.to_string()])).collect()
}

/// One client that asks any master.
///
/// # Errors
/// When an address is none.
pub fn client_any(cluster: &Cluster) -> Result<Client> {
    client(&cluster.client_addrs().iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// The leader, once all running masters name the same one and it runs.
///
/// # Errors
/// When they do not agree in time.
pub async fn leader(cluster: &Cluster) -> Result<u32> {
    let running: Vec<Client> = cluster
        .masters()
        .iter()
        .filter(|master| master.is_running())
        .map(|master| client(&[master.http_addr().to_string()]))
        .collect::<Result<_>>()?;
    wait::until("the masters agree on a leader", READY_TIMEOUT, async || {
        let mut named = Vec::new();
        for client in &running {
            named.push(client.status().await?.leader);
        }
        let first = named.first().copied().flatten().with_context(|| format!("they name {named:?}"))?;
        let agreed = named.iter().all(|leader| *leader == Some(first));
        let id = u32::try_from(first)?;
        ensure!(agreed && cluster.master(id).is_running(), "they name {named:?}");
        Ok(id)
    })
    .await
}

/// Waits until all running masters have applied the same entries, and sees that their whole states are the same then.
///
/// # Errors
/// When two states at the same entry differ, or they never come to the same entry.
pub async fn states_agree(cluster: &Cluster) -> Result<()> {
    let running: Vec<_> = cluster.masters().iter().filter(|master| master.is_running()).collect();
    let mut states: BTreeMap<u64, String> = BTreeMap::new();
    wait::until("the masters have applied the same entries", READY_TIMEOUT, async || {
        let mut applied = Vec::new();
        for master in &running {
            let request = "GET /-/status?state-hash HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let answer = raw::send(master.http_addr(), request.as_bytes()).await?;
            let status: serde_json::Value = serde_json::from_str(answer.body())?;
            let at = status["applied"].as_u64().context("it says what is applied")?;
            let hash = status["state_hash"].as_str().context("it says the state's hash")?.to_owned();
            let known = states.entry(at).or_insert_with(|| hash.clone()).clone();
            // Never mended by waiting.
            assert_eq!(known, hash, "{} has another state at entry {at}", master.name());
            applied.push(at);
        }
        ensure!(applied.iter().all(|at| *at == applied[0]), "{applied:?}");
        Ok(())
    })
    .await
}

/// The state of the volume with this id, as `status` has it; empty if it is not there.
pub fn volume_state(status: &Status, id: u32) -> &str {
    status.volumes.iter().find(|volume| volume.id == u64::from(id)).map_or("", |volume| &volume.state)
}

/// Waits until the masters say this of volume `number`, which has run.
///
/// # Errors
/// When they do not in time.
pub async fn volume_seen(cluster: &Cluster, number: u32, wanted: &str) -> Result<()> {
    let any = client_any(cluster)?;
    let id = cluster.volume(number).server_id().context("its listening line names an id")?;
    wait::until(&format!("volume {id} is seen {wanted}"), READY_TIMEOUT, async || {
        let status = any.status().await?;
        let state = volume_state(&status, id);
        ensure!(state == wanted, "it is {state:?}");
        Ok(())
    })
    .await
}

/// The volumes that an object lies on, as `Hayrick-Placement` names them.
pub fn volumes_of(placement: &str) -> Vec<u32> {
    let list = placement.split("volumes=").nth(1).unwrap_or_default();
    list.split([',', ';']).filter_map(|id| id.trim().parse().ok()).collect()
}

/// Puts an object until it has so many copies, and returns what it holds then. A volume that was slow for a moment is
/// not written to, and the object has a copy less: right, but not what a test of all its copies can use.
///
/// # Errors
/// When a PUT fails, or there are fewer copies all the time.
pub async fn put_copies<B: Into<Bytes> + Clone>(
    client: &Client,
    key: &str,
    copies: usize,
    mut make: impl FnMut() -> B,
) -> Result<B> {
    let mut tries = 0..PUTS_MAX;
    loop {
        let body = make();
        client.put(key, body.clone()).await.with_context(|| key.to_owned())?;
        let placement = client.head(key).await?.placement;
        if volumes_of(&placement).len() == copies {
            return Ok(body);
        }
        tries
            .next()
            .with_context(|| format!("{key} has never {copies} copies, the last time {placement}"))?;
        tokio::time::sleep(PUT_PAUSE).await;
    }
}

/// Checks that no process has panicked since it was first started.
///
/// # Errors
/// When one has: the line of its log.
pub fn no_panics(cluster: &Cluster) -> Result<()> {
    for process in cluster.processes() {
        let log = std::fs::read(process.log_path()).with_context(|| process.name())?;
        let log = String::from_utf8_lossy(&log);
        let panic = log.lines().find(|line| line.contains("panicked at"));
        ensure!(panic.is_none(), "{}: {}", process.name(), panic.unwrap_or_default());
    }
    Ok(())
}
