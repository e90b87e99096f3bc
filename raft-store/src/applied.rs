//! What of Raft lies with the state: the last entry applied, and the last membership.
//!
//! Owns its bytes, a row of the index file and the head of a snapshot. Invariant: it is written in the transaction that
//! makes the rows durable which it stands for, and in no other.

use hayrick_protocol::codec;

use crate::types::{DecodeError, Input, LogId, Members, StoredMembership, Vote, put_log_id_option};

const RAFT_ROW_VERSION: u8 = 1;

/// What of Raft lies with the state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Applied {
    /// The last entry applied.
    pub(crate) last: Option<LogId>,
    /// The last membership applied.
    pub(crate) membership: StoredMembership,
}

impl Applied {
    pub(crate) fn index(&self) -> u64 {
        self.last.map_or(0, |id| id.index)
    }

    /// Whether the leader with this vote can have it. openraft takes that for granted of a snapshot.
    pub(crate) fn may_come_from(&self, vote: &Vote) -> bool {
        self.last.is_none_or(|last| last.leader_id <= vote.leader_id)
            && *self.membership.log_id() <= self.last
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = vec![RAFT_ROW_VERSION];
        put_log_id_option(&mut row, self.last.as_ref());
        put_log_id_option(&mut row, self.membership.log_id().as_ref());
        row.extend_from_slice(&codec::encode(&Members::from(self.membership.membership())));
        row
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input(bytes);
        if input.u8()? != RAFT_ROW_VERSION {
            return Err(DecodeError);
        }
        let last = input.log_id_option()?;
        let membership_id = input.log_id_option()?;
        let members: Members = codec::decode(input.0).map_err(|_| DecodeError)?;
        Ok(Self { last, membership: StoredMembership::new(membership_id, members.into_membership()?) })
    }
}
