//! How tests write down histories and records: `put("k", value(1)).by(2).at(1..3).stored()`.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::history::{Answer, Call, Condition, History, Moment, Operation, Value};
use crate::record::{CheckSeen, Plan, Quiet, Record, StateSeen};
use crate::verdict::{Outcome, Verdict};

/// The value with this number.
pub(crate) fn value(number: u8) -> Value {
    Value([number; 16])
}

/// A request without its answer; of client 1, from 0 to 1, if nothing else is said.
pub(crate) struct Asked(Operation);

pub(crate) fn get(key: &str) -> Asked {
    asked(Call::Get { key: key.to_owned() })
}

pub(crate) fn head(key: &str) -> Asked {
    asked(Call::Head { key: key.to_owned() })
}

pub(crate) fn put(key: &str, value: Value) -> Asked {
    put_if(key, value, Condition::Always)
}

pub(crate) fn put_if(key: &str, value: Value, condition: Condition) -> Asked {
    asked(Call::Put { key: key.to_owned(), value, size_bytes: 16, condition })
}

pub(crate) fn delete(key: &str) -> Asked {
    delete_if(key, Condition::Always)
}

pub(crate) fn delete_if(key: &str, condition: Condition) -> Asked {
    asked(Call::Delete { key: key.to_owned(), condition })
}

pub(crate) fn undelete(key: &str) -> Asked {
    asked(Call::Undelete { key: key.to_owned() })
}

pub(crate) fn list(prefix: &str) -> Asked {
    asked(Call::List { prefix: prefix.to_owned() })
}

fn asked(call: Call) -> Asked {
    Asked(Operation {
        client: 1,
        master: 1,
        begun: Moment(0),
        ended: Moment(1),
        call,
        answer: Answer::Absent,
    })
}

impl Asked {
    pub(crate) fn by(mut self, client: u32) -> Self {
        self.0.client = client;
        self
    }

    pub(crate) fn at(mut self, time: Range<u64>) -> Self {
        self.0.begun = Moment(time.start);
        self.0.ended = Moment(time.end);
        self
    }

    pub(crate) fn told(mut self, answer: Answer) -> Operation {
        self.0.answer = answer;
        self.0
    }

    pub(crate) fn found(self, value: Value) -> Operation {
        self.told(Answer::Found(value))
    }

    pub(crate) fn absent(self) -> Operation {
        self.told(Answer::Absent)
    }

    pub(crate) fn stored(self) -> Operation {
        self.told(Answer::Stored)
    }

    pub(crate) fn deleted(self) -> Operation {
        self.told(Answer::Deleted)
    }

    pub(crate) fn brought_back(self) -> Operation {
        self.told(Answer::BroughtBack)
    }

    pub(crate) fn nothing_to_bring_back(self) -> Operation {
        self.told(Answer::NothingToBringBack)
    }

    pub(crate) fn taken(self) -> Operation {
        self.told(Answer::Taken)
    }

    pub(crate) fn condition_failed(self) -> Operation {
        self.told(Answer::ConditionFailed)
    }

    pub(crate) fn listed(self, keys: &[&str]) -> Operation {
        self.told(Answer::Listed(keys.iter().map(|&key| key.to_owned()).collect()))
    }

    pub(crate) fn refused(self) -> Operation {
        self.told(Answer::Refused { status: 503, why: "no leader".to_owned() })
    }

    pub(crate) fn unknown(self) -> Operation {
        self.told(Answer::Unknown { why: "no answer in time".to_owned() })
    }

    pub(crate) fn wrong(self) -> Operation {
        self.told(Answer::Wrong { why: "byte 7 differs".to_owned() })
    }
}

/// A healthy run of these operations, of three masters, after which nothing was read back.
pub(crate) fn record(operations: Vec<Operation>) -> Record {
    let ended = operations.iter().map(|operation| operation.ended).max().unwrap_or_default();
    Record {
        plan: plan(),
        began: "2030-01-01T00:00:00Z".to_owned(),
        loaded: ended,
        ended,
        history: History { operations, values: BTreeMap::new() },
        faults: Vec::new(),
        leaders: Vec::new(),
        lives: Vec::new(),
        resources: Vec::new(),
        reached: BTreeMap::new(),
        quiet: Quiet {
            writes_again_ms: Some(300),
            reads_again_ms: Some(200),
            check: Some(CheckSeen { objects: 10, ..CheckSeen::default() }),
            states: (1..=3).map(|master| StateSeen { master, applied: 9, hash: "h".to_owned() }).collect(),
            ..Quiet::default()
        },
        logs: BTreeMap::new(),
        panics: Vec::new(),
        strangers: Vec::new(),
        left_out: Vec::new(),
    }
}

/// The same, and what was found at the end: one key, and what was read of it through the masters.
pub(crate) fn record_found(operations: Vec<Operation>, key: &str, found: &[Option<Value>]) -> Record {
    let mut record = record(operations);
    record.quiet.found.insert(key.to_owned(), found.to_vec());
    record
}

fn plan() -> Plan {
    Plan {
        mix: "kills".to_owned(),
        about: "Kills processes.".to_owned(),
        seed: 1,
        seconds: 60,
        masters: 3,
        volumes: 4,
        deleted_kept_ms: 4_000,
        binary: "0.1.0".to_owned(),
        bug: None,
        replay: "hayrick chaos --seed 1".to_owned(),
        must_reach: Vec::new(),
    }
}

/// That nothing contradicts, or with what does.
#[track_caller]
pub(crate) fn assert_proved(verdict: &Verdict) {
    assert_eq!(verdict.outcome, Outcome::Proved, "{verdict:#?}");
    assert!(!verdict.figures.is_empty(), "{verdict:#?}");
}

/// That it is violated, and that the first evidence says this.
#[track_caller]
pub(crate) fn assert_violated(verdict: &Verdict, saying: &str) {
    assert_eq!(verdict.outcome, Outcome::Violated, "{verdict:#?}");
    assert!(verdict.evidence[0].what.contains(saying), "{verdict:#?}");
}
