//! The peer port: what masters and volumes ask of this master, one function for each message.
//!
//! Owns who may ask what. Leaves frames and queues to `rpc`, and every answer's meaning to the part that gives it.
//! Invariants: only masters move Raft or propose; while this master is not admitted, it takes part in no Raft
//! request, so that a wiped one cannot vote again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hayrick_protocol::command::{Command, Refusal, Reply};
use hayrick_protocol::limits::{BATCH_COMMANDS_MAX, NAME_BYTES_MAX};
use hayrick_protocol::messages::master::{
    Belonging, ChangeMasters, ChangeMastersError, Greet, Greeting, HandOver, HandOverError, Heartbeat,
    HeartbeatReply, MastersChanged, NotResolved, Propose, ProposeError, Raft, ReadIndex, ReadIndexError,
    Register, RegisterError, Registered, ReportVolume, Resolve, Resolved, Stage, Verdict,
};
use hayrick_protocol::messages::moves::{AskMoves, Moves};
use hayrick_protocol::messages::{Identity, Message};
use hayrick_protocol::{ClusterId, InstanceId, NodeId};
use hayrick_rpc::{HandleError, Handler, Peer, Request, Response};
use tokio::time::Instant;

use crate::api;
use crate::cluster::change;
use crate::leader;
use crate::master::Master;
use crate::transport::GROUP;

/// What a registration may take before the volume is told to ask again.
const REGISTER_PATIENCE: Duration = Duration::from_secs(3);

/// Answers on the peer port.
pub(crate) struct Server {
    pub(crate) master: Arc<Master>,
}

impl Handler for Server {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        let master = &self.master;
        let from = request.from;
        let deadline = request.deadline;
        let no_body = Vec::new();
        match request.method {
            Raft::METHOD => {
                let (reply, body) = raft(master, from, request.message()?, request.body).await;
                Ok(Response::to::<Raft>(&reply, vec![body]))
            }
            Propose::METHOD => {
                let reply = propose(master, from, request.message()?, deadline).await;
                Ok(Response::to::<Propose>(&reply, no_body))
            }
            ReadIndex::METHOD => {
                let reply = read_index(master, from, deadline).await;
                Ok(Response::to::<ReadIndex>(&reply, no_body))
            }
            Heartbeat::METHOD => {
                Ok(Response::to::<Heartbeat>(&heartbeat(master, from, &request.message()?), no_body))
            }
            Register::METHOD => {
                let reply = register(master, request.message()?, deadline).await;
                Ok(Response::to::<Register>(&reply, no_body))
            }
            ReportVolume::METHOD => {
                let reply = report(master, from, request.message()?).await;
                Ok(Response::to::<ReportVolume>(&reply, no_body))
            }
            Greet::METHOD => Ok(Response::to::<Greet>(&greet(master, from, &request.message()?), no_body)),
            ChangeMasters::METHOD => {
                let reply = change(master, from, &request.message()?, deadline).await;
                Ok(Response::to::<ChangeMasters>(&reply, no_body))
            }
            AskMoves::METHOD => {
                let _: AskMoves = request.message()?;
                Ok(Response::to::<AskMoves>(&moves(master, from), no_body))
            }
            Resolve::METHOD => {
                let reply = resolve(master, from, &request.message()?, deadline).await;
                Ok(Response::to::<Resolve>(&reply, no_body))
            }
            HandOver::METHOD => {
                let reply = accept(master, from, request.message()?, request.body).await;
                Ok(Response::to::<HandOver>(&reply, no_body))
            }
            _ => Err(HandleError::UnknownMethod),
        }
    }
}

/// The id of a master of this cluster that was not removed, or of one that does not know its cluster yet.
fn sender(master: &Master, from: Peer) -> Option<NodeId> {
    let (own, other) = (master.peers.local().cluster(), from.cluster);
    let same = own == other || !own.is_known() || !other.is_known();
    match from.identity {
        Identity::Master(id) if same && !master.node.cluster().removed.contains(&id) => Some(id),
        Identity::Master(_) | Identity::Volume(_) => None,
    }
}

/// The same, once both know their cluster.
fn fellow(master: &Master, from: Peer) -> Option<NodeId> {
    sender(master, from).filter(|_| from.cluster.is_known() && from.cluster == master.peers.local().cluster())
}

async fn raft(master: &Master, from: Peer, message: Raft, body: Bytes) -> (Result<(), String>, Bytes) {
    let refuse = |text: &str| (Err(text.to_owned()), Bytes::new());
    if sender(master, from).is_none() {
        return refuse("only masters of this cluster take part in its Raft group");
    }
    if message.group != GROUP {
        return refuse("there is no such Raft group here");
    }
    if !master.admission.is_admitted() {
        return refuse("this master is not admitted yet: it does not know whether it voted before");
    }
    match master.node.handle(message.kind, body).await {
        Ok(body) => (Ok(()), body),
        Err(text) => (Err(text), Bytes::new()),
    }
}

async fn propose(
    master: &Master,
    from: Peer,
    message: Propose,
    deadline: Instant,
) -> Result<Vec<Reply>, ProposeError> {
    // A master that enters says which cluster it found before it proposes itself.
    if sender(master, from).is_none() || message.commands.len() > BATCH_COMMANDS_MAX {
        return Err(ProposeError::NotLeader { leader: None });
    }
    master.node.propose(message.commands, deadline).await
}

async fn read_index(master: &Master, from: Peer, deadline: Instant) -> Result<u64, ReadIndexError> {
    if fellow(master, from).is_none() {
        return Err(ReadIndexError::NotLeader { leader: None });
    }
    master.node.read_index(deadline).await
}

fn heartbeat(master: &Master, from: Peer, beat: &Heartbeat) -> HeartbeatReply {
    if from.identity != Identity::Volume(beat.volume) || from.cluster != master.peers.local().cluster() {
        return HeartbeatReply::Register;
    }
    let cluster = master.node.cluster();
    let mut reply = master.heartbeats.take(&cluster.map, beat);
    if let HeartbeatReply::Known(masters) = &mut reply {
        masters.extend(cluster.masters.values().map(|master| master.peer.clone()));
    }
    reply
}

async fn register(
    master: &Master,
    request: Register,
    deadline: Instant,
) -> Result<Registered, RegisterError> {
    let cluster = registrable(master, &request)?;
    master.heartbeats.may_register(&master.node.cluster().map, &request)?;
    let deadline = deadline.min(Instant::now() + REGISTER_PATIENCE);
    let command = Command::RegisterVolume(request.volume);
    let replies = leader::propose_until(master, vec![command], deadline, true).await;
    match replies.as_deref() {
        Ok([Reply::VolumeRegistered(volume)]) => Ok(Registered { volume: *volume, cluster }),
        Ok([Reply::Refused(Refusal::NotFormed)]) => Err(not_formed()),
        Ok([Reply::Refused(Refusal::OtherInstance(instance))]) => Err(RegisterError::Never(format!(
            "this volume's id belongs to another data directory ({instance}); start with an empty directory to \
             register as a new volume"
        ))),
        Ok([Reply::Refused(Refusal::Invalid(why))]) => Err(RegisterError::Never(why.clone())),
        Ok([Reply::Refused(refusal)]) => Err(RegisterError::Never(refusal.to_string())),
        Ok(_) => Err(RegisterError::Later("the leader's answer makes no sense".to_owned())),
        Err(error) => Err(RegisterError::Later(format!("{error}; asking again in a moment"))),
    }
}

/// What can be said without the leader; the cluster that the volume would be of.
fn registrable(master: &Master, request: &Register) -> Result<ClusterId, RegisterError> {
    let volume = &request.volume;
    for (what, text) in [("address", &volume.addr), ("peer address", &volume.peer), ("zone", &volume.zone)] {
        if text.len() > NAME_BYTES_MAX {
            return Err(RegisterError::Never(format!("its {what} is longer than {NAME_BYTES_MAX} bytes")));
        }
    }
    let cluster = master.node.cluster().id();
    if !cluster.is_known() {
        return Err(not_formed());
    }
    if request.cluster.is_known() && request.cluster != cluster {
        return Err(RegisterError::Never(format!(
            "this volume belongs to the cluster {}, and master {} to the cluster {cluster}",
            request.cluster, master.options.id
        )));
    }
    Ok(cluster)
}

fn not_formed() -> RegisterError {
    RegisterError::Later("no cluster was formed yet: start a majority of the masters".to_owned())
}

async fn report(master: &Arc<Master>, from: Peer, message: ReportVolume) -> Verdict {
    if fellow(master, from).is_none() {
        return Verdict::NotLeader;
    }
    master.detect.report(master, message.volume, message.placement, &message.cause).await
}

/// What is moved, if this master leads.
fn moves(master: &Master, from: Peer) -> Option<Moves> {
    fellow(master, from).filter(|_| master.leads()).map(|_| master.repair.told())
}

fn greet(master: &Master, from: Peer, message: &Greet) -> Greeting {
    let cluster = master.node.cluster();
    let known = cluster.masters.get(&message.node).map(|known| known.instance);
    if fellow(master, from) == Some(message.node) {
        take_introduction(master, message, known);
    }
    // What is in the log counts, too, though the directory may not say so yet.
    let remembered = master.peers.local().cluster();
    Greeting {
        instance: master.own.instance,
        cluster: if remembered.is_known() { remembered } else { cluster.id() },
        knows_you_as: known,
        leader: leader::current(master),
        client: master.client_address.clone(),
        you_are: match cluster.removed.contains(&message.node) {
            true => Belonging::Removed,
            // Who has just entered and has no log yet cannot tell who is a stranger.
            false if master.node.is_member(message.node) || master.node.voters().is_empty() => {
                Belonging::Member
            }
            false => Belonging::Stranger,
        },
        voters: master.node.voter_sets(),
        rolled_back: rolled_back(master, message),
    }
}

fn take_introduction(master: &Master, message: &Greet, known: Option<InstanceId>) {
    match known {
        Some(instance) if instance == message.instance => {
            master.members.heard_of(message.node);
            master.peers.found(message.node, message.peer.clone());
            if message.stage == Stage::Running {
                master.seen.note(message.node, &message.held);
            }
        }
        Some(_) => {}
        // It entered while this master was away, which may know nobody else any more.
        None if master.peers.address(message.node).is_none() => {
            master.peers.found(message.node, message.peer.clone());
        }
        None => {}
    }
}

/// What the asker's disk lacks of what was seen on it. What it acknowledged since it started proves nothing, and whether it
/// was before is only sure while it has no part in Raft.
fn rolled_back(master: &Master, message: &Greet) -> Option<String> {
    let acknowledged = match message.stage {
        Stage::Starting => master.node.acknowledged_by(message.node),
        Stage::Started => None,
        Stage::Running => return None,
    };
    master.seen.missing(message.node, &message.held, acknowledged)
}

async fn change(
    master: &Master,
    from: Peer,
    message: &ChangeMasters,
    deadline: Instant,
) -> Result<MastersChanged, ChangeMastersError> {
    // A master that enters says which cluster it found before it asks, and asks for nothing else.
    let asks = match message {
        ChangeMasters::Admit(_) => sender(master, from),
        ChangeMasters::Remove(_) | ChangeMasters::Transfer(_) => fellow(master, from),
    };
    if asks.is_none() {
        let text = "only a master of this cluster that was not removed changes its masters";
        return Err(ChangeMastersError::Conflict(text.to_owned()));
    }
    change::at_leader(master, message, deadline).await
}

async fn resolve(
    master: &Arc<Master>,
    from: Peer,
    message: &Resolve,
    deadline: Instant,
) -> Result<Resolved, NotResolved> {
    let is_volume = matches!(from.identity, Identity::Volume(_)) && from.cluster.is_known();
    if !is_volume || from.cluster != master.peers.local().cluster() {
        return Err(NotResolved {
            status: 503,
            text: "only volumes of the same cluster ask this".to_owned(),
        });
    }
    api::resolve(master, message, deadline).await
}

async fn accept(
    master: &Arc<Master>,
    from: Peer,
    message: HandOver,
    body: Bytes,
) -> Result<hayrick_protocol::command::Applied, HandOverError> {
    if fellow(master, from).is_none() {
        let text = "only a master of the same cluster hands a request over".to_owned();
        return Err(HandOverError::Refused { status: 503, text });
    }
    api::accept_hand_over(master, message, body).await
}
