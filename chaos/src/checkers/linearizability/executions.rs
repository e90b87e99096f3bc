//! Random histories that some execution had: clients ask one register, each request takes effect at one moment between
//! its beginning and its end, and some get no answer, whose requests take effect then, later, or never.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};

use crate::history::{Answer, Call, Condition, Moment, Operation, Value};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) clients: usize,
    pub(super) operations: usize,
    /// Of a hundred requests, so many get no answer.
    pub(super) unknown_percent: u32,
    pub(super) deletes: bool,
    /// Of a hundred values, so many were written before.
    pub(super) reused_percent: u32,
    /// What was deleted is brought back; there is only one value then.
    pub(super) undeletes: bool,
}

impl Shape {
    /// Sixteen clients that are all at the same key all the time.
    pub(super) fn contended(operations: usize) -> Self {
        Self {
            clients: 16,
            operations,
            unknown_percent: 3,
            deletes: true,
            reused_percent: 2,
            undeletes: false,
        }
    }
}

/// The one key.
pub(super) const KEY: &str = "k";

/// A linearizable history: of so many operations that ended, and a few more.
pub(super) fn execution(seed: u64, shape: Shape) -> Vec<Operation> {
    let mut run = Run {
        random: StdRng::seed_from_u64(seed),
        shape,
        now: 0,
        object: None,
        deleted: None,
        values: 0,
        late: Vec::new(),
        read: VecDeque::new(),
        history: Vec::new(),
    };
    let mut clients: Vec<Client> = (0..shape.clients).map(|_| Client::Idle).collect();
    while run.history.len() < shape.operations {
        let index = run.random.random_range(0..clients.len());
        clients[index] = run.advance(index as u32, std::mem::replace(&mut clients[index], Client::Idle));
        run.something_late_happens();
    }
    for (client, state) in clients.into_iter().enumerate() {
        run.give_up(client as u32, state);
    }
    run.history
}

enum Client {
    Idle,
    Asks(Moment, Call),
    Knows(Moment, Call, Answer),
}

struct Run {
    random: StdRng,
    shape: Shape,
    now: u64,
    object: Option<Value>,
    /// What an undelete would bring back.
    deleted: Option<Value>,
    values: u64,
    late: Vec<Call>,
    /// What was read lately.
    read: VecDeque<Value>,
    history: Vec<Operation>,
}

impl Run {
    fn advance(&mut self, client: u32, state: Client) -> Client {
        self.now += 1;
        let now = Moment(self.now);
        match state {
            Client::Idle => Client::Asks(now, self.call()),
            Client::Asks(begun, call) if self.random.random_range(0..100) < self.shape.unknown_percent => {
                match self.random.random_range(0..3) {
                    0 => drop(self.apply(&call)),
                    1 => self.late.push(call.clone()),
                    _ => {}
                }
                Client::Knows(begun, call, Answer::Unknown { why: "timed out".to_owned() })
            }
            Client::Asks(begun, call) if self.random.random_range(0..100) == 0 => {
                Client::Knows(begun, call, Answer::Refused { status: 503, why: "no leader".to_owned() })
            }
            Client::Asks(begun, call) => {
                let answer = self.apply(&call);
                Client::Knows(begun, call, answer)
            }
            Client::Knows(begun, call, answer) => {
                self.history.push(Operation { client, master: 1, begun, ended: now, call, answer });
                Client::Idle
            }
        }
    }

    /// The history ends: who still waits will never know.
    fn give_up(&mut self, client: u32, state: Client) {
        if let Client::Asks(begun, call) | Client::Knows(begun, call, _) = state {
            let answer = Answer::Unknown { why: "the end".to_owned() };
            self.history.push(Operation { client, master: 1, begun, ended: Moment(self.now), call, answer });
        }
    }

    fn something_late_happens(&mut self) {
        if !self.late.is_empty() && self.random.random_range(0..40) == 0 {
            let index = self.random.random_range(0..self.late.len());
            let call = self.late.swap_remove(index);
            self.apply(&call);
        }
        if self.shape.undeletes && self.random.random_range(0..40) == 0 {
            self.deleted = None;
        }
    }

    fn call(&mut self) -> Call {
        let key = KEY.to_owned();
        match self.random.random_range(0..20) {
            0..8 => Call::Get { key },
            8 => Call::Head { key },
            9 => Call::List { prefix: String::new() },
            10..12 if self.shape.deletes => Call::Delete { key, condition: self.condition(false) },
            12..15 if self.shape.undeletes => Call::Undelete { key },
            _ => {
                let (value, condition) = (self.value(), self.condition(true));
                Call::Put { key, value, size_bytes: 16, condition }
            }
        }
    }

    fn value(&mut self) -> Value {
        if self.shape.undeletes {
            return numbered(1);
        }
        if self.values == 0 || self.random.random_range(0..100) >= self.shape.reused_percent {
            self.values += 1;
            return numbered(self.values);
        }
        numbered(self.random.random_range(1..=self.values))
    }

    fn condition(&mut self, of_put: bool) -> Condition {
        match self.random.random_range(0..10) {
            0..6 => Condition::Always,
            6..8 if of_put => Condition::Absent,
            6..9 => self.object.map_or(Condition::Always, Condition::Matches),
            _ => match self.read.iter().choose(&mut self.random) {
                Some(value) => Condition::Matches(*value),
                None => Condition::Always,
            },
        }
    }

    fn apply(&mut self, call: &Call) -> Answer {
        let object = self.object;
        let met = |condition: &Condition| match condition {
            Condition::Always => true,
            Condition::Absent => object.is_none(),
            Condition::Matches(value) => object == Some(*value),
        };
        match call {
            Call::Get { .. } | Call::Head { .. } => {
                self.read.extend(object);
                if self.read.len() > 20 {
                    self.read.pop_front();
                }
                object.map_or(Answer::Absent, Answer::Found)
            }
            Call::List { .. } => Answer::Listed(object.map(|_| KEY.to_owned()).into_iter().collect()),
            Call::Put { condition, .. } | Call::Delete { condition, .. } if !met(condition) => {
                Answer::ConditionFailed
            }
            Call::Delete { .. } if object.is_none() => Answer::Absent,
            Call::Put { value, .. } => {
                self.object = Some(*value);
                Answer::Stored
            }
            Call::Delete { .. } => {
                self.deleted = self.object.take();
                Answer::Deleted
            }
            Call::Undelete { .. } if self.deleted.is_none() => Answer::NothingToBringBack,
            Call::Undelete { .. } if object.is_some() => Answer::Taken,
            Call::Undelete { .. } => {
                self.object = self.deleted.take();
                Answer::BroughtBack
            }
        }
    }
}

fn numbered(number: u64) -> Value {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Value(bytes)
}
