//! Requests that a machine makes up from `/-/openapi.json`: none is answered with a 500, in a way that is not described, or
//! not at all.
//!
//! Schemathesis does it, where it is installed; in CI it is.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::{cluster, content, figure};

/// What is asked of each answer. Not whether Allow names what is described, as UNLINK cannot be (a row of `http` looks); not that whatever the schema takes is taken: it cannot say what a key or an ETag is.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,negative_data_rejection,unsupported_method";
/// They would take the cluster apart, or be told for long.
const LEFT_OUT: [&str; 5] =
    ["/-/masters/{id}", "/-/leader/{id}", "/-/volumes/{id}/drain", "/-/volumes/{id}/remove", "/-/backup"];
const EXAMPLES: &str = "40";
/// What it takes for a refusal, with those that it does not think of.
const CONFIG: &str = r#"
[checks.negative_data_rejection]
expected-statuses = ["400", "404", "405", "409", "411", "412", "413", "414", "416", "429", "431"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_made_up_finds_a_500_or_an_undescribed_answer() -> Result<()> {
    let mut version = Command::new("schemathesis");
    let is_there = version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !is_there.is_ok_and(|status| status.success()) {
        ensure!(std::env::var_os("CI").is_none(), "schemathesis is not installed: pip install schemathesis");
        figure::say("left out: schemathesis is not installed (pip install schemathesis)");
        return Ok(());
    }
    // A seed of 32 bits is what it takes.
    let seed = (content::seed("schemathesis") % u64::from(u32::MAX)).to_string();
    let cluster = cluster::start(3).await?;
    let base = format!("http://{}", cluster.client_addrs()[0]);
    let place = tempfile::tempdir()?;
    std::fs::write(place.path().join("schemathesis.toml"), CONFIG)?;
    let mut run = Command::new("schemathesis");
    run.current_dir(place.path())
        .args(["run", &format!("{base}/-/openapi.json"), "--url", &base])
        .args([
            "--checks",
            CHECKS,
            "--max-examples",
            EXAMPLES,
            "--seed",
            &seed,
            "--phases",
            "coverage,fuzzing",
        ])
        .args([
            "--generation-database",
            "none",
            "--no-color",
            "--request-timeout",
            "30",
            "--warnings",
            "off",
        ]);
    for path in LEFT_OUT {
        run.args(["--exclude-path", path]);
    }
    let output = tokio::task::block_in_place(|| run.output()).context("schemathesis")?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let summary = told.lines().rev().find(|line| line.contains("generated")).unwrap_or_default();
    figure::say(summary.trim());
    let client = cluster::client_any(&cluster)?;
    client.put("after", "meow").await?;
    cluster::no_panics(&cluster)
}
