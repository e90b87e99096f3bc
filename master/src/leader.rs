//! The way to the leader, wherever it is: in this process, or one call away.
//!
//! Owns finding it, one attempt at it, when to stop waiting for it, and the words for there being none. Leaves batching
//! and retries of client commands to `gateway/`. Invariant: an attempt that may have reached a leader and has no answer is
//! `Unknown`.

use hayrick_protocol::NodeId;
use hayrick_protocol::command::{Command, Reply};
use hayrick_protocol::messages::master::{Propose, ProposeError, ReadIndex, ReadIndexError};
use tokio::time::{Duration, Instant, sleep};

use crate::cluster::members::UNREACHABLE_AFTER;
use crate::master::Master;

/// The longest election timeouts that a failover may take: the old leader's lease, an election, and one more after a
/// split vote.
const FAILOVER_ELECTIONS: u32 = 3;
/// Pause before the leader is looked for again.
const RETRY: Duration = Duration::from_millis(50);
/// What one attempt may take in [`propose_until`].
const ATTEMPT: Duration = Duration::from_millis(1500);

/// Whom this master takes for the leader. Before it takes part in anything it has heard none: what its disk says may be long
/// ago, or, where that was set back, earlier than what it said itself.
pub(crate) fn current(master: &Master) -> Option<NodeId> {
    let leader = master.node.watch().borrow().leader;
    leader.filter(|_| master.admission.is_admitted())
}

/// Has the leader replicate `commands`, in one attempt.
pub(crate) async fn propose(
    master: &Master,
    commands: Vec<Command>,
    deadline: Instant,
) -> Result<Vec<Reply>, ProposeError> {
    let leader = match current(master) {
        Some(leader) if leader == master.options.id => return master.node.propose(commands, deadline).await,
        leader => leader,
    };
    let Some(client) = leader.and_then(|id| master.peers.master(id)) else {
        return Err(ProposeError::NotLeader { leader });
    };
    match client.call(&Propose { commands }, Vec::new(), deadline).await {
        Ok((result, _)) => result,
        Err(error) if error.surely_not_executed() => Err(ProposeError::NotLeader { leader: None }),
        Err(error) => Err(ProposeError::Unknown(error.to_string())),
    }
}

/// Has the leader replicate `commands`, waiting for a leader and repeating what was surely not proposed. With
/// `repeat_unknown` it repeats an unknown outcome too: for commands whose repetition changes nothing.
pub(crate) async fn propose_until(
    master: &Master,
    commands: Vec<Command>,
    deadline: Instant,
    repeat_unknown: bool,
) -> Result<Vec<Reply>, ProposeError> {
    loop {
        let attempt = deadline.min(Instant::now() + ATTEMPT);
        let error = match propose(master, commands.clone(), attempt).await {
            Ok(replies) if replies.len() == commands.len() => return Ok(replies),
            Ok(_) => ProposeError::Unknown("the leader's answer does not fit the request".into()),
            Err(error) => error,
        };
        let final_word = matches!(error, ProposeError::Unknown(_)) && !repeat_unknown;
        if final_word || Instant::now() + RETRY >= deadline {
            return Err(error);
        }
        sleep(RETRY).await;
    }
}

/// Asks the leader for an index that every read which arrived before this call must have applied.
pub(crate) async fn read_index(master: &Master, deadline: Instant) -> Result<u64, ReadIndexError> {
    let leader = match current(master) {
        Some(leader) if leader == master.options.id => return master.node.read_index(deadline).await,
        leader => leader,
    };
    let Some(client) = leader.and_then(|id| master.peers.master(id)) else {
        return Err(ReadIndexError::NotLeader { leader });
    };
    match client.call(&ReadIndex, Vec::new(), deadline).await {
        Ok((result, _)) => result,
        Err(_) => Err(ReadIndexError::NotLeader { leader: None }),
    }
}

/// The leader, if it can be asked: this master with a majority, or one that this is connected to.
pub(crate) fn reachable(master: &Master) -> Option<NodeId> {
    current(master).filter(|leader| can_be_asked(master, *leader))
}

/// Whether this leader can: this master with a majority, or one that this is connected to.
pub(crate) fn can_be_asked(master: &Master, leader: NodeId) -> bool {
    if leader == master.options.id {
        master.node.has_quorum()
    } else {
        master.peers.master(leader).is_some_and(|client| client.is_connected())
    }
}

/// Whether nothing can come of waiting for a leader: there is none that can be asked, and no majority of the masters,
/// which could elect one, has been heard of for longer than a failover takes.
pub(crate) fn is_out_of_reach(master: &Master) -> bool {
    let failover = UNREACHABLE_AFTER.max(master.options.election.1.saturating_mul(FAILOVER_ELECTIONS));
    // In this order, as every read asks, and the first half costs less.
    master.members.is_alone(master.options.id, &master.voters(), failover) && reachable(master).is_none()
}

/// Waits until a command would reach a leader, as far as can be told beforehand: one that is connected, or this master
/// itself with a majority. False when that is not so until `deadline`, or will not be so for all that can be told.
pub(crate) async fn wait_reachable(master: &Master, deadline: Instant) -> bool {
    while reachable(master).is_none() {
        if is_out_of_reach(master) {
            return false;
        }
        // The question makes a connection that was lost, and only a leader with a majority answers it.
        let attempt = deadline.min(Instant::now() + ATTEMPT);
        if read_index(master, attempt).await.is_ok() {
            return true;
        }
        if Instant::now() + RETRY >= deadline {
            return false;
        }
        sleep(RETRY).await;
    }
    true
}

/// Why the cluster cannot decide anything just now, and what would help, in one sentence.
pub(crate) fn why_none(master: &Master) -> String {
    let me = master.options.id;
    if let Some(reason) = master.admission.failure() {
        return reason;
    }
    if let Some(address) = master.options.join.as_ref().filter(|_| master.node.is_pristine()) {
        return format!(
            "master {me} has not entered its cluster yet: it asks at {address} (--join) and waits for the log; try again \
             in a second"
        );
    }
    let masters = master.voters();
    let connected =
        |id: &NodeId| *id == me || master.peers.master(*id).is_some_and(|client| client.is_connected());
    let silent: Vec<String> = masters.iter().filter(|id| !connected(id)).map(NodeId::to_string).collect();
    if masters.len() - silent.len() > masters.len() / 2 {
        return match current(master) {
            None => format!(
                "master {me} knows no leader yet: the masters are electing one; try again in a second"
            ),
            Some(_) if !master.is_registered() => {
                format!("master {me} is not registered with its cluster yet; try again in a second")
            }
            Some(leader) => format!(
                "master {leader} leads, as far as master {me} knows, but does not answer it or hears no majority of \
                 the masters; try again in a second"
            ),
        };
    }
    format!(
        "master {me} hears no majority of the masters: {} of {} do not answer (master {}); {}",
        silent.len(),
        masters.len(),
        silent.join(", "),
        start_some(masters.len() / 2 + 1 - (masters.len() - silent.len())),
    )
}

/// What to do where so many servers are missing of those that were named.
pub(crate) fn start_some(missing: usize) -> String {
    if missing == 1 { "start one of them".to_owned() } else { format!("start {missing} of them") }
}
