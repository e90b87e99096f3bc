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
use hayrick_web::{Parameters, Problem};
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::{Duration, Instant};

use super::body::words;
use super::problem::{bad_request, conflict, not_now, unknown_change};
use super::{Head, not_allowed, plain};
use crate::bootstrap::removed;
use crate::cluster::change::change;
use crate::cluster::members::introduction;
use crate::leader;
use crate::master::Master;

/// What a new master may take to say who it is.
const GREET_PATIENCE: Duration = Duration::from_secs(2);

/// What a request under these routes means.
enum Route {
    Masters,
    Master(NodeId),
    Leader(NodeId),
}

/// What is to be added: `{"id":4,"peer":"HOST:PORT"}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addition {
    id: u64,
    peer: String,
}

/// Whether these routes answer to the path.
pub(super) fn is_route(path: &str) -> bool {
    path == "/-/masters" || path.starts_with("/-/masters/") || path.starts_with("/-/leader/")
}

/// Answers it.
pub(super) async fn answer(master: &Arc<Master>, request: &Head, body: Body) -> Result<Response, Problem> {
    Parameters::NONE.check(request.uri())?;
    let deadline = super::deadline(master);
    match (route(request.uri().path())?, request.method()) {
        (Route::Masters, &Method::POST) => add(master, body, deadline).await,
        (Route::Master(id), &Method::DELETE) => make(master, id, &ChangeMasters::Remove(id), deadline).await,
        (Route::Leader(id), &Method::POST) => make(master, id, &ChangeMasters::Transfer(id), deadline).await,
        (Route::Master(_), _) => Ok(not_allowed(request, "DELETE")),
        (Route::Masters | Route::Leader(_), _) => Ok(not_allowed(request, "POST")),
    }
}

fn route(path: &str) -> Result<Route, Problem> {
    let id = |text: &str| match text.parse::<NodeId>() {
        Ok(id) if id.0 > 0 => Ok(id),
        _ => Err(bad_request(format!("{text:?} is not the id of a master; ids are numbers from 1"))),
    };
    match path.strip_prefix("/-/masters/").map(id) {
        Some(id) => return id.map(Route::Master),
        None if path == "/-/masters" => return Ok(Route::Masters),
        None => {}
    }
    id(path.strip_prefix("/-/leader/").unwrap_or_default()).map(Route::Leader)
}

async fn add(master: &Arc<Master>, body: Body, deadline: Instant) -> Result<Response, Problem> {
    let Addition { id, peer } = read(body, deadline).await?;
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

async fn read(body: Body, deadline: Instant) -> Result<Addition, Problem> {
    let wanted = "send {\"id\": 4, \"peer\": \"HOST:PORT\"}, the id and the peer address of the new master";
    let bytes = words(body, wanted, deadline).await?;
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
    fn routes_name_a_master_or_are_refused() {
        assert!(matches!(route("/-/masters"), Ok(Route::Masters)));
        assert!(matches!(route("/-/masters/4"), Ok(Route::Master(NodeId(4)))));
        assert!(matches!(route("/-/leader/2"), Ok(Route::Leader(NodeId(2)))));
        for wrong in ["/-/masters/", "/-/masters/0", "/-/masters/x", "/-/leader/", "/-/leader/1/2"] {
            assert!(is_route(wrong));
            assert!(route(wrong).is_err_and(|problem| problem.status == StatusCode::BAD_REQUEST), "{wrong}");
        }
        assert!(!is_route("/-/mastersx") && !is_route("/-/leader"));
    }
}
