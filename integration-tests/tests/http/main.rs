//! The HTTP contract, as `curl` sees it: statuses, fields and bodies, written by hand over a socket.
//!
//! Each row of the contract has a test of its name (`rows.rs`), and docs/http.md shows the same rows. All of them ask one
//! cluster of three masters and four volumes, one after the other: a row that stops a server starts it again.

mod bodies;
mod conditions;
mod digests;
mod keys;
mod limits;
mod lists;
mod objects;
mod refusals;
mod rows;
mod system;
mod undelete;
mod volumes;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::cluster;
use hayrick_integration_tests::raw::{self, Answer};
use hayrick_launcher::Cluster;

use crate::limits::Slow;
use crate::rows::ROWS;

/// MD5 of `meow` and of `purr`.
pub(crate) const MEOW: &str = "\"4a4be40c96ac6314e91d93f38043a634\"";
pub(crate) const PURR: &str = "\"19fbb238f0ff2df60984f6129a3797ac\"";
pub(crate) const KEPT: &str = "Content-Type: image/gif\r\nContent-Language: en\r\nCache-Control: no-cache\r\nHayrick-Meta-Owner: Ann\r\nCookie: x\r\n";

/// One more than copies, so that one of them lacks each object.
pub(crate) const VOLUMES: u32 = 4;

/// What all rows ask.
pub(crate) struct Contract {
    pub(crate) cluster: Cluster,
    pub(crate) masters: Vec<SocketAddr>,
    pub(crate) slow: Slow,
}

fn main() -> Result<ExitCode> {
    hayrick_integration_tests::rows::run("http", ROWS, start, |it| cluster::no_panics(&it.cluster))
}

async fn start() -> Result<Contract> {
    let cluster = cluster::start(VOLUMES).await?;
    let masters = cluster.client_addrs();
    Ok(Contract { slow: Slow::start(masters[0]), cluster, masters })
}

/// Sends a request and checks its status.
pub(crate) async fn ask(
    addr: SocketAddr,
    line: &str,
    fields: &str,
    body: &str,
    status: u16,
) -> Result<Answer> {
    let carries = line.starts_with("PUT") || line.starts_with("POST") || !body.is_empty();
    let length = if carries && !fields.contains("chunked") {
        format!("Content-Length: {}\r\n", body.len())
    } else {
        String::new()
    };
    let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}{fields}\r\n{body}");
    let answer = raw::send(addr, request.as_bytes()).await?;
    ensure!(answer.status == Some(status), "{line} with {fields:?}, expected {status}: {:?}", answer.text);
    ensure!(answer.field("hayrick-server").is_some(), "{line} does not say who answers: {:?}", answer.text);
    Ok(answer)
}

/// The JSON of an answer.
pub(crate) async fn json(addr: SocketAddr, line: &str) -> Result<serde_json::Value> {
    let answer = ask(addr, line, "", "", 200).await?;
    has(&answer, &["Content-Type: application/json"])?;
    serde_json::from_str(answer.body()).with_context(|| format!("{line}: {:?}", answer.text))
}

pub(crate) fn has(answer: &Answer, lines: &[&str]) -> Result<()> {
    for line in lines {
        ensure!(answer.has_header(line), "no {line:?} in {:?}", answer.text);
    }
    Ok(())
}
