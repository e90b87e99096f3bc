//! Exactly once: however a gateway's requests are repeated, reordered, answered late or not at all, across changes of the
//! leader, snapshots and fencing, none takes effect twice, and who still waits for an answer gets the first one.

use std::collections::{BTreeMap, BTreeSet};

use hayrick_disk::replay::histories;
use hayrick_protocol::command::{
    Command, Delete, Precondition, Refusal, Reply, Session as Sending, Undelete,
};
use hayrick_protocol::{AppliedVersion, EpochId, ObjectKey, Seq};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::apply::apply;
use crate::apply::transcripts::MemoryRows;
use crate::machine_tests::{commit, prelude};
use crate::state::State;

const SCHEDULES: u64 = 100_000;
const STEPS: usize = 16;

/// A gateway, what it sent and is still on its way, and the state that it all comes to.
struct Schedule {
    random: StdRng,
    state: State,
    rows: MemoryRows,
    /// What each request is, from seq 1 on.
    requests: Vec<Command>,
    in_flight: Vec<(Seq, Command)>,
    /// What the gateway has an answer to.
    answered: BTreeSet<Seq>,
    first: BTreeMap<Seq, Reply>,
    executed: BTreeSet<Seq>,
    fenced: bool,
}

impl Schedule {
    fn run(&mut self) {
        for _ in 0..STEPS {
            match self.random.random_range(0..20) {
                0..4 => self.send_new(),
                4..7 => self.send_again(),
                7..17 => self.arrive(),
                // Whoever leads next may have all of it from a snapshot.
                17 | 18 => self.state = State::load(self.state.rows()).expect("own rows"),
                _ if self.random.random_bool(0.3) => {
                    self.apply(Command::FenceEpoch(EpochId(1)));
                    self.fenced = true;
                }
                _ => {}
            }
        }
    }

    fn send_new(&mut self) {
        let seq = self.requests.len() as u32 + 1;
        let key = format!("key-{}", self.random.random_range(0..2));
        let session = Sending { epoch: EpochId(1), seq: Seq(seq), resolved_below: Seq(1) };
        let deleted = self.rows.garbage.iter().rfind(|(_, row)| row.by_delete);
        let request = match (self.random.random_range(0..4), deleted) {
            (3, Some((version, row))) => {
                Command::Undelete(Undelete { session, key: row.key.clone(), garbage: *version })
            }
            (3, None) => {
                let key = ObjectKey::new(&key).expect("a key");
                Command::Undelete(Undelete { session, key, garbage: AppliedVersion(1) })
            }
            (0, _) => Command::Delete(Delete {
                session,
                key: ObjectKey::new(&key).expect("a key"),
                precondition: Precondition::None,
            }),
            (absent, _) => {
                let mut request = commit(seq, &key);
                if let Command::Commit(commit) = &mut request
                    && absent == 1
                {
                    commit.precondition = Precondition::Absent;
                }
                request
            }
        };
        self.requests.push(request);
        self.send(Seq(seq));
    }

    /// A request that has no answer yet: the leader changed, or it took too long.
    fn send_again(&mut self) {
        let seq = Seq(self.random.random_range(0..=self.requests.len() as u32));
        if seq.0 > 0 && !self.answered.contains(&seq) {
            self.send(seq);
        }
    }

    fn send(&mut self, seq: Seq) {
        let unanswered = (1..=self.requests.len() as u32).map(Seq).find(|seq| !self.answered.contains(seq));
        let mut command = self.requests[seq.0 as usize - 1].clone();
        let session = command.session_mut().expect("all of these have one");
        session.resolved_below = unanswered.expect("this one is");
        self.in_flight.push((seq, command));
    }

    /// Anything on its way arrives, perhaps not for the last time.
    fn arrive(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.in_flight.len());
        let (seq, command) = if self.random.random_bool(0.4) {
            self.in_flight[at].clone()
        } else {
            self.in_flight.swap_remove(at)
        };
        let before = self.state.counters.version;
        let reply = self.apply(command);
        if self.state.counters.version != before {
            assert!(!self.fenced, "{seq:?} was executed behind its fence");
            assert!(self.executed.insert(seq), "{seq:?} was executed twice");
        }
        match &reply {
            Reply::Refused(Refusal::Fenced) => assert!(self.fenced, "{seq:?}"),
            Reply::Refused(Refusal::AlreadyResolved) => {
                assert!(self.answered.contains(&seq), "{seq:?} is refused to who waits for it");
            }
            reply => {
                assert!(!self.fenced, "{seq:?} was answered behind its fence");
                assert_eq!(self.first.entry(seq).or_insert_with(|| reply.clone()), reply, "{seq:?}");
            }
        }
        // The answer arrives, or is lost.
        if self.random.random_bool(0.6) {
            self.answered.insert(seq);
        }
    }

    fn apply(&mut self, command: Command) -> Reply {
        apply(&mut self.state, &mut self.rows, command).expect("rows in memory do not fail")
    }
}

#[test]
fn in_no_schedule_a_request_is_executed_twice_or_answered_differently() {
    let (mut state, mut rows) = (State::default(), MemoryRows::default());
    for command in prelude() {
        apply(&mut state, &mut rows, command).expect("rows in memory do not fail");
    }
    let test = "in_no_schedule_a_request_is_executed_twice_or_answered_differently";
    let mut executed = 0;
    for replay in histories(env!("CARGO_PKG_NAME"), test, SCHEDULES) {
        let mut schedule = Schedule {
            random: StdRng::seed_from_u64(replay.seed()),
            state: state.clone(),
            rows: rows.clone(),
            requests: Vec::new(),
            in_flight: Vec::new(),
            answered: BTreeSet::new(),
            first: BTreeMap::new(),
            executed: BTreeSet::new(),
            fenced: false,
        };
        schedule.run();
        executed += schedule.executed.len();
    }
    println!("{executed} requests executed");
}
