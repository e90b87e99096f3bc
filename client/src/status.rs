//! The cluster's state as a master sees it: `/-/status` and `/-/ready`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::retry::Kind;
use crate::{Client, Error};

/// `GET /-/status`: the fields of http-api.md that clients use; what is missing in an answer is zero or empty.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The cluster's id.
    pub cluster: String,
    /// The master that answered.
    pub node: u64,
    /// Its version.
    pub version: String,
    /// The leader it knows, if any.
    pub leader: Option<u64>,
    /// Raft's term.
    pub term: u64,
    /// The last log index known to be committed.
    pub committed: u64,
    /// The last log index applied here.
    pub applied: u64,
    /// How many copies a write makes.
    pub replicas: u64,
    /// How many it must be able to make.
    pub min_replicas: u64,
    /// Ranges of the key space.
    pub partitions: u64,
    /// Live objects.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Every master.
    pub masters: Vec<MasterStatus>,
    /// Every volume.
    pub volumes: Vec<VolumeStatus>,
    /// Objects by the number of their copies that can be read.
    pub copies: BTreeMap<u8, u64>,
    /// Placements that hold something, by the number of their copies that can be read.
    pub placements_by_copies: BTreeMap<u8, u64>,
    /// Objects with fewer copies than `replicas`.
    pub under_replicated: u64,
    /// What overwrites and deletes left behind.
    pub garbage: Garbage,
    /// Objects that no volume had when they were looked for.
    pub missing: Missing,
    /// Placements that the table holds, those that take writes among them.
    pub placements: u64,
    /// Bytes a second that each volume gives or takes at most when copies are made or moved.
    pub move_rate: u64,
    /// Copies that are being made or moved, as the leader told the master that answered.
    pub moves: Vec<MoveStatus>,
    /// All that is to be moved, and can be.
    pub repair: RepairStatus,
    /// What does not get better by itself, and what to do; also that the leader was not reached, so that moves are not known.
    pub waiting: Vec<String>,
}

/// All that is to be moved, in [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RepairStatus {
    /// Placements of which a copy is to be made, those under way included.
    pub placements: u64,
    /// Bytes that are to be copied yet.
    pub bytes_left: u64,
    /// Bytes that all volumes together copied a second, of late.
    pub bytes_per_s: u64,
    /// Milliseconds that it takes yet; none while nothing was copied.
    pub eta_ms: Option<u64>,
}

/// Placements whose copies are being made or moved together, in [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MoveStatus {
    /// repair, drain or rebalance
    pub kind: String,
    /// How many placements.
    pub placements: u64,
    /// In whose place; none where a copy lacked.
    pub from: Option<u64>,
    /// Which volume gets them.
    pub to: u64,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes a second, of late.
    pub bytes_per_s: u64,
    /// Milliseconds that it will take yet; none before anything was copied.
    pub eta_ms: Option<u64>,
}

/// A master in [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MasterStatus {
    /// Its id.
    pub id: u64,
    /// Its peer address.
    pub peer: String,
    /// Its client address.
    pub client: String,
    /// leader, follower, learner or unreachable
    pub role: String,
    /// Log entries behind the leader. Only the leader knows every one's.
    pub lag: Option<u64>,
    /// Milliseconds since the master that answered reached it: a leader by its log, others by greeting it. None if it never
    /// did.
    pub reached_ms: Option<u64>,
}

/// A volume in [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VolumeStatus {
    /// Its id.
    pub id: u64,
    /// Its HTTP address.
    pub addr: String,
    /// Its peer address.
    pub peer: String,
    /// up, suspect, down, full, read-only, draining or removed
    pub state: String,
    /// Its zone.
    pub zone: String,
    /// What it may hold, in bytes.
    pub capacity: u64,
    /// What it holds, in bytes.
    pub used: u64,
    /// What it has left, in bytes.
    pub free: u64,
    /// Needles on it.
    pub needles: u64,
    /// Those that failed their checksum.
    pub bad: u64,
    /// Milliseconds since the master that answered last heard it. None if it never did.
    pub seen_ms: Option<u64>,
}

/// Objects that no volume had when they were looked for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Missing {
    /// How many.
    pub objects: u64,
}

/// What overwrites and deletes left behind.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Garbage {
    /// How many needles.
    pub needles: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Client {
    /// The cluster as the first master that answers sees it.
    ///
    /// # Errors
    /// When no master answers.
    pub async fn status(&self) -> Result<Status, Error> {
        self.look_json("/-/status").await
    }

    /// The same with every field, as it was sent.
    ///
    /// # Errors
    /// When no master answers.
    pub async fn status_json(&self) -> Result<serde_json::Value, Error> {
        self.look_json("/-/status").await
    }

    /// Returns when some master can serve linearizable reads and writes.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason if all that answer say no; does not wait.
    pub async fn ready(&self) -> Result<(), Error> {
        self.send(Kind::Look, "/-/ready", |url| self.reads.get(url)).await.map(drop)
    }
}
