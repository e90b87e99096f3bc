//! `PUT /{key}`: the write protocol, from the first byte to the answer.
//!
//! ```text
//! take the body in ─▶ 1 a needle id, the current placement ─▶ 2, 3 durable on every member ─▶ 4 commit ─▶ 5 answer
//!                     ▲                                       │ a member failed: report it   │ stale or fenced
//!                     └───────────────────────────────────────┴──────────────────────────────┘ a new needle,
//!                                                               or the same while the placement stays
//! ```
//! Owns the order of the steps and what follows a failed one; each step lives in `gateway/`. Invariant: success is
//! answered only for a commit that was applied, and the commit is proposed only when every member has the needle.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::cluster_map::Placement;
use hayrick_protocol::command::{Applied, Command, Commit, Precondition, Refusal};
use hayrick_protocol::messages::master::{HandOver, HandOverError};
use hayrick_protocol::record::Headers;
use hayrick_protocol::{ObjectKey, VolumeId, needle};
use hayrick_web::Problem;
use http::{HeaderValue, StatusCode, header};
use md5::{Digest, Md5};
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::problem::{
    bad_request, commit_failed, condition_failed, exhausted, handed_over, no_epoch, no_leader, no_room,
    no_target, not_linearizable, not_now, to_hand_over,
};
use super::stopwatch::{Step, lap};
use super::{Head, body, fields};
use crate::gateway::append::AppendFailure;
use crate::gateway::bodies::{Exhausted, Holding};
use crate::gateway::commit::{CommitError, commit};
use crate::gateway::epoch::Ticket;
use crate::gateway::read_index::linearize;
use crate::gateway::report::{Advice, Pauses, report};
use crate::gateway::{abandon, append, hand_over, target};
use crate::leader;
use crate::master::Master;

/// Taken off what is left of a request's time when it is handed over: the way there and back.
const HAND_OVER_MARGIN: Duration = Duration::from_millis(200);

/// An object on its way in.
struct Object {
    key: ObjectKey,
    needle: needle::Body,
    md5: [u8; 16],
    headers: Headers,
    precondition: Precondition,
    /// Its share of the memory for bodies.
    share: Arc<Holding>,
}

pub(super) async fn answer(
    master: &Arc<Master>,
    request: &Head,
    request_body: Body,
) -> Result<Response, Problem> {
    let key = super::key(request.uri())?;
    let mut precondition = fields::precondition(request.headers())?;
    let headers = fields::kept(request.headers())?;
    if request.headers().contains_key(header::CONTENT_RANGE) {
        return Err(bad_request("a PUT stores a whole object; Content-Range, a part of one, is not taken"));
    }
    let (bodies, max_bytes) = (&master.gateway.bodies, master.options.max_object_bytes);
    let taken = body::take_in(bodies, max_bytes, &key, request.headers(), request_body).await;
    lap(Step::Body);
    let taken = taken?;
    let share = Arc::new(taken.share);
    if planted::is(Bug::ConditionAtGateway) {
        precondition = decided_here(master, &key, precondition).await?;
    }
    let object = Object { key, needle: taken.needle, md5: taken.md5, headers, precondition, share };
    let applied = store(master, &object, super::deadline(master), true).await?;

    let mut response = Response::new(Body::from(object.key.as_str().to_owned()));
    *response.status_mut() = if applied.replaced { StatusCode::OK } else { StatusCode::CREATED };
    let answer_fields = response.headers_mut();
    answer_fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer_fields.insert(header::ETAG, fields::etag(&object.md5));
    answer_fields.insert(fields::VERSION, HeaderValue::from(applied.version.0));
    Ok(response)
}

/// What is left to decide for apply: nothing, where the condition holds by what can be read before the write.
async fn decided_here(
    master: &Arc<Master>,
    key: &ObjectKey,
    precondition: Precondition,
) -> Result<Precondition, Problem> {
    linearize(master, super::deadline(master)).await.map_err(not_linearizable)?;
    let record = master.node.get(key).map_err(|error| not_now(error.to_string()))?;
    let holds = match &precondition {
        Precondition::None => true,
        Precondition::Absent => record.is_none(),
        Precondition::Present => record.is_some(),
        Precondition::Matches(tags) => record.is_some_and(|record| tags.contains(&record.md5)),
    };
    if holds { Ok(Precondition::None) } else { Err(condition_failed()) }
}

/// A PUT that another gateway handed over, with its body already checked there.
pub(crate) async fn accept_hand_over(
    master: &Arc<Master>,
    request: HandOver,
    data: Bytes,
) -> Result<Applied, HandOverError> {
    let deadline = Instant::now() + Duration::from_millis(request.deadline_ms.into());
    let Ok(share) = timeout_at(deadline, master.gateway.bodies.whole(data.len())).await else {
        return Err(to_hand_over(exhausted(Exhausted)));
    };
    let share = share.map_err(|error| to_hand_over(exhausted(error)))?;
    if <[u8; 16]>::from(Md5::digest(&data)) != request.md5 {
        return Err(to_hand_over(not_now("the object was damaged between two masters; try again")));
    }
    let key_bytes = request.key.as_str().as_bytes();
    let object = Object {
        needle: needle::Body::new([key_bytes, &data].concat(), key_bytes.len()),
        key: request.key,
        md5: request.md5,
        headers: request.headers,
        precondition: request.precondition,
        share: Arc::new(share),
    };
    store(master, &object, deadline, false).await.map_err(to_hand_over)
}

/// The window of these planted bugs lies between the appends and the commit.
async fn widen_windows() {
    if planted::is(Bug::OrphansWithoutFence) {
        sleep(Duration::from_millis(700)).await;
    } else if planted::is_any(&[Bug::EpochFenceIgnored, Bug::StalePlacementAccepted]) {
        sleep(Duration::from_millis(200)).await;
    }
}

/// With the planted bug, writes after one of a fenced epoch get an epoch that can be fenced again.
fn forget_fenced_epoch(master: &Master, draft: &Draft) {
    if planted::is(Bug::EpochFenceIgnored)
        && !master.node.cluster().epochs.contains_key(&draft.ticket.session().epoch)
    {
        master.gateway.epochs.fenced(&draft.ticket);
    }
}

/// The write. `may_hand_over`: once, when a member cannot be reached from here.
async fn store(
    master: &Arc<Master>,
    object: &Object,
    deadline: Instant,
    may_hand_over: bool,
) -> Result<Applied, Problem> {
    let mut unfinished: Option<Draft> = None;
    let (mut pauses, mut in_doubt) = (Pauses::new(), None);
    loop {
        // Before the wait for a target, too: without a leader no placement changes.
        if leader::is_out_of_reach(master) {
            return Err(no_leader(master));
        }
        let placement = target::wait(master, &object.key, deadline).await.map_err(no_target)?;
        // No bytes are written that no commit can follow: they would be orphans.
        if !leader::wait_reachable(master, deadline).await {
            return Err(no_leader(master));
        }
        let mut draft = match unfinished.take() {
            Some(draft) if draft.is_for(&placement) => draft,
            outdated => {
                metrics::DRAFTS_REDONE.add(u64::from(outdated.is_some()));
                drop(outdated);
                let ticket = master.gateway.epochs.take(deadline).await.map_err(no_epoch(master))?;
                Draft::new(master, object, placement, ticket)
            }
        };

        lap(Step::Placement);
        let failed = draft.append(master, object, deadline).await;
        lap(Step::Replication);
        if let Some((volume, failure)) = failed.first() {
            let why = format!("nothing was written: volume {volume} did not take the object: {failure}");
            if Instant::now() >= deadline {
                return Err(out_of_time(master, &why));
            }
            let place = (draft.placement.id, draft.placement.generation);
            match report(master, &draft.placement, &failed, &mut pauses, deadline).await {
                Advice::TryAgain => {}
                Advice::NoRoom => return Err(no_room(why)),
                // The leader can reach it. Once may be chance; twice is a cut between here and there.
                Advice::OnlyFromHere if may_hand_over && in_doubt == Some(place) => {
                    return hand_over(master, object, deadline, &why).await;
                }
                Advice::OnlyFromHere => in_doubt = Some(place),
            }
            unfinished = Some(draft);
            continue;
        }

        widen_windows().await;
        draft.may_count = true;
        let committed = commit(master, Arc::clone(&draft.ticket), draft.commit(object), deadline).await;
        lap(Step::Commit);
        if let Err(CommitError::Refused(Refusal::StalePlacement | Refusal::PreconditionFailed)) = committed {
            draft.may_count = false;
        }
        match committed {
            Ok(applied) => {
                forget_fenced_epoch(master, &draft);
                return Ok(applied);
            }
            Err(CommitError::Refused(Refusal::StalePlacement)) => {
                metrics::DRAFTS_REDONE.increment();
                target::moved(master, &draft.placement, deadline).await
            }
            Err(CommitError::Refused(Refusal::Fenced)) => {
                metrics::DRAFTS_REDONE.increment();
                master.gateway.epochs.fenced(&draft.ticket);
            }
            Err(CommitError::Unknown) if planted::is(Bug::UnknownCommittedAnew) => {}
            Err(error) => return Err(commit_failed(master, &error)),
        }
        if Instant::now() >= deadline {
            return Err(not_now(
                "nothing was changed: the placement moved under the write each time; try again",
            ));
        }
    }
}

fn out_of_time(master: &Master, why: &str) -> Problem {
    let timeout = master.options.request_timeout;
    not_now(format!(
        "{why}, and --request-timeout ({timeout:?}) is over; try again, and raise it where disks are so slow"
    ))
}

/// A needle of the object for one placement, from its id to its commit. It is kept while members fail and the placement
/// stays, so that a member which has the bytes is not sent them again under another id.
struct Draft {
    placement: Placement,
    ticket: Arc<Ticket>,
    now_ms: u64,
    parts: append::Parts,
    /// The members that have not acknowledged it.
    missing: Vec<VolumeId>,
    /// A commit was sent, and not refused for sure: a key may name it.
    may_count: bool,
    master: Arc<Master>,
}

impl Drop for Draft {
    /// However the write ended, or whoever stopped waiting for it: what no commit can name goes again.
    fn drop(&mut self) {
        if !self.may_count {
            let acked = self.placement.members.iter().copied().filter(|id| !self.missing.contains(id));
            abandon::drop_needle(&self.master, self.ticket.needle(), acked.collect());
        }
    }
}

impl Draft {
    fn new(master: &Arc<Master>, object: &Object, placement: Placement, ticket: Arc<Ticket>) -> Self {
        let now_ms = now_ms();
        let bytes = object.needle.with_header(ticket.needle(), placement.id, (now_ms / 1000) as u32);
        let parts = append::Parts { bytes, share: Arc::clone(&object.share) };
        let (missing, master) = (placement.members.clone(), Arc::clone(master));
        Self { missing, placement, ticket, now_ms, parts, may_count: false, master }
    }

    fn is_for(&self, placement: &Placement) -> bool {
        (self.placement.id, self.placement.generation) == (placement.id, placement.generation)
    }

    /// Steps 2 and 3 with every member that has not acknowledged it yet; who still has not, and why.
    async fn append(
        &mut self,
        master: &Arc<Master>,
        object: &Object,
        deadline: Instant,
    ) -> Vec<(VolumeId, AppendFailure)> {
        let (needle, crc) = (self.ticket.needle(), object.needle.crc());
        let failed = append::everywhere(master, &self.missing, needle, &self.parts, crc, deadline).await;
        self.missing = failed.iter().map(|(volume, _)| *volume).collect();
        failed
    }

    fn commit(&self, object: &Object) -> Command {
        Command::Commit(Commit {
            session: self.ticket.session(),
            key: object.key.clone(),
            placement: self.placement.id,
            generation: self.placement.generation,
            size: object.needle.data_len(),
            crc: object.needle.crc(),
            md5: object.md5,
            headers: object.headers.clone(),
            precondition: object.precondition.clone(),
            now_ms: self.now_ms,
        })
    }
}

async fn hand_over(
    master: &Master,
    object: &Object,
    deadline: Instant,
    why: &str,
) -> Result<Applied, Problem> {
    let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(HAND_OVER_MARGIN);
    let request = HandOver {
        key: object.key.clone(),
        headers: object.headers.clone(),
        precondition: object.precondition.clone(),
        md5: object.md5,
        deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
    };
    match hand_over::give(master, &request, object.needle.data_bytes(), deadline).await {
        Some(answer) => answer.map_err(handed_over),
        None => Err(not_now(format!("{why}, and no other master answers; try again"))),
    }
}

/// ms since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
