//! Two processes on one data directory: the second refuses at once, in a sentence, and the first goes on.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::{cluster, figure, ledger, wait};
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

/// The same server once more: its directory, its id, its cluster; on ports of its own, so that those are no obstacle.
fn second(first: &Process, masters: &str) -> Result<Command> {
    let listen = || Ok::<_, anyhow::Error>(OsString::from(format!("127.0.0.1:{}", free_port()?)));
    let mut command = Command::new(cluster::binary()?);
    command.arg(first.role().to_string()).arg("--data").arg(first.data_dir());
    command.args(["--masters", masters]);
    command.arg("--listen").arg(listen()?).arg("--peer-listen").arg(listen()?);
    if first.role() == Role::Master {
        command.args(["--id", &first.number().to_string()]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Ok(command)
}
