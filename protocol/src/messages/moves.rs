//! What is being moved, as the leader tells the other masters, so that each can show it.

use serde::{Deserialize, Serialize};

use crate::ids::{PlacementId, VolumeId};
use crate::messages::message;

/// To the leader: what is being moved, and what waits?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskMoves;
message!(AskMoves = 0x020a -> Option<Moves>);

/// All that the leader says of what is moved; from a master that does not lead comes none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moves {
    /// What is under way.
    pub running: Vec<Move>,
    /// What does not get better by itself, and what to do, in words.
    pub waiting: Vec<String>,
    /// Placements that are to gain a member and can, those under way included.
    pub placements_left: u64,
    /// Bytes that are to be copied for them yet.
    pub bytes_left: u64,
    /// Bytes that all volumes together copied a second, of late.
    pub bytes_per_s: u64,
    /// Milliseconds that all of it takes yet at that rate; none while nothing was copied.
    pub eta_ms: Option<u64>,
    /// Bytes a second that each volume gives or takes at most.
    pub move_rate: u64,
}

/// Placements whose copies are made or moved together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Why.
    pub kind: MoveKind,
    /// The first of the placements.
    pub placement: PlacementId,
    /// How many there are.
    pub placements: u64,
    /// Whose place the newcomer takes; nobody's, where a copy lacked.
    pub from: Option<VolumeId>,
    /// Who pulls.
    pub to: VolumeId,
    /// Bytes that it holds of them.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes that it pulled a second, of late.
    pub bytes_per_s: u64,
    /// Milliseconds that the rest takes at that rate; none before anything was pulled.
    pub eta_ms: Option<u64>,
}

/// Why placements gain a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MoveKind {
    /// One is gone, or lacks.
    Repair,
    /// One is being drained.
    Drain,
    /// The partition lies elsewhere now.
    Rebalance,
}

impl MoveKind {
    /// As `/-/status` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Drain => "drain",
            Self::Rebalance => "rebalance",
        }
    }
}
