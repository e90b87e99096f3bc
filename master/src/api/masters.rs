//! `POST /-/masters`, `DELETE /-/masters/{id}`, `POST /-/leader/{id}`: who the masters are, and who leads them.
//!
//! Owns the reading of these requests and what each outcome is to HTTP. Leaves the changes to `cluster/change`. Every one
//! of them may be repeated: what is so already is a success.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use hayrick_protocol::NodeId;
use hayrick_protocol::cluster_map::Master as Record;
use hayrick_protocol::limits::NAME_BYTES_MAX;
use hayrick_protocol::messages::master::{ChangeMasters, ChangeMastersError, MastersChanged};
use hayrick_rpc::CallError;
use hayrick_web::Problem;
use http::StatusCode;
use serde::Deserialize;
use tokio::time::{Duration, Instant};

use super::body::words;
use super::plain;
use super::problem::{bad_request, conflict, not_now, unknown_change};
use crate::admission::removed;
use crate::cluster::change::change;
use crate::cluster::members::introduction;
use crate::leader;
use crate::master::Master;

/// What a new master may take to say who it is.
const GREET_PATIENCE: Duration = Duration::from_secs(2);

/// What is to be added: `{"id":4,"peer":"HOST:PORT"}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addition {
    id: u64,
    peer: String,
}

/// Adds one.
pub(super) async fn add(master: &Arc<Master>, body: Body) -> Result<Response, Problem> {
    let Addition { id, peer } = read(body).await?;
    let deadline = super::deadline(master);
    let id = NodeId(id);
    let port = peer.rsplit_once(':').map(|(host, port)| (host.is_empty(), port.parse::<u16>()));
    if id.0 == 0 || !matches!(port, Some((false, Ok(1..)))) || peer.len() > NAME_BYTES_MAX {
        return Err(bad_request(format!(
            "master {id} at {peer:?}: an id is a number from 1, and peer the HOST:PORT of its peer port"
        )));
    }
    let record = introduced(master, id, peer, deadline).await?;
    make(master, id, &ChangeMasters::Admit(record), deadline).await
}

/// Removes one for good.
pub(super) async fn remove(master: &Arc<Master>, id: &str) -> Result<Response, Problem> {
    let id = id_of(id)?;
    make(master, id, &ChangeMasters::Remove(id), super::deadline(master)).await
}

/// Makes one the leader.
pub(super) async fn transfer(master: &Arc<Master>, id: &str) -> Result<Response, Problem> {
    let id = id_of(id)?;
    make(master, id, &ChangeMasters::Transfer(id), super::deadline(master)).await
}

fn id_of(text: &str) -> Result<NodeId, Problem> {
    match text.parse::<NodeId>() {
        Ok(id) if id.0 > 0 => Ok(id),
        _ => Err(bad_request(format!("{text:?} is not the id of a master; ids are numbers from 1"))),
    }
}

async fn read(body: Body) -> Result<Addition, Problem> {
    let wanted = "send {\"id\": 4, \"peer\": \"HOST:PORT\"}, the id and the peer address of the new master";
    let bytes = words(body, wanted).await?;
    serde_json::from_slice(&bytes).map_err(|error| bad_request(format!("the body: {error}; {wanted}")))
}

/// What the cluster is to know of the master: what it knows already, or what the master itself says.
async fn introduced(master: &Master, id: NodeId, peer: String, deadline: Instant) -> Result<Record, Problem> {
    let cluster = master.node.cluster();
    if cluster.removed.contains(&id) {
        return Err(conflict(removed(id)));
    }
    match cluster.masters.get(&id) {
        Some(known) if known.peer == peer => return Ok(known.clone()),
        Some(known) => {
            return Err(conflict(format!(
                "master {id} is at {}, and not at {peer}; a new master needs an id that was never used",
                known.peer
            )));
        }
        None => {}
    }
    let greet = introduction(master, id);
    let patience = deadline.min(Instant::now() + GREET_PATIENCE);
    match master.peers.master_or_at(id, &peer).call(&greet, Vec::new(), patience).await {
        Ok((greeting, _)) => Ok(Record { id, instance: greeting.instance, client: greeting.client, peer }),
        Err(CallError::Refused(refusal)) => {
            Err(conflict(format!("at {peer} is no master {id} that could enter this cluster: {refusal}")))
        }
        Err(error) => Err(not_now(format!(
            "nobody answers as master {id} at {peer} ({error}); start it there with --id {id} and --join {}",
            master.own.peer
        ))),
    }
}

async fn make(
    master: &Arc<Master>,
    id: NodeId,
    wanted: &ChangeMasters,
    deadline: Instant,
) -> Result<Response, Problem> {
    match change(master, wanted, deadline).await {
        Ok(MastersChanged::Voter) => Ok(plain(StatusCode::OK, format!("master {id} votes\n"))),
        Ok(MastersChanged::Removed) => Ok(plain(StatusCode::OK, format!("master {id} is removed\n"))),
        Ok(MastersChanged::Leads) => Ok(plain(StatusCode::OK, format!("master {id} leads\n"))),
        Ok(MastersChanged::Learner(lag)) => {
            let lacks = match lag {
                Some(entries) => format!("lacks {entries} entries of the log"),
                None => "has not answered yet".to_owned(),
            };
            let text = format!("master {id} {lacks}; it votes by itself once it has caught up\n");
            Ok(plain(StatusCode::ACCEPTED, text))
        }
        Err(error) => Err(problem(master, error)),
    }
}

fn problem(master: &Master, error: ChangeMastersError) -> Problem {
    match error {
        ChangeMastersError::NotLeader { .. } => {
            not_now(format!("nothing was changed: {}", leader::why_none(master)))
        }
        ChangeMastersError::Conflict(text) | ChangeMastersError::Busy(text) => conflict(text),
        ChangeMastersError::NotFound(text) => Problem::new(StatusCode::NOT_FOUND, text),
        ChangeMastersError::Later(text) => not_now(text),
        ChangeMastersError::Unknown(text) => unknown_change(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_number_from_1() {
        assert_eq!(id_of("4").ok(), Some(NodeId(4)));
        for wrong in ["", "0", "x", "1/2", "-1"] {
            assert!(id_of(wrong).is_err_and(|problem| problem.status == StatusCode::BAD_REQUEST), "{wrong}");
        }
    }
}
