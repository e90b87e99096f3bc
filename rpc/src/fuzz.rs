//! What a fuzzer gives bytes to: frames and hellos, as they come from a stranger. No part of the API.
//!
//! Owns what must hold of them whatever the bytes are; decoding is `frame`'s and `handshake`'s.

use bytes::{BufMut, Bytes};

use crate::frame::{Decoder, HEADER_BYTES, Header, Kind, Payload};
use crate::handshake::Hello;

/// Cuts bytes, which arrive in steps of so many, into frames: the heads of those that are requests or replies.
///
/// # Panics
/// When a frame does not have the bytes that were cut off for it.
pub fn frames(bytes: &[u8], step_bytes: usize) -> Vec<Bytes> {
    let (mut decoder, mut heads, mut cut_bytes) = (Decoder::default(), Vec::new(), 0);
    for step in bytes.chunks(step_bytes.max(1)) {
        decoder.room().put_slice(step);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => {
                    let payload = Payload::new(frame.head.to_vec(), vec![frame.body.clone()]);
                    let payload = payload.expect("what arrived in a frame fits one");
                    let header = frame.header.encode(&payload);
                    let frame_bytes = HEADER_BYTES + frame.head.len() + frame.body.len();
                    assert_eq!(bytes[cut_bytes..][..HEADER_BYTES], header, "it is encoded as it came");
                    cut_bytes += frame_bytes;
                    if matches!(frame.header.kind, Kind::Request | Kind::Reply) {
                        heads.push(frame.head);
                    }
                }
                Ok(None) => break,
                Err(_) => return heads,
            }
        }
        assert!(cut_bytes <= bytes.len());
    }
    heads
}

/// A request with this head and body, as it is sent.
///
/// # Panics
/// When they do not fit a frame.
pub fn request(method: u16, head: &[u8], body: &[u8]) -> Vec<u8> {
    let payload = Payload::new(head.to_vec(), vec![Bytes::copy_from_slice(body)]).expect("it fits a frame");
    let header = Header { kind: Kind::Request, code: method, deadline_ms: 1000, id: 1 };
    [&header.encode(&payload)[..], head, body].concat()
}

/// Makes the checksums of the frames in these bytes right again.
pub fn repair(mut bytes: &mut [u8]) {
    while bytes.len() >= HEADER_BYTES {
        let length =
            |at: usize| bytes[at..at + 4].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let payload_bytes = (length(20) + length(24)).min(bytes.len() - HEADER_BYTES);
        let (frame, rest) = bytes.split_at_mut(HEADER_BYTES + payload_bytes);
        let crc = crc32c::crc32c(&frame[HEADER_BYTES..]);
        frame[28..32].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c(&frame[4..HEADER_BYTES]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
        bytes = rest;
    }
}

/// Reads the first bytes of a connection.
///
/// # Panics
/// When a hello is not the same after it was written again.
pub fn hello(bytes: &[u8]) {
    if let Some(hello) = bytes.first_chunk().and_then(Hello::decode) {
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_and_a_repaired_one_is_among_them() {
        let mut bytes = [request(1, b"head", b"body"), request(2, b"more", b"")].concat();
        assert_eq!(frames(&bytes, 7), [&b"head"[..], b"more"]);
        bytes[HEADER_BYTES] = b'H';
        assert!(frames(&bytes, 7).is_empty());
        repair(&mut bytes);
        assert_eq!(frames(&bytes, 7), [&b"Head"[..], b"more"]);
        hello(&bytes);
    }
}
