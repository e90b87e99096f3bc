//! Which crate may look at which: the table of the architecture, checked against `cargo metadata`.
//!
//! All kinds of dependencies count, also those of tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Crate → what it may look at. The command line may look at everything.
const MAY_LOOK_AT: [(&str, &[&str]); 15] = [
    ("protocol", &[]),
    ("disk", &["planted", "metrics"]),
    ("planted", &[]),
    ("metrics", &[]),
    ("rpc", &["protocol", "planted", "metrics"]),
    ("web", &["protocol"]),
    ("placement", &["protocol"]),
    ("raft-store", &["protocol", "disk", "planted", "metrics"]),
    ("volume", &["protocol", "disk", "rpc", "web", "planted", "metrics"]),
    ("master", &["protocol", "disk", "rpc", "web", "placement", "raft-store", "planted", "metrics"]),
    ("client", &["protocol"]),
    ("launcher", &[]),
    ("chaos", &["client", "launcher"]),
    (
        "cli",
        &[
            "protocol",
            "disk",
            "rpc",
            "web",
            "placement",
            "raft-store",
            "volume",
            "master",
            "client",
            "launcher",
            "chaos",
            "planted",
        ],
    ),
    ("integration-tests", &["client", "launcher", "chaos"]),
];
/// The only crate that may name openraft, whose types must not leak.
const OPENRAFT_ONLY_IN: &str = "raft-store";
const PREFIX: &str = "hayrick-";

/// A crate of the workspace and the names it depends on.
struct Member {
    name: String,
    dir: String,
    dependencies: BTreeSet<String>,
}

#[test]
fn crates_look_only_where_the_architecture_lets_them() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_LOOK_AT.into_iter().collect();
    let mut wrong = Vec::new();
    for member in members() {
        let Some(may) = allowed.get(member.name.as_str()) else {
            wrong.push(format!("{} is not in the table of this test and of ARCHITECTURE.md", member.name));
            continue;
        };
        for target in member.dependencies.iter().filter_map(|name| name.strip_prefix(PREFIX)) {
            if !may.contains(&target) {
                wrong.push(format!("{} must not look at {target}; it may look at {may:?}", member.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_raft_store_names_openraft() {
    for member in members().iter().filter(|member| member.name != OPENRAFT_ONLY_IN) {
        assert!(!member.dependencies.contains("openraft"), "{} depends on openraft", member.name);
        let mut naming = Vec::new();
        find_in_sources(Path::new(&member.dir), &["openraft", "::"].concat(), &mut naming);
        assert!(naming.is_empty(), "{} names openraft: {naming:?}", member.name);
    }
}

fn members() -> Vec<Member> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, it has started this test");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    list(&metadata["packages"])
        .iter()
        .map(|package| Member {
            name: text(&package["name"]).trim_start_matches(PREFIX).to_owned(),
            dir: text(&package["manifest_path"]).trim_end_matches("Cargo.toml").to_owned(),
            dependencies: list(&package["dependencies"]).iter().map(|dep| text(&dep["name"])).collect(),
        })
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata has a list here")
}

fn text(value: &Value) -> String {
    value.as_str().expect("cargo metadata has a text here").to_owned()
}

/// The `.rs` files under `dir` that hold `needle`.
fn find_in_sources(dir: &Path, needle: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("the crate's directory can be read") {
        let path = entry.expect("its entries too").path();
        if path.is_dir() {
            find_in_sources(&path, needle, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && std::fs::read_to_string(&path).is_ok_and(|source| source.contains(needle))
        {
            found.push(path.display().to_string());
        }
    }
}
