//! The bytes of Raft requests and replies between masters.
//!
//! Owns layouts of its own for all of them: openraft's types, its errors above all, never go over the wire. A snapshot's
//! chunk is laid out in `snapshot`. All integers are little-endian; `log id?` is {0} or {1, log id}.
//!
//! ```text
//! kind 1 append     vote, previous log id?, commit log id?, count u32, count × {log id, kind u8, length u32, payload}
//!        reply      0 success | 1 partial: log id? | 2 conflict | 3 higher vote
//! kind 2 vote       vote, last log id?, transfer u8
//! kind 3 pre-vote   the same
//!        reply      vote, granted u8, last log id?
//! kind 4 chunk      snapshot.rs
//!        reply      0 next u64 | 1 restart | 2 installed: vote
//! kind 5 transfer   leader's vote, to u64, last log id?
//!        reply      0 done | 1 vote changed: expected, actual | 2 log not flushed: expected log id?, actual log id?
//! ```

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use crate::types::{
    DecodeError, ENTRY_HEAD_BYTES, Input, Types, Vote, decode_entry, entry_parts, put_log_id_option, put_vote,
};

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Append = 1,
    Vote = 2,
    PreVote = 3,
    Chunk = 4,
    Transfer = 5,
}

impl Kind {
    pub(crate) fn decode(kind: u8) -> Option<Self> {
        [Self::Append, Self::Vote, Self::PreVote, Self::Chunk, Self::Transfer]
            .into_iter()
            .find(|known| *known as u8 == kind)
    }
}

pub(crate) fn append(request: &AppendEntriesRequest<Types>) -> Bytes {
    let mut out = Vec::with_capacity(128);
    put_vote(&mut out, &request.vote);
    put_log_id_option(&mut out, request.prev_log_id.as_ref());
    put_log_id_option(&mut out, request.leader_commit.as_ref());
    out.extend_from_slice(&u32::try_from(request.entries.len()).expect("requests are bounded").to_le_bytes());
    for entry in &request.entries {
        let (head, payload) = entry_parts(entry);
        out.extend_from_slice(&head);
        out.extend_from_slice(&u32::try_from(payload.len()).expect("entries are bounded").to_le_bytes());
        out.extend_from_slice(&payload);
    }
    out.into()
}

pub(crate) fn read_append(bytes: &Bytes) -> Result<AppendEntriesRequest<Types>, DecodeError> {
    let mut input = Input(bytes);
    let vote = input.vote()?;
    let prev_log_id = input.log_id_option()?;
    let leader_commit = input.log_id_option()?;
    let count = input.u32()?;
    let mut entries = Vec::new();
    let (mut next, mut leader) = prev_log_id.map_or((0, None), |id| (id.index + 1, Some(id.leader_id)));
    for _ in 0..count {
        let head = input.bytes(ENTRY_HEAD_BYTES)?;
        let len = input.u32()? as usize;
        // Without the copy, a cached entry would keep the whole request in memory.
        let entry = decode_entry(head, Bytes::copy_from_slice(input.bytes(len)?))?;
        // openraft takes it for granted that a leader's entries follow on each other.
        if entry.log_id.index != next || Some(entry.log_id.leader_id) < leader {
            return Err(DecodeError);
        }
        (next, leader) = (next + 1, Some(entry.log_id.leader_id));
        entries.push(entry);
    }
    input.end()?;
    if !vote.committed {
        return Err(DecodeError);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

pub(crate) fn append_reply(reply: &AppendEntriesResponse<Types>) -> Bytes {
    let mut out = Vec::new();
    match reply {
        AppendEntriesResponse::Success => out.push(0),
        AppendEntriesResponse::PartialSuccess(upto) => {
            out.push(1);
            put_log_id_option(&mut out, upto.as_ref());
        }
        AppendEntriesResponse::Conflict => out.push(2),
        AppendEntriesResponse::HigherVote(vote) => {
            out.push(3);
            put_vote(&mut out, vote);
        }
    }
    out.into()
}

pub(crate) fn read_append_reply(bytes: &[u8]) -> Result<AppendEntriesResponse<Types>, DecodeError> {
    let mut input = Input(bytes);
    let reply = match input.u8()? {
        0 => AppendEntriesResponse::Success,
        1 => AppendEntriesResponse::PartialSuccess(input.log_id_option()?),
        2 => AppendEntriesResponse::Conflict,
        3 => AppendEntriesResponse::HigherVote(input.vote()?),
        _ => return Err(DecodeError),
    };
    input.end()?;
    Ok(reply)
}

pub(crate) fn vote(request: &VoteRequest<Types>) -> Bytes {
    let mut out = Vec::new();
    put_vote(&mut out, &request.vote);
    put_log_id_option(&mut out, request.last_log_id.as_ref());
    out.push(request.leadership_transfer.into());
    out.into()
}

pub(crate) fn read_vote(bytes: &[u8]) -> Result<VoteRequest<Types>, DecodeError> {
    let mut input = Input(bytes);
    let mut request = VoteRequest::new(input.vote()?, input.log_id_option()?);
    request.leadership_transfer = input.bool()?;
    input.end()?;
    Ok(request)
}

pub(crate) fn vote_reply(reply: &VoteResponse<Types>) -> Bytes {
    let mut out = Vec::new();
    put_vote(&mut out, &reply.vote);
    out.push(reply.vote_granted.into());
    put_log_id_option(&mut out, reply.last_log_id.as_ref());
    out.into()
}

pub(crate) fn read_vote_reply(bytes: &[u8]) -> Result<VoteResponse<Types>, DecodeError> {
    let mut input = Input(bytes);
    let (vote, granted) = (input.vote()?, input.bool()?);
    let reply = VoteResponse::new(vote, input.log_id_option()?, granted);
    input.end()?;
    Ok(reply)
}

/// The reply to a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkReply {
    /// Send this one next.
    Next(u64),
    /// Begin a new transfer.
    Restart,
    /// Installed, or refused for a higher vote: the receiver's vote.
    Installed(Vote),
}

impl ChunkReply {
    pub(crate) fn encode(self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Next(number) => {
                out.push(0);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Self::Restart => out.push(1),
            Self::Installed(vote) => {
                out.push(2);
                put_vote(&mut out, &vote);
            }
        }
        out.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input(bytes);
        let reply = match input.u8()? {
            0 => Self::Next(input.u64()?),
            1 => Self::Restart,
            2 => Self::Installed(input.vote()?),
            _ => return Err(DecodeError),
        };
        input.end()?;
        Ok(reply)
    }
}

pub(crate) fn transfer(request: &TransferLeaderRequest<Types>) -> Bytes {
    let mut out = Vec::new();
    put_vote(&mut out, request.from_leader());
    out.extend_from_slice(&request.to_node_id().to_le_bytes());
    put_log_id_option(&mut out, request.last_log_id());
    out.into()
}

pub(crate) fn read_transfer(bytes: &[u8]) -> Result<TransferLeaderRequest<Types>, DecodeError> {
    let mut input = Input(bytes);
    let request = TransferLeaderRequest::new(input.vote()?, input.u64()?, input.log_id_option()?);
    input.end()?;
    Ok(request)
}

pub(crate) fn transfer_reply(reply: &TransferLeaderResponse<Types>) -> Bytes {
    let mut out = Vec::new();
    match reply {
        Ok(()) => out.push(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.push(1);
            put_vote(&mut out, expected);
            put_vote(&mut out, actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.push(2);
            put_log_id_option(&mut out, expected.as_ref());
            put_log_id_option(&mut out, actual.as_ref());
        }
    }
    out.into()
}

pub(crate) fn read_transfer_reply(bytes: &[u8]) -> Result<TransferLeaderResponse<Types>, DecodeError> {
    let mut input = Input(bytes);
    let reply = match input.u8()? {
        0 => Ok(()),
        1 => Err(TransferLeaderError::VoteChanged { expected: input.vote()?, actual: input.vote()? }),
        2 => Err(TransferLeaderError::LogNotFlushed {
            expected: input.log_id_option()?,
            actual: input.log_id_option()?,
        }),
        _ => return Err(DecodeError),
    };
    input.end()?;
    Ok(reply)
}
