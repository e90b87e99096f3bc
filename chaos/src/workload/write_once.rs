//! Clients that write each key once, delete some, bring some of those back, and read some: what is to be there at the end is
//! known of every key.
//!
//! A key is its client's own, and nothing else is asked of it before an answer is there; whose last DELETE or undelete has
//! none is only read from then on. So an undelete can mean one object only, and the moment of its DELETE is known.

use bytes::Bytes;
use rand::Rng;

use super::Client;
use crate::history::{Answer, Call, Condition, Moment, Operation};

/// How long a client thinks between two requests, at most.
const THINKS_MS_MAX: u64 = 30;
/// Of ten keys that were stored, so many are deleted some time later.
const DELETED_IN_TEN: u32 = 2;
/// Of ten keys that were deleted, so many are to be brought back.
const BROUGHT_BACK_IN_TEN: u32 = 6;
/// … some at once, others so long after their DELETE, at most: servers that reap too early have had the time for it then, and
/// those that do not are far from it.
const BROUGHT_BACK_AFTER_MS_MAX: u64 = 1_000;
const AT_ONCE_IN_TEN: u32 = 3;
/// Of ten keys that were brought back, so many are deleted once more.
const DELETED_AGAIN_IN_TEN: u32 = 4;
/// Of ten steps, so many also read a key of before.
const READ_IN_TEN: u32 = 5;
/// A quarter of the keys is longer by so much.
const LONG_KEY_BYTES: usize = 600;
/// Keys that wait to be deleted.
const DOOMED_MAX: usize = 30;

/// The keys of a client that it will ask for again.
#[derive(Default)]
struct Keys {
    /// They are read.
    kept: Vec<String>,
    /// They are to be deleted.
    doomed: Vec<String>,
    /// They were deleted, and are to be brought back from then on.
    gone: Vec<(Moment, String)>,
}

impl Client {
    /// Writes until it is told to stop.
    pub(super) async fn write_once(mut self) -> Vec<Operation> {
        let mut keys = Keys::default();
        for number in 0_u64.. {
            if self.stops() {
                break;
            }
            let rest = "-".repeat(if number % 4 == 0 { LONG_KEY_BYTES } else { 0 });
            let key = format!("once/{}/{number}{rest}", self.number);
            if self.store(&key).await {
                match self.in_ten(DELETED_IN_TEN) {
                    true => keys.doomed.push(key),
                    false => keys.kept.push(key),
                }
            }
            if keys.doomed.len() > DOOMED_MAX {
                let key = keys.doomed.swap_remove(self.rng.random_range(0..keys.doomed.len()));
                self.delete_one(key, &mut keys).await;
            }
            let now = self.now();
            if let Some(due) = keys.gone.iter().position(|(due, _)| *due <= now) {
                let (_, key) = keys.gone.swap_remove(due);
                self.bring_back(key, &mut keys).await;
            }
            if !keys.kept.is_empty() && self.in_ten(READ_IN_TEN) {
                let key = keys.kept[self.rng.random_range(0..keys.kept.len())].clone();
                self.ask_any(Call::Get { key }).await;
            }
            self.wait(THINKS_MS_MAX).await;
        }
        self.operations
    }

    async fn store(&mut self, key: &str) -> bool {
        let (value, bytes) = self.make_value();
        let call = Call::Put {
            key: key.to_owned(),
            value,
            size_bytes: bytes.len() as u64,
            condition: Condition::Always,
        };
        let master = self.master();
        self.ask(master, call, bytes).await == Answer::Stored
    }

    /// Deleted or not: it is read again as the others are, unless it is to be brought back.
    async fn delete_one(&mut self, key: String, keys: &mut Keys) {
        let answer = self.ask_any(Call::Delete { key: key.clone(), condition: Condition::Always }).await;
        if answer == Answer::Deleted && self.in_ten(BROUGHT_BACK_IN_TEN) {
            keys.gone.push((self.soon(), key));
        } else {
            keys.kept.push(key);
        }
    }

    async fn bring_back(&mut self, key: String, keys: &mut Keys) {
        match self.ask_any(Call::Undelete { key: key.clone() }).await {
            // It had no effect, so it can be asked for again as if it had not been.
            Answer::Refused { .. } => keys.gone.push((self.soon(), key)),
            Answer::BroughtBack if self.in_ten(DELETED_AGAIN_IN_TEN) => self.delete_one(key, keys).await,
            _ => keys.kept.push(key),
        }
    }

    async fn ask_any(&mut self, call: Call) -> Answer {
        let master = self.master();
        self.ask(master, call, Bytes::new()).await
    }

    fn now(&self) -> Moment {
        self.shared.scene.clock.now()
    }

    fn soon(&mut self) -> Moment {
        let after_ms = match self.in_ten(AT_ONCE_IN_TEN) {
            true => 0,
            false => self.rng.random_range(0..=BROUGHT_BACK_AFTER_MS_MAX),
        };
        Moment(self.now().0 + after_ms * 1_000_000)
    }

    fn in_ten(&mut self, many: u32) -> bool {
        self.rng.random_range(0..10) < many
    }
}
