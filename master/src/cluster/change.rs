//! Changes of who the masters are and who leads them, as an operator or a master that enters asks for them.
//!
//! Owns what a change consists of, the Raft group's part and the state's, in an order in which a failure between the two
//! leaves what asking again completes; the way to the leader, who alone makes changes; and the leader's duty to give
//! learners their vote. Leaves majorities to `raft-store`. Invariant: a directory is registered under its id before it is
//! sent the log, and so no other one is ever let in under that id.

use std::time::Duration;

use hayrick_protocol::NodeId;
use hayrick_protocol::cluster_map::Master as Record;
use hayrick_protocol::command::{Command, Refusal, Reply};
use hayrick_protocol::messages::master::{ChangeMasters, ChangeMastersError, MastersChanged, ProposeError};
use hayrick_raft_store::{ChangeError, TransferError};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, info};

use crate::admission::{removed, replaced};
use crate::leader;
use crate::master::Master;

type Outcome = Result<MastersChanged, ChangeMastersError>;

/// Pause before the leader is looked for again.
const RETRY: Duration = Duration::from_millis(50);
/// The leader answers so much earlier than it is asked to, so that the answer is there in time.
const ANSWER_MARGIN: Duration = Duration::from_millis(100);
/// Between two looks whether a learner has caught up.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What one change of the duty may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Has the leader make the change, wherever it is, waiting for one if need be.
pub(crate) async fn change(master: &Master, change: &ChangeMasters, deadline: Instant) -> Outcome {
    loop {
        let outcome = attempt(master, change, deadline).await;
        let no_leader = matches!(outcome, Err(ChangeMastersError::NotLeader { .. }));
        if !no_leader || Instant::now() + RETRY >= deadline {
            return outcome;
        }
        sleep(RETRY).await;
    }
}

async fn attempt(master: &Master, change: &ChangeMasters, deadline: Instant) -> Outcome {
    let leader = match leader::current(master) {
        Some(leader) if leader == master.options.id => return at_leader(master, change, deadline).await,
        leader => leader,
    };
    let Some(client) = leader.and_then(|id| master.peers.master(id)) else {
        return Err(ChangeMastersError::NotLeader { leader: None });
    };
    match client.call(change, Vec::new(), deadline).await {
        Ok((outcome, _)) => outcome,
        Err(error) if error.surely_not_executed() => Err(ChangeMastersError::NotLeader { leader: None }),
        Err(error) => Err(ChangeMastersError::Unknown(error.to_string())),
    }
}

/// Makes the change, if this master leads; else says who does.
pub(crate) async fn at_leader(master: &Master, change: &ChangeMasters, deadline: Instant) -> Outcome {
    if !master.leads() {
        return Err(not_leader(master, leader::current(master)));
    }
    let deadline = deadline.checked_sub(ANSWER_MARGIN).unwrap_or(deadline);
    match change {
        ChangeMasters::Admit(record) => admit(master, record, deadline).await,
        ChangeMasters::Remove(id) => remove(master, *id, deadline).await,
        ChangeMasters::Transfer(id) => transfer(master, *id, deadline).await,
    }
}

/// Gives learners their vote and ends what a former leader left half done, for as long as this master leads.
pub(crate) async fn run(master: &Master) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let deadline = Instant::now() + PATIENCE;
        if let Err(error) = master.node.settle_membership(deadline).await {
            debug!(%error, "a change of the masters is not ended yet");
            continue;
        }
        for learner in master.node.learners() {
            if !master.node.cluster().masters.contains_key(&learner) {
                continue;
            }
            match master.node.promote(learner, deadline).await {
                Ok(()) => info!(master = learner.0, "a master has caught up, and votes from now on"),
                Err(error) => debug!(master = learner.0, %error, "a master does not vote yet"),
            }
        }
    }
}

async fn admit(master: &Master, record: &Record, deadline: Instant) -> Outcome {
    let (id, peer) = (record.id, &record.peer);
    let cluster = master.node.cluster();
    if let Some(known) = cluster.masters.get(&id).filter(|_| master.node.voters().contains(&id)) {
        if known.instance != record.instance {
            return Err(ChangeMastersError::Conflict(replaced(id, known.instance)));
        }
        if known.peer == *peer {
            return Ok(MastersChanged::Voter);
        }
        return Err(ChangeMastersError::Conflict(format!(
            "master {id} is at {}, and not at {peer}; a new master needs an id that was never used",
            known.peer
        )));
    }
    propose(master, Command::RegisterMaster(record.clone()), deadline).await?;
    master.node.add_learner(id, peer.clone(), deadline).await.map_err(|error| refused(master, error))?;
    match master.node.promote(id, deadline).await {
        Ok(()) => Ok(MastersChanged::Voter),
        Err(ChangeError::Lags { lag_entries, .. }) => Ok(MastersChanged::Learner(lag_entries)),
        // It is a learner, and the leader's duty does the rest.
        Err(_) => Ok(MastersChanged::Learner(None)),
    }
}

async fn remove(master: &Master, id: NodeId, deadline: Instant) -> Outcome {
    let cluster = master.node.cluster();
    let is_member = master.node.is_member(id);
    if !is_member && cluster.removed.contains(&id) {
        return Ok(MastersChanged::Removed);
    }
    if !is_member && !cluster.masters.contains_key(&id) {
        return Err(unknown_master(master, id));
    }
    // The group first: who is out of it votes on nothing any more, and the command that says so cannot lack its vote.
    master.node.remove_member(id, deadline).await.map_err(|error| refused(master, error))?;
    match propose(master, Command::RemoveMaster(id), deadline).await {
        Ok(()) => {
            info!(master = id.0, "a master was removed");
            Ok(MastersChanged::Removed)
        }
        Err(error @ ChangeMastersError::Conflict(_)) => Err(error),
        Err(error) => Err(ChangeMastersError::Unknown(format!(
            "master {id} votes no more, but that it was removed is not written down yet ({error})"
        ))),
    }
}

async fn transfer(master: &Master, id: NodeId, deadline: Instant) -> Outcome {
    match master.node.transfer_leader(id, deadline).await {
        Ok(()) => Ok(MastersChanged::Leads),
        Err(TransferError::NotLeader) => Err(not_leader(master, leader::current(master))),
        Err(TransferError::NotAVoter) if master.node.is_member(id) => {
            Err(ChangeMastersError::Conflict(format!("master {id} has no vote yet, and cannot lead")))
        }
        Err(TransferError::NotAVoter) => Err(unknown_master(master, id)),
        Err(TransferError::Lags) => Err(ChangeMastersError::Later(format!(
            "master {id} does not answer, or lacks too much of the log to lead; nothing was changed"
        ))),
        Err(error @ (TransferError::Timeout | TransferError::Stopped(_))) => {
            Err(ChangeMastersError::Unknown(error.to_string()))
        }
    }
}

/// Has the state take note; it is applied here when this returns.
async fn propose(master: &Master, command: Command, deadline: Instant) -> Result<(), ChangeMastersError> {
    let id = match &command {
        Command::RegisterMaster(record) => record.id,
        _ => master.options.id,
    };
    match master.node.propose(vec![command], deadline).await.as_deref() {
        Ok([Reply::Done]) => Ok(()),
        Ok([Reply::Refused(Refusal::OtherInstance(known))]) => {
            Err(ChangeMastersError::Conflict(replaced(id, *known)))
        }
        Ok([Reply::Refused(Refusal::MasterRemoved)]) => Err(ChangeMastersError::Conflict(removed(id))),
        Ok([Reply::Refused(refusal)]) => Err(ChangeMastersError::Conflict(refusal.to_string())),
        Ok(_) => Err(ChangeMastersError::Unknown("apply's reply does not fit the command".to_owned())),
        Err(ProposeError::NotLeader { leader }) => Err(not_leader(master, *leader)),
        Err(error @ (ProposeError::NoQuorum | ProposeError::Overloaded)) => {
            Err(ChangeMastersError::Later(format!("{error}; try again")))
        }
        Err(error @ ProposeError::Unknown(_)) => Err(ChangeMastersError::Unknown(error.to_string())),
    }
}

fn refused(master: &Master, error: ChangeError) -> ChangeMastersError {
    let text = error.to_string();
    match error {
        ChangeError::NotLeader { leader } => not_leader(master, leader),
        ChangeError::UnderWay => ChangeMastersError::Busy(text),
        ChangeError::OtherAddress { .. }
        | ChangeError::NotAMember(_)
        | ChangeError::LastVoter(_)
        | ChangeError::NoMajority { .. } => ChangeMastersError::Conflict(text),
        ChangeError::Lags { .. } => ChangeMastersError::Later(text),
        ChangeError::Unknown(_) | ChangeError::Stopped(_) => ChangeMastersError::Unknown(text),
    }
}

fn not_leader(master: &Master, leader: Option<NodeId>) -> ChangeMastersError {
    let at = |id: NodeId| Some((id, master.peers.address(id)?));
    ChangeMastersError::NotLeader { leader: leader.filter(|id| *id != master.options.id).and_then(at) }
}

fn unknown_master(master: &Master, id: NodeId) -> ChangeMastersError {
    let cluster = master.node.cluster();
    let known: Vec<String> = cluster.masters.keys().map(NodeId::to_string).collect();
    ChangeMastersError::NotFound(format!("there is no master {id}; there are {}", known.join(", ")))
}
