//! openraft's network over a [`Transport`], and the answering of what arrives by one.
//!
//! Owns which request is sent how, and with what deadline. Bytes are laid out in `wire`, carried by `master/`. Invariant:
//! an unreachable master never counts as a vote, nor as a pre-vote.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::NodeId;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, Raft, Snapshot};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::applied::Applied;
use crate::machine::{Machine, RaftSnapshot};
use crate::piggyback::piggyback;
use crate::snapshot::{Chunk, Received, Receiver, SnapshotData};
use crate::transport::{Transport, TransportError};
use crate::types::{DecodeError, LogId, SnapshotMeta, Types, Vote};
use crate::unheard::Silent;
use crate::view::RowStream;
use crate::wire::{self, ChunkReply, Kind};

/// How long one chunk of a snapshot may take; the last one is installed within it.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a chunk is sent before the transfer is given up, to be begun anew.
const CHUNK_ATTEMPTS: u32 = 5;
/// The pause before a chunk is sent again.
const CHUNK_PAUSE: Duration = Duration::from_millis(200);

/// Snapshots on their way: the target, and the index up to which it will then have the log. Kept by `keeper`.
pub(crate) type Transits = Arc<Mutex<BTreeMap<NodeId, u64>>>;

/// What a follower answers to a stream of requests.
type Appended<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>;

/// Makes a [`Peer`] for each master.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    /// How long a request with entries may take: the other end syncs its disk before it answers.
    pub(crate) append_timeout: Duration,
    pub(crate) chunk_bytes: usize,
    pub(crate) transits: Transits,
    pub(crate) silent: Silent,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        Peer { to: NodeId(target), address: node.addr.clone(), network: self.clone() }
    }
}

/// Another master, as openraft speaks to it.
pub(crate) struct Peer {
    to: NodeId,
    address: String,
    network: Network,
}

impl Peer {
    async fn call<T>(
        &self,
        kind: Kind,
        body: Bytes,
        timeout: Duration,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, TransportError> {
        let deadline = Instant::now() + timeout;
        let reply = self.network.transport.send(self.to, self.address.clone(), kind as u8, body, deadline);
        let reply = match tokio::time::timeout_at(deadline, reply).await {
            Ok(reply) => reply?,
            Err(_) => return Err(TransportError::NoReply("the deadline passed".into())),
        };
        decode(&reply).map_err(|error| TransportError::Refused(error.to_string()))
    }

    /// Sends a chunk until it is answered, a few times. Who cannot be reached for the first chunk is left to openraft's own
    /// pauses; later a short break must not cost the whole transfer.
    async fn send_chunk(&self, chunk: &Chunk) -> Result<ChunkReply, TransportError> {
        let body = chunk.encode();
        let mut attempt = 1;
        loop {
            let reply = self.call(Kind::Chunk, body.clone(), CHUNK_TIMEOUT, ChunkReply::decode).await;
            let may_help = match &reply {
                Err(TransportError::NoReply(_)) => true,
                Err(TransportError::Unreachable(_)) => chunk.number > 0,
                _ => false,
            };
            if !may_help || attempt >= CHUNK_ATTEMPTS {
                return reply;
            }
            attempt += 1;
            tokio::time::sleep(CHUNK_PAUSE).await;
        }
    }

    async fn send_snapshot(&self, vote: Vote, snapshot: RaftSnapshot) -> Result<Vote, StreamingError<Types>> {
        let gone = |what: &str| StreamingError::Network(NetworkError::from_string(what));
        let SnapshotData::View(view) = snapshot.snapshot else {
            return Err(gone("a received snapshot is installed, not sent on"));
        };
        let applied = Applied { last: snapshot.meta.last_log_id, membership: snapshot.meta.last_membership };
        self.network.transits.lock().insert(self.to, applied.index());
        let (applied, transfer) = (Bytes::from(applied.encode()), rand::random());
        let (mut rows, mut hasher) = (RowStream::new(view), xxhash_rust::xxh3::Xxh3::new());
        for number in 0.. {
            let bytes = self.network.chunk_bytes;
            let read = tokio::task::spawn_blocking(move || rows.next_chunk(bytes).map(|chunk| (chunk, rows)));
            let read = read.await.map_err(|error| gone(&error.to_string()))?;
            let (next, stream) = read.map_err(|error| gone(&error.to_string()))?;
            rows = stream;
            hasher.update(next.as_deref().unwrap_or_default());
            let end = next.is_none().then(|| hasher.digest128());
            let chunk = Chunk {
                vote,
                transfer,
                number,
                end,
                applied: applied.clone(),
                rows: next.unwrap_or_default().into(),
            };
            match self.send_chunk(&chunk).await.map_err(streaming_error)? {
                ChunkReply::Installed(vote) => return Ok(vote),
                ChunkReply::Next(next) if next == number + 1 && end.is_none() => {}
                _ => break,
            }
        }
        Err(gone("the receiver lost the transfer"))
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotData;

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<Appended<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        stream_append_sequential(self, piggyback(input), option)
    }

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        if self.network.silent.load(Ordering::Relaxed) {
            return Err(RPCError::Unreachable(Unreachable::from_string(
                "this leader hears nobody, and is silent",
            )));
        }
        let timeout = if rpc.entries.is_empty() { option.soft_ttl() } else { self.network.append_timeout };
        let body = wire::append(&rpc);
        let reply =
            self.call(Kind::Append, body, timeout, wire::read_append_reply).await.map_err(rpc_error)?;
        if reply.is_conflict() && rpc.prev_log_id.is_none() {
            // openraft takes this for impossible, and it is, between masters that are well.
            return Err(RPCError::Unreachable(Unreachable::from_string("it conflicts with an empty log")));
        }
        Ok(reply)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let body = wire::vote(&rpc);
        self.call(Kind::Vote, body, option.soft_ttl(), wire::read_vote_reply).await.map_err(rpc_error)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let body = wire::vote(&rpc);
        self.call(Kind::PreVote, body, option.soft_ttl(), wire::read_vote_reply).await.map_err(rpc_error)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => sent.map(SnapshotResponse::new),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let body = wire::transfer(&req);
        self.call(Kind::Transfer, body, option.soft_ttl(), wire::read_transfer_reply).await.map_err(rpc_error)
    }
}

fn rpc_error(error: TransportError) -> RPCError<Types> {
    match error {
        TransportError::NoReply(why) => RPCError::Network(NetworkError::from_string(why)),
        other => RPCError::Unreachable(Unreachable::from_string(other)),
    }
}

fn streaming_error(error: TransportError) -> StreamingError<Types> {
    match error {
        TransportError::NoReply(why) => StreamingError::Network(NetworkError::from_string(why)),
        other => StreamingError::Unreachable(Unreachable::from_string(other)),
    }
}

/// Answers a request of another master.
pub(crate) async fn handle(
    raft: &Raft<Types, Machine>,
    receiver: &Arc<Receiver>,
    kind: u8,
    body: Bytes,
) -> Result<Bytes, String> {
    let kind = Kind::decode(kind).ok_or_else(|| format!("Raft request {kind} is not known here"))?;
    let malformed = |_| "the Raft request does not parse".to_owned();
    match kind {
        Kind::Append => {
            let request = wire::read_append(&body).map_err(malformed)?;
            let reply = raft.append_entries(request).await.map_err(text)?;
            Ok(wire::append_reply(&reply))
        }
        Kind::Vote => {
            let request = whatever_its_log(wire::read_vote(&body).map_err(malformed)?);
            let reply = raft.vote(request).await.map_err(text)?;
            Ok(wire::vote_reply(&reply))
        }
        Kind::PreVote => {
            let request = whatever_its_log(wire::read_vote(&body).map_err(malformed)?);
            let reply = raft.pre_vote(request).await.map_err(text)?;
            Ok(wire::vote_reply(&reply))
        }
        Kind::Chunk => {
            let chunk = Chunk::decode(&body).map_err(malformed)?;
            // On its own: a caller that goes away must not end half of it, least of all while a snapshot is installed.
            let taken = tokio::spawn(take_chunk(raft.clone(), Arc::clone(receiver), chunk));
            taken.await.map_err(text)?.map(ChunkReply::encode)
        }
        Kind::Transfer => {
            let request = wire::read_transfer(&body).map_err(malformed)?;
            let reply = raft.handle_transfer_leader(request).await.map_err(text)?;
            Ok(wire::transfer_reply(&reply))
        }
    }
}

/// The request as it is; with the planted bug, as one of a candidate whose log ends behind every other.
fn whatever_its_log(mut request: VoteRequest<Types>) -> VoteRequest<Types> {
    if planted::is(Bug::VoteIgnoresLog) {
        request.last_log_id = Some(LogId::new(request.vote.leader_id, u64::MAX));
    }
    request
}

async fn take_chunk(
    raft: Raft<Types, Machine>,
    receiver: Arc<Receiver>,
    chunk: Chunk,
) -> Result<ChunkReply, String> {
    let vote = chunk.vote;
    match receiver.take(chunk).await? {
        Received::Next(number) => Ok(ChunkReply::Next(number)),
        Received::Restart => Ok(ChunkReply::Restart),
        Received::Installed(vote) => Ok(ChunkReply::Installed(vote)),
        Received::Complete(applied, building, installing) => {
            let meta = SnapshotMeta { last_log_id: applied.last, last_membership: applied.membership };
            let snapshot = Snapshot { meta, snapshot: SnapshotData::Received(building) };
            let reply = raft.install_full_snapshot(vote, snapshot).await.map_err(text)?;
            installing.done(reply.vote);
            Ok(ChunkReply::Installed(reply.vote))
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
