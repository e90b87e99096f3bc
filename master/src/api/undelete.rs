//! `POST /-/undelete/{key}`: what the key's last delete took away is the key's again.
//!
//! Linearizable like a read and then like a write: after a read-index the row of that delete is looked for among the
//! garbage, in one view; then one command names it, and apply has the last word. Owns the order of these steps and what each
//! outcome is to HTTP. Leaves the search, which costs up to one scan of the garbage, to `raft-store`. Invariant: 404 is only
//! said after a look that began after the request arrived, and 409 only where an object has the key.

use std::sync::Arc;

use axum::response::Response;
use hayrick_protocol::command::{Applied, Command, Refusal, Undelete};
use hayrick_protocol::{AppliedVersion, ObjectKey};
use hayrick_raft_store::{Deleted, ReadError};
use hayrick_web::Problem;
use http::{HeaderValue, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::problem::{commit_failed, no_epoch, not_now};
use super::{fields, named, plain};
use crate::gateway::commit::{CommitError, commit};
use crate::gateway::read_index::{NotLinearizable, linearize};
use crate::master::Master;

/// How often the row is looked for: once more where what was found is gone when the command comes.
const LOOKS_MAX: u32 = 2;

/// Answers it.
pub(super) async fn answer(master: &Arc<Master>, key: &str) -> Result<Response, Problem> {
    let key = named(key)?;
    let deadline = super::deadline(master);
    for _ in 0..LOOKS_MAX {
        let garbage = look(master, &key, deadline).await?;
        match bring_back(master, &key, garbage, deadline).await? {
            Ok(applied) => return Ok(done(&key, applied)),
            Err(CommitError::Refused(Refusal::NotFound)) => {}
            Err(CommitError::Refused(Refusal::PreconditionFailed)) => return Err(taken(&key)),
            Err(error) => return Err(commit_failed(master, &error)),
        }
    }
    Err(not_now(format!(
        "nothing was changed: others delete {key} and bring it back all the time; try again"
    )))
}

/// The row to bring back.
async fn look(master: &Arc<Master>, key: &ObjectKey, deadline: Instant) -> Result<AppliedVersion, Problem> {
    let nothing_was_changed = |why: &str| not_now(format!("nothing was changed: {why}"));
    linearize(master, deadline).await.map_err(|NotLinearizable(text)| nothing_was_changed(&text))?;
    let place = timeout_at(deadline, Arc::clone(&master.gateway.undeletes).acquire_owned()).await;
    let Ok(Ok(place)) = place else {
        return Err(nothing_was_changed("too many undeletes look through the garbage; try again"));
    };
    let (node, wanted) = (master.node.clone(), key.clone());
    // A task of its own, as a search goes on where the client is gone, and has its place as long.
    let found = tokio::spawn(async move {
        let found = node.deleted(wanted, deadline).await;
        drop(place);
        found
    });
    match found.await.map_err(|_| not_now("this master is stopping"))? {
        Ok(Deleted { row: Some(_), is_taken: true }) => Err(taken(key)),
        Ok(Deleted { row: Some((garbage, _)), .. }) => Ok(garbage),
        Ok(Deleted { row: None, is_taken }) => Err(nothing(key, is_taken)),
        Err(ReadError::Late) => Err(nothing_was_changed(
            "there is more garbage than can be looked through within --request-timeout; try another master or again later",
        )),
        Err(error) => Err(nothing_was_changed(&error.to_string())),
    }
}

/// One command, under a seq of its own: what it was answered is remembered for that.
async fn bring_back(
    master: &Arc<Master>,
    key: &ObjectKey,
    garbage: AppliedVersion,
    deadline: Instant,
) -> Result<Result<Applied, CommitError>, Problem> {
    loop {
        let ticket = master.gateway.epochs.take(deadline).await.map_err(no_epoch(master))?;
        let undelete = Undelete { session: ticket.session(), key: key.clone(), garbage };
        match commit(master, Arc::clone(&ticket), Command::Undelete(undelete), deadline).await {
            Err(CommitError::Refused(Refusal::Fenced)) if Instant::now() < deadline => {
                master.gateway.epochs.fenced(&ticket);
            }
            outcome => return Ok(outcome),
        }
    }
}

fn done(key: &ObjectKey, applied: Applied) -> Response {
    let mut response = plain(StatusCode::OK, format!("{key} is back as it was\n"));
    response.headers_mut().insert(fields::VERSION, HeaderValue::from(applied.version.0));
    response
}

/// 404.
fn nothing(key: &ObjectKey, is_there: bool) -> Problem {
    let text = if is_there {
        format!("nothing to bring back: {key} is there, and no delete is left that could be undone")
    } else {
        format!(
            "nothing to bring back: {key} was deleted longer ago than --reap-after, or never there; put it again"
        )
    };
    Problem::new(StatusCode::NOT_FOUND, text)
}

/// 409.
fn taken(key: &ObjectKey) -> Problem {
    let text = format!(
        "nothing was changed: {key} was put again since it was deleted, and an undelete replaces nothing; \
         get it to see what is there"
    );
    Problem::new(StatusCode::CONFLICT, text)
}
