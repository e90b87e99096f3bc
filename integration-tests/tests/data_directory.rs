//! Two processes on one data directory: the second refuses at once, in a sentence, and the first goes on. So does one on a
//! directory that is not its own.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::{cluster, directory, figure, ledger, wait};
use hayrick_launcher::{Process, Role, free_port};
use tokio::task::block_in_place;
use tokio::time::Instant;

const REFUSAL_AIM: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_a_data_directory_refuses_at_once() -> Result<()> {
    let cluster = cluster::start(3).await?;
    let any = cluster::client_any(&cluster)?;
    any.put("locked", "kept").await?;
    for first in [cluster.master(1), cluster.volume(1)] {
        let started = Instant::now();
        let mut second = block_in_place(|| second(first, &cluster.masters_flag()))?.spawn()?;
        let what = format!("a second {} has refused", first.name());
        let ended = wait::until(&what, TIMEOUT, async || second.try_wait()?.context("it still runs")).await;
        second.kill()?;
        let second = second.wait_with_output()?;
        ended?;
        figure::at_most(&what, started.elapsed(), REFUSAL_AIM)?;
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        ensure!(second.status.code() == Some(1), "a second {} ended with {}", first.name(), second.status);
        let sentence = said.lines().last().unwrap_or_default();
        let dir = first.data_dir().display().to_string();
        ensure!(
            sentence.starts_with("hayrick: ") && sentence.contains(&dir) && sentence.contains("process"),
            "a second {} says {said:?}",
            first.name()
        );
        ensure!(first.is_running(), "the first {} ended", first.name());
    }
    for client in cluster::client_each(&cluster)? {
        ensure!(ledger::read(&client, "locked").await?.as_deref() == Some(b"kept"), "the object is lost");
        client.put("locked", "kept").await?;
    }
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_server_or_cluster_is_refused_in_a_sentence() -> Result<()> {
    let cluster = cluster::start(3).await?;
    let any = cluster::client_any(&cluster)?;
    any.put("owned", "kept").await?;
    let masters = cluster.masters_flag();
    let aside = tempfile::tempdir()?;
    let (of_volume, of_master) = (aside.path().join("volume"), aside.path().join("master"));
    directory::copy(cluster.volume(1).data_dir(), &of_volume)?;
    refused(
        server(Role::Volume, &of_volume, &masters)?,
        "a copy of this data directory is running as volume 1",
    )
    .await?;
    directory::copy(cluster.master(1).data_dir(), &of_master)?;
    let mut as_another = server(Role::Master, &of_master, &masters)?;
    as_another.args(["--id", "2"]);
    refused(as_another, "belongs to master 1, and was started as master 2").await?;

    let builder = cluster::builder(1)?.masters(1);
    let builder = cluster::with_master_args(builder, &["--replicas", "1", "--min-replicas", "1"]);
    let other = cluster::start_with(builder, 1).await?;
    let foreign = other.volume(1);
    block_in_place(|| foreign.stop())?;
    let words = "is of another cluster than this data directory";
    refused(server(Role::Volume, foreign.data_dir(), &masters)?, words).await?;
    block_in_place(|| foreign.start())?;

    for client in cluster::client_each(&cluster)? {
        ensure!(ledger::read(&client, "owned").await?.as_deref() == Some(b"kept"), "the object is lost");
    }
    cluster::no_panics(&cluster)
}

/// Whether it ends with a sentence that has these words.
async fn refused(mut command: Command, words: &str) -> Result<()> {
    let mut started = command.spawn()?;
    let ended = wait::until("it has refused", TIMEOUT, async || started.try_wait()?.context("it still runs"));
    let ended = ended.await;
    started.kill()?;
    let output = started.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ended.with_context(|| said.clone())?;
    let sentence = said.lines().last().unwrap_or_default();
    ensure!(output.status.code() == Some(1) && sentence.contains(words), "{}: {said}", output.status);
    Ok(())
}

/// The same server once more: its directory, its id, its cluster.
fn second(first: &Process, masters: &str) -> Result<Command> {
    let mut command = server(first.role(), first.data_dir(), masters)?;
    if first.role() == Role::Master {
        command.args(["--id", &first.number().to_string()]);
    }
    Ok(command)
}

/// A server on this directory; on ports of its own, so that those are no obstacle.
fn server(role: Role, data: &Path, masters: &str) -> Result<Command> {
    let listen = || Ok::<_, anyhow::Error>(OsString::from(format!("127.0.0.1:{}", free_port()?)));
    let mut command = Command::new(cluster::binary()?);
    command.arg(role.to_string()).arg("--data").arg(data);
    command.args(["--masters", masters]);
    command.arg("--listen").arg(listen()?).arg("--peer-listen").arg(listen()?);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Ok(command)
}
