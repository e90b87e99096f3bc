//! `DELETE /{key}`: one command; the needle becomes garbage in the same apply.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::command::{Command, Delete, Refusal};
use hayrick_web::Problem;
use http::{HeaderValue, StatusCode};
use tokio::time::{Duration, Instant, timeout};

use super::problem::{commit_failed, no_epoch, no_leader};
use super::{Head, fields};
use crate::gateway::commit::{CommitError, commit};
use crate::leader;
use crate::master::Master;

pub(super) async fn answer(master: &Arc<Master>, request: &Head) -> Result<Response, Problem> {
    let key = super::key(request.uri())?;
    let precondition = fields::precondition(request.headers())?;
    let deadline = super::deadline(master);
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
                return Ok(StatusCode::NO_CONTENT.into_response());
            };
            committed
        } else {
            committing.await
        };
        match committed {
            Ok(applied) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response.headers_mut().insert(fields::VERSION, HeaderValue::from(applied.version.0));
                return Ok(response);
            }
            Err(CommitError::Refused(Refusal::Fenced)) if Instant::now() < deadline => {
                master.gateway.epochs.fenced(&ticket);
            }
            Err(error) => return Err(commit_failed(master, &error)),
        }
    }
}
