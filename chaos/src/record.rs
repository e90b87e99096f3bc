//! Everything that was seen during one run: enough to judge it and to draw it, later and elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::history::{History, Moment, Value};

/// One run of one mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was run.
    pub plan: Plan,
    /// When it began, for people (RFC 3339).
    pub began: String,
    /// From the first request until the last fault was undone.
    pub loaded: Moment,
    /// When the cluster was quiet and all was read back.
    pub ended: Moment,
    /// What clients saw.
    pub history: History,
    /// What was broken, in the order of their beginnings.
    pub faults: Vec<Fault>,
    /// Every master's word on who leads, whenever it changed.
    pub leaders: Vec<LeaderSeen>,
    /// Every process, whenever it came or went.
    pub lives: Vec<Life>,
    /// Memory, descriptors and the like of every process, each second or so.
    pub resources: Vec<Resources>,
    /// What interesting things happened how often: `elections`, `stale_placements_refused`, …
    pub reached: BTreeMap<String, u64>,
    /// What was found once all was quiet.
    pub quiet: Quiet,
    /// Where the logs of the processes lie, by name (`master-1`).
    pub logs: BTreeMap<String, PathBuf>,
    /// The first panics that servers logged, with who had them.
    #[serde(default)]
    pub panics: Vec<String>,
    /// Masters that were started on a disk that was not theirs any more.
    #[serde(default)]
    pub strangers: Vec<Stranger>,
    /// What could not be done, and why: `libfaketime is not installed: no clock was shifted`.
    pub left_out: Vec<String>,
}

impl Record {
    /// When the last client had its last answer, or gave up for it. What comes later is the doing of who looks: it restarts all
    /// masters.
    pub fn clients_left(&self) -> Moment {
        let last = self.history.operations.iter().map(|operation| operation.ended).max();
        last.unwrap_or_default().max(self.loaded)
    }
}

/// What was run: the same plan gives the same schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The mix's name.
    pub mix: String,
    /// What it does, in one sentence.
    pub about: String,
    /// From which all that is drawn is drawn.
    pub seed: u64,
    /// How long it is broken, in seconds.
    pub seconds: u64,
    /// How many masters.
    pub masters: u32,
    /// How many volumes.
    pub volumes: u32,
    /// For how long at least what was deleted can be brought back: `--reap-after`, or less where volumes may be nearly full.
    pub deleted_kept_ms: u64,
    /// The version of the binary, and whether it can break disks.
    pub binary: String,
    /// The planted bug, if any.
    pub bug: Option<String>,
    /// The command that runs it again.
    pub replay: String,
    /// What must have been reached, or the run proved nothing.
    pub must_reach: Vec<String>,
}

/// One fault, from when it was there until it was undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its kind: `kill-leader`, `cut-one-way`, …
    pub kind: String,
    /// What exactly: `master-2 → master-1, master-3`.
    pub what: String,
    /// When it began.
    pub from: Moment,
    /// When it was undone.
    pub to: Moment,
}

/// A master that was started on a disk that was not its own any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranger {
    /// When that was over.
    pub at: Moment,
    /// Who, and on what disk: `master-2 with an empty disk`.
    pub who: String,
    /// What became of it.
    pub fate: Fate,
}

/// What can become of a master whose disk is not its own any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It served, as if nothing had been.
    LetIn,
    /// It ended, and said that it was another one: in these words.
    Refused(String),
    /// Neither: it ended with other words, or was still waiting. It may have had nobody to ask just then.
    Untold(String),
}

/// What a master said of who leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderSeen {
    /// When it was asked.
    pub at: Moment,
    /// Which master said so.
    pub by: u32,
    /// In which term.
    pub term: u64,
    /// Whom it named.
    pub leader: Option<u32>,
}

/// A process came, or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// When.
    pub at: Moment,
    /// Which: `master-1`, `volume-3`.
    pub process: String,
    /// What it is from then on.
    pub state: LifeState,
}

/// What a process can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeState {
    /// It runs.
    Runs,
    /// It stands still (SIGSTOP).
    Stopped,
    /// It is not there.
    Dead,
}

/// What one process took at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// When.
    pub at: Moment,
    /// Which process.
    pub process: String,
    /// Its resident memory.
    pub memory_bytes: u64,
    /// Its open descriptors.
    pub descriptors: u64,
    /// Those of files that have no name any more.
    #[serde(default)]
    pub nameless: u64,
    /// Its threads.
    pub threads: u64,
}

/// What was found once the faults were undone, the clients gone, and repair had nothing left to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Quiet {
    /// From when the last fault was undone ([`Record::loaded`]) until a PUT through each master succeeded; none if it never did.
    pub writes_again_ms: Option<u64>,
    /// The same for a GET.
    pub reads_again_ms: Option<u64>,
    /// What each key held at the end: what was found through each master, in their order. Write-once keys and contended keys
    /// alike. `None` among them: there is no object.
    pub found: BTreeMap<String, Vec<Option<Value>>>,
    /// Keys that could not be read at the end, and what was answered. Those for which there was no time are not among them.
    pub unreadable: BTreeMap<String, String>,
    /// Those among them whose bytes came, and were wrong.
    #[serde(default)]
    pub wrong: BTreeSet<String>,
    /// What did not come to its end in time: repair, the check; one sentence each.
    #[serde(default)]
    pub unfinished: Vec<String>,
    /// Masters that did not serve again when they were restarted at the end; one sentence each.
    #[serde(default)]
    pub not_back: Vec<String>,
    /// What `hayrick check --deep` found; none if it did not run to its end.
    pub check: Option<CheckSeen>,
    /// Of each master, before it was restarted to look at all: the index it had applied, and the hash of its state there.
    #[serde(default)]
    pub states_before: Vec<StateSeen>,
    /// The same at the end.
    pub states: Vec<StateSeen>,
}

impl Quiet {
    /// Keys of which masters said different things, and what each said.
    pub fn read_differently(&self) -> impl Iterator<Item = (&String, &Vec<Option<Value>>)> {
        self.found.iter().filter(|(_, found)| found.iter().any(|value| *value != found[0]))
    }
}

/// What `check --deep` told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSeen {
    /// Objects it looked at.
    pub objects: u64,
    /// Copies that lack, are damaged or are not the same.
    pub wrong_copies: Vec<String>,
    /// Needles and bytes on volumes that nobody accounts for.
    pub unaccounted: Vec<String>,
}

/// The state of one master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSeen {
    /// Which master.
    pub master: u32,
    /// Up to where it had applied the log.
    pub applied: u64,
    /// Of everything in its state.
    pub hash: String,
}
