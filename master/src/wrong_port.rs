//! What is at an address that was given for the peer port of a master and is none: a person's mistake, told so that it can be
//! mended at once.
//!
//! Owns finding out who answers there and which address was meant. Leaves to `join` and `bootstrap` whether to go on.
//! Invariant: whatever answers, it is read for a bounded time and to a bounded length.

use std::io;

use hayrick_protocol::NodeId;
use hayrick_protocol::messages::Identity;
use hayrick_rpc::{CallError, Client, RefusalReason};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use crate::master::Master;

const PATIENCE: Duration = Duration::from_millis(500);
/// A cluster of a thousand volumes says less of itself.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Where the right address is found.
const LOOK: &str = "`hayrick master ls` shows it for each master";

/// Why `address`, which --join names, will never do, if that is what a failed greeting means.
pub(crate) async fn of_join(master: &Master, client: &Client, error: &CallError) -> Option<String> {
    let address = client.address();
    let wanted = format!("--join takes the peer address of a master that is in the cluster; {LOOK}");
    match error {
        CallError::Refused(refusal) if refusal.reason == RefusalReason::Http => {
            let (what, instead) = http(master, address).await;
            Some(format!("{address} is {what}, where HTTP is spoken; {}", instead.unwrap_or(wanted)))
        }
        CallError::UnknownMethod => match client.peer()?.identity {
            Identity::Volume(id) => Some(format!("{address} is the peer port of volume {id}; {wanted}")),
            Identity::Master(_) => None,
        },
        _ => None,
    }
}

/// This master was asked to enter through itself.
pub(crate) fn is_own(master: &Master, address: &str) -> String {
    format!(
        "{address} is the peer address of master {} itself; --join takes that of a master that is in the cluster; {LOOK}",
        master.options.id
    )
}

/// What an entry of --masters that does not answer as it should means.
pub(crate) async fn entry(master: &Master, id: NodeId, error: &CallError) -> String {
    let CallError::Refused(refusal) = error else { return format!("master {id}: {error}") };
    let address = master.peers.address(id).unwrap_or_default();
    let named = format!("--masters names {address} for master {id}");
    match refusal.reason {
        RefusalReason::Http => {
            let (what, instead) = http(master, &address).await;
            let instead = instead.unwrap_or_else(|| "it takes peer addresses".to_owned());
            format!("{named}, which is {what}, where HTTP is spoken; {instead}")
        }
        RefusalReason::OtherIdentity => {
            format!("{named}, where another one answers: {refusal}; give the one of its --peer-listen")
        }
        _ => format!("{named}: {refusal}"),
    }
}

/// Whose port for HTTP that is, and what to give instead, if that is known.
async fn http(master: &Master, address: &str) -> (String, Option<String>) {
    let own = [&master.client_address, &master.options.listen].into_iter().any(|at| at == address);
    match timeout(PATIENCE, status(address)).await {
        Ok(Ok(status)) => read(&status, own.then_some(master.options.id)),
        Ok(Err(_)) | Err(_) => ("no peer port".to_owned(), None),
    }
}

fn read(status: &Value, own: Option<NodeId>) -> (String, Option<String>) {
    let id = |name: &str| status[name].as_u64().filter(|id| *id > 0);
    if let Some(own) = own {
        return (format!("the client port of master {own} itself"), None);
    }
    if let Some(node) = id("node") {
        let what = format!("the client port of master {node}");
        let masters = status["masters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let peer = masters.iter().find(|it| it["id"] == node).and_then(|it| it["peer"].as_str());
        return (what, peer.map(|peer| format!("its peer address is {peer}: give that")));
    }
    match id("id") {
        Some(volume) => (format!("the HTTP port of volume {volume}"), None),
        None => ("no port of a master".to_owned(), None),
    }
}

/// What answers there says of itself.
async fn status(address: &str) -> io::Result<Value> {
    let mut socket = TcpStream::connect(address).await?;
    let request = format!("GET /-/status HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    Ok(serde_json::from_slice(&answer[head + 4..])?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_for_http_is_told_by_what_answers_there() {
        let told = |status: Value, own| read(&status, own);
        let master =
            json!({ "node": 2, "masters": [{ "id": 1, "peer": "a:1" }, { "id": 2, "peer": "b:2" }] });
        let instead = Some("its peer address is b:2: give that".to_owned());
        assert_eq!(told(master.clone(), None), ("the client port of master 2".to_owned(), instead));
        let own = told(master, Some(NodeId(2)));
        assert_eq!(own, ("the client port of master 2 itself".to_owned(), None));
        assert_eq!(told(json!({ "id": 3, "needles": 0 }), None).0, "the HTTP port of volume 3");
        assert_eq!(
            told(json!({ "node": 4, "masters": [] }), None),
            ("the client port of master 4".to_owned(), None)
        );
        assert_eq!(told(json!("a web server"), None).0, "no port of a master");
    }
}
