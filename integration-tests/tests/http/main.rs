//! The HTTP contract, as `curl` sees it: statuses, fields and bodies, written by hand over a socket.

mod conditions;
mod digests;
mod refusals;
mod undelete;

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::cluster;
use hayrick_integration_tests::raw::{self, Answer};
use hayrick_launcher::Cluster;
use serde_json::Value;

/// MD5 of `meow` and of `purr`.
const MEOW: &str = "\"4a4be40c96ac6314e91d93f38043a634\"";
const PURR: &str = "\"19fbb238f0ff2df60984f6129a3797ac\"";
const KEPT: &str = "Content-Type: image/gif\r\nContent-Language: en\r\nCache-Control: no-cache\r\nHayrick-Meta-Owner: Ann\r\nCookie: x\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_is_as_its_contract_says() -> Result<()> {
    let cluster = cluster::start(3).await?;
    let masters = cluster.client_addrs();
    objects_come_with_their_description(&masters).await?;
    conditions::of_reads_are_weighed(&masters).await?;
    conditions::of_writes_are_decided(&masters).await?;
    digests::wrong_ones_store_nothing(masters[0]).await?;
    digests::wanted_ones_are_answered(&masters).await?;
    undelete::brings_back_what_was_deleted(&masters).await?;
    bodies_of_all_kinds(masters[0]).await?;
    lists_are_pages(&masters).await?;
    system_routes(&cluster).await?;
    refusals::unknown_parameters_are_named(&cluster).await?;
    refusals::request_ids_are_echoed_and_never_added(&masters).await?;
    needles_are_served_by_their_volumes(&cluster).await?;
    // The last, as it ends all volumes.
    refusals::unreadable_objects_name_the_volumes_to_start(&cluster).await?;
    cluster::no_panics(&cluster)
}

/// Sends a request and checks its status.
async fn ask(addr: SocketAddr, line: &str, fields: &str, body: &str, status: u16) -> Result<Answer> {
    let length = if line.starts_with("PUT") && !fields.contains("chunked") {
        format!("Content-Length: {}\r\n", body.len())
    } else {
        String::new()
    };
    let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}{fields}\r\n{body}");
    let answer = raw::send(addr, request.as_bytes()).await?;
    ensure!(answer.status == Some(status), "{line} with {fields:?}, expected {status}: {:?}", answer.text);
    Ok(answer)
}

fn has(answer: &Answer, lines: &[&str]) -> Result<()> {
    for line in lines {
        ensure!(answer.has_header(line), "no {line:?} in {:?}", answer.text);
    }
    Ok(())
}

async fn objects_come_with_their_description(masters: &[SocketAddr]) -> Result<()> {
    let put = ask(masters[0], "PUT /cats/n%C3%A4her%20%2B1", KEPT, "meow", 201).await?;
    ensure!(put.body() == "cats/näher +1", "PUT answers the key: {:?}", put.body());
    has(&put, &[&format!("ETag: {MEOW}")])?;
    ensure!(put.field("hayrick-version").is_some(), "{:?}", put.text);
    ask(masters[1], "PUT /cats/n%C3%A4her%20%2B1", KEPT, "meow", 200).await?;

    let mut placements = Vec::new();
    for master in masters {
        let get = ask(*master, "GET /cats/n%C3%A4her%20%2B1", "", "", 200).await?;
        ensure!(get.body() == "meow", "{:?}", get.text);
        let head = ask(*master, "HEAD /cats/n%C3%A4her%20%2B1", "", "", 200).await?;
        ensure!(head.body().is_empty(), "a HEAD with a body: {:?}", head.text);
        ensure!(get.field("hayrick-served-by").is_some(), "{:?}", get.text);
        for answer in [&get, &head] {
            has(answer, &[&format!("ETag: {MEOW}"), "Content-Length: 4", "Content-Type: image/gif"])?;
            has(answer, &["Content-Language: en", "Cache-Control: no-cache", "Hayrick-Meta-Owner: Ann"])?;
            ensure!(answer.field("cookie").is_none(), "a field that is not kept: {:?}", answer.text);
            ensure!(answer.field("last-modified").is_some(), "{:?}", answer.text);
            let of = |name| answer.field(name).map(str::to_owned);
            placements.push((of("hayrick-placement"), of("hayrick-version")));
        }
        let part = ask(*master, "GET /cats/n%C3%A4her%20%2B1", "Range: bytes=1-2\r\n", "", 206).await?;
        ensure!(part.body() == "eo", "{:?}", part.text);
        has(&part, &["Content-Range: bytes 1-2/4"])?;
        let beyond = ask(*master, "GET /cats/n%C3%A4her%20%2B1", "Range: bytes=4-\r\n", "", 416).await?;
        has(&beyond, &["Content-Range: bytes */4"])?;
    }
    ensure!(placements.iter().all(|it| it.0.is_some() && *it == placements[0]), "{placements:?}");

    let gone = ask(masters[0], "GET /dogs", "", "", 404).await?;
    ensure!(gone.body() == "Key does not exist.", "{:?}", gone.text);
    let gone = ask(masters[0], "HEAD /dogs", "", "", 404).await?;
    has(&gone, &["Content-Length: 0"])?;
    let problem = ask(masters[0], "GET /dogs", "Accept: application/json\r\n", "", 404).await?;
    has(&problem, &["Content-Type: application/problem+json"])?;
    ensure!(serde_json::from_str::<Value>(problem.body())?["status"] == 404, "{:?}", problem.text);
    let default = ask(masters[0], "PUT /plain", "", "x", 201).await.map(|_| ());
    default.and(has(
        &ask(masters[2], "GET /plain", "", "", 200).await?,
        &["Content-Type: application/octet-stream"],
    ))
}

async fn bodies_of_all_kinds(master: SocketAddr) -> Result<()> {
    ask(master, "PUT /empty", "", "", 201).await?;
    let empty = ask(master, "GET /empty", "", "", 200).await?;
    has(&empty, &["Content-Length: 0", "ETag: \"d41d8cd98f00b204e9800998ecf8427e\""])?;
    let chunks = "2\r\nme\r\n2\r\now\r\n0\r\n\r\n";
    let chunked = ask(master, "PUT /chunked", "Transfer-Encoding: chunked\r\n", chunks, 201).await?;
    has(&chunked, &[&format!("ETag: {MEOW}")])?;
    let head = "PUT /expected HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nmeow";
    let answer = raw::send(master, head.as_bytes()).await?;
    ensure!(answer.text.starts_with("HTTP/1.1 100 "), "Expect is not answered: {:?}", answer.text);
    ensure!(answer.text.contains("HTTP/1.1 201 "), "and then stored: {:?}", answer.text);
    Ok(())
}

async fn lists_are_pages(masters: &[SocketAddr]) -> Result<()> {
    for key in ["l/a", "l/b", "l/c%2F1", "m"] {
        ask(masters[0], &format!("PUT /{key}"), "", "x", 201).await?;
    }
    let page = async |master: SocketAddr, target: &str| -> Result<Value> {
        let answer = ask(master, &format!("GET {target}"), "", "", 200).await?;
        has(&answer, &["Content-Type: application/json"])?;
        Ok(serde_json::from_str(answer.body())?)
    };
    for master in masters {
        let all = page(*master, "/l/?list").await?;
        ensure!(all == serde_json::json!({ "next": "", "keys": ["l/a", "l/b", "l/c/1"] }), "{all}");
        let first = page(*master, "/l/?list&limit=2").await?;
        ensure!(first == serde_json::json!({ "next": "l/c/1", "keys": ["l/a", "l/b"] }), "{first}");
        let rest = page(*master, "/l/?list&limit=2&start=l/c%2F1").await?;
        ensure!(rest == serde_json::json!({ "next": "", "keys": ["l/c/1"] }), "{rest}");
        let none = page(*master, "/nothing?list").await?;
        ensure!(none == serde_json::json!({ "next": "", "keys": [] }), "{none}");
        let every = page(*master, "/?list").await?;
        ensure!(every["keys"].as_array().is_some_and(|keys| keys.iter().any(|key| key == "m")), "{every}");
    }
    Ok(())
}

async fn system_routes(cluster: &Cluster) -> Result<()> {
    for process in cluster.processes() {
        ask(process.http_addr(), "GET /-/health", "", "", 200).await?;
        let status = ask(process.http_addr(), "GET /-/status", "", "", 200).await?;
        has(&status, &["Content-Type: application/json"])?;
        serde_json::from_str::<Value>(status.body()).with_context(|| process.name())?;
    }
    let names = "cluster node version leader term committed applied replicas min_replicas partitions objects object_bytes masters volumes copies under_replicated garbage orphans moves waiting";
    for master in cluster.client_addrs() {
        ask(master, "GET /-/ready", "", "", 200).await?;
        ask(master, "GET /", "", "", 200).await?;
        let refused = ask(master, "DELETE /-/status", "", "", 405).await?;
        ensure!(refused.field("allow").is_some(), "{:?}", refused.text);
        let status = ask(master, "GET /-/status", "", "", 200).await?;
        let status: Value = serde_json::from_str(status.body())?;
        let missing: Vec<&str> = names.split(' ').filter(|name| status.get(name).is_none()).collect();
        ensure!(missing.is_empty(), "/-/status lacks {missing:?}: {status}");
        ensure!(status["volumes"].as_array().is_some_and(|all| all.iter().all(|it| it["state"] == "up")));
    }
    Ok(())
}

/// Every copy of an object is a needle that its volume serves by the number that the masters tell, whole and in part.
async fn needles_are_served_by_their_volumes(cluster: &Cluster) -> Result<()> {
    let text = "the needle that is looked for";
    let (client, copies) = (cluster::client_any(cluster)?, cluster.volumes().len());
    cluster::put_copies(&client, "needle", copies, || text).await?;
    let mut told = Vec::new();
    for master in cluster.client_addrs() {
        for method in ["GET", "HEAD"] {
            let answer = ask(master, &format!("{method} /needle"), "", "", 200).await?;
            told.push(answer.field("hayrick-needle").context("no Hayrick-Needle")?.to_owned());
        }
    }
    let id = told[0].clone();
    ensure!(told.iter().all(|it| *it == id), "the same at every master: {told:?}");
    for volume in cluster.volumes() {
        let line = format!("GET /-/needles/{id}");
        let part = ask(volume.http_addr(), &line, "Range: bytes=0-9\r\n", "", 206).await?;
        ensure!(part.body() == &text[..10], "{:?}", part.text);
        let whole = ask(volume.http_addr(), &line, "", "", 200).await?;
        ensure!(whole.body() == text, "{:?}", whole.text);
    }
    client.put("needle", "overwritten").await?;
    let overwritten = ask(cluster.client_addrs()[0], "HEAD /needle", "", "", 200).await?;
    ensure!(overwritten.field("hayrick-needle").is_some_and(|it| it != id), "{:?}", overwritten.text);
    Ok(())
}
