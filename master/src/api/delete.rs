//! `DELETE /{key}`, one command, and `POST /-/delete`, up to a thousand of them: the needle becomes garbage in the same
//! apply.
//!
//! Owns the steps of a delete and how many of them one request has under way. Invariant: each key of a list gets an answer
//! of its own, in the order asked, and that answer promises what the same status promises to a `DELETE`.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::ObjectKey;
use hayrick_protocol::command::{Applied, Command, Delete, Precondition, Refusal};
use hayrick_protocol::limits::{DELETE_KEYS_MAX, KEY_BYTES_MAX};
use hayrick_web::Problem;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tokio::time::{Duration, Instant, timeout};

use super::problem::{bad_request, commit_failed, no_epoch, no_leader};
use super::stopwatch::{Step, lap};
use super::{Head, body, fields, system};
use crate::gateway::commit::{CommitError, commit};
use crate::leader;
use crate::master::Master;

/// Deletes of one list that are under way at a time: half of what one entry of the log takes.
const AT_ONCE: usize = 256;
/// Bytes of a list: every letter may be escaped, which makes six of one.
const LIST_BYTES_MAX: usize = DELETE_KEYS_MAX * (6 * KEY_BYTES_MAX + 16);

pub(super) async fn answer(master: &Arc<Master>, request: &Head) -> Result<Response, Problem> {
    let key = super::key(request.uri())?;
    let precondition = fields::precondition(request.headers())?;
    let deadline = super::deadline(master);
    let applied = delete(master, &key, &precondition, deadline).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(applied) = applied {
        response.headers_mut().insert(fields::VERSION, HeaderValue::from(applied.version.0));
    }
    Ok(response)
}

/// Deletes one key. No answer of apply where none was waited for, which only a planted bug does.
async fn delete(
    master: &Arc<Master>,
    key: &ObjectKey,
    precondition: &Precondition,
    deadline: Instant,
) -> Result<Option<Applied>, Problem> {
    if !leader::wait_reachable(master, deadline).await {
        return Err(no_leader(master));
    }
    loop {
        let ticket = master.gateway.epochs.take(deadline).await.map_err(no_epoch(master))?;
        let command = Command::Delete(Delete {
            session: ticket.session(),
            key: key.clone(),
            precondition: precondition.clone(),
        });
        let committing = commit(master, Arc::clone(&ticket), command, deadline);
        let committed = if planted::is(Bug::DeleteAckedBeforeCommit) {
            let Ok(committed) = timeout(Duration::from_millis(100), committing).await else {
                return Ok(None);
            };
            committed
        } else {
            committing.await
        };
        lap(Step::Commit);
        match committed {
            Ok(applied) => return Ok(Some(applied)),
            Err(CommitError::Refused(Refusal::Fenced)) if Instant::now() < deadline => {
                master.gateway.epochs.fenced(&ticket);
            }
            Err(error) => return Err(commit_failed(master, &error)),
        }
    }
}

/// What became of one key of a list.
#[derive(Serialize)]
struct Outcome {
    key: String,
    status: u16,
    /// Why it is not deleted, where that is not 404.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Deletes a list of keys.
pub(super) async fn answer_list(
    master: &Arc<Master>,
    request: &Head,
    body: Body,
) -> Result<Response, Problem> {
    let taken = body::text(&master.gateway.bodies, LIST_BYTES_MAX, request.headers(), body).await;
    lap(Step::Body);
    let (text, _share) = taken?;
    let keys: Vec<String> = serde_json::from_slice(&text).map_err(|error| {
        bad_request(format!(r#"the body is no JSON list of keys, as in ["cats/1", "cats/2"]: {error}"#))
    })?;
    if keys.len() > DELETE_KEYS_MAX {
        return Err(bad_request(format!(
            "{} keys are too many for one request; send at most {DELETE_KEYS_MAX}",
            keys.len()
        )));
    }
    let deadline = super::deadline(master);
    if !leader::wait_reachable(master, deadline).await {
        return Err(no_leader(master));
    }
    let each = keys.into_iter().map(|key| outcome(master, key, deadline));
    let outcomes: Vec<Outcome> = stream::iter(each).buffered(AT_ONCE).collect().await;
    Ok(system::json_answer(system::json_text(&outcomes)))
}

async fn outcome(master: &Arc<Master>, key: String, deadline: Instant) -> Outcome {
    let problem = match ObjectKey::new(&key) {
        Err(error) => bad_request(error.to_string()),
        Ok(valid) => match delete(master, &valid, &Precondition::None, deadline).await {
            Ok(_) => return Outcome { key, status: StatusCode::NO_CONTENT.as_u16(), detail: None },
            Err(problem) => problem,
        },
    };
    let detail = Some(problem.text).filter(|_| problem.status != StatusCode::NOT_FOUND);
    Outcome { key, status: problem.status.as_u16(), detail }
}
