//! The system's own routes.

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::raw;
use serde_json::Value;

use crate::{Contract, ask, has, json};

pub(crate) async fn health_answers_while_the_process_works(contract: &Contract) -> Result<()> {
    for process in contract.cluster.processes() {
        ask(process.http_addr(), "GET /-/health", "", "", 200).await?;
        // Some add something against caches.
        ask(process.http_addr(), "HEAD /-/health?at=1", "", "", 200).await?;
    }
    Ok(())
}

pub(crate) async fn ready_answers_when_a_master_serves(contract: &Contract) -> Result<()> {
    for master in &contract.masters {
        ask(*master, "GET /-/ready", "", "", 200).await?;
    }
    Ok(())
}

pub(crate) async fn status_has_every_name_of_the_contract(contract: &Contract) -> Result<()> {
    let names = "cluster node version leader term committed applied replicas min_replicas partitions objects object_bytes masters volumes copies under_replicated garbage orphans moves waiting";
    for master in &contract.masters {
        let status = json(*master, "GET /-/status").await?;
        let missing: Vec<&str> = names.split(' ').filter(|name| status.get(name).is_none()).collect();
        ensure!(missing.is_empty(), "/-/status lacks {missing:?}: {status}");
        ensure!(status["volumes"].as_array().is_some_and(|all| all.iter().all(|it| it["state"] == "up")));
        let hashed = json(*master, "GET /-/status?state-hash").await?;
        ensure!(hashed["state_hash"].as_str().is_some_and(|hash| !hash.is_empty()), "{hashed}");
        ask(*master, "GET /-/status?state-hash=1", "", "", 400).await?;
    }
    Ok(())
}

pub(crate) async fn openapi_describes_it(contract: &Contract) -> Result<()> {
    let described = json(contract.masters[0], "GET /-/openapi.json").await?;
    ensure!(described["openapi"] == "3.1.0", "{described:#}");
    // Whatever the contract names is described, and what is described is there.
    for path in [
        "/{key}",
        "/",
        "/-/delete",
        "/-/undelete/{key}",
        "/-/status",
        "/-/masters/{id}",
        "/-/volumes/{id}/drain",
    ] {
        ensure!(described["paths"][path].is_object(), "{path} is not described");
    }
    let paths = described["paths"].as_object().context("paths")?;
    for (path, methods) in paths {
        let target = path.replace("{key}", "described").replace("{id}", "9");
        let takes: Vec<&String> = methods.as_object().context("methods")?.keys().collect();
        // A method that nothing takes: the path is there, and Allow has what is described.
        let request =
            format!("PATCH {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let refused = raw::send(contract.masters[1], request.as_bytes()).await?;
        ensure!(refused.status == Some(405), "{path}: {:?}", refused.text);
        let allow = refused.field("allow").context("no Allow")?.to_lowercase();
        // UNLINK has no place in such a description.
        let mut allowed: Vec<&str> = allow.split(", ").filter(|method| *method != "unlink").collect();
        allowed.sort_unstable();
        ensure!(allowed == takes, "{path} takes {allowed:?}, and is described with {takes:?}");
    }
    Ok(())
}

pub(crate) async fn the_front_page_says_what_to_try(contract: &Contract) -> Result<()> {
    for master in &contract.masters {
        let page = ask(*master, "GET /", "", "", 200).await?;
        has(&page, &["Content-Type: text/plain; charset=utf-8"])?;
        ensure!(page.body().contains(&format!("curl -X PUT -T cat.jpg http://{master}/")), "{}", page.body());
        ask(*master, "PUT /", "", "x", 405).await?;
    }
    Ok(())
}

pub(crate) async fn explain_answers_json_and_text(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /explained", "", "meow", 201).await?;
    for master in &contract.masters {
        let accept = "Accept: application/json\r\n";
        let answer = ask(*master, "GET /-/explain/explained?without=1", accept, "", 200).await?;
        has(&answer, &["Content-Type: application/json"])?;
        let explained: Value = serde_json::from_str(answer.body())?;
        ensure!(explained["key"] == "explained" && explained["without"].is_object(), "{explained}");
        let text = ask(*master, "GET /-/explain/explained", "Accept: text/plain\r\n", "", 200).await?;
        ensure!(text.body().contains("explained"), "{:?}", text.text);
        let refused = ask(*master, "GET /-/explain/explained?without=99", "", "", 400).await?;
        ensure!(refused.body().contains("there are 1, 2, 3, 4"), "{:?}", refused.text);
    }
    Ok(())
}

pub(crate) async fn metrics_are_prometheus_text(contract: &Contract) -> Result<()> {
    for process in contract.cluster.processes() {
        let metrics = ask(process.http_addr(), "GET /-/metrics", "", "", 200).await?;
        ensure!(metrics.field("content-type").is_some_and(|it| it.starts_with("text/plain; version=")));
        ensure!(metrics.body().contains("# TYPE hayrick_"), "{:?}", metrics.text);
    }
    Ok(())
}

pub(crate) async fn volumes_are_operated(contract: &Contract) -> Result<()> {
    let master = contract.masters[1];
    let rehearsed = json(master, "POST /-/volumes/4/drain?dry-run").await?;
    ensure!((&rehearsed["volume"], &rehearsed["changes"]) == (&4.into(), &true.into()), "{rehearsed}");
    // It is up: to be drained first. It is not being drained: nothing to take back.
    let refused = ask(master, "POST /-/volumes/4/remove", "", "", 409).await?;
    ensure!(refused.body().contains("drain it first"), "{:?}", refused.text);
    ask(master, "POST /-/volumes/4/undrain", "", "", 200).await?;
    for verb in ["drain", "undrain", "remove"] {
        let absent = ask(master, &format!("POST /-/volumes/99/{verb}"), "", "", 404).await?;
        ensure!(absent.body().contains("there are 1, 2, 3, 4"), "{:?}", absent.text);
        ask(master, &format!("POST /-/volumes/x/{verb}"), "", "", 400).await?;
        ask(master, &format!("GET /-/volumes/4/{verb}"), "", "", 405).await?;
    }
    Ok(())
}

pub(crate) async fn rebalance_says_what_would_move(contract: &Contract) -> Result<()> {
    let rehearsed = json(contract.masters[2], "POST /-/rebalance?dry-run").await?;
    for name in ["placements", "needles", "bytes", "minutes"] {
        ensure!(rehearsed[name].is_u64(), "{name}: {rehearsed}");
    }
    ask(contract.masters[2], "POST /-/rebalance?dry-run&stop", "", "", 400).await?;
    ask(contract.masters[2], "POST /-/rebalance?stop", "", "", 200).await.map(drop)
}

pub(crate) async fn masters_are_operated(contract: &Contract) -> Result<()> {
    let master = contract.masters[0];
    for wrong in ["", "{}", r#"{"id":0,"peer":"x:1"}"#, r#"{"id":4,"peer":"nowhere"}"#] {
        ask(master, "POST /-/masters", "", wrong, 400).await?;
    }
    let taken = r#"{"id":2,"peer":"127.0.0.1:1"}"#;
    let refused = ask(master, "POST /-/masters", "", taken, 409).await?;
    ensure!(refused.body().contains("never used"), "{:?}", refused.text);
    ask(master, "DELETE /-/masters/9", "", "", 404).await?;
    ask(master, "DELETE /-/masters/x", "", "", 400).await?;
    ask(master, "POST /-/leader/9", "", "", 404).await?;
    // Whom it has already.
    let status = json(master, "GET /-/status").await?;
    ask(master, &format!("POST /-/leader/{}", status["leader"]), "", "", 200).await.map(drop)
}

pub(crate) async fn check_backup_and_move_rate_answer(contract: &Contract) -> Result<()> {
    let master = contract.masters[2];
    let check = ask(master, "GET /-/check?deep", "", "", 200).await?;
    has(&check, &["Content-Type: application/x-ndjson"])?;
    ensure!(check.body().contains("\"report\""), "{:?}", check.text);
    ask(master, "GET /-/backup", "", "", 200).await?;
    ask(master, "PUT /-/move-rate", "", "60MiB", 200).await?;
    let rate = json(master, "GET /-/move-rate").await?;
    ensure!((&rate["bytes_per_s"], &rate["default"]) == (&(60 << 20).into(), &false.into()), "{rate}");
    let refused = ask(master, "PUT /-/move-rate", "", "fast", 400).await?;
    ensure!(refused.body().contains("64MiB") || refused.body().contains("50MiB"), "{:?}", refused.text);
    ask(master, "PUT /-/move-rate", "", "default", 200).await.map(drop)
}
