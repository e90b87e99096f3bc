//! From many callers' commands to one entry at a time.
//!
//! Commands that arrive while an entry is in flight wait and share the next one. Owns what a caller may conclude from a
//! failure. Invariant: `NotLeader`, `NoQuorum` and `Overloaded` are only said of commands that were not handed to
//! openraft, or that openraft itself turned away before it made an entry of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hayrick_protocol::NodeId;
use hayrick_protocol::command::{Command, Reply};
use hayrick_protocol::limits::{BATCH_COMMANDS_MAX, ENTRY_BYTES_MAX, PROPOSALS_WAITING_MAX};
use hayrick_protocol::messages::master::ProposeError;
use openraft::Raft;
use openraft::errors::{ClientWriteError, ForwardReason, RaftError};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::machine::Machine;
use crate::types::{Commands, Types};

/// The pause before a fresh leader, whose lease has not begun yet, is asked again.
const LEASE_PAUSE: Duration = Duration::from_millis(1);

/// After so many entries of one caller's commands each, the next does not wait for others either.
const ALONE_ENTRIES: u32 = 16;

type Answer = Result<Vec<Reply>, ProposeError>;

/// The queue of commands to be proposed.
#[derive(Clone, Default)]
pub(crate) struct Proposer {
    queue: Arc<Mutex<Queue>>,
    arrived: Arc<Notify>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    commands: usize,
}

/// One caller's commands.
struct Waiting {
    framed: Bytes,
    count: usize,
    /// Set by whoever is first: the proposer that takes it, or the caller that gives up.
    claimed: Arc<AtomicBool>,
    answer: oneshot::Sender<Answer>,
}

impl Proposer {
    /// Waits for the answer until the deadline. `has_quorum` is asked when it passes with nothing proposed.
    pub(crate) async fn propose(
        &self,
        commands: &[Command],
        deadline: Instant,
        has_quorum: impl Fn() -> bool,
    ) -> Answer {
        let framed = Commands::frame(commands);
        if framed.len() >= ENTRY_BYTES_MAX {
            return Err(ProposeError::Overloaded);
        }
        let claimed = Arc::new(AtomicBool::new(false));
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = self.queue.lock();
            if queue.commands + commands.len() > PROPOSALS_WAITING_MAX {
                return Err(ProposeError::Overloaded);
            }
            queue.commands += commands.len();
            let claimed = Arc::clone(&claimed);
            queue.waiting.push_back(Waiting { framed, count: commands.len(), claimed, answer });
        }
        self.arrived.notify_one();
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            _ if !claimed.swap(true, Ordering::SeqCst) => {
                Err(if has_quorum() { ProposeError::Overloaded } else { ProposeError::NoQuorum })
            }
            Ok(Err(_)) => Err(ProposeError::Unknown("the node stopped before it knew the outcome".into())),
            Err(_) => Err(ProposeError::Unknown("no answer within the deadline".into())),
        }
    }

    /// Proposes what waits, one entry after the other, for ever.
    pub(crate) async fn run(self, raft: Raft<Types, Machine>, give_up_after: Duration) {
        let mut alone = 0_u32;
        loop {
            let batch = self.take();
            if batch.is_empty() {
                self.arrived.notified().await;
                if alone < ALONE_ENTRIES {
                    // Whoever is ready to propose does, and goes with the same entry.
                    tokio::task::yield_now().await;
                }
                continue;
            }
            alone = if batch.len() == 1 { alone.saturating_add(1) } else { 0 };
            let commands = Commands::join(batch.iter().map(|waiting| (waiting.count, &waiting.framed)));
            match write(&raft, commands, give_up_after).await {
                Ok(replies) => distribute(batch, replies),
                Err(error) => batch.into_iter().for_each(|waiting| {
                    // A caller that went away has no use for it.
                    let _ = waiting.answer.send(Err(error.clone()));
                }),
            }
            if alone < ALONE_ENTRIES {
                // Who was just answered may have more, and goes with the next entry.
                tokio::task::yield_now().await;
            }
        }
    }

    /// The next entry's worth of commands that somebody still waits for.
    fn take(&self) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        let (mut batch, mut count, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = queue.waiting.front() {
            let fits =
                count + next.count <= BATCH_COMMANDS_MAX && bytes + next.framed.len() < ENTRY_BYTES_MAX;
            if !batch.is_empty() && !fits {
                break;
            }
            let Some(next) = queue.waiting.pop_front() else { break };
            queue.commands -= next.count;
            if !next.answer.is_closed() && !next.claimed.swap(true, Ordering::SeqCst) {
                (count, bytes) = (count + next.count, bytes + next.framed.len());
                batch.push(next);
            }
        }
        batch
    }
}

fn distribute(batch: Vec<Waiting>, replies: Vec<Reply>) {
    let mut replies = replies.into_iter();
    for waiting in batch {
        let own: Vec<Reply> = replies.by_ref().take(waiting.count).collect();
        let answer = if own.len() == waiting.count {
            Ok(own)
        } else {
            Err(ProposeError::Unknown("apply gave too few replies".into()))
        };
        let _ = waiting.answer.send(answer);
    }
}

async fn write(raft: &Raft<Types, Machine>, commands: Commands, give_up_after: Duration) -> Answer {
    let give_up = Instant::now() + give_up_after;
    loop {
        match raft.client_write(commands.clone()).await {
            Ok(written) => return Ok(written.data.0),
            // In this openraft `ForwardToLeader` is said before an entry is made, and `LogEntryDiscarded` after.
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => match forward.reason {
                ForwardReason::LeaseExpired if Instant::now() < give_up => {
                    tokio::time::sleep(LEASE_PAUSE).await
                }
                ForwardReason::LeaseExpired => return Err(ProposeError::NoQuorum),
                _ => return Err(ProposeError::NotLeader { leader: forward.leader_id.map(NodeId) }),
            },
            Err(error) => return Err(ProposeError::Unknown(error.to_string())),
        }
    }
}
