//! Records for tests, made up: a bare one with operations of known times.

use crate::history::{Answer, Call, Condition, History, Moment, Operation, Value};
use crate::record::{Plan, Quiet, Record};

const MS: u64 = 1_000_000;

/// Of a run in which nothing happened.
pub(super) fn record() -> Record {
    Record {
        plan: Plan {
            mix: "leader-kills".to_owned(),
            about: "Kills the leader again and again.".to_owned(),
            seed: 8_150_734,
            seconds: 60,
            masters: 3,
            volumes: 3,
            binary: "hayrick 0.1.0".to_owned(),
            bug: None,
            replay: "make chaos MIX=leader-kills SEED=8150734 SECONDS=60".to_owned(),
            must_reach: Vec::new(),
        },
        began: "2026-11-28T03:29:52.000000Z".to_owned(),
        loaded: Moment(0),
        ended: Moment(0),
        history: History::default(),
        faults: Vec::new(),
        leaders: Vec::new(),
        lives: Vec::new(),
        resources: Vec::new(),
        reached: Default::default(),
        quiet: Quiet::default(),
        logs: Default::default(),
        left_out: Vec::new(),
    }
}

/// A PUT that was stored.
pub(super) fn put(begun_ms: u64, ended_ms: u64) -> Operation {
    let call = Call::Put {
        key: "a".to_owned(),
        value: Value([0x3f; 16]),
        size_bytes: 512,
        condition: Condition::Always,
    };
    operation(0, begun_ms, ended_ms, call, Answer::Stored)
}

/// A PUT of which nobody can say.
pub(super) fn unknown_put(begun_ms: u64, ended_ms: u64) -> Operation {
    Operation { answer: Answer::Unknown { why: "timed out".to_owned() }, ..put(begun_ms, ended_ms) }
}

/// A GET that found something.
pub(super) fn get(begun_ms: u64, ended_ms: u64) -> Operation {
    operation(1, begun_ms, ended_ms, Call::Get { key: "a".to_owned() }, Answer::Found(Value([0x3f; 16])))
}

fn operation(client: u32, begun_ms: u64, ended_ms: u64, call: Call, answer: Answer) -> Operation {
    Operation {
        client,
        master: client % 3 + 1,
        begun: Moment(begun_ms * MS),
        ended: Moment(ended_ms * MS),
        call,
        answer,
    }
}
