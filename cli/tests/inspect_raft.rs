//! Claims about `hayrick inspect raft`: what it prints of the directory of a real master, also one that is in use.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn hayrick(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayrick"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HAYRICK_")) {
        command.env_remove(name);
    }
    command
}

fn inspect(dir: &Path, args: &[&str]) -> Output {
    hayrick(&["inspect", "raft"]).arg(dir).args(args).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// Runs a master that is alone until it leads and has written that down, calls `meanwhile`, and kills it.
fn with_master(data: &Path, meanwhile: impl FnOnce()) {
    let ports = ["--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"];
    let mut master = hayrick(&["master", "--id", "1", "--masters", "1=127.0.0.1:1"])
        .args(ports)
        .arg("--data")
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut leads = || {
        assert!(master.try_wait().expect("it can be asked").is_none(), "the master ended");
        let found = inspect(data, &["--json"]);
        let found: Value = serde_json::from_slice(&found.stdout).unwrap_or_default();
        found["in_use"] == true && found["log"]["vote"]["elected"] == true
    };
    let patience = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !leads() {
        assert!(tokio::time::Instant::now() < patience, "it never led");
    }
    meanwhile();
    master.kill().expect("killed");
    master.wait().expect("it ends");
}

#[test]
fn a_masters_directory_is_told_while_it_runs_and_when_it_was_killed() {
    let dir = TempDir::new().expect("a directory");
    let data = dir.path().join("master");
    with_master(&data, || {
        let shown = inspect(&data, &[]);
        let shown = text(&shown.stdout);
        assert!(shown.contains("in use") && shown.contains("not looked at"), "{shown}");
    });
    let index = data.join("raft/index.redb");
    let before = std::fs::read(&index).expect("it is there");
    let found = json(&inspect(&data, &["--json"]));
    assert_eq!(found["in_use"], false);
    assert_eq!((&found["log"]["vote"]["node"], &found["log"]["problem"]), (&1.into(), &Value::Null));
    assert_eq!(found["log"]["membership"]["nodes"][0]["peer"], "127.0.0.1:1");
    assert_eq!((&found["index"]["state"], &found["index"]["objects"]["rows"]), (&"good".into(), &0.into()));
    assert_eq!(found["log"]["files"][0]["records"]["start"], 1);

    let shown = inspect(&data.join("raft"), &[]);
    let shown = text(&shown.stdout).to_owned();
    for part in
        ["vote       for master 1 in term", "members    voters 1; 1=127.0.0.1:1;", "objects  0 rows, 0 B"]
    {
        let found = shown.lines().any(|line| {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            words(line).starts_with(&words(part))
        });
        assert!(found, "{part}: {shown}");
    }
    assert_eq!(std::fs::read(&index).expect("it is there"), before, "nothing was written");

    let aside = data.join("log-aside");
    std::fs::rename(data.join("raft/log"), &aside).expect("moved");
    let missing = inspect(&data, &[]);
    let shown = text(&missing.stdout);
    assert!(shown.contains("missing: there is no directory `log`") && !shown.contains("vote"), "{shown}");
    assert_eq!(json(&inspect(&data, &["--json"]))["log"]["missing"], true);
    std::fs::rename(&aside, data.join("raft/log")).expect("moved back");

    std::fs::write(&index, vec![7; 9000]).expect("written");
    let damaged = json(&inspect(&data, &["--json"]));
    assert_eq!(damaged["index"]["state"], "damaged");
    assert_eq!(damaged["log"], found["log"]);
}

#[test]
fn a_directory_without_raft_is_refused() {
    let dir = TempDir::new().expect("a directory");
    let refused = inspect(dir.path(), &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("neither a master's data directory"), "{}", text(&refused.stderr));
}
