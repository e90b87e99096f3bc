//! Who the masters are, as far as possible by the leader's word.
//!
//! Owns whom to ask: the first master of `--server` that knows any, and the leader that it names. Invariant: an answer
//! without masters, which one gives that is entering its cluster, is passed over and never shown as none.

use anyhow::{Result, bail};
use hayrick_client::{Client, Error, Status};
use serde::Deserialize;
use serde_json::Value;

/// What a master says of the masters.
pub(crate) struct Seen {
    /// All that it says.
    pub(crate) answer: Value,
    pub(crate) status: Status,
    /// Why that may not be all, where it is not the leader's.
    pub(crate) doubt: Option<String>,
}

/// Asks the masters of `client` one after the other, and then the leader.
pub(crate) async fn masters(client: &Client) -> Result<Seen> {
    let (mut tried, mut silent) = (Vec::new(), 0);
    for server in client.masters() {
        match ask(server).await {
            Ok((answer, status)) if !status.masters.is_empty() => {
                return as_leader_sees(answer, status).await;
            }
            Ok((_, status)) if status.node == 0 => {
                tried.push((server, "what answers there is no master".to_owned()))
            }
            Ok((_, status)) => {
                let why = format!(
                    "master {} knows of no cluster yet: it has not entered one, or none is formed",
                    status.node
                );
                tried.push((server, why));
            }
            Err(error) => {
                silent += 1;
                tried.push((server, error));
            }
        }
    }
    if silent == tried.len() {
        let tried = tried.into_iter().map(|(server, why)| (server.clone(), why)).collect();
        return Err(Error::NoMaster { tried }.into());
    }
    let tried: Vec<String> = tried.iter().map(|(server, why)| format!("{server}: {why}")).collect();
    bail!(
        "nobody says who the masters are; name the client port of one that votes with --server. {}",
        tried.join("; ")
    )
}

async fn as_leader_sees(answer: Value, status: Status) -> Result<Seen> {
    let node = status.node;
    let doubt = match status.leader {
        Some(leader) if leader == node => None,
        None => Some(format!(
            "master {node} says this, and knows of no leader: who lags, and who is reached, is not sure"
        )),
        Some(leader) => {
            let at =
                status.masters.iter().find(|master| master.id == leader).map(|master| master.client.as_str());
            match leaders_word(leader, at.unwrap_or_default()).await {
                Ok((answer, status)) => return Ok(Seen { answer, status, doubt: None }),
                Err(why) => Some(format!(
                    "master {node} says this; the leader, master {leader}, could not be asked who lags and who is reached: {why}"
                )),
            }
        }
    };
    Ok(Seen { answer, status, doubt })
}

async fn leaders_word(leader: u64, at: &str) -> Result<(Value, Status), String> {
    if at.is_empty() {
        return Err("its address is not known".to_owned());
    }
    let (answer, status) = ask(at).await.map_err(|why| format!("{at}: {why}"))?;
    if (status.node, status.leader) == (leader, Some(leader)) && !status.masters.is_empty() {
        Ok((answer, status))
    } else {
        Err(format!("{at} does not lead any more"))
    }
}

async fn ask(server: &str) -> Result<(Value, Status), String> {
    let client = Client::new([server]).map_err(|error| error.to_string())?;
    let answer = client.status_json().await.map_err(|error| match error {
        Error::NoMaster { tried } => tried.into_iter().map(|(_, why)| why).collect(),
        error => error.to_string(),
    })?;
    let status =
        Status::deserialize(&answer).map_err(|error| format!("its answer cannot be understood: {error}"))?;
    Ok((answer, status))
}
