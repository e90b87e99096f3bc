//! Whether what lies on the volumes is what the index says: `GET /-/check`.
//!
//! The answer is a stream of JSON values, one a line: how far the check is, and at last what it found, or why it broke off.

use serde::{Deserialize, Serialize};

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// How far the check is; a line at least every second.
    Progress(Progress),
    /// What it found; the last line.
    Report(Box<Report>),
    /// Why it broke off; the last line.
    Error(String),
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The volume that listed last.
    pub volume: u32,
    /// Needles that were listed so far, on all volumes.
    pub needles: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Placements that are done.
    pub placements_done: u64,
    /// Placements in all.
    pub placements: u64,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The master that checked.
    pub node: u64,
    /// Whether all bytes were read.
    pub deep: bool,
    /// How long it took.
    pub took_ms: u64,
    /// Every volume that was not removed.
    pub volumes: Vec<VolumeChecked>,
    /// All of them together.
    pub total: Held,
    /// Placements in all.
    pub placements: u64,
    /// Placements, of those that hold something or take writes, that have fewer members than `replicas`, or members that are
    /// not up.
    pub placements_short: u64,
    /// What is not as it should be; empty: nothing.
    pub findings: Vec<Finding>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeChecked {
    /// Its id.
    pub id: u32,
    /// up, suspect, down, full, read-only or draining
    pub state: String,
    /// Why not all that it holds was seen; empty: all was.
    pub unseen: String,
    /// What it holds.
    pub held: Held,
    /// What it must hold and does not.
    pub lacks: Lacks,
    /// Needles that failed to read, or are not what the index says.
    pub wrong: u64,
    /// Needles or stretches that it knows are damaged.
    pub bad: u64,
    /// Bytes that it takes on its disk.
    pub used: u64,
    /// Bytes that it may still take.
    pub free: u64,
    /// Bytes of dropped needles that wait for compaction.
    pub dead_bytes: u64,
}

/// Needles and the bytes that they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sum {
    /// How many.
    pub needles: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What is held, by what it is; each needle is in one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    /// The index names it, and the volume is a member of its placement.
    pub live: Sum,
    /// It is named, and the volume is about to become a member.
    pub moving: Sum,
    /// It was overwritten or deleted, and can be brought back or is about to be reaped.
    pub garbage: Sum,
    /// It is named, and the volume is no member of its placement any more.
    pub left_over: Sum,
    /// Nothing names it, and nothing ever will.
    pub orphan: Sum,
    /// Nothing names it yet: a write in flight, or one that failed and whose gateway has not ended its epoch.
    pub unaccounted: Sum,
}

/// What lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lacks {
    /// Placements of which something lacks.
    pub placements: u64,
    /// Needles, each as often as a copy of it lacks.
    pub needles: u64,
}

/// What is not as it should be, of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// volume, copies, lacks, wrong or bad
    pub kind: String,
    /// How many there are.
    pub count: u64,
    /// The first of them, in words.
    pub lines: Vec<String>,
    /// What to do.
    pub advice: String,
}

impl Sum {
    /// Adds so many.
    pub fn add(&mut self, needles: u64, bytes: u64) {
        self.needles += needles;
        self.bytes += bytes;
    }
}

impl Held {
    /// Its parts by name, in the order in which they are shown.
    pub fn parts(&self) -> [(&'static str, Sum); 6] {
        [
            ("live", self.live),
            ("moving", self.moving),
            ("garbage", self.garbage),
            ("left-over", self.left_over),
            ("orphan", self.orphan),
            ("unaccounted", self.unaccounted),
        ]
    }
}
