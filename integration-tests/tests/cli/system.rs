//! The commands about the cluster.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::program::Program;
use hayrick_launcher::free_port;
use serde_json::Value;

use crate::Contract;

const LINE_TIMEOUT: Duration = Duration::from_secs(20);

fn json(contract: &Contract, args: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&contract.ends(0, args)?)?)
}

pub(crate) fn status_shows_the_cluster(contract: &Contract) -> Result<()> {
    let text = contract.ends(0, &["status"])?;
    ensure!(text.contains("leader") && text.matches(" up ").count() >= 4, "{text}");
    ensure!(json(contract, &["status", "--json"])?["masters"].as_array().is_some_and(|all| all.len() == 3));
    let mut command = contract.command(&["status", "--watch"])?;
    let watching = Program::start(command.stdout(Stdio::piped()))?;
    let lines = watching.wait_line("cluster", LINE_TIMEOUT)?;
    ensure!(lines.iter().all(|line| !line.contains('\u{1b}')), "no escapes into a pipe: {lines:?}");
    Ok(())
}

pub(crate) fn explain_says_why(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    contract.ends(0, &["put", "explain/cat", "cat.gif"])?;
    let text = contract.ends(0, &["explain", "explain/cat"])?;
    ensure!(text.contains("partition") && text.contains("verified"), "{text}");
    let text = contract.ends(0, &["explain", "explain/cat", "--without", "1"])?;
    ensure!(text.contains("without volume 1:"), "{text}");
    Ok(())
}

pub(crate) fn volume_ls_lists_volumes(contract: &Contract) -> Result<()> {
    let text = contract.ends(0, &["volume", "ls"])?;
    for volume in contract.cluster.volumes() {
        ensure!(text.contains(&volume.http_addr().to_string()), "{text}");
    }
    ensure!(json(contract, &["volume", "ls", "--json"])?.as_array().is_some_and(|all| all.len() == 4));
    Ok(())
}

pub(crate) fn volumes_are_drained_and_undrained(contract: &Contract) -> Result<()> {
    let rehearsed = contract.ends(0, &["volume", "drain", "4", "--dry-run"])?;
    ensure!(!rehearsed.is_empty(), "what would be done");
    ensure!(json(contract, &["status", "--json"])?["volumes"][3]["state"] == "up", "and nothing was");
    contract.ends(0, &["volume", "drain", "4"])?;
    ensure!(json(contract, &["status", "--json"])?["volumes"][3]["state"] == "draining");
    contract.ends(0, &["volume", "undrain", "4"])?;
    ensure!(json(contract, &["status", "--json"])?["volumes"][3]["state"] == "up");
    let refused = contract.run(&["volume", "remove", "4"])?;
    ensure!(refused.code == 1 && refused.err.contains("drain it first"), "{}", refused.err);
    contract.ends(1, &["volume", "drain", "9"]).map(drop)
}

pub(crate) fn master_ls_lists_masters(contract: &Contract) -> Result<()> {
    let text = contract.ends(0, &["master", "ls"])?;
    for master in contract.cluster.client_addrs() {
        ensure!(text.contains(&master.to_string()), "{text}");
    }
    ensure!(
        json(contract, &["master", "ls", "--json"])?["masters"].as_array().is_some_and(|all| all.len() == 3)
    );
    Ok(())
}

pub(crate) fn masters_are_changed(contract: &Contract) -> Result<()> {
    let leader = json(contract, &["status", "--json"])?["leader"].as_u64().context("one leads")?;
    let next = leader % 3 + 1;
    contract.ends(0, &["master", "transfer", &next.to_string()])?;
    ensure!(json(contract, &["status", "--json"])?["leader"] == next);
    let unknown = contract.run(&["master", "remove", "9"])?;
    ensure!(unknown.code == 1 && unknown.err.contains("there is no master 9"), "{}", unknown.err);
    let nobody = contract.run(&["master", "add", "9", "127.0.0.1:1"])?;
    ensure!(nobody.code == 1 && nobody.err.contains("nobody answers as master 9"), "{}", nobody.err);

    let peer = format!("127.0.0.1:{}", free_port()?);
    let at = contract.cluster.master(1).peer_addr().to_string();
    let flags = ["--id", "4", "--data", "master-4", "--join", &at, "--listen", "127.0.0.1:0"];
    let mut command = contract.command(&["master"])?;
    let fourth = Program::start(command.args(flags).args(["--peer-listen", &peer]))?;
    fourth.wait_line("listening: master 4", LINE_TIMEOUT)?;
    let added = contract.ends(0, &["master", "add", "4", &peer])?;
    ensure!(added.contains("master 4 votes") && masters(contract)? == [1, 2, 3, 4], "{added}");
    let removed = contract.ends(0, &["master", "remove", "4"])?;
    ensure!(removed.contains("master 4 is removed") && masters(contract)? == [1, 2, 3], "{removed}");
    fourth.wait_line("hayrick: master 4 was removed from its cluster", LINE_TIMEOUT).map(drop)
}

/// The ids of the masters.
fn masters(contract: &Contract) -> Result<Vec<u64>> {
    let listed = json(contract, &["master", "ls", "--json"])?;
    let masters = listed["masters"].as_array().context("a list")?;
    Ok(masters.iter().filter_map(|master| master["id"].as_u64()).collect())
}

pub(crate) fn rebalance_says_what_would_move(contract: &Contract) -> Result<()> {
    let rehearsed = contract.ends(0, &["rebalance", "--dry-run"])?;
    for what in ["would move ", " placements: ", " needles, ", ", in "] {
        ensure!(rehearsed.contains(what), "{what:?}: {rehearsed}");
    }
    let begun = contract.ends(0, &["rebalance"])?;
    let is_balanced = rehearsed.contains("would move 0 placements");
    let wanted = if is_balanced { "nothing is to be moved" } else { "rebalancing: " };
    ensure!(begun.contains(wanted), "{rehearsed}{begun}");
    let stopped = contract.ends(0, &["rebalance", "--stop"])?;
    ensure!(stopped.contains("not rebalancing"), "{stopped}");
    Ok(())
}

pub(crate) fn move_rate_is_shown_and_set(contract: &Contract) -> Result<()> {
    contract.ends(0, &["move-rate", "60MiB"])?;
    ensure!(json(contract, &["move-rate", "--json"])?["bytes_per_s"] == 60 << 20);
    contract.ends(0, &["move-rate", "default"])?;
    contract.ends(2, &["move-rate", "fast"]).map(drop)
}

pub(crate) fn check_finds_all_well(contract: &Contract) -> Result<()> {
    for args in [&["check"][..], &["check", "--deep"], &["check", "--json"]] {
        contract.ends(0, args)?;
    }
    Ok(())
}

pub(crate) fn bench_measures(contract: &Contract) -> Result<()> {
    let brief = ["--seconds", "1", "--clients", "4", "--warm-up", "200ms"];
    for mode in ["put", "get", "mixed"] {
        let text = contract.ends(0, &[&["bench", "--mode", mode][..], &brief].concat())?;
        ensure!(text.contains("p50") && text.contains("p99") && text.contains("p99.9"), "{text}");
        ensure!(text.contains("share of this machine's limit for "), "{text}");
    }
    let left = contract.ends(0, &["ls", "bench/"])?;
    ensure!(left.is_empty(), "it takes away what it stored: {left}");
    Ok(())
}
