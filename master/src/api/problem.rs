//! What went wrong, as the client is told: status, what is wrong, what to do.
//!
//! Owns the one mapping from the errors of the write and read protocol to HTTP. Invariant: 504 exactly when the
//! outcome is unknown.

use std::collections::BTreeSet;

use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::VolumeId;
use hayrick_protocol::cluster_map::ClusterMap;
use hayrick_protocol::command::Refusal;
use hayrick_protocol::messages::master::{HandOverError, ProposeError};
use hayrick_web::{NoMemory, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::gateway::bodies::Exhausted;
use crate::gateway::commit::CommitError;
use crate::gateway::epoch::NoEpoch;
use crate::gateway::fetch::NoCopy;
use crate::gateway::read_index::NotLinearizable;
use crate::gateway::target::NoTarget;
use crate::leader;
use crate::master::Master;

/// BasicFS's words, which its clients compare to the letter.
const KEY_DOES_NOT_EXIST: &str = "Key does not exist.";

/// What every 504 begins with.
const UNKNOWN: &str = "outcome unknown";

/// 404.
pub(super) fn no_such_key() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, KEY_DOES_NOT_EXIST).verbatim()
}

/// 400.
pub(super) fn bad_request(text: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, text)
}

/// 409: nothing was changed, and what is in the way.
pub(super) fn conflict(text: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, text)
}

/// 412 to a write.
pub(super) fn condition_failed() -> Problem {
    Problem::new(StatusCode::PRECONDITION_FAILED, "the condition does not hold; nothing was changed")
}

/// 412 to a read: whose condition it is that fails, and what holds instead.
pub(super) fn not_what_was_meant(failed: &HeaderName, object: &HeaderMap) -> Problem {
    let of = |name| object.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let text = format!(
        "the condition of {failed} does not hold: the object's ETag is {}, and it was last modified on {}",
        of(header::ETAG),
        of(header::LAST_MODIFIED)
    );
    Problem::new(StatusCode::PRECONDITION_FAILED, text)
}

/// 503 with the reason: no effect, try again.
pub(super) fn not_now(text: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(1)
}

/// 507: no effect, and none before there is room.
pub(super) fn no_room(text: impl Into<String>) -> Problem {
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, text)
}

/// 504: it may have happened, or still happen.
pub(super) fn unknown() -> Problem {
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        format!(
            "{UNKNOWN}: no majority of the masters confirmed the change in time; it may have happened or still happen; \
             read the key to learn which"
        ),
    )
}

/// 504 to what an operator decides, all of which may be repeated.
pub(super) fn unknown_change(text: &str) -> Problem {
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        format!("{UNKNOWN}: {text}; ask again, which does nothing twice, or look at /-/status"),
    )
}

/// Why the leader did not replicate what an operator decided.
pub(super) fn not_proposed(master: &Master, error: &ProposeError) -> Problem {
    match error {
        ProposeError::NotLeader { .. } | ProposeError::NoQuorum => {
            not_now(format!("nothing was changed: {}", leader::why_none(master)))
        }
        ProposeError::Overloaded => not_now(format!("nothing was changed: {error}; try again")),
        ProposeError::Unknown(text) => unknown_change(text),
    }
}

pub(super) fn exhausted(_: Exhausted) -> Problem {
    not_now("the memory for request bodies is taken (--body-memory); try again")
}

pub(super) fn no_epoch(master: &Master) -> impl FnOnce(NoEpoch) -> Problem + '_ {
    |_| no_leader(master)
}

pub(super) fn no_memory_to_answer(error: NoMemory) -> Problem {
    not_now(format!("{error} (--body-memory); try again"))
}

pub(super) fn no_leader(master: &Master) -> Problem {
    not_now(format!("nothing was written: {}", leader::why_none(master)))
}

pub(super) fn no_target(reason: NoTarget) -> Problem {
    match reason {
        NoTarget::Soon(text) | NoTarget::TooFew(text) => not_now(text),
        NoTarget::Full(text) => no_room(text),
    }
}

pub(super) fn not_linearizable(reason: NotLinearizable) -> Problem {
    let NotLinearizable(text) = reason;
    not_now(format!("{text}; or read with ?consistency=stale what this master has"))
}

/// 503: no member has the object whole, and it was looked for on all other volumes before.
pub(super) fn missing() -> Problem {
    not_now(
        "the object is missing: no volume that is up has it whole; start the volumes that had it, store it again, or delete it",
    )
}

/// 503 to a read whose object no volume has shown: which ones might, were they up.
pub(super) fn not_readable(map: &ClusterMap, no_copy: &NoCopy) -> Problem {
    if planted::is(Bug::NotFoundForLost) {
        return no_such_key();
    }
    let address = |id| map.volumes.get(id).map_or("address unknown", |volume| volume.addr.as_str());
    let silent: BTreeSet<VolumeId> = no_copy.silent().into_iter().collect();
    let silent: Vec<String> = silent.iter().map(|id| format!("{id} ({})", address(id))).collect();
    let (reasons, silent) = (no_copy.reasons(), silent.join(", "));
    not_now(match no_copy.silent().len() {
        0 => format!("no volume can serve a good copy just now ({reasons}); try again"),
        all if all == no_copy.0.len() => {
            format!("none of the volumes that hold the object answers; start one of them: volumes {silent}")
        }
        _ => format!(
            "no volume that answers has a good copy ({reasons}); start one of those that do not: volumes {silent}"
        ),
    })
}

pub(super) fn commit_failed(master: &Master, error: &CommitError) -> Problem {
    match error {
        CommitError::Refused(Refusal::PreconditionFailed) => condition_failed(),
        CommitError::Refused(Refusal::NotFound) => no_such_key(),
        CommitError::Refused(refusal) => not_now(format!("nothing was changed: {refusal}; try again")),
        CommitError::NotProposed(ProposeError::Overloaded) => {
            not_now("nothing was changed: the leader has too many commands waiting; try again")
        }
        CommitError::NotProposed(_) => not_now(format!("nothing was changed: {}", leader::why_none(master))),
        CommitError::Unknown => unknown(),
    }
}

pub(super) fn handed_over(error: HandOverError) -> Problem {
    match error {
        HandOverError::Refused { status, text } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            Problem::new(status, text)
        }
        HandOverError::Unknown(text) if text.starts_with(UNKNOWN) => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, text)
        }
        HandOverError::Unknown(why) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "{UNKNOWN}: {why}; the change may have happened or still happen; read the key to learn which"
            ),
        ),
    }
}

/// The other way: what a handed-over PUT's problem is for the gateway that handed it over.
pub(super) fn to_hand_over(problem: Problem) -> HandOverError {
    if problem.status == StatusCode::GATEWAY_TIMEOUT {
        HandOverError::Unknown(problem.text)
    } else {
        HandOverError::Refused { status: problem.status.as_u16(), text: problem.text }
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::InstanceId;
    use hayrick_protocol::cluster_map::{Volume, VolumeState};

    use super::*;
    use crate::gateway::fetch::Failure;

    #[test]
    fn an_unreadable_object_names_the_volumes_that_would_help() {
        let volume = |id: u32| Volume {
            id: VolumeId(id),
            instance: InstanceId::UNKNOWN,
            addr: format!("10.0.0.{id}:9091"),
            peer: String::new(),
            zone: String::new(),
            capacity_bytes: 1,
            state: VolumeState::Down,
        };
        let volumes = [1, 2].map(|id| (VolumeId(id), volume(id))).into();
        let map = ClusterMap { version: 1, volumes };
        let text = |failures: &[(u32, Failure)]| {
            let failures = failures.iter().map(|(id, why)| (VolumeId(*id), why.clone()));
            not_readable(&map, &NoCopy(failures.collect())).text
        };
        let (silent, damaged) = (Failure::Silent("not sent".into()), Failure::Answered("damaged".into()));
        let all = text(&[(1, silent.clone()), (2, silent.clone())]);
        assert!(all.ends_with("start one of them: volumes 1 (10.0.0.1:9091), 2 (10.0.0.2:9091)"), "{all}");
        let some = text(&[(1, damaged.clone()), (2, silent)]);
        assert!(
            some.contains("volume 1: damaged") && some.ends_with(": volumes 2 (10.0.0.2:9091)"),
            "{some}"
        );
        let none = text(&[(1, damaged)]);
        assert!(none.contains("volume 1: damaged") && none.ends_with("try again"), "{none}");
    }

    #[test]
    fn an_unknown_hand_over_says_so_once_and_says_why() {
        let text = |why: &str| handed_over(HandOverError::Unknown(why.to_owned())).text;
        let silent = text("master 2 took the request over and has not answered");
        assert!(silent.starts_with("outcome unknown: master 2 took"), "{silent}");
        let HandOverError::Unknown(there) = to_hand_over(unknown()) else { panic!("504 is unknown") };
        assert_eq!(text(&there), unknown().text);
    }
}
