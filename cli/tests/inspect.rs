//! Claims about `hayrick inspect`: what it prints of files that a real store wrote, and what it ends with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use hayrick_disk::RealDisk;
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::needle::Body;
use hayrick_volume::{Store, StoreOptions};
use serde_json::Value;
use tempfile::TempDir;

/// A key that would paint a terminal red, were it let.
const HOSTILE: &str = "evil\u{1b}[31m\u{9b}2J";

/// Needles 1 to 5, the second dropped, the third under a hostile key; needle 6 in a segment of its own.
async fn segments() -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("a directory");
    let mut options = StoreOptions::new(dir.path(), 64 << 20);
    options.zero_ahead_bytes = 0;
    let store = Store::open(Arc::new(RealDisk), options).expect("the store opens");
    let needle = |id: u64| {
        let key = if id == 3 { HOSTILE.to_owned() } else { format!("cats/{id}") };
        let body = Body::new([key.as_bytes(), &[7; 300]].concat(), key.len());
        body.with_header(NeedleId(id), PlacementId(4), 1_700_000_000).concat().into()
    };
    assert!(store.append((1..=5).map(needle).collect()).await.iter().all(Result::is_ok));
    store.delete(&[NeedleId(2)]).await.expect("dropped");
    store.seal();
    assert!(store.append(vec![needle(6)]).await.iter().all(Result::is_ok));
    store.close();
    let first = dir.path().join("0000000000000001.seg");
    (dir, first)
}

fn inspect(path: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayrick"));
    command.args(["inspect", "segment"]).arg(path).args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HAYRICK_")) {
        command.env_remove(name);
    }
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

#[tokio::test]
async fn a_segment_is_shown_as_a_summary_and_its_records_on_request() {
    let (_dir, first) = segments().await;
    let before = std::fs::read(&first).expect("it is there");
    let summary = inspect(&first, &[]);
    assert_eq!(summary.status.code(), Some(0), "{}", text(&summary.stderr));
    let summary = text(&summary.stdout).to_owned();
    for line in
        ["segment     0000000000000001", "sealed      yes, its records end at", "live        4 needles,"]
    {
        assert!(summary.contains(line), "{line}: {summary}");
    }
    assert!(summary.contains("dead        1 needle,") && summary.contains("damaged     none"), "{summary}");
    assert!(!summary.contains("cats/1"), "rows only on request");

    let all = inspect(&first, &["--needles"]);
    let rows: Vec<_> = text(&all.stdout).lines().skip_while(|line| !line.contains("placement")).collect();
    let what = |row: &str| row.split_whitespace().nth(2).map(str::to_owned).expect("a column");
    let kinds: Vec<_> = rows[1..7].iter().map(|row| what(row)).collect();
    assert_eq!(kinds, ["live", "dead", "live", "live", "live", "tombstone"]);
    assert!(rows[1].ends_with("cats/1"), "{}", rows[1]);
    assert!(rows[3].ends_with(r"evil\u{1b}[31m\u{9b}2J"), "{}", rows[3]);
    assert!(!text(&all.stdout).chars().any(|letter| letter.is_control() && letter != '\n'));

    let some = inspect(&first, &["--needles", "--limit", "2"]);
    let some = text(&some.stdout);
    assert!(some.contains("cats/2") && !some.contains("cats/4"), "{some}");
    assert!(some.lines().last().is_some_and(|line| line.ends_with("more; --limit 0 shows all")), "{some}");
    assert_eq!(std::fs::read(&first).expect("it is there"), before, "nothing was written");
}

#[tokio::test]
async fn a_segment_whose_removal_was_lost_says_that_it_is_gone() {
    let (dir, first) = segments().await;
    // The file under another name, as it would be found had a crash undone its removal.
    let elsewhere = TempDir::new().expect("a directory");
    let kept = elsewhere.path().join("0000000000000001.seg");
    std::fs::hard_link(&first, &kept).expect("another name");
    assert_eq!(json(&inspect(&kept, &["--json"]))["gone"], false);
    let store = Store::open(Arc::new(RealDisk), StoreOptions::new(dir.path(), 64 << 20));
    let store = store.expect("the store opens");
    store.delete(&[1, 3, 4, 5].map(NeedleId)).await.expect("dropped");
    store.compact();
    store.close();
    assert!(!first.exists(), "it was compacted");
    assert_eq!(json(&inspect(&kept, &["--json"]))["gone"], true);
    assert!(text(&inspect(&kept, &[]).stdout).contains("it says that it is gone: the next start removes it"));
    assert!(text(&inspect(elsewhere.path(), &[]).stdout).contains(" gone "));
}

#[tokio::test]
async fn json_is_one_document_with_the_same_in_it() {
    let (dir, first) = segments().await;
    let found = json(&inspect(&first, &["--json", "--needles"]));
    assert_eq!((&found["id"], &found["seal"]), (&"0000000000000001".into(), &"good".into()));
    assert_eq!((&found["live"]["count"], &found["dead"]["count"]), (&4.into(), &1.into()));
    let records = found["records"].as_array().expect("a list");
    assert_eq!(records[0]["key"], "cats/1");
    assert_eq!(records[2]["key"], HOSTILE);
    assert_eq!((&records[1]["what"], &records[5]["what"]), (&"dead".into(), &"tombstone".into()));
    let raw = inspect(&first, &["--json", "--needles"]).stdout;
    assert!(!text(&raw).chars().any(|letter| letter.is_control() && letter != '\n'));
    let limited = json(&inspect(&first, &["--json", "--needles", "--limit", "1"]));
    assert_eq!(limited["records"].as_array().map(Vec::len), Some(1));
    assert_eq!(json(&inspect(&first, &["--json"])).get("records"), None);

    let all = json(&inspect(dir.path(), &["--json"]));
    let live: Vec<_> =
        all.as_array().expect("a list").iter().map(|one| one["live"]["count"].clone()).collect();
    assert_eq!(live[..2], [Value::from(4), Value::from(1)]);
}

#[tokio::test]
async fn damage_is_shown_and_no_failure_and_what_is_no_segment_is() {
    let (dir, first) = segments().await;
    let mut bytes = std::fs::read(&first).expect("it is there");
    bytes[4096 + 100] ^= 1;
    std::fs::write(&first, &bytes).expect("written");
    let damaged = inspect(&first, &[]);
    assert_eq!(damaged.status.code(), Some(0));
    assert!(text(&damaged.stdout).contains("damaged     1 stretch,"), "{}", text(&damaged.stdout));
    assert!(text(&damaged.stdout).contains("4096 to "), "{}", text(&damaged.stdout));

    let lines = inspect(dir.path(), &[]);
    assert_eq!(lines.status.code(), Some(0));
    assert!(
        text(&lines.stdout).lines().nth(1).is_some_and(|line| line.starts_with("0000000000000001  sealed"))
    );

    std::fs::write(&first, &bytes[..4096 + 200]).expect("written");
    let lines = inspect(dir.path(), &[]);
    assert!(text(&lines.stdout).contains("0000000000000001  cut "), "{}", text(&lines.stdout));
    std::fs::write(&first, &bytes).expect("written");

    std::fs::write(
        dir.path().join("0000000000000000.seg"),
        "no segment at all, but long enough for a header",
    )
    .expect("written");
    let lines = inspect(dir.path(), &[]);
    assert_eq!(lines.status.code(), Some(1), "one of them cannot be looked into, and the others are");
    assert!(text(&lines.stdout).contains("0000000000000001  sealed"), "{}", text(&lines.stdout));
    assert!(text(&lines.stderr).contains("begins with \"no segme\""), "{}", text(&lines.stderr));
}

#[test]
fn what_cannot_be_inspected_ends_with_the_codes_of_the_contract() {
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("file");
    for (bytes, says) in
        [(&b""[..], "has 0 bytes"), (&[9; 5000], "is no segment: it begins with"), (b"hayseg", "has 6 bytes")]
    {
        std::fs::write(&file, bytes).expect("written");
        let output = inspect(&file, &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
    }
    let empty = TempDir::new().expect("a directory");
    for (path, args, code, says) in [
        (dir.path().join("absent"), &[][..], 1, "No such file"),
        (empty.path().to_owned(), &[], 1, "there is no segment in"),
        (empty.path().to_owned(), &["--needles"], 2, "name its file"),
        (file, &["--limit", "3"], 2, "--needles"),
    ] {
        let output = inspect(&path, args);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}
