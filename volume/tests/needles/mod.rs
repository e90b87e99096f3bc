//! Needles for tests, as they come over the wire.

use bytes::Bytes;
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::needle::Body;

/// The placement of all needles of the tests.
pub(crate) const PLACEMENT: PlacementId = PlacementId(3);

/// Data that is different for each id and length.
pub(crate) fn data(id: u64, len: usize) -> Vec<u8> {
    let mut word = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut data = Vec::with_capacity(len + 8);
    while data.len() < len {
        word = word.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(17);
        data.extend_from_slice(&word.to_le_bytes());
    }
    data.truncate(len);
    data
}

/// The needle of this id that holds these bytes.
pub(crate) fn holding(id: u64, data: &[u8]) -> Bytes {
    let key = format!("key/{id}");
    let body = Body::new([key.as_bytes(), data].concat(), key.len());
    body.with_header(NeedleId(id), PLACEMENT, 1_700_000_000).concat().into()
}

/// The needle of this id, with `len` bytes of its own data.
pub(crate) fn needle(id: u64, len: usize) -> Bytes {
    holding(id, &data(id, len))
}
