//! Claim: `hayrick prove` finds nothing in a cluster that is broken in three ways, and finds three planted bugs.
//!
//! A smoke of the harness; all mixes and all bugs are `make chaos` and `make chaos-self-test`. The runs go one after the other:
//! each is seven processes.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::{cluster, content};

/// The leader dies; a gateway is cut off; all is killed as by a power cut.
const MIXES: [&str; 3] = ["leader-kills", "leader-cut-off", "total-kills"];
/// How long each is broken.
const SECONDS: &str = "5";
/// Each with the faults that show it, which it does within seconds.
const BUGS: [(&str, &str); 3] =
    [("condition-at-gateway", "peace"), ("apply-reads-clock", "peace"), ("ack-two-of-three", "slow-volumes")];

fn prove(args: &[&str], report: &Path) -> Result<Output> {
    let binary = cluster::chaos_binary()?;
    let mut command = Command::new(&binary);
    command.arg("prove").args(args).arg("--report").arg(report);
    command.output().with_context(|| binary.display().to_string())
}

fn told(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn nothing_is_found_in_three_mixes_of_faults() -> Result<()> {
    let seed = content::seed("prove").to_string();
    let report = tempfile::tempdir()?;
    for mix in MIXES {
        let output = prove(&["--mix", mix, "--seconds", SECONDS, "--seed", &seed], report.path())?;
        // A few seconds do not always reach what a mix is there for, so that only a broken promise counts here.
        let found: serde_json::Value =
            serde_json::from_slice(&std::fs::read(report.path().join("report.json"))?)?;
        let runs = found["runs"].as_array().context("report.json names its runs")?;
        let verdicts = runs.iter().filter_map(|run| run["verdicts"].as_array()).flatten();
        let judged = verdicts.clone().filter(|verdict| verdict["outcome"] == "proved").count();
        ensure!(judged >= 8, "only {judged} checkers had something to judge: {}", told(&output));
        for verdict in verdicts {
            ensure!(verdict["outcome"] != "violated", "{verdict:#}\n{}", told(&output));
        }
        let page = std::fs::read_to_string(report.path().join("index.html"))?;
        ensure!(
            page.contains(mix) && page.contains(&format!("--seed {seed}")),
            "the page names what was run"
        );
    }
    Ok(())
}

#[test]
fn three_planted_bugs_are_found() -> Result<()> {
    let seed = content::seed("prove bugs").to_string();
    for (bug, mix) in BUGS {
        let report = tempfile::tempdir()?;
        let args = ["--bug", bug, "--mix", mix, "--seconds", "10", "--seed", &seed];
        let output = prove(&args, report.path())?;
        ensure!(output.status.code() == Some(1), "{bug} was not found: {}", told(&output));
        ensure!(told(&output).contains("broken:"), "{bug}: {}", told(&output));
    }
    Ok(())
}

#[test]
fn a_bug_is_refused_by_the_build_that_has_none() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let output = Command::new(cluster::binary()?)
        .args(["prove", "--bug", "skip-sync"])
        .arg("--report")
        .arg(dir.path())
        .output()?;
    ensure!(output.status.code() == Some(1), "{}", told(&output));
    ensure!(told(&output).contains("hayrick-chaos"), "it says what is needed: {}", told(&output));
    Ok(())
}
