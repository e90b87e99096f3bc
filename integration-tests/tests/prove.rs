//! Claim: `hayrick prove` finds nothing in a cluster that is broken in three ways, and finds three planted bugs. What it cannot
//! run, or is kept from running, it does not call broken; and however it ends, no server is left for good, and no evidence is
//! lost.
//!
//! A smoke of the harness; all mixes and all bugs are `make chaos` and `make chaos-self-test`. The runs go one after the other:
//! each is seven processes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::{cluster, content, wait};
use rustix::process::{Pid, Signal, kill_process};

/// The leader dies; a gateway is cut off; all is killed as by a power cut.
const MIXES: [&str; 3] = ["leader-kills", "leader-cut-off", "total-kills"];
/// How long each is broken.
const SECONDS: &str = "5";
/// Each with the faults that show it, which it does within seconds, and the checker that sees it.
const BUGS: [(&str, &str, &str); 3] = [
    ("condition-at-gateway", "peace", "linearizability"),
    ("apply-reads-clock", "peace", "masters-agree"),
    ("ack-two-of-three", "slow-volumes", "replicas-complete"),
];
/// The exit codes of the command.
const BROKEN: i32 = 1;
const WRONG_USE: i32 = 2;
const NOT_RUN: i32 = 6;
/// A cluster of seven processes starts in a part of it, on a busy machine too.
const STARTED: Duration = Duration::from_secs(60);
/// What was told to stop has ended by then, whatever it was busy with.
const ENDED: Duration = Duration::from_secs(20);

fn command(args: &[&str], report: &Path) -> Result<Command> {
    let mut command = Command::new(cluster::chaos_binary()?);
    command.arg("prove").args(args).arg("--report").arg(report);
    Ok(command)
}

fn prove(args: &[&str], report: &Path) -> Result<Output> {
    command(args, report)?.output().context("hayrick-chaos")
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
    for (bug, mix, checker) in BUGS {
        let report = tempfile::tempdir()?;
        let args = ["--bug", bug, "--mix", mix, "--seconds", "10", "--seed", &seed];
        let output = prove(&args, report.path())?;
        ensure!(output.status.code() == Some(BROKEN), "{bug} was not found: {}", told(&output));
        ensure!(told(&output).contains(&format!("{checker} broken:")), "{bug}: {}", told(&output));
    }
    Ok(())
}

#[test]
fn wrong_use_is_told_apart_from_a_broken_promise_and_touches_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let report = dir.path().join("report");
    let refused = |binary: PathBuf, args: &[&str], why: &str| {
        let output = Command::new(binary).arg("prove").args(args).arg("--report").arg(&report).output()?;
        ensure!(output.status.code() == Some(WRONG_USE), "{args:?}: {}", told(&output));
        ensure!(told(&output).contains(why), "{args:?} says what is wrong: {}", told(&output));
        ensure!(!report.exists(), "{args:?} touched something");
        Ok(())
    };
    let document = dir.path().join("chaos.md");
    std::fs::write(&document, "<!-- table self-test: written by a run --><!-- end of table self-test -->")?;
    let document = document.to_str().context("a plain path")?;
    for (args, why) in [
        (&["--mix", "no-such-mix"][..], "no-such-mix"),
        (&["--bug", "no-such-bug"], "condition-at-gateway"),
        (&["--resume"], "--seed"),
        (&["--self-test", "/no/such/document"], "/no/such/document"),
        (&["--self-test", document, "--mix", "leader-kills"], "leader-kills"),
    ] {
        refused(cluster::chaos_binary()?, args, why)?;
    }
    // The build that can have no bug says which can.
    for args in [&["--bug", "skip-sync"], &["--self-test", document]] {
        refused(cluster::binary()?, args, "hayrick-chaos")?;
    }
    Ok(())
}

#[test]
fn a_proof_that_cannot_begin_breaks_no_promise() -> Result<()> {
    let report = tempfile::tempdir()?;
    let somebody_else = File::create(report.path().join(".lock"))?;
    somebody_else.try_lock()?;
    let output = prove(&["--mix", "leader-kills", "--seconds", "5"], report.path())?;
    ensure!(output.status.code() == Some(NOT_RUN), "{}", told(&output));
    ensure!(told(&output).contains("another hayrick prove"), "{}", told(&output));
    let output = prove(&["--mix", "leader-kills", "--seconds", "5"], Path::new("/dev/null/report"))?;
    ensure!(output.status.code() == Some(WRONG_USE), "{}", told(&output));
    Ok(())
}

/// A proof that runs while the test does something else; ended with it.
struct Proof {
    child: Child,
    said: PathBuf,
    cluster: PathBuf,
}

impl Proof {
    /// Begins to break a cluster for long enough, and waits until its seven servers run.
    async fn begin(mix: &str, report: &Path) -> Result<Self> {
        // Beside the report, whose directory holds nothing else.
        let said = report.with_file_name(format!("{mix}.said"));
        let mut command = command(&["--mix", mix, "--seconds", "600", "--seed", "77"], report)?;
        command
            .stdin(Stdio::null())
            .stdout(File::create(&said)?)
            .stderr(File::options().append(true).open(&said)?);
        let proof = Self { child: command.spawn()?, said, cluster: report.join("running").join(mix) };
        wait::until("seven servers run", STARTED, async || {
            let servers = proof.servers();
            ensure!(servers.len() == 7, "{servers:?}\n{}", proof.said());
            Ok(())
        })
        .await?;
        Ok(proof)
    }

    /// The process ids that its servers left beside their data, of those that run.
    fn servers(&self) -> Vec<String> {
        let Ok(notes) = std::fs::read_dir(self.cluster.join("pids")) else { return Vec::new() };
        let notes = notes.flatten().map(|entry| entry.path());
        let pids = notes.filter_map(|path| Some(std::fs::read_to_string(path).ok()?.trim().to_owned()));
        pids.filter(|pid| runs(pid)).collect()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("a process has an id")?;
        Ok(kill_process(pid, signal)?)
    }

    async fn ended(&mut self) -> Result<ExitStatus> {
        let said = self.said.clone();
        wait::until("the proof has ended", ENDED, async || {
            self.child.try_wait()?.with_context(|| std::fs::read_to_string(&said).unwrap_or_default())
        })
        .await
    }
}

impl Drop for Proof {
    /// As a user would, so that its servers end too.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// What has ended, reaped or not, has no command line.
fn runs(pid: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test]
async fn an_interrupted_proof_leaves_no_server_and_all_evidence() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let report = dir.path().join("report");
    let evidence = "running/volume-kills/logs/master-1.log";
    std::fs::create_dir_all(report.join(evidence).parent().context("it has one")?)?;
    std::fs::write(report.join(evidence), "what a broken promise left")?;
    std::fs::write(report.join("report.json"), r#"{"standing":"violated"}"#)?;
    File::create(report.join(".lock"))?;
    let mut proof = Proof::begin("leader-kills", &report).await?;
    let servers = proof.servers();

    proof.signal(Signal::INT)?;
    let ended = proof.ended().await?;
    ensure!(ended.code() == Some(NOT_RUN), "{ended}: {}", proof.said());
    ensure!(proof.said().contains("--seed 77 --resume"), "it says how to go on: {}", proof.said());
    ensure!(!servers.iter().any(|pid| runs(pid)), "its servers have ended: {}", proof.said());
    ensure!(!proof.cluster.exists(), "what was interrupted is of no use to anybody");
    ensure!(report.join("broken-1").join(evidence).exists(), "the clusters of broken promises stay");
    Ok(())
}

#[tokio::test]
async fn what_a_killed_proof_left_running_is_ended_by_the_next_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let report = dir.path().join("report");
    let mut killed = Proof::begin("leader-pauses", &report).await?;
    let servers = killed.servers();
    killed.signal(Signal::KILL)?;
    killed.ended().await?;
    ensure!(servers.iter().any(|pid| runs(pid)), "nobody ended them");

    let mut next = Proof::begin("volume-kills", &report).await?;
    ensure!(!servers.iter().any(|pid| runs(pid)), "{}", next.said());
    ensure!(next.said().contains("ended what a former run left behind"), "{}", next.said());
    ensure!(!killed.cluster.exists(), "nobody knows anything of it");
    next.signal(Signal::TERM)?;
    let ended = next.ended().await?;
    ensure!(ended.code() == Some(NOT_RUN), "{ended}: {}", next.said());
    Ok(())
}
