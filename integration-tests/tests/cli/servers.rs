//! Servers, and the commands that need none.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use hayrick_integration_tests::program::Program;
use hayrick_integration_tests::{cluster, figure};
use hayrick_launcher::free_port;
use rustix::process::Signal;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::Contract;

const READY_TIMEOUT: Duration = Duration::from_secs(40);
const STOP_AIM: Duration = Duration::from_secs(10);

pub(crate) fn inspect_shows_what_is_in_a_file(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    contract.ends(0, &["put", "inspect/cat", "cat.gif"])?;
    let needles = contract.cluster.volume(1).data_dir().join("needles");
    let text = contract.ends(0, &["inspect", "segment", &needles.display().to_string()])?;
    ensure!(text.contains("segment") && text.contains("live"), "{text}");
    let raft = contract.cluster.master(1).data_dir().join("raft");
    let text = contract.ends(0, &["inspect", "raft", &raft.display().to_string()])?;
    for row in ["log ", "vote ", "entries ", "committed ", "members "] {
        ensure!(text.lines().any(|line| line.starts_with(row)), "{row}: {text}");
    }
    ensure!(text.contains(", which was elected") && text.contains("voters 1, 2, 3"), "{text}");
    Ok(())
}

pub(crate) fn config_prints_what_config_takes(contract: &Contract) -> Result<()> {
    for server in ["master", "volume"] {
        let text = contract.ends(0, &["config", server])?;
        ensure!(text.contains("#listen = ") && text.contains("Why this default: "), "{text}");
        let name = format!("{server}.toml");
        contract.file(&name, &text)?;
        // All of it is commented out, so that what lacks is what has no default.
        let refused = contract.run(&[server, "--config", &name])?;
        ensure!(refused.code == 2 && refused.err.contains("--data"), "{}", refused.err);
    }
    Ok(())
}

pub(crate) fn completions_are_made(contract: &Contract) -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let text = contract.ends(0, &["completions", shell])?;
        ensure!(text.contains("hayrick") && text.contains("undelete"), "{shell}: {text}");
    }
    contract.ends(2, &["completions", "cmd"]).map(drop)
}

pub(crate) fn man_writes_pages(contract: &Contract) -> Result<()> {
    contract.ends(0, &["man", "pages"])?;
    for page in ["hayrick.1", "hayrick-put.1", "hayrick-volume-drain.1"] {
        ensure!(contract.read(&format!("pages/{page}"))?.contains(".TH"), "{page}");
    }
    Ok(())
}

pub(crate) fn prove_lists_its_mixes(contract: &Contract) -> Result<()> {
    let text = contract.ends(0, &["prove", "--list"])?;
    ensure!(
        text.lines().filter(|line| !line.trim().is_empty()).count() >= 24 && text.contains("leader-kills"),
        "{text}"
    );
    contract.ends(2, &["prove", "--mix", "nonsense"]).map(drop)
}

pub(crate) fn version_names_the_commit(contract: &Contract) -> Result<()> {
    let text = contract.ends(0, &["--version"])?;
    ensure!(text.starts_with("hayrick 0.") && text.contains("commit"), "{text}");
    Ok(())
}

pub(crate) fn help_teaches_with_an_example(contract: &Contract) -> Result<()> {
    for command in
        [&["put"][..], &["cp"], &["volume", "drain"], &["master"], &["bench"], &["inspect", "raft"]]
    {
        let text = contract.ends(0, &[command, &["--help"]].concat())?;
        ensure!(text.contains("Example"), "{command:?}: {text}");
        ensure!(text.contains(&format!("hayrick {}", command.join(" "))), "{command:?}: {text}");
    }
    Ok(())
}

pub(crate) fn dev_serves_and_stops(contract: &Contract) -> Result<()> {
    // A block of three hundred ports, of which the first is free.
    let port = loop {
        let port = free_port()?;
        if port < 60_000 {
            break port;
        }
    };
    let data = contract.dir.path().join("dev");
    let mut command = Command::new(cluster::binary()?);
    command.args(["dev", "--data"]).arg(data).args(["--port", &port.to_string()]);
    let mut dev = Program::start(&mut command)?;
    dev.wait_line("ready: dev", READY_TIMEOUT)?;
    contract.file("cat.gif", "meow")?;
    for master in [port, port + 100, port + 200] {
        let server = format!("127.0.0.1:{master}");
        contract.ends(0, &["put", "dev/cat", "cat.gif", "--server", &server])?;
    }
    let ended = Handle::current().block_on(dev.interrupt(3 * STOP_AIM))?;
    ensure!(ended.success(), "{ended}: {:#?}", dev.lines());
    Ok(())
}

/// A master by itself, whose log goes into a pipe.
pub(crate) fn requests_are_logged_at_debug_only(contract: &Contract) -> Result<()> {
    for (number, (filter, lines)) in [("info", 0), ("hayrick_master=debug", 1)].into_iter().enumerate() {
        let (client, peer) = (free_address()?, free_address()?);
        let (data, masters) = (format!("logged/{number}"), format!("1={peer}"));
        let mut command = contract.command(&["master", "--listen", &client, "--peer-listen", &peer])?;
        command.args(["--id", "1", "--data", &data, "--masters", &masters, "--log", filter]);
        let mut master = Program::start(command.args(["--replicas", "1", "--min-replicas", "1"]))?;
        master.wait_line("listening: master 1", READY_TIMEOUT)?;
        // Until it leads it may be asked several times.
        contract.ends(3, &["get", "before", "--server", &client])?;
        contract.ends(3, &["get", "once", "--server", &client])?;
        let ended = Handle::current().block_on(master.end_by(Signal::TERM, 3 * STOP_AIM))?;
        ensure!(ended.success(), "{ended}: {:#?}", master.lines());
        let told: Vec<String> = master.lines().into_iter().filter(|line| line.contains("/once")).collect();
        ensure!(told.len() == lines, "--log {filter}: {told:#?}");
        for line in told {
            let line: serde_json::Value = serde_json::from_str(&line)?;
            let said = ["level", "method", "uri"].map(|name| line[name].as_str().unwrap_or_default());
            ensure!(said == ["DEBUG", "GET", "/once"] && line["status"] == 404, "{line}");
        }
    }
    Ok(())
}

/// A cluster of its own: each server is stopped while it serves.
pub(crate) fn servers_stop_cleanly(contract: &Contract) -> Result<()> {
    let (client, peer) = (free_address()?, free_address()?);
    let masters = format!("1={peer}");
    let flags = ["--id", "1", "--data", "alone/master", "--masters", &masters];
    let copies = ["--replicas", "1", "--min-replicas", "1"];
    let mut command = contract.command(&["master", "--listen", &client, "--peer-listen", &peer])?;
    let mut master = Program::start(command.args(flags).args(copies))?;
    let flags = ["--data", "alone/volume", "--masters", &masters, "--segment-size", "64MiB"];
    let mut command =
        contract.command(&["volume", "--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"])?;
    let mut volume = Program::start(command.args(flags))?;
    for (program, line) in
        [(&master, "ready: master 1, client http://"), (&volume, "ready: volume 1, http://")]
    {
        let lines = program.wait_line(line, READY_TIMEOUT)?;
        let ready = lines.iter().filter(|line| line.starts_with("ready:")).count();
        ensure!(ready == 1, "one line: {lines:#?}");
    }
    contract.file("cat.gif", "meow")?;
    contract.ends(0, &["put", "alone/cat", "cat.gif", "--server", &client])?;
    for (what, program) in [("a volume stops", &mut volume), ("a master stops", &mut master)] {
        let begun = Instant::now();
        let ended = Handle::current().block_on(program.end_by(Signal::TERM, 3 * STOP_AIM))?;
        ensure!(ended.success(), "{ended}: {:#?}", program.lines());
        figure::at_most(what, begun.elapsed(), STOP_AIM)?;
    }
    Ok(())
}

fn free_address() -> Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}
