//! Step 4 of the write, and the whole of delete and undelete: a command goes to the leader, and its outcome is told apart
//! into *applied*, *refused*, *surely not proposed* and *unknown*.
//!
//! Owns the queue to the leader: one request carries the commands that gathered while the last was in flight. A
//! command whose outcome is unknown is asked again under the same seq until its deadline; apply remembers.
//! Invariants: a command that was given up as "not proposed" is never sent afterwards; `Fenced` in answer to a
//! repeated sending is an unknown outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::command::{Applied, Command, Refusal, Reply};
use hayrick_protocol::limits::{BATCH_COMMANDS_MAX, PROPOSALS_WAITING_MAX};
use hayrick_protocol::messages::master::ProposeError;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, sleep};
use tracing::debug;

use super::epoch::Ticket;
use super::gather::{Gather, Pushed};
use crate::leader;
use crate::master::Master;

/// What one sending may take before its outcome counts as unknown and it is asked again.
const ATTEMPT: Duration = Duration::from_millis(1500);
/// Pause before asking again.
const RETRY: Duration = Duration::from_millis(20);

/// The queue to the leader.
pub(crate) struct Commits {
    waiting: Gather<Waiting>,
}

struct Waiting {
    command: Command,
    ticket: Arc<Ticket>,
    deadline: Instant,
    stage: Arc<Stage>,
    done: oneshot::Sender<Result<Applied, CommitError>>,
}

/// Where a command is between its waiter and the flight that sends it. Whoever moves it first decides.
struct Stage(AtomicU8);

/// Never sent, or surely not proposed.
const UNSENT: u8 = 0;
/// Being sent for the first time.
const SENT: u8 = 1;
/// Sent before without an answer: it may be applied, now or later.
const UNKNOWN: u8 = 2;
/// Its waiter gave up while it was unsent: never to be sent.
const GIVEN_UP: u8 = 3;

/// Why a command has no success.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// Apply refused it: no effect.
    Refused(Refusal),
    /// It was surely not proposed: no effect, now or later. Why.
    NotProposed(ProposeError),
    /// It may take effect.
    Unknown,
}

impl Commits {
    pub(crate) fn new() -> Self {
        Self { waiting: Gather::new(PROPOSALS_WAITING_MAX, 1) }
    }
}

/// Has `command`, whose session is `ticket`'s, applied exactly once, or says what became of it by `deadline`.
pub(crate) async fn commit(
    master: &Arc<Master>,
    ticket: Arc<Ticket>,
    command: Command,
    deadline: Instant,
) -> Result<Applied, CommitError> {
    let stage = Arc::new(Stage(AtomicU8::new(UNSENT)));
    let (done, answer) = oneshot::channel();
    let waiting = Waiting { command, ticket, deadline, stage: Arc::clone(&stage), done };
    match master.gateway.commits.waiting.push(waiting) {
        Ok(Pushed::Waits) => {}
        Ok(Pushed::StartFlight) => drop(tokio::spawn(flight(Arc::clone(master)))),
        Err(_) => return Err(CommitError::NotProposed(ProposeError::Overloaded)),
    }
    match tokio::time::timeout_at(deadline, answer).await {
        Ok(Ok(result)) => result,
        // The flight is gone with its runtime, or has not come back in time.
        Ok(Err(_)) | Err(_) if stage.give_up() => {
            Err(CommitError::NotProposed(ProposeError::NotLeader { leader: None }))
        }
        Ok(Err(_)) | Err(_) => Err(CommitError::Unknown),
    }
}

/// Sends what waits until nothing does.
async fn flight(master: Arc<Master>) {
    let queue = &master.gateway.commits.waiting;
    let _flight = queue.flight();
    queue.let_others_gather().await;
    loop {
        let mut commands = 0;
        let batch = queue.take(|_| {
            commands += 1;
            commands <= BATCH_COMMANDS_MAX
        });
        let Some(mut batch) = batch else { return };
        batch.retain(|waiting| !waiting.done.is_closed() && waiting.stage.send());
        if batch.is_empty() {
            continue;
        }
        let back = send(&master, batch).await;
        if !back.is_empty() {
            queue.put_back(back);
            sleep(RETRY).await;
        }
    }
}

/// Sends `batch` once and answers whom it can; gives back what is to be sent again.
async fn send(master: &Master, batch: Vec<Waiting>) -> Vec<Waiting> {
    let commands = batch.iter().map(Waiting::command).collect();
    let deadline = Instant::now() + ATTEMPT;
    match leader::propose(master, commands, deadline).await {
        Ok(replies) if replies.len() == batch.len() => {
            let mut again = Vec::new();
            for (waiting, reply) in batch.into_iter().zip(replies) {
                if planted::is(Bug::DedupeDroppedAtSnapshot) && !waiting.is_repeated() {
                    again.extend(waiting.unknown());
                } else {
                    waiting.answer(reply);
                }
            }
            again
        }
        Ok(_) | Err(ProposeError::Unknown(_)) => {
            debug!(commands = batch.len(), "the outcome is unknown; asking again");
            batch.into_iter().filter_map(Waiting::unknown).collect()
        }
        Err(refused) => batch.into_iter().filter_map(|waiting| waiting.not_proposed(&refused)).collect(),
    }
}

impl Waiting {
    /// The command, with the session as of now.
    fn command(&self) -> Command {
        let mut command = self.command.clone();
        if let Some(session) = command.session_mut() {
            *session = self.ticket.session();
        }
        command
    }

    fn answer(self, reply: Reply) {
        let repeated = self.is_repeated();
        // A waiter that is gone does not want to know.
        let _ = self.done.send(outcome(reply, repeated));
    }

    /// Whether it was sent before the last time.
    fn is_repeated(&self) -> bool {
        self.stage.0.load(Ordering::Acquire) == UNKNOWN
    }

    /// The outcome of this sending is unknown: to be sent again, unless time is up.
    fn unknown(self) -> Option<Self> {
        self.stage.0.store(UNKNOWN, Ordering::Release);
        if planted::is(Bug::DefiniteFailureTookEffect) {
            let _ = self.done.send(Err(CommitError::NotProposed(ProposeError::NoQuorum)));
            return None;
        }
        if Instant::now() < self.deadline && !planted::is(Bug::UnknownCommittedAnew) {
            metrics::COMMITS_REPEATED.increment();
            return Some(self);
        }
        let _ = self.done.send(Err(CommitError::Unknown));
        None
    }

    /// This sending was surely not proposed: to be sent again, unless time is up.
    fn not_proposed(self, why: &ProposeError) -> Option<Self> {
        let first = self.stage.take_back();
        if Instant::now() + RETRY < self.deadline {
            return Some(self);
        }
        let error = if first { CommitError::NotProposed(why.clone()) } else { CommitError::Unknown };
        let _ = self.done.send(Err(error));
        None
    }
}

/// What apply's reply means for a command that was sent once, or before without an answer.
fn outcome(reply: Reply, repeated: bool) -> Result<Applied, CommitError> {
    match reply {
        Reply::Applied(applied) => Ok(applied),
        // None of these is remembered, so that none says what became of an earlier sending.
        Reply::Refused(Refusal::Fenced | Refusal::AlreadyResolved | Refusal::WindowFull) if repeated => {
            Err(CommitError::Unknown)
        }
        Reply::Refused(refusal) => Err(CommitError::Refused(refusal)),
        _ => Err(CommitError::Unknown),
    }
}

impl Stage {
    /// Before a sending; false when the waiter gave up.
    fn send(&self) -> bool {
        match self.0.compare_exchange(UNSENT, SENT, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(stage) => stage == UNKNOWN,
        }
    }

    /// After a sending that was surely not proposed; whether no sending before it may have been either.
    fn take_back(&self) -> bool {
        self.0.compare_exchange(SENT, UNSENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The waiter's time is up; true when the command was not sent and now never will be.
    fn give_up(&self) -> bool {
        self.0.compare_exchange(UNSENT, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fenced_refuses_a_first_sending_and_says_nothing_of_a_repeated_one() {
        let fenced = || Reply::Refused(Refusal::Fenced);
        assert!(matches!(outcome(fenced(), false), Err(CommitError::Refused(Refusal::Fenced))));
        assert!(matches!(outcome(fenced(), true), Err(CommitError::Unknown)));
        let full = || Reply::Refused(Refusal::WindowFull);
        assert!(matches!(outcome(full(), false), Err(CommitError::Refused(Refusal::WindowFull))));
        assert!(matches!(outcome(full(), true), Err(CommitError::Unknown)));
        // What apply remembers: a sending that comes late gets the same answer.
        let stale = Reply::Refused(Refusal::StalePlacement);
        assert!(matches!(outcome(stale, true), Err(CommitError::Refused(Refusal::StalePlacement))));
    }

    #[test]
    fn a_command_given_up_before_it_was_sent_is_never_sent() {
        let stage = Stage(AtomicU8::new(UNSENT));
        assert!(stage.give_up());
        assert!(!stage.send());
    }

    #[test]
    fn a_command_under_way_cannot_be_given_up() {
        let stage = Stage(AtomicU8::new(UNSENT));
        assert!(stage.send());
        assert!(!stage.give_up());
        assert!(stage.take_back(), "it was surely not proposed");
        assert!(stage.give_up());
    }

    #[test]
    fn once_unknown_a_command_stays_unknown() {
        let stage = Stage(AtomicU8::new(UNSENT));
        assert!(stage.send());
        stage.0.store(UNKNOWN, Ordering::Release);
        assert!(stage.send(), "it is asked again");
        assert!(!stage.take_back(), "a refusal to propose the second sending says nothing of the first");
        assert!(!stage.give_up());
    }
}
