//! What a newcomer types first: `hayrick dev` and `make cluster` serve, end on Ctrl-C, and find their data again.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::VolumeChange;
use hayrick_integration_tests::program::{Program, runs_with};
use hayrick_integration_tests::{cluster, figure, ledger, wait};
use hayrick_launcher::free_base_port;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::block_in_place;
use tokio::time::Instant;

/// The last line that both print once they serve.
const SERVES: &str = "Ctrl-C stops everything";
const READY_TIMEOUT: Duration = Duration::from_secs(40);
/// What cli.md gives a server to stop.
const STOP_AIM: Duration = Duration::from_secs(10);
/// Fewer heartbeats than a volume calls missing fall into this.
const QUIET_STOP: Duration = Duration::from_millis(1500);
const PORTS_PER_MACHINE: u16 = 100;
const DEV_MACHINES: u16 = 3;
const CLUSTER_MACHINES: u16 = 4;
const CLUSTER_PROCESSES: usize = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_serves_ends_on_ctrl_c_and_finds_its_data_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let base = free_base_port(DEV_MACHINES)?;
    let start = || {
        let mut command = Command::new(cluster::binary()?);
        Program::start(command.arg("dev").arg("--data").arg(dir.path()).args(["--port", &base.to_string()]))
    };
    for round in 1..=2 {
        let mut dev = start()?;
        let lines = block_in_place(|| dev.wait_line(SERVES, READY_TIMEOUT))?;
        let ready = lines.iter().find(|line| line.starts_with("ready: dev")).context("no ready: line")?;
        ensure!(ready.contains(&format!("http://127.0.0.1:{base}")), "{ready:?} names no address");
        serves(base, round).await.with_context(|| format!("run {round} of dev"))?;
        let (said, started) = (dev.lines().len(), Instant::now());
        let status = interrupt("dev", &mut dev).await?;
        ensure!(status.success(), "run {round} of dev ended with {status}");
        // On a machine so busy that it takes longer, its volumes may say that they hear nothing of the masters.
        if started.elapsed() < QUIET_STOP {
            let noise: Vec<String> =
                dev.lines().split_off(said).into_iter().filter(|line| line.contains("WARN")).collect();
            ensure!(noise.is_empty(), "run {round} of dev was stopped and warns: {noise:#?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_program_serves_ends_all_its_children_on_ctrl_c_and_finds_its_data_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let base = free_base_port(CLUSTER_MACHINES)?;
    let start = || {
        let mut command = Command::new(cluster::launcher_binary()?);
        command.arg(base.to_string()).arg(dir.path()).env("HAYRICK_BIN", cluster::binary()?);
        Program::start(&mut command)
    };
    for round in 1..=2 {
        let mut program = start()?;
        let lines = block_in_place(|| program.wait_line(SERVES, READY_TIMEOUT))?;
        for machine in 0..DEV_MACHINES {
            let address = format!("http://127.0.0.1:{}", base + machine * PORTS_PER_MACHINE);
            ensure!(lines.iter().any(|line| line.contains(&address)), "{address} is not in {lines:#?}");
        }
        let children: Vec<u32> = lines.iter().filter_map(|line| child(line)).collect();
        ensure!(children.len() == CLUSTER_PROCESSES, "{children:?} are not all children: {lines:#?}");
        let running = |pid: &u32| runs_with(*pid, dir.path());
        ensure!(children.iter().all(running), "a child does not run: {lines:#?}");

        serves(base, round).await.with_context(|| format!("run {round} of the cluster"))?;
        let status = interrupt("the cluster", &mut program).await?;
        ensure!(status.success(), "run {round} of the cluster ended with {status}");
        let left: Vec<u32> = children.into_iter().filter(running).collect();
        ensure!(left.is_empty(), "these outlived run {round}: {left:?}");
        no_panics(dir.path())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_program_starts_again_what_was_killed_and_refuses_to_run_twice() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let base = free_base_port(CLUSTER_MACHINES)?;
    let command = |base: u16, dir: &Path| {
        let mut command = Command::new(cluster::launcher_binary()?);
        command.arg(base.to_string()).arg(dir).env("HAYRICK_BIN", cluster::binary()?);
        anyhow::Ok(command)
    };
    let mut program = Program::start(&mut command(base, dir.path())?)?;
    let lines = block_in_place(|| program.wait_line(SERVES, READY_TIMEOUT))?;

    let elsewhere = tempfile::tempdir()?;
    let others_base = free_base_port(CLUSTER_MACHINES)?;
    for (base, dir, says) in [
        (others_base, dir.path(), format!("BASE_PORT={base}): stop it, or start this one elsewhere")),
        (base, elsewhere.path(), format!("port {base} (of master 1) is taken")),
    ] {
        let output = block_in_place(|| command(base, dir)?.output().context("it runs"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && said.contains(&says), "{}: {said}", output.status);
        ensure!(said.contains("make cluster BASE_PORT="), "it names no way out: {said}");
    }
    for log in std::fs::read_dir(dir.path().join("logs"))? {
        let starts = std::fs::read_to_string(log?.path())?.matches("listening:").count();
        ensure!(starts == 1, "a server wrote to the log of a running one");
    }
    ensure!(!elsewhere.path().join("logs").exists(), "data or logs were touched");

    let killed = ["master 1 ", "volume 2 "];
    for name in killed {
        let line = lines.iter().find(|line| line.starts_with(name)).context("it is in the table")?;
        kill(child(line).context("its pid is in the table")?, Signal::KILL)?;
    }
    for name in killed {
        wait_for(&program, |line| line.starts_with(name) && line.contains("ended: killed by signal 9"))
            .await?;
    }
    kill(program.pid(), Signal::USR1)?;
    for name in killed {
        wait_for(&program, |line| line.starts_with(&format!("{name}runs again"))).await?;
    }
    wait::until("it serves again", READY_TIMEOUT, async || serves(base, 1).await).await?;

    // One that was taken out is said to be, and is not started again.
    remove_one_of_each(base, &program).await?;
    let line = lines.iter().find(|line| line.starts_with("volume 1 ")).context("it is in the table")?;
    kill(child(line).context("its pid is in the table")?, Signal::KILL)?;
    wait_for(&program, |line| line.starts_with("volume 1 ") && line.contains("ended: killed")).await?;
    kill(program.pid(), Signal::USR1)?;
    wait_for(&program, |line| line.starts_with("volume 1 runs again")).await?;
    let status = interrupt("the cluster", &mut program).await?;
    ensure!(status.success(), "the cluster ended with {status}");
    let again = |line: &String| line.contains("runs again");
    let removed = |line: &String| ["master 3", "volume 4"].iter().any(|name| line.starts_with(name));
    ensure!(!program.lines().iter().any(|line| again(line) && removed(line)), "they were removed");

    // Nor the next time, which the others do not mind.
    let mut next = Program::start(&mut command(base, dir.path())?)?;
    block_in_place(|| next.wait_line(SERVES, READY_TIMEOUT))?;
    let said = next.lines();
    for name in ["master 3 was removed", "volume 4 was removed"] {
        ensure!(said.iter().any(|line| line.starts_with(name)), "{name}: {said:#?}");
    }
    let status = interrupt("the cluster", &mut next).await?;
    ensure!(status.success(), "the cluster ended with {status}");
    let left: Vec<String> = program.lines().into_iter().filter(again).collect();
    for line in left {
        let pid: u32 = line.rsplit(' ').next().context("it names the pid")?.parse()?;
        ensure!(!runs_with(pid, dir.path()), "{line}, and outlived the cluster");
    }
    Ok(())
}

async fn remove_one_of_each(base: u16, program: &Program) -> Result<()> {
    let client = cluster::client(&[format!("127.0.0.1:{base}")])?;
    wait::until("master 3 is removed", READY_TIMEOUT, async || Ok(client.remove_master(3).await?)).await?;
    wait_for(program, |line| line.starts_with("master 3 was removed from the cluster")).await?;
    client.change_volume(4, VolumeChange::Drain).await?;
    wait::until("volume 4 is removed", READY_TIMEOUT, async || {
        client.change_volume(4, VolumeChange::Remove).await?;
        Ok(())
    })
    .await?;
    wait_for(program, |line| line.starts_with("volume 4 was removed from the cluster")).await
}

async fn wait_for(program: &Program, is_it: impl Fn(&str) -> bool) -> Result<()> {
    wait::until("the program says so", READY_TIMEOUT, async || {
        let lines = program.lines();
        ensure!(lines.iter().any(|line| is_it(line)), "{lines:#?}");
        Ok(())
    })
    .await
}

/// A signal for a process that this test started, or that its program did.
fn kill(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no process id")?;
    Ok(kill_process(pid, signal)?)
}

/// Ctrl-C, and how long it takes.
async fn interrupt(what: &str, program: &mut Program) -> Result<ExitStatus> {
    let started = Instant::now();
    let status = program.interrupt(STOP_AIM * 3).await?;
    figure::at_most(&format!("{what} has ended on Ctrl-C"), started.elapsed(), STOP_AIM)?;
    Ok(status)
}

/// Puts through the first master and reads through the second and third; what earlier runs put is there.
async fn serves(base: u16, round: u32) -> Result<()> {
    let address = |master: u16| format!("127.0.0.1:{}", base + master * PORTS_PER_MACHINE);
    let clients: Vec<_> = (0..3).map(|at| cluster::client(&[address(at)])).collect::<Result<_>>()?;
    let key = |round: u32| format!("rounds/{round}");
    clients[0].put(&key(round), key(round)).await?;
    for client in &clients[1..] {
        for earlier in 1..=round {
            let found = ledger::read(client, &key(earlier)).await?;
            ensure!(found.as_deref() == Some(key(earlier).as_bytes()), "{} reads {found:?}", key(earlier));
        }
    }
    Ok(())
}

/// The process id in a line of the table, `master 1  PID  http://…`.
fn child(line: &str) -> Option<u32> {
    let mut words = line.split_whitespace();
    let role = words.next()?;
    words.next()?.parse::<u32>().ok()?;
    if role == "master" || role == "volume" { words.next()?.parse().ok() } else { None }
}

/// No child has panicked, as far as the logs tell.
fn no_panics(dir: &Path) -> Result<()> {
    let logs: Vec<_> = std::fs::read_dir(dir.join("logs"))?.collect::<Result<_, _>>()?;
    ensure!(logs.len() == CLUSTER_PROCESSES, "{logs:?}");
    for log in logs {
        let text = String::from_utf8_lossy(&std::fs::read(log.path())?).into_owned();
        let panic = text.lines().find(|line| line.contains("panicked at"));
        ensure!(panic.is_none(), "{}: {}", log.path().display(), panic.unwrap_or_default());
    }
    Ok(())
}
