//! What openraft is instantiated with, and the bytes of the types that log and wire share.
//!
//! Commands travel encoded: they are encoded once, by whoever proposes them, copied as bytes through log and network,
//! and decoded once, by apply. openraft's own types are never handed to a codec: their layout is not ours to fix.
//! Invariant: decoding never panics, and allocates no more than the input is long.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use hayrick_protocol::NodeId;
use hayrick_protocol::codec;
use hayrick_protocol::command::{Command, Reply};
use hayrick_protocol::held::{self, LogPosition};
use hayrick_protocol::limits::ENTRY_BYTES_MAX;
use openraft::type_config::alias;
use openraft::{BasicNode, EntryPayload};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

openraft::declare_raft_types!(
    /// The types of this Raft.
    pub(crate) Types: D = Commands, R = Replies, NodeId = u64, Node = BasicNode,
);

pub(crate) type LogId = alias::LogIdOf<Types>;
pub(crate) type LeaderId = alias::LeaderIdOf<Types>;
pub(crate) type Vote = alias::VoteOf<Types>;
pub(crate) type Entry = alias::EntryOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, BasicNode>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<Types>;

/// A vote as masters tell each other.
pub(crate) fn ballot(vote: &Vote) -> held::Vote {
    held::Vote { term: vote.leader_id.term, node: NodeId(vote.leader_id.node_id), committed: vote.committed }
}

/// An entry's place as masters tell each other.
pub(crate) fn position(id: &LogId) -> LogPosition {
    LogPosition { term: id.leader_id.term, node: NodeId(id.leader_id.node_id), index: id.index }
}

/// Apply's replies to the commands of one entry, in order; none to an entry without commands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Replies(pub(crate) Vec<Reply>);

/// The commands of one entry: {count u32, count × {length u32, command by the codec}}.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Commands(pub(crate) Bytes);

/// Bytes in front of the first command.
const COUNT_BYTES: usize = 4;

impl Commands {
    /// The framed bytes of some commands, without the count: what callers prepare, each for itself. The codec reads back
    /// whatever it encoded, up to the bound of an entry; a command that did not would stop every node.
    pub(crate) fn frame(commands: &[Command]) -> Bytes {
        let mut framed = BytesMut::new();
        for command in commands {
            let encoded = codec::encode(command);
            framed.put_u32_le(u32::try_from(encoded.len()).expect("commands are bounded"));
            debug_assert!(
                encoded.len() > ENTRY_BYTES_MAX || codec::decode::<Command>(&encoded).is_ok(),
                "apply must be able to read what is proposed"
            );
            framed.put_slice(&encoded);
        }
        framed.freeze()
    }

    /// Puts framed commands of several callers behind each other.
    pub(crate) fn join<'a>(parts: impl Iterator<Item = (usize, &'a Bytes)> + Clone) -> Self {
        let (count, bytes) =
            parts.clone().fold((0, 0), |(count, bytes), part| (count + part.0, bytes + part.1.len()));
        let mut joined = BytesMut::with_capacity(COUNT_BYTES + bytes);
        joined.put_u32_le(u32::try_from(count).expect("waiting commands are bounded"));
        parts.for_each(|(_, framed)| joined.put_slice(framed));
        Self(joined.freeze())
    }

    /// Reads the commands back.
    pub(crate) fn decode(&self) -> Result<Vec<Command>, DecodeError> {
        let mut input = Input(&self.0);
        let count = input.u32()?;
        let mut commands = Vec::new();
        for _ in 0..count {
            let len = input.u32()? as usize;
            commands.push(codec::decode(input.bytes(len)?).map_err(|_| DecodeError)?);
        }
        input.end()?;
        Ok(commands)
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commands of {} bytes", self.0.len())
    }
}

// openraft asks for serde; nothing of ours goes through these two.
impl Serialize for Commands {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Commands {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|bytes| Self(bytes.into()))
    }
}

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes do not parse")]
pub(crate) struct DecodeError;

/// Who votes and who else receives the log: the shape in which a membership is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Members {
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, String>,
}

impl From<&Membership> for Members {
    fn from(membership: &Membership) -> Self {
        let nodes = membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect();
        Self { configs: membership.get_joint_config().clone(), nodes }
    }
}

impl Members {
    pub(crate) fn into_membership(self) -> Result<Membership, DecodeError> {
        let nodes: BTreeMap<u64, BasicNode> =
            self.nodes.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
        if self.configs.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(self.configs, nodes).map_err(|_| DecodeError)
    }
}

const BLANK: u8 = 0;
const COMMANDS: u8 = 1;
pub(crate) const MEMBERSHIP: u8 = 2;

/// Bytes of an entry in front of its payload: log id and kind.
pub(crate) const ENTRY_HEAD_BYTES: usize = LOG_ID_BYTES + 1;
const LOG_ID_BYTES: usize = 24;

/// An entry as {log id, kind u8} and its payload, which is not copied.
pub(crate) fn entry_parts(entry: &Entry) -> ([u8; ENTRY_HEAD_BYTES], Bytes) {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (BLANK, Bytes::new()),
        EntryPayload::Normal(commands) => (COMMANDS, commands.0.clone()),
        EntryPayload::Membership(membership) => {
            (MEMBERSHIP, codec::encode(&Members::from(membership)).into())
        }
    };
    let mut head = Vec::with_capacity(ENTRY_HEAD_BYTES);
    put_log_id(&mut head, &entry.log_id);
    head.push(kind);
    (head.try_into().expect("a log id and a byte"), payload)
}

/// Bytes of the entry's payload, as far as they count for bounds.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(commands) => commands.0.len() + ENTRY_HEAD_BYTES,
        EntryPayload::Blank | EntryPayload::Membership(_) => ENTRY_HEAD_BYTES,
    }
}

/// Reads what [`entry_parts`] made.
pub(crate) fn decode_entry(head: &[u8], payload: Bytes) -> Result<Entry, DecodeError> {
    let mut input = Input(head);
    let log_id = input.log_id()?;
    let kind = input.u8()?;
    input.end()?;
    let payload = match kind {
        BLANK if payload.is_empty() => EntryPayload::Blank,
        COMMANDS => EntryPayload::Normal(Commands(payload)),
        MEMBERSHIP => {
            let members: Members = codec::decode(&payload).map_err(|_| DecodeError)?;
            EntryPayload::Membership(members.into_membership()?)
        }
        _ => return Err(DecodeError),
    };
    Ok(Entry { log_id, payload })
}

/// A log id: {term u64, node u64, index u64}.
pub(crate) fn put_log_id(out: &mut Vec<u8>, id: &LogId) {
    out.extend_from_slice(&id.leader_id.term.to_le_bytes());
    out.extend_from_slice(&id.leader_id.node_id.to_le_bytes());
    out.extend_from_slice(&id.index.to_le_bytes());
}

/// A log id or none: {0} or {1, log id}.
pub(crate) fn put_log_id_option(out: &mut Vec<u8>, id: Option<&LogId>) {
    out.push(id.is_some().into());
    if let Some(id) = id {
        put_log_id(out, id);
    }
}

/// A vote: {term u64, node u64, committed u8}.
pub(crate) fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    out.extend_from_slice(&vote.leader_id.term.to_le_bytes());
    out.extend_from_slice(&vote.leader_id.node_id.to_le_bytes());
    out.push(vote.committed.into());
}

/// What is left to read of some bytes.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(DecodeError)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(DecodeError)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError),
        }
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn leader_id(&mut self) -> Result<LeaderId, DecodeError> {
        Ok(LeaderId { term: self.u64()?, node_id: self.u64()? })
    }

    pub(crate) fn log_id(&mut self) -> Result<LogId, DecodeError> {
        let id = LogId::new(self.leader_id()?, self.u64()?);
        // Who computes "the next index" must not overflow on bytes from elsewhere.
        if id.index < u64::MAX { Ok(id) } else { Err(DecodeError) }
    }

    pub(crate) fn log_id_option(&mut self) -> Result<Option<LogId>, DecodeError> {
        if self.bool()? { self.log_id().map(Some) } else { Ok(None) }
    }

    pub(crate) fn vote(&mut self) -> Result<Vote, DecodeError> {
        let leader = self.leader_id()?;
        let mut vote = Vote::new(leader.term, leader.node_id);
        vote.committed = self.bool()?;
        Ok(vote)
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError) }
    }
}
