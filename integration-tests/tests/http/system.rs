//! The system's own routes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::{join_all, select_all};
use hayrick_integration_tests::{cluster, raw, wait};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::{Contract, VOLUMES, ask, has, json};

const TIMEOUT: Duration = Duration::from_secs(40);
/// At the lowest rate, a volume's share of these takes a minute.
const MOVED_OBJECTS: usize = 64;
const MOVED_BYTES: usize = 64 << 10;

pub(crate) async fn health_answers_while_the_process_works(contract: &Contract) -> Result<()> {
    for process in contract.cluster.processes() {
        ask(process.http_addr(), "GET /-/health", "", "", 200).await?;
        // Some add something against caches.
        ask(process.http_addr(), "HEAD /-/health?at=1", "", "", 200).await?;
    }
    Ok(())
}

/// While two of three masters are dead, the third says so.
pub(crate) async fn ready_answers_when_a_master_serves(contract: &Contract) -> Result<()> {
    for master in &contract.masters {
        ask(*master, "GET /-/ready", "", "", 200).await?;
    }
    let (cluster, lone) = (&contract.cluster, contract.masters[0]);
    for id in [2, 3] {
        block_in_place(|| cluster.master(id).kill())?;
    }
    wait::until("the last master says that it cannot serve", TIMEOUT, async || {
        let refused = ask(lone, "GET /-/ready", "", "", 503).await?;
        ensure!(refused.field("retry-after").is_some(), "{:?}", refused.text);
        let reasons = ["leader", "majority", "masters"];
        ensure!(reasons.iter().any(|why| refused.body().contains(why)), "the reason: {:?}", refused.text);
        Ok(())
    })
    .await?;
    ask(lone, "GET /-/health", "", "", 200).await?;
    block_in_place(|| cluster.start_all())?;
    cluster::all_up(cluster, VOLUMES).await
}

pub(crate) async fn status_has_every_name_of_the_contract(contract: &Contract) -> Result<()> {
    for master in &contract.masters {
        let status = json(*master, "GET /-/status").await?;
        names(
            &status,
            "cluster node version leader term committed applied replicas min_replicas partitions objects",
        )?;
        names(&status, "object_bytes masters volumes copies under_replicated garbage orphans moves waiting")?;
        names(&status["copies"], "3 2 1 0")?;
        names(&status["garbage"], "needles bytes")?;
        names(&status["orphans"], "bytes")?;
        let (masters, volumes) = (status["masters"].as_array(), status["volumes"].as_array());
        let (masters, volumes) = (masters.context("a list")?, volumes.context("a list")?);
        ensure!((masters.len(), volumes.len()) == (3, VOLUMES as usize), "{status}");
        for master in masters {
            names(master, "id peer client role lag seen_ms")?;
            let role = master["role"].as_str().unwrap_or_default();
            ensure!(["leader", "follower"].contains(&role), "{master}");
        }
        for volume in volumes {
            names(volume, "id addr peer state zone capacity used free needles bad seen_ms")?;
            ensure!(volume["state"] == "up", "{volume}");
        }
        let hashed = json(*master, "GET /-/status?state-hash").await?;
        ensure!(hashed["state_hash"].as_str().is_some_and(|hash| !hash.is_empty()), "{hashed}");
        ask(*master, "GET /-/status?state-hash=1", "", "", 400).await?;
    }
    Ok(())
}

/// Drains a volume, as slowly as can be, until all masters tell of it.
pub(crate) async fn moves_are_told_while_they_are_made(contract: &Contract) -> Result<()> {
    let master = contract.masters[0];
    ask(master, "PUT /-/move-rate", "", "64KiB", 200).await?;
    let body = "m".repeat(MOVED_BYTES);
    for number in 0..MOVED_OBJECTS {
        ask(master, &format!("PUT /moves/{number}"), "", &body, 201).await?;
    }
    ask(master, "POST /-/volumes/4/drain", "", "", 200).await?;
    for master in &contract.masters {
        wait::until("what is being moved is told", TIMEOUT, async || {
            let status = json(*master, "GET /-/status").await?;
            let moves = status["moves"].as_array().context("a list")?;
            let volume = status["volumes"].as_array().context("a list")?.iter().find(|it| it["id"] == 4);
            ensure!(volume.is_some_and(|it| it["state"] == "draining"), "{}", status["volumes"]);
            let step = moves.first().with_context(|| format!("nothing moves: {}", status["waiting"]))?;
            // Never mended by waiting.
            names(step, "kind placement from to done total bytes_per_s eta_ms").expect("each has all names");
            Ok(())
        })
        .await?;
    }
    ask(master, "POST /-/volumes/4/undrain", "", "", 200).await?;
    ask(master, "PUT /-/move-rate", "", "default", 200).await?;
    wait::until("nothing moves any more", TIMEOUT, async || {
        let status = json(master, "GET /-/status").await?;
        ensure!(status["moves"].as_array().is_some_and(Vec::is_empty), "{}", status["moves"]);
        ensure!(status["under_replicated"] == 0, "{status}");
        Ok(())
    })
    .await
}

/// While a volume does not answer, a check that was asked for goes on.
pub(crate) async fn a_second_check_at_one_master_is_429(contract: &Contract) -> Result<()> {
    let (master, hung) = (contract.masters[1], contract.cluster.volume(4));
    block_in_place(|| hung.pause())?;
    let check = b"GET /-/check HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let checks = (0..2).map(|_| Box::pin(raw::send(master, check)));
    let (ended, _, going_on) = select_all(checks).await;
    block_in_place(|| hung.resume())?;
    let refused = ended?;
    ensure!(refused.status == Some(429), "{:?}", refused.text);
    ensure!(refused.field("retry-after").is_some(), "{:?}", refused.text);
    ensure!(refused.body().contains("ask another master"), "{:?}", refused.text);
    for check in join_all(going_on).await {
        let check = check?;
        ensure!(check.status == Some(200) && check.body().contains("\"report\""), "{:?}", check.text);
    }
    cluster::all_up(&contract.cluster, VOLUMES).await
}

/// Whether a part of the status has these names.
fn names(part: &Value, names: &str) -> Result<()> {
    let missing: Vec<&str> = names.split(' ').filter(|name| part.get(name).is_none()).collect();
    ensure!(missing.is_empty(), "{missing:?} are missing in {part}");
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
