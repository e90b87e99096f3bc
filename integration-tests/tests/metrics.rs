//! What `/-/metrics` shows, against what docs/metrics.md says of it: the operator who looks a name up finds it, and whoever
//! reads the page can scrape what it promises.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hayrick_client::ListOptions;
use hayrick_integration_tests::{cluster, raw};
use hayrick_launcher::{Process, Role};

/// Where the page lies, and the sections of it that are about each kind of server.
const PAGE: &str = "../docs/metrics.md";
const OF_BOTH: &str = "Every server";

/// Name → value, as a server shows them; of a histogram how often it was observed.
type Shown = BTreeMap<String, f64>;

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

/// The names in the tables of the page that are about servers of this role, in order.
fn documented(role: Role) -> Result<Vec<String>> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE))?;
    let section = match role {
        Role::Master => "Masters",
        Role::Volume => "Volumes",
    };
    let (mut names, mut is_meant) = (Vec::new(), false);
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            is_meant = title.starts_with(section) || title == OF_BOTH;
        }
        let name = line.strip_prefix("| `").and_then(|rest| rest.split('`').next());
        names.extend(name.filter(|_| is_meant).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_is_documented_and_counts_what_happens() -> Result<()> {
    let cluster = cluster::start(3).await?;
    let client = cluster::client(&[cluster.master(1).http_addr().to_string()])?;
    client.put("a", "first").await?;
    client.get("a").await?.bytes().await?;
    client.head("a").await?;
    client.list("", &ListOptions::default()).await?;
    client.put("b", "second").await?;
    client.delete("b").await?;

    for server in cluster.processes() {
        let shown: Vec<String> = scrape(server).await?.into_keys().collect();
        let documented = documented(server.role())?;
        ensure!(shown == documented, "{}: shown {shown:#?}, documented {documented:#?}", server.name());
    }
    let leader = scrape(cluster.master(cluster::leader(&cluster).await?)).await?;
    ensure!(leader["hayrick_raft_elections_won_total"] > 0.0, "{leader:?}");
    ensure!(leader["hayrick_apply_commands_total"] > 0.0 && leader["hayrick_raft_log_flushes_total"] > 0.0);
    ensure!(leader["hayrick_leader_proposed_tables_total"] > 0.0, "{leader:?}");
    let gateway = scrape(cluster.master(1)).await?;
    ensure!(gateway["hayrick_gateway_confirmed_reads_total"] > 0.0, "{gateway:?}");
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
        ensure!(volume["hayrick_volume_syncs_total"] > 0.0, "{volume:?}");
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
