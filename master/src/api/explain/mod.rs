//! `GET /-/explain/{key}`: where an object lies, why, what each copy is, and with `?without=ID` what would be if a volume died.
//!
//! Linearizable like any read. Owns the order of the steps and the form of the answer: JSON for who asks for it or says
//! nothing, text for who takes anything or text, as curl and browsers do. Leaves what is shown to `shown`, the reading of
//! copies to `gateway::copies`, and what would be to `cluster::repair::foresee`. Invariant: a key without an object is
//! explained, too, and no 404: its partition lies somewhere.

mod shown;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use futures_util::future::join_all;
use hayrick_protocol::answers::explanation::{CopyShown, CopyState, Explanation, Without};
use hayrick_protocol::cluster_map::{ClusterConfig, Placement, VolumeState};
use hayrick_protocol::record::ObjectRecord;
use hayrick_protocol::{ObjectKey, VolumeId};
use hayrick_raft_store::Cluster;
use hayrick_web::{Problem, asks_for_json, parameter};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio::time::{Duration, Instant, timeout_at};

use self::shown::{Lost, Of};
use super::problem::{bad_request, not_now};
use super::system::{json_answer, json_text};
use super::{Head, named, plain};
use crate::cluster::repair::foresee::Foreseen;
use crate::gateway::copies;
use crate::gateway::read_index::{NotLinearizable, linearize};
use crate::master::Master;

/// What the copies may take at least, however late the index was.
const COPIES_PATIENCE: Duration = Duration::from_secs(2);

/// Answers it.
pub(super) async fn answer(master: &Arc<Master>, request: &Head, key: &str) -> Result<Response, Problem> {
    let key = named(key)?;
    let deadline = super::deadline(master);
    linearize(master, deadline).await.map_err(|NotLinearizable(text)| not_now(text))?;
    let place = Arc::clone(&master.gateway.explanations).acquire_owned();
    let Ok(Ok(place)) = timeout_at(deadline, place).await else {
        return Err(not_now("too many explanations are being made; try again"));
    };
    let cluster = master.node.cluster();
    let config = cluster.config.ok_or_else(|| not_now("no cluster is formed yet; try again in a second"))?;
    let lost = parameter(request.uri(), "without").map(|text| without(&cluster, text)).transpose()?;
    let record = master.node.get(&key).map_err(|error| not_now(error.to_string()))?;
    let copies = copies_of(master, &cluster, record.as_ref(), deadline).await;
    let explanation = explain(master, Asked { cluster, config, key, record, lost, place }, copies).await?;
    Ok(response(request.headers(), &explanation))
}

/// What is to be explained, from one look at the index.
struct Asked {
    cluster: Arc<Cluster>,
    config: ClusterConfig,
    key: ObjectKey,
    record: Option<ObjectRecord>,
    lost: Option<VolumeId>,
    /// Given back when the work is done, whether somebody waits for it or not.
    place: OwnedSemaphorePermit,
}

/// The volume that is to be thought away; 400 if there is none like that.
fn without(cluster: &Cluster, text: &str) -> Result<VolumeId, Problem> {
    let volumes = &cluster.map.volumes;
    let known = |id: &VolumeId| volumes.get(id).is_some_and(|volume| volume.state != VolumeState::Removed);
    if let Some(id) = text.parse().ok().map(VolumeId).filter(known) {
        return Ok(id);
    }
    let there: Vec<String> = volumes.keys().filter(|id| known(id)).map(VolumeId::to_string).collect();
    Err(bad_request(format!("without={text} is no volume of this cluster; there are {}", there.join(", "))))
}

/// What each member's copy is, all at the same time.
async fn copies_of(
    master: &Arc<Master>,
    cluster: &Cluster,
    record: Option<&ObjectRecord>,
    deadline: Instant,
) -> BTreeMap<VolumeId, CopyShown> {
    let Some(record) = record else { return BTreeMap::new() };
    let members = cluster.table.placement(record.placement).map(|row| row.members.as_slice());
    let deadline = deadline.max(Instant::now() + COPIES_PATIENCE);
    let each = members.unwrap_or_default().iter().map(async |volume| {
        let copy = copies::on_volume(master, record, *volume, deadline).await;
        (*volume, copy)
    });
    join_all(each).await.into_iter().collect()
}

/// Computes tables: on a thread of its own.
async fn explain(
    master: &Arc<Master>,
    asked: Asked,
    copies: BTreeMap<VolumeId, CopyShown>,
) -> Result<Explanation, Problem> {
    let held = match asked.lost {
        Some(_) => master.node.copies().await.map_err(|error| not_now(error.to_string()))?,
        None => BTreeMap::new(),
    };
    let volumes = asked.cluster.map.volumes.keys();
    let free = volumes.filter_map(|id| Some((*id, master.heartbeats.seen(*id)?.status.free_bytes)));
    let free: BTreeMap<VolumeId, u64> = free.collect();
    let node = master.options.id;
    let made = spawn_blocking(move || {
        let Asked { cluster, config, key, record, lost, place: _place } = asked;
        let of = Of { cluster: &cluster, config: &config, key: &key, record: record.as_ref() };
        let mut explanation = shown::explanation(&of, &copies);
        explanation.node = node.0;
        explanation.without = lost.map(|lost| {
            let foreseen = Foreseen::without(lost, Cluster::clone(&cluster), config, held, free);
            let left = copies.iter().filter(|(id, copy)| **id != lost && copy.state == CopyState::Verified);
            let left = record.is_some().then(|| u32::try_from(left.count()).unwrap_or(u32::MAX));
            let of_lost = Lost { volume: lost, copies_left: left };
            let holder: Option<&Placement> = of.placement().or(of.current());
            Without {
                holds_it: holder.is_some_and(|row| row.members.contains(&lost)),
                ..shown::without(&of, &of_lost, &foreseen)
            }
        });
        explanation
    });
    made.await.map_err(|_| not_now("this master is stopping"))
}

/// Text for those who would read it.
fn response(request: &HeaderMap, explanation: &Explanation) -> Response {
    let mut response = if asks_for_json(request) || !request.contains_key(header::ACCEPT) {
        json_answer(json_text(explanation))
    } else {
        plain(StatusCode::OK, explanation.to_string())
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_text_and_programs_json() {
        let kind = |accept: Option<&'static str>| {
            let mut fields = HeaderMap::new();
            fields.extend(accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept))));
            let kind = response(&fields, &Explanation::default()).headers()[header::CONTENT_TYPE].clone();
            kind.to_str().expect("it is text").to_owned()
        };
        for accept in
            ["*/*", "text/plain", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json;q=0"]
        {
            assert_eq!(kind(Some(accept)), "text/plain; charset=utf-8", "{accept}");
        }
        for accept in [None, Some("application/json"), Some("text/plain;q=0.5, application/json")] {
            assert_eq!(kind(accept), "application/json", "{accept:?}");
        }
    }
}
