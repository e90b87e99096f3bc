//! Records for tests, made up: a bare one with operations of known times, and one in which about everything happens.

use std::path::{Path, PathBuf};

use crate::history::{Answer, Call, Condition, History, Moment, Operation, Value};
use crate::record::{
    CheckSeen, Fault, LeaderSeen, Life, LifeState, Plan, Quiet, Record, Resources, StateSeen,
};
use crate::report::Run;
use crate::verdict::{Evidence, Outcome, Verdict};

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
            deleted_kept_ms: 4_000,
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
        panics: Vec::new(),
        strangers: Vec::new(),
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

/// Text that would run, break out of its element or turn its line around, were it not escaped.
pub(super) const HOSTILE: &str = "<script>alert('&1\")</script>\u{202e}\n--><svg onload=x>";

/// A minute with `operations` operations, with leaders killed and the network cut, and a stale read at 23 s; the logs of two
/// of the processes lie in `logs`.
pub(super) fn violated(logs: &Path, operations: u64) -> Run {
    let mut record = record();
    record.loaded = Moment(60_000 * MS);
    record.ended = Moment(68_000 * MS);
    record.history = busy(operations);
    record.reached = [("elections", 9), ("stale_placements_refused", 3), ("compactions", 0)]
        .map(|(name, times)| (name.to_owned(), times))
        .into();
    record.plan.must_reach = vec!["elections".to_owned()];
    record.left_out = vec!["libfaketime is not installed: no clock was shifted".to_owned()];
    record.quiet = quiet();
    breaks(&mut record);
    consumption(&mut record);
    record.logs = ["master-1", "master-2", "volume-1"]
        .map(|name| (name.to_owned(), logs.join(name).with_extension("log")))
        .into();
    let verdicts = verdicts(&mut record);
    Run { record, verdicts }
}

/// One that held, of the same size.
pub(crate) fn held(operations: u64) -> Run {
    let mut run = violated(Path::new("nowhere"), operations);
    run.record.plan.mix = "one-way-cuts".to_owned();
    for verdict in &mut run.verdicts {
        verdict.outcome = Outcome::Proved;
        verdict.evidence.clear();
    }
    run
}

/// Some hundred log lines of two processes, hostile ones, coloured ones and a panic's among them.
pub(super) fn write_logs(dir: &Path) -> Vec<PathBuf> {
    // Second 8 of the run is the first of its minute.
    let stamp = |ms: u64| format!("2026-11-28T03:30:{:02}.{:03}000Z", ms / 1_000 - 8, ms % 1_000);
    let mut leader = String::new();
    for ms in (15_000..31_000).step_by(40) {
        leader += &format!("{}  INFO hayrick_master::api: put key=a status=200 took_ms=3\n", stamp(ms));
    }
    leader += &format!("{} ERROR hayrick_master: {}\n", stamp(24_100), HOSTILE.replace('\n', " "));
    let mut other = format!("\u{1b}[2m{}\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m lost the leader\n", stamp(23_015));
    other += "thread 'main' panicked at master/src/peer/server.rs:41:\nno quorum\n";
    other += &format!("{}  INFO long after\n", stamp(59_999));
    [("master-1", leader), ("master-2", other)]
        .map(|(name, text)| {
            let path = dir.join(name).with_extension("log");
            std::fs::write(&path, text).expect("the directory is there");
            path
        })
        .into()
}

fn busy(operations: u64) -> History {
    let mut history = History::default();
    for number in 0..operations {
        let begun = number * 59_500 / operations.max(1);
        let outage = (begun % 13_000) < 1_600 && begun > 2_000;
        let client = (number % 8) as u32;
        let took = 2 + number * 7 % 11 + if number % 97 == 0 { 60 } else { 0 } + if outage { 400 } else { 0 };
        let mut one = if number % 3 == 0 { put(begun, begun + took) } else { get(begun, begun + took) };
        (one.client, one.master) = (client, client % 3 + 1);
        if outage && number % 3 == 0 {
            one.answer = match number % 4 {
                0 => Answer::Unknown { why: "the connection was closed".to_owned() },
                _ => Answer::Refused { status: 503, why: "no leader".to_owned() },
            };
        }
        history.operations.push(one);
    }
    history
}

fn breaks(record: &mut Record) {
    for round in 0..4_u64 {
        let from = 13_000 * (round + 1);
        let leader = (round % 3 + 1) as u32;
        let (next, term) = ((round + 1) % 3 + 1, 4 + round);
        record.faults.push(Fault {
            kind: "kill-leader".to_owned(),
            what: format!("master-{leader}"),
            from: Moment(from * MS),
            to: Moment((from + 2_500) * MS),
        });
        record.faults.push(Fault {
            kind: "cut-one-way".to_owned(),
            what: format!("volume-{next} → master-1 {HOSTILE}"),
            from: Moment((from + 4_000) * MS),
            to: Moment((from + 5_000) * MS),
        });
        for (at, state) in [(from, LifeState::Dead), (from + 2_500, LifeState::Runs)] {
            record.lives.push(Life { at: Moment(at * MS), process: format!("master-{leader}"), state });
        }
        for by in 1..=3 {
            record.leaders.push(LeaderSeen {
                at: Moment((from - 12_900) * MS),
                by,
                term,
                leader: Some(leader),
            });
            record.leaders.push(LeaderSeen { at: Moment((from + 20) * MS), by, term, leader: None });
        }
        for (at, state) in [(from + 6_000, LifeState::Stopped), (from + 8_000, LifeState::Runs)] {
            record.lives.push(Life { at: Moment(at * MS), process: format!("volume-{next}"), state });
        }
    }
    for by in 1..=3 {
        let seen = LeaderSeen { at: Moment(53_600 * MS), by, term: 9, leader: Some(2) };
        record.leaders.push(seen);
    }
}

fn consumption(record: &mut Record) {
    for process in ["master-1", "master-2", "master-3", "volume-1", "volume-2", "volume-3"] {
        for second in 0..68_u64 {
            record.resources.push(Resources {
                at: Moment(second * 1_000 * MS),
                process: process.to_owned(),
                memory_bytes: (40 << 20) + second * 300_000 + (second * 7919 % 13) * 100_000,
                descriptors: 30 + second % 9,
                nameless: 0,
                threads: 12,
            });
        }
    }
}

fn quiet() -> Quiet {
    Quiet {
        writes_again_ms: Some(1_240),
        reads_again_ms: None,
        found: [("a".to_owned(), vec![Some(Value([0x3f; 16])), None])].into(),
        unreadable: [(HOSTILE.to_owned(), "503 no quorum".to_owned())].into(),
        wrong: Default::default(),
        unfinished: vec![format!("not after 30 s: {HOSTILE}")],
        not_back: vec![format!("master {HOSTILE}")],
        check: Some(CheckSeen {
            objects: 1_234,
            wrong_copies: vec![format!("volume-2 lacks {HOSTILE}")],
            unaccounted: Vec::new(),
        }),
        states_before: states(4_700),
        states: states(4_711),
    }
}

fn states(applied: u64) -> Vec<StateSeen> {
    let hash = |master| format!("{:08x}", 0xabcd_0000_u32 + master / 3);
    (1..=3).map(|master| StateSeen { master, applied, hash: hash(master) }).collect()
}

fn verdicts(record: &mut Record) -> Vec<Verdict> {
    let (old, new) = (Value([0x3f; 16]), Value([0x9c; 16]));
    record.history.values.insert(old, "client 3, number 41, 512 bytes".to_owned());
    record.history.values.insert(new, "client 5, number 17, 2048 bytes".to_owned());
    let key = format!("orders/{HOSTILE}");
    let put = |value| Call::Put { key: key.clone(), value, size_bytes: 512, condition: Condition::Always };
    let get = || Call::Get { key: key.clone() };
    let unknown = Answer::Unknown { why: "the connection was closed".to_owned() };
    let history = vec![
        operation(3, 22_900, 22_912, put(old), Answer::Stored),
        operation(5, 23_020, 23_034, put(new), Answer::Stored),
        operation(6, 23_028, 23_031, get(), Answer::Found(new)),
        operation(7, 22_950, 23_200, put(Value([0x11; 16])), unknown),
        operation(1, 23_040, 23_043, get(), Answer::Found(old)),
    ];
    let evidence = Evidence {
        what: format!("client 1 read 3f3f3f3f of {key:?} after 9c9c9c9c had been stored in its place"),
        at: Some(Moment(23_043 * MS)),
        key: Some(key.clone()),
        history,
    };
    let linear = "Every operation takes effect at one instant between its request and its answer.";
    vec![
        Verdict::of(
            "linearizability",
            linear,
            "8 keys, 5132 operations, longest search 812 states",
            vec![evidence],
        ),
        Verdict::proved(
            "acknowledged-is-durable",
            "What was acknowledged is there at the end.",
            "1 204 objects",
        ),
        Verdict::new(
            "lists",
            "A list shows what is there.",
            Outcome::NotDecidedInTime,
            "gave up after 10 s".to_owned(),
            Vec::new(),
        ),
        Verdict::skipped("clocks", "No promise rests on clocks.", "libfaketime is not installed"),
    ]
}
