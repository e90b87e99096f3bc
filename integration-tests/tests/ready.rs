//! What a server says of itself while it starts: `listening:` when its ports are open, what it waits for, and `ready:`
//! not before it serves. And what a peer port and a client port say to who mistakes one for the other.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::Client;
use hayrick_integration_tests::program::Program;
use hayrick_integration_tests::{cluster, figure, ledger, wait};
use hayrick_launcher::{free_port, http_status};
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_secs(40);
/// For so long a new cluster waits for `--replicas` volumes.
const PATIENCE: Duration = Duration::from_secs(10);
/// That, and what masters and volumes take to start.
const READY_AIM: Duration = Duration::from_secs(15);

/// Servers on ports of their own, started one by one as a person would.
struct Machine {
    dir: TempDir,
    /// Client and peer port of each master.
    masters: Vec<(u16, u16)>,
}

impl Machine {
    fn new() -> Result<Self> {
        let ports = || Ok::<_, anyhow::Error>((free_port()?, free_port()?));
        Ok(Self { dir: tempfile::tempdir()?, masters: vec![ports()?, ports()?, ports()?] })
    }

    fn master(&self, id: usize) -> Result<Program> {
        let entry = |(at, (_, peer)): (usize, &(u16, u16))| format!("{}=127.0.0.1:{peer}", at + 1);
        let masters: Vec<String> = self.masters.iter().enumerate().map(entry).collect();
        let (client, peer) = self.masters[id - 1];
        let mut command = self.command("master", id, client, peer)?;
        Program::start(command.args(["--id", &id.to_string(), "--masters", &masters.join(",")]))
    }

    /// A volume that is told of these ports of masters.
    fn volume(&self, number: usize, masters: &[u16]) -> Result<Program> {
        let masters: Vec<String> = masters.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut command = self.command("volume", number, free_port()?, free_port()?)?;
        Program::start(command.args(["--segment-size", "64MiB", "--masters", &masters.join(",")]))
    }

    fn command(&self, role: &str, number: usize, http: u16, peer: u16) -> Result<Command> {
        let mut command = Command::new(cluster::binary()?);
        command.arg(role).arg("--data").arg(self.dir.path().join(format!("{role}-{number}")));
        command.args(["--listen", &format!("127.0.0.1:{http}")]);
        command.args(["--peer-listen", &format!("127.0.0.1:{peer}")]);
        Ok(command)
    }

    fn peers(&self) -> Vec<u16> {
        self.masters.iter().map(|(_, peer)| *peer).collect()
    }

    fn client(&self, id: usize) -> Result<Client> {
        cluster::client(&[format!("127.0.0.1:{}", self.masters[id - 1].0)])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_called_ready_when_it_serves_and_says_before_what_it_waits_for() -> Result<()> {
    let machine = Machine::new()?;
    let first = machine.master(1)?;
    let listening = format!("listening: master 1, client http://127.0.0.1:{}", machine.masters[0].0);
    block_in_place(|| first.wait_line(&listening, TIMEOUT))?;
    says(&first, "2 of 3 do not answer (master 2, 3)").await?;

    let others = [machine.master(2)?, machine.master(3)?];
    says(&first, "0 volumes take writes").await?;
    let mut volumes = vec![machine.volume(1, &machine.peers())?];
    block_in_place(|| volumes[0].wait_line("ready: volume 1, http://127.0.0.1:", TIMEOUT))?;
    says(&first, "1 volumes take writes").await?;
    for program in [&first, &others[0], &others[1]] {
        let early = program.lines().into_iter().find(|line| line.starts_with("ready:"));
        ensure!(early.is_none(), "a master that cannot store anything says {early:?}");
    }

    for number in 2..=3 {
        volumes.push(machine.volume(number, &machine.peers())?);
    }
    for (program, id) in [&first, &others[0], &others[1]].into_iter().zip(1..) {
        block_in_place(|| program.wait_line(&format!("ready: master {id}, client http://"), TIMEOUT))?;
        // No retry and no grace: it said so.
        let client = machine.client(id)?;
        client.put(&format!("ready/{id}"), "stored").await.with_context(|| format!("through master {id}"))?;
        let found = ledger::read(&client, &format!("ready/{id}")).await?;
        ensure!(found.as_deref() == Some(b"stored"), "master {id} reads {found:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_fewer_volumes_than_replicas_a_new_cluster_is_ready_after_ten_seconds() -> Result<()> {
    let machine = Machine::new()?;
    let began = Instant::now();
    let masters = [machine.master(1)?, machine.master(2)?, machine.master(3)?];
    let volumes = [machine.volume(1, &machine.peers())?, machine.volume(2, &machine.peers())?];
    for (program, id) in masters.iter().zip(1..) {
        block_in_place(|| program.wait_line(&format!("ready: master {id}, client http://"), TIMEOUT))?;
    }
    let took = began.elapsed();
    ensure!(took >= PATIENCE, "a third volume was waited for only {took:?}");
    figure::at_most("two volumes of three will do", took, READY_AIM)?;
    machine.client(2)?.put("ready/two", "stored").await?;
    drop(volumes);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_mistakes_a_peer_port_for_a_client_port_or_the_reverse_is_told() -> Result<()> {
    let machine = Machine::new()?;
    let master = machine.master(1)?;
    block_in_place(|| master.wait_line("listening: master 1", TIMEOUT))?;
    let (client, peer) = machine.masters[0];
    let addr = ([127, 0, 0, 1], peer).into();
    let (status, text) = block_in_place(|| http_status(addr, "/some/key", TIMEOUT))?;
    ensure!(status == 400 && text.contains("peer port of master 1"), "{status} {text:?}");

    let volume = machine.volume(1, &[client])?;
    says(&volume, &format!("127.0.0.1:{client}: HTTP is spoken there, so that it is no peer port")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_told_to_join_at_a_wrong_port_ends_and_says_what_is_there() -> Result<()> {
    let machine = Machine::new()?;
    let masters = [machine.master(1)?, machine.master(2)?, machine.master(3)?];
    for (id, master) in (1..).zip(&masters) {
        block_in_place(|| master.wait_line(&format!("listening: master {id}"), TIMEOUT))?;
    }
    let volume = machine.volume(1, &machine.peers())?;
    let lines = block_in_place(|| volume.wait_line("listening: volume 1", TIMEOUT))?;
    let line = lines.iter().find(|line| line.starts_with("listening")).context("it is there")?;
    let addresses: Vec<&str> = line.split([' ', ',', '/']).filter(|word| word.starts_with("127.")).collect();
    let [volume_http, volume_peer] = addresses[..] else { anyhow::bail!("{line}") };
    let at = |port: u16| format!("127.0.0.1:{port}");
    let (client, peer) = machine.masters[1];
    let (own_client, own_peer) = (free_port()?, free_port()?);
    for (join, said) in [
        (
            at(client),
            format!(
                "{} is the client port of master 2, where HTTP is spoken; its peer address is {}",
                at(client),
                at(peer)
            ),
        ),
        (
            volume_http.to_owned(),
            format!("{volume_http} is the HTTP port of volume 1, where HTTP is spoken; --join takes"),
        ),
        (volume_peer.to_owned(), format!("{volume_peer} is the peer port of volume 1; --join takes")),
        (at(own_peer), format!("{} is the peer address of master 4 itself; --join takes", at(own_peer))),
        (
            at(own_client),
            format!("{} is the client port of master 4 itself, where HTTP is spoken", at(own_client)),
        ),
    ] {
        let mut command = machine.command("master", 4, own_client, own_peer)?;
        let program = Program::start(command.args(["--id", "4", "--join", &join]))?;
        // Its last word.
        says(&program, &format!("hayrick: {said}")).await?;
    }

    // Of several masters one may be wrong: it goes on, and says so.
    let list = format!("4={},5={},6={},7={}", at(own_peer), at(client), volume_peer, at(free_port()?));
    let mut command = machine.command("master", 44, own_client, own_peer)?;
    let lone = Program::start(command.args(["--id", "4", "--masters", &list]))?;
    says(
        &lone,
        &format!("--masters names {} for master 5, which is the client port of master 2", at(client)),
    )
    .await?;
    says(
        &lone,
        &format!("--masters names {volume_peer} for master 6, where another one answers: this is volume 1"),
    )
    .await?;
    let mut ls = Command::new(cluster::binary()?);
    ls.args(["master", "ls", "--server", &at(own_client)]);
    let output = block_in_place(|| ls.output())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    ensure!(text.contains("master 4 knows of no cluster yet"), "{text}");
    Ok(())
}

/// Waits until the program has said it, in its log or on standard output.
async fn says(program: &Program, words: &str) -> Result<()> {
    wait::until(&format!("it says {words:?}"), TIMEOUT, async || {
        let lines = program.lines();
        ensure!(lines.iter().any(|line| line.contains(words)), "{lines:#?}");
        Ok(())
    })
    .await
}
