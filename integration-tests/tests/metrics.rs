//! What `/-/metrics` shows, against what docs/metrics.md says of it: the operator who looks a name up finds it, and whoever
//! reads the page can scrape what it promises. And that each counter and each histogram is moved by a test.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hayrick_client::ListOptions;
use hayrick_integration_tests::metrics::{self, Shown};
use hayrick_integration_tests::{cluster, raw};
use hayrick_launcher::{Process, Role};

/// Where the page lies, and the sections of it that are about each kind of server.
const PAGE: &str = "../docs/metrics.md";
const OF_BOTH: &str = "Every server";

async fn scrape(server: &Process) -> Result<Shown> {
    let request = b"GET /-/metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw::send(server.http_addr(), request).await?;
    ensure!(answer.status == Some(200), "{}: {}", server.name(), answer.text);
    let content_type = answer.field("content-type").unwrap_or_default();
    ensure!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    let mut shown = Shown::new();
    let (mut described, mut typed) = (None, None);
    for line in answer.body().lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            described = help.split_once(' ').filter(|(_, text)| !text.is_empty()).map(|(name, _)| name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            typed = kind.split_once(' ');
        } else {
            let (sample, value) = line.split_once(' ').context("a name and a value")?;
            let (name, kind) = typed.context("a sample before any TYPE")?;
            let part = sample.strip_prefix(name).with_context(|| format!("{sample} comes without TYPE"))?;
            ensure!(described == Some(name), "{name} comes without HELP");
            let is_whole = match kind {
                "counter" | "gauge" => part.is_empty(),
                "histogram" => part == "_sum" || part == "_count" || part.starts_with("_bucket{le="),
                _ => false,
            };
            ensure!(is_whole, "{sample} is nothing that a {kind} has");
            let value: f64 = value.parse().with_context(|| line.to_owned())?;
            if part.is_empty() || part == "_count" {
                shown.insert(name.to_owned(), value);
            }
        }
    }
    Ok(shown)
}

/// A row of the page's tables.
struct Documented {
    /// The title of its table.
    section: String,
    name: String,
    kind: String,
}

/// What the page describes, sorted by name.
fn documented() -> Result<Vec<Documented>> {
    let page = read(PAGE)?;
    let (mut rows, mut section) = (Vec::new(), String::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut section);
        }
        let Some((name, rest)) = line.strip_prefix("| `").and_then(|rest| rest.split_once("` | ")) else {
            continue;
        };
        let kind = rest.split(' ').next().unwrap_or_default().to_owned();
        rows.push(Documented { section: section.clone(), name: name.to_owned(), kind });
    }
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(rows)
}

/// A file of this repository, by its path from this crate.
fn read(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The names that servers of this role show.
fn of_role(rows: &[Documented], role: Role) -> Vec<&str> {
    let section = match role {
        Role::Master => "Masters",
        Role::Volume => "Volumes",
    };
    let are_meant = rows.iter().filter(|row| row.section.starts_with(section) || row.section == OF_BOTH);
    are_meant.map(|row| row.name.as_str()).collect()
}

#[test]
fn every_counter_every_histogram_and_every_gauge_is_moved_by_a_test() -> Result<()> {
    let rows = documented()?;
    are_moved(&rows, &["counter", "histogram"], metrics::MOVED, "metrics::moved(")?;
    are_moved(&rows, &["gauge"], metrics::RAISED, "metrics::raised(")
}

/// Whether the list has all that the page describes of these kinds, and each test of the list calls what looks.
fn are_moved(rows: &[Documented], kinds: &[&str], list: &[(&str, &[&str])], looks: &str) -> Result<()> {
    let is_meant = |row: &&Documented| kinds.contains(&row.kind.as_str());
    let meant: Vec<&str> = rows.iter().filter(is_meant).map(|row| row.name.as_str()).collect();
    let mut moved: Vec<&str> = list.iter().flat_map(|(_, names)| *names).copied().collect();
    moved.sort_unstable();
    ensure!(moved == meant, "moved by tests: {moved:#?}, documented: {meant:#?}");
    for (test, _) in list {
        let (file, function) = test.split_once("::").context("a file and a function")?;
        let text = read(&format!("tests/{file}.rs"))?;
        let body =
            text.split(&format!("fn {function}()")).nth(1).with_context(|| format!("there is no {test}"))?;
        let body = body.split("\n}\n").next().unwrap_or_default();
        ensure!(
            body.contains(&format!("\"{test}\"")) && body.contains(looks),
            "{test} does not look whether it moves what it should"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_is_documented_and_counts_what_happens() -> Result<()> {
    let cluster = cluster::start(3).await?;
    // It asks each once: what is refused is an error here, and not counted a second time.
    let client = cluster::client(&[cluster.master(1).http_addr().to_string()])?;
    client.put("a", "first").await?;
    client.get("a").await?.bytes().await?;
    client.head("a").await?;
    client.list("", &ListOptions::default()).await?;
    client.put("b", "second").await?;
    client.delete("b").await?;

    let rows = documented()?;
    for server in cluster.processes() {
        let shown: Vec<String> = scrape(server).await?.into_keys().collect();
        let documented = of_role(&rows, server.role());
        ensure!(shown == documented, "{}: shown {shown:#?}, documented {documented:#?}", server.name());
    }
    let own = "metrics::what_is_shown_is_documented_and_counts_what_happens";
    metrics::moved(own, &cluster).await?;
    metrics::raised(own, &cluster).await?;
    let leader = scrape(cluster.master(cluster::leader(&cluster).await?)).await?;
    ensure!(leader["hayrick_raft_elections_won_total"] > 0.0, "{leader:?}");
    ensure!(leader["hayrick_raft_is_leader"] == 1.0, "{leader:?}");
    let gateway = scrape(cluster.master(1)).await?;
    ensure!(gateway["hayrick_garbage_bytes"] > 0.0, "of what was deleted: {gateway:?}");
    for (name, times) in [
        ("hayrick_put_seconds", 2.0),
        ("hayrick_put_body_seconds", 2.0),
        ("hayrick_put_replication_seconds", 2.0),
        ("hayrick_commit_seconds", 3.0),
        ("hayrick_get_seconds", 1.0),
        ("hayrick_head_seconds", 1.0),
        ("hayrick_read_index_seconds", 3.0),
        ("hayrick_fetch_seconds", 1.0),
        ("hayrick_delete_seconds", 1.0),
        ("hayrick_list_seconds", 1.0),
    ] {
        ensure!(gateway[name] == times, "{name} was observed {} times: {gateway:?}", gateway[name]);
    }
    ensure!((gateway["hayrick_objects"], gateway["hayrick_object_bytes"]) == (1.0, 5.0), "{gateway:?}");
    ensure!(
        (gateway["hayrick_writable_volumes"], gateway["hayrick_unavailable_volumes"]) == (3.0, 0.0),
        "{gateway:?}"
    );
    ensure!(gateway["hayrick_fsync_seconds"] > 0.0 && gateway["hayrick_raft_term"] > 0.0, "{gateway:?}");
    for volume in cluster.volumes() {
        let volume = scrape(volume).await?;
        ensure!(volume["hayrick_volume_appended_needles_total"] > 0.0, "each has a copy: {volume:?}");
        ensure!(
            volume["hayrick_fsync_seconds"] > 0.0 && volume["hayrick_volume_needles"] > 0.0,
            "{volume:?}"
        );
        ensure!(
            volume["hayrick_volume_writable"] == 1.0 && volume["hayrick_volume_bad_needles"] == 0.0,
            "{volume:?}"
        );
        ensure!(volume["hayrick_volume_used_bytes"] <= volume["hayrick_volume_capacity_bytes"], "{volume:?}");
        ensure!(
            volume["process_resident_memory_bytes"] > 1e6 && volume["process_open_fds"] > 5.0,
            "{volume:?}"
        );
        ensure!(volume["hayrick_volume_damaged_needles_total"] == 0.0, "{volume:?}");
    }
    Ok(())
}
