//! The other masters, as they greet each other once a second.
//!
//! Owns when each was last heard of, and that this master is registered where it is. Leaves who leads to Raft and
//! who may vote to `bootstrap`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hayrick_protocol::NodeId;
use hayrick_protocol::command::{Command, Refusal, Reply};
use hayrick_protocol::messages::master::{Greet, Greeting, Stage};
use hayrick_raft_store::Role;
use hayrick_rpc::CallError;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use crate::bootstrap::objects;
use crate::ended;
use crate::leader;
use crate::master::Master;

const GREET_EVERY: Duration = Duration::from_secs(1);
/// A master that was not heard of for this long counts as unreachable: three greetings.
pub(crate) const UNREACHABLE_AFTER: Duration = Duration::from_secs(3);
const GREET_PATIENCE: Duration = Duration::from_millis(800);
/// Between two looks whether this master is registered where it is, and two attempts to register.
const REGISTER_EVERY: Duration = Duration::from_millis(200);
/// What one attempt to register may take.
const REGISTER_PATIENCE: Duration = Duration::from_secs(3);

/// When each master was last heard of.
pub(crate) struct Members {
    begun: Instant,
    heard: Mutex<BTreeMap<NodeId, Instant>>,
    /// Who knows what this master's disk held when it started.
    told: Mutex<BTreeSet<NodeId>>,
}

impl Members {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), heard: Mutex::default(), told: Mutex::default() }
    }

    /// A sign of life of a registered master.
    pub(crate) fn heard_of(&self, id: NodeId) {
        self.heard.lock().insert(id, Instant::now());
    }

    /// When `id` was last heard of, if ever since this master started.
    pub(crate) fn last_heard(&self, id: NodeId) -> Option<Instant> {
        self.heard.lock().get(&id).copied()
    }

    /// Whether `own` has listened for `within` and heard no majority of `masters`, itself among them, in that time.
    pub(crate) fn is_alone(&self, own: NodeId, masters: &[NodeId], within: Duration) -> bool {
        let needed = masters.len() / 2 + 1;
        let heard = self.heard.lock();
        let is_there = |id: &&NodeId| **id == own || heard.get(id).is_some_and(|at| at.elapsed() < within);
        self.begun.elapsed() >= within && masters.iter().filter(is_there).count() < needed
    }
}

/// Greets, and keeps this master registered, until it stops.
pub(crate) async fn run(master: Arc<Master>) {
    // Apart from each other: a master that does not answer takes its time, and registering is waited for.
    tokio::join!(greet_others(&master), stay_registered(&master), notice_removal(&master));
}

async fn greet_others(master: &Master) {
    let mut ticks = interval(GREET_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refusals = BTreeMap::new();
    while !master.stopping.is_cancelled() {
        ticks.tick().await;
        if master.node.watch().borrow().role == Role::Stopped {
            return master.admission.fail(ended::in_words(master));
        }
        master.seen.save(false).await;
        let cluster = master.node.cluster();
        master.peers.learn(&cluster);
        let others: Vec<NodeId> =
            master.voters().into_iter().chain(cluster.masters.keys().copied()).collect();
        for (id, answer) in greet(master, others, GREET_PATIENCE).await {
            match answer {
                Ok(greeting) if objects(master, id, &greeting) => return,
                Ok(greeting) if is_registered(&cluster.masters, id, &greeting) => master.members.heard_of(id),
                Ok(_) => {}
                Err(CallError::Refused(refusal)) => {
                    // Told once, not every second.
                    if refusals.insert(id, refusal.clone()).as_ref() != Some(&refusal) {
                        warn!(master = id.0, %refusal, "the connection to a master was refused");
                    }
                }
                Err(error) => debug!(master = id.0, %error, "a master does not answer"),
            }
        }
    }
}

/// Registers at once when the cluster is formed or a leader is found, as this master is not ready before, and again
/// should the state ever name another address.
async fn stay_registered(master: &Master) {
    let mut progress = master.node.watch();
    while !master.stopping.is_cancelled() {
        let can_register =
            |leads: bool| leads && master.node.cluster().config.is_some() && master.admission.is_admitted();
        if progress.wait_for(|now| can_register(now.leader.is_some())).await.is_err() {
            return;
        }
        register(master).await;
        sleep(REGISTER_EVERY).await;
    }
}

/// A master that was removed is seldom sent the entry that says so, but it may be.
async fn notice_removal(master: &Master) {
    let mut progress = master.node.watch();
    if progress.wait_for(|_| master.is_removed()).await.is_ok() {
        master.admission.remove();
    }
}

/// Asks each of `others` but this master once, all at the same time.
pub(crate) async fn greet(
    master: &Master,
    mut others: Vec<NodeId>,
    patience: Duration,
) -> Vec<(NodeId, Result<Greeting, CallError>)> {
    others.sort_unstable();
    others.dedup();
    others.retain(|id| *id != master.options.id);
    let deadline = Instant::now() + patience;
    let asked = others.into_iter().filter_map(|id| Some((id, master.peers.master(id)?)));
    join_all(asked.map(async |(id, client)| {
        let message = introduction(master, id);
        let mut answer = client.call(&message, Vec::new(), deadline).await.map(|(greeting, _)| greeting);
        if let Ok(greeting) = &mut answer {
            if message.stage == Stage::Starting && master.admission.is_admitted() {
                // What this master acknowledged meanwhile may be held against what it held before.
                greeting.rolled_back = None;
            } else {
                master.members.told.lock().insert(id);
            }
        }
        (id, answer)
    }))
    .await
}

/// What this master says of itself to `to`.
pub(crate) fn introduction(master: &Master, to: NodeId) -> Greet {
    let (held, stage) = if !master.admission.is_admitted() {
        (master.node.held_at_start(), Stage::Starting)
    } else if !master.members.told.lock().contains(&to) {
        (master.node.held_at_start(), Stage::Started)
    } else {
        (master.node.held(), Stage::Running)
    };
    let (node, instance, peer) = (master.options.id, master.own.instance, master.own.peer.clone());
    Greet { node, instance, peer, held, stage }
}

fn is_registered(
    masters: &BTreeMap<NodeId, hayrick_protocol::cluster_map::Master>,
    id: NodeId,
    greeting: &Greeting,
) -> bool {
    masters.get(&id).is_some_and(|known| known.instance == greeting.instance)
}

/// Makes sure that the state names this master and where it is.
async fn register(master: &Master) {
    if master.node.cluster().masters.get(&master.options.id) == Some(&master.own) {
        return;
    }
    let command = Command::RegisterMaster(master.own.clone());
    let deadline = Instant::now() + REGISTER_PATIENCE;
    match leader::propose_until(master, vec![command], deadline, true).await.as_deref() {
        Ok([Reply::Done]) => info!(peer = master.own.peer, "registered with the cluster"),
        Ok([Reply::Refused(Refusal::OtherInstance(instance))]) => {
            master.admission.fail(crate::admission::replaced(master.options.id, *instance));
        }
        Ok([Reply::Refused(Refusal::MasterRemoved)]) => master.admission.remove(),
        Ok([Reply::Refused(refusal)]) => warn!(%refusal, "this master could not be registered"),
        Ok(_) => warn!("this master could not be registered: the leader's answer does not fit the request"),
        Err(error) => debug!(%error, "this master is not registered yet"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_master_is_alone_once_it_has_heard_no_majority_for_a_while() {
        let ids = [1, 2, 3].map(NodeId);
        let members = Members::new();
        let is_alone = |masters: &[NodeId]| members.is_alone(NodeId(1), masters, UNREACHABLE_AFTER);
        assert!(!is_alone(&ids), "it has just started");
        advance(UNREACHABLE_AFTER).await;
        assert!(is_alone(&ids) && !is_alone(&ids[..1]), "nobody was ever heard of");
        members.heard_of(NodeId(3));
        assert!(!is_alone(&ids), "two of three are a majority");
        advance(UNREACHABLE_AFTER / 2).await;
        assert!(!is_alone(&ids));
        advance(UNREACHABLE_AFTER / 2).await;
        assert!(is_alone(&ids));
    }
}
