//! Clients that get in each other's way on few keys.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use tokio::time::sleep;

use super::Client;
use crate::history::{Answer, Call, Condition, Operation, Value};

/// How long a client thinks between two requests, at most.
const THINKS_MS_MAX: u64 = 12;
/// How long it waits after a failure, at most.
const WAITS_MS_MAX: u64 = 60;
/// Keys are left for new ones so often: a history of a few thousand operations is soon searched.
const GENERATION_SECONDS: f64 = 10.0;
/// How often in ten a failed or unknown request is made again, elsewhere.
const REPEATS_IN_TEN: u32 = 5;
/// A third of the keys is longer by so much, a third by twice that.
const LONG_KEY_BYTES: usize = 400;
/// How often in ten what was written is looked for through any master at once.
const LOOKS_IN_TEN: u32 = 2;

impl Client {
    /// Asks until it is told to stop.
    pub(super) async fn contend(mut self) -> Vec<Operation> {
        // What it believes each key to hold, for conditions that have a chance.
        let mut believed: Option<(String, Value)> = None;
        while !self.stops() {
            let key = self.contended_key();
            let (call, bytes) = self.draw(key, &believed);
            let master = self.master();
            let mut answer = self.ask(master, call.clone(), bytes.clone()).await;
            if matches!(answer, Answer::Refused { .. } | Answer::Unknown { .. }) {
                self.wait(WAITS_MS_MAX).await;
                if !self.stops() && self.rng.random_range(0..10) < REPEATS_IN_TEN {
                    let other = self.master();
                    answer = self.ask(other, call.clone(), bytes).await;
                }
            }
            match (&call, &answer) {
                (Call::Get { key } | Call::Head { key }, Answer::Found(value)) => {
                    believed = Some((key.clone(), *value));
                }
                (Call::Put { key, value, .. }, Answer::Stored) => believed = Some((key.clone(), *value)),
                _ => {}
            }
            if let (Answer::Stored | Answer::Deleted, Some(key)) = (&answer, call.key())
                && self.rng.random_range(0..10) < LOOKS_IN_TEN
            {
                // Whoever answers from what he has, and not from what is, has not heard of it yet.
                let other = self.other_master();
                self.ask(other, Call::Head { key: key.to_owned() }, Bytes::new()).await;
            }
            self.wait(THINKS_MS_MAX).await;
        }
        self.operations
    }

    fn contended_key(&mut self) -> String {
        let number = self.rng.random_range(0..self.shared.load.contended_keys);
        let generation = (self.shared.scene.clock.now().seconds() / GENERATION_SECONDS) as u64;
        // Some are long, as large keys make for large records of the log.
        let rest = "-".repeat((number % 3) as usize * LONG_KEY_BYTES);
        format!("contended/{generation}/{number}{rest}")
    }

    pub(super) async fn wait(&mut self, ms_max: u64) {
        sleep(Duration::from_millis(self.rng.random_range(0..=ms_max))).await;
    }

    fn draw(&mut self, key: String, believed: &Option<(String, Value)>) -> (Call, Bytes) {
        let known = believed.as_ref().filter(|(of, _)| *of == key).map(|(_, value)| *value);
        let matches = known.map_or(Condition::Absent, Condition::Matches);
        match self.rng.random_range(0..100) {
            0..=34 => (Call::Get { key }, Bytes::new()),
            35..=41 => (Call::Head { key }, Bytes::new()),
            42..=64 => self.put(key, Condition::Always),
            65..=72 => self.put(key, Condition::Absent),
            73..=80 => self.put(key, matches),
            81..=89 => (Call::Delete { key, condition: Condition::Always }, Bytes::new()),
            90..=93 => {
                let condition = known.map_or(Condition::Always, Condition::Matches);
                (Call::Delete { key, condition }, Bytes::new())
            }
            _ => {
                let prefix = key.rsplit_once('/').map_or(String::new(), |(prefix, _)| format!("{prefix}/"));
                (Call::List { prefix }, Bytes::new())
            }
        }
    }

    fn put(&mut self, key: String, condition: Condition) -> (Call, Bytes) {
        let (value, bytes) = self.make_value();
        (Call::Put { key, value, size_bytes: bytes.len() as u64, condition }, bytes)
    }
}
