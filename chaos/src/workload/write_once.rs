//! Clients that write each key once, delete some, and read some: what is to be there at the end is known of every key.

use bytes::Bytes;
use rand::Rng;

use super::Client;
use crate::history::{Answer, Call, Condition, Operation};

/// How long a client thinks between two requests, at most.
const THINKS_MS_MAX: u64 = 30;
/// Of ten keys that were stored, so many are deleted some time later.
const DELETED_IN_TEN: u32 = 2;
/// Of ten steps, so many also read a key of before.
const READ_IN_TEN: u32 = 5;
/// Keys that wait to be deleted.
const DOOMED_MAX: usize = 30;

impl Client {
    /// Writes until it is told to stop.
    pub(super) async fn write_once(mut self) -> Vec<Operation> {
        let mut kept: Vec<String> = Vec::new();
        let mut doomed: Vec<String> = Vec::new();
        for number in 0_u64.. {
            if self.stops() {
                break;
            }
            let key = format!("once/{}/{number}", self.number);
            let (value, bytes) = self.make_value();
            let call = Call::Put {
                key: key.clone(),
                value,
                size_bytes: bytes.len() as u64,
                condition: Condition::Always,
            };
            let master = self.any_master();
            if self.ask(master, call, bytes).await == Answer::Stored {
                match self.rng.random_range(0..10) < DELETED_IN_TEN {
                    true => doomed.push(key),
                    false => kept.push(key),
                }
            }
            if doomed.len() > DOOMED_MAX {
                let key = doomed.swap_remove(self.rng.random_range(0..doomed.len()));
                let master = self.any_master();
                self.ask(
                    master,
                    Call::Delete { key: key.clone(), condition: Condition::Always },
                    Bytes::new(),
                )
                .await;
                // Deleted or not: it is read again as the others are.
                kept.push(key);
            }
            if !kept.is_empty() && self.rng.random_range(0..10) < READ_IN_TEN {
                let key = kept[self.rng.random_range(0..kept.len())].clone();
                let master = self.any_master();
                self.ask(master, Call::Get { key }, Bytes::new()).await;
            }
            self.wait(THINKS_MS_MAX).await;
        }
        self.operations
    }
}
