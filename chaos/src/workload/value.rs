//! Values that say what they are: who made them up, as the how-manieth, how long they are, and then bytes that follow from
//! that. So no two are alike, but for those too short to say so.

use bytes::Bytes;
use md5::{Digest, Md5};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use super::Client;
use crate::history::Value;

/// Of all values, most are small, as files of a store of small files are.
fn size_bytes(rng: &mut StdRng, max: usize) -> usize {
    let (low, high) = match rng.random_range(0..100) {
        0..=3 => (1, 16),
        4..=74 => (17, 2 << 10),
        75..=95 => (2 << 10, 64 << 10),
        _ => (64 << 10, 1 << 20),
    };
    rng.random_range(low..=high).min(max)
}

impl Client {
    /// Bytes that this client has not made before.
    pub(super) fn make_value(&mut self) -> (Value, Bytes) {
        let size = size_bytes(&mut self.rng, self.shared.load.size_bytes_max);
        self.made += 1;
        let text = format!("client {}, number {}, {size} bytes", self.number, self.made);
        let mut bytes = format!("hayrick {text}\n").into_bytes();
        let rest = bytes.len();
        bytes.resize(size, 0);
        if rest < size {
            let seed = u64::from(self.number) << 40 | self.made;
            StdRng::seed_from_u64(seed).fill_bytes(&mut bytes[rest..]);
        } else {
            // Too short to say who it is: at least another one than the last.
            self.rng.fill_bytes(&mut bytes);
        }
        let value = of(&bytes);
        self.shared.values.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(value, text);
        (value, bytes.into())
    }
}

/// The value that bytes are.
pub(super) fn of(bytes: &[u8]) -> Value {
    Value(Md5::digest(bytes).into())
}
