//! One frame: a fixed header, then the head and the body of a message.
//!
//! ```text
//! offset  bytes
//!      0      4  crc32c over the rest of the header
//!      4      1  version of this layout (1)
//!      5      1  kind: 1 request, 2 reply, 3 error, 4 alive
//!      6      2  request: its method; error: its code; else 0
//!      8      4  request: milliseconds until its sender stops waiting; else 0
//!     12      8  request id, chosen by the sender of the request; else 0
//!     20      4  head length
//!     24      4  body length
//!     28      4  crc32c over head and body
//!     32      h  head: the encoded message; of an error, a sentence in UTF-8
//!   32+h      b  body: raw bytes
//! ```
//! All numbers are little-endian. The header has a checksum of its own, so that no length is believed that was not
//! sent.
//!
//! Owns the layout and its checks, for both ends. Invariant: decoding never panics, and allocates in proportion to
//! what arrived.

use bytes::{Bytes, BytesMut};
use hayrick_protocol::limits::{FRAME_BYTES_MAX, FRAME_HEAD_BYTES_MAX};
use thiserror::Error;

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 32;
/// The layout's version.
const VERSION: u8 = 1;
/// What one read asks for at least, and a buffer grows by at first.
const READ_BYTES: usize = 64 * 1024;
/// Less room than this is not worth a read.
const READ_BYTES_MIN: usize = 4 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Asks.
    Request,
    /// Answers.
    Reply,
    /// Answers that there is no reply, and why.
    Error,
    /// Says only that its sender lives.
    Alive,
}

/// Why there is no reply; a frame's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    /// The handler knows no such method.
    UnknownMethod = 1,
    /// The handler could not make sense of the request.
    Malformed = 2,
    /// A queue was full.
    Overloaded = 3,
    /// The server is shutting down.
    Closing = 4,
    /// The handler died, or its reply is too large: what it did is unknown.
    Abandoned = 5,
}

impl ErrorCode {
    /// The code that `number` means, if this build knows it.
    pub(crate) fn from_number(number: u16) -> Option<Self> {
        [Self::UnknownMethod, Self::Malformed, Self::Overloaded, Self::Closing, Self::Abandoned]
            .into_iter()
            .find(|code| *code as u16 == number)
    }
}

/// The fixed part of a frame that is not about its lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// A request's method, an error's code.
    pub(crate) code: u16,
    pub(crate) deadline_ms: u32,
    pub(crate) id: u64,
}

impl Header {
    /// Says only that its sender lives.
    pub(crate) const ALIVE: Self = Self { kind: Kind::Alive, code: 0, deadline_ms: 0, id: 0 };

    /// The bytes before `payload`.
    pub(crate) fn encode(self, payload: &Payload) -> [u8; HEADER_BYTES] {
        let kind = match self.kind {
            Kind::Request => 1,
            Kind::Reply => 2,
            Kind::Error => 3,
            Kind::Alive => 4,
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[4] = VERSION;
        bytes[5] = kind;
        bytes[6..8].copy_from_slice(&self.code.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.deadline_ms.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.id.to_le_bytes());
        bytes[20..24].copy_from_slice(&payload.head_length.to_le_bytes());
        bytes[24..28].copy_from_slice(&payload.body_length.to_le_bytes());
        bytes[28..32].copy_from_slice(&payload.crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// Head and body of a frame to be sent, measured and summed up once.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) head: Bytes,
    pub(crate) body: Vec<Bytes>,
    head_length: u32,
    body_length: u32,
    crc: u32,
}

/// A message that no frame holds.
#[derive(Debug, Error)]
#[error(
    "the message has {head_bytes} + {body_bytes} bytes; at most {FRAME_HEAD_BYTES_MAX} and {FRAME_BYTES_MAX} in all fit a frame"
)]
pub(crate) struct TooLarge {
    head_bytes: usize,
    body_bytes: usize,
}

impl Payload {
    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self { head: Bytes::new(), body: Vec::new(), head_length: 0, body_length: 0, crc: 0 }
    }

    /// Measures and sums up; the chunks stay where they are.
    pub(crate) fn new(head: Vec<u8>, body: Vec<Bytes>) -> Result<Self, TooLarge> {
        let (head_bytes, body_bytes) = (head.len(), body.iter().map(Bytes::len).sum::<usize>());
        if head_bytes > FRAME_HEAD_BYTES_MAX || body_bytes > FRAME_BYTES_MAX - head_bytes {
            return Err(TooLarge { head_bytes, body_bytes });
        }
        let crc = body.iter().fold(crc32c::crc32c(&head), |crc, chunk| crc32c::crc32c_append(crc, chunk));
        let length = |bytes| u32::try_from(bytes).expect("FRAME_BYTES_MAX fits a u32");
        let (head_length, body_length) = (length(head_bytes), length(body_bytes));
        Ok(Self { head: Bytes::from(head), body, head_length, body_length, crc })
    }
}

/// A frame as it arrived, both checksums compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
}

/// Why the bytes are no frames; nothing that follows them can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    /// The header does not match its checksum.
    #[error("a frame's header does not match its checksum")]
    HeaderChecksum,
    /// Another layout.
    #[error("a frame has layout version {0}; this build reads {VERSION}")]
    Version(u8),
    /// No such kind.
    #[error("a frame has the unknown kind {0}")]
    Kind(u8),
    /// Longer than frames may be.
    #[error("a frame announces {head_bytes} + {body_bytes} bytes, more than frames may have")]
    TooLong {
        /// Of its head.
        head_bytes: u32,
        /// Of its body.
        body_bytes: u32,
    },
    /// Head and body do not match their checksum.
    #[error("a frame's payload does not match its checksum")]
    PayloadChecksum,
}

/// A header that was checked, waiting for its payload.
#[derive(Debug, Clone, Copy)]
struct Announced {
    header: Header,
    head_bytes: usize,
    body_bytes: usize,
    crc: u32,
}

impl Announced {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if u32_at(0) != crc32c::crc32c(&bytes[4..]) {
            return Err(FrameError::HeaderChecksum);
        }
        if bytes[4] != VERSION {
            return Err(FrameError::Version(bytes[4]));
        }
        let kind = match bytes[5] {
            1 => Kind::Request,
            2 => Kind::Reply,
            3 => Kind::Error,
            4 => Kind::Alive,
            other => return Err(FrameError::Kind(other)),
        };
        let (head_bytes, body_bytes) = (u32_at(20), u32_at(24));
        let (head, body) = (head_bytes as usize, body_bytes as usize);
        if head > FRAME_HEAD_BYTES_MAX || body > FRAME_BYTES_MAX - head {
            return Err(FrameError::TooLong { head_bytes, body_bytes });
        }
        let header = Header {
            kind,
            code: u16::from_le_bytes([bytes[6], bytes[7]]),
            deadline_ms: u32_at(8),
            id: u64::from(u32_at(12)) | u64::from(u32_at(16)) << 32,
        };
        Ok(Self { header, head_bytes: head, body_bytes: body, crc: u32_at(28) })
    }
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: BytesMut,
    announced: Option<Announced>,
}

impl Decoder {
    /// The next whole frame, or none before more bytes are put into [`Decoder::room`].
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let announced = match self.announced {
            Some(announced) => announced,
            None => {
                let Some(header) = self.bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
                let announced = Announced::parse(header)?;
                self.announced = Some(announced);
                announced
            }
        };
        let payload_bytes = announced.head_bytes + announced.body_bytes;
        if self.bytes.len() < HEADER_BYTES + payload_bytes {
            return Ok(None);
        }
        self.announced = None;
        let mut head = self.bytes.split_to(HEADER_BYTES + payload_bytes).freeze().split_off(HEADER_BYTES);
        if crc32c::crc32c(&head) != announced.crc {
            return Err(FrameError::PayloadChecksum);
        }
        let body = head.split_off(announced.head_bytes);
        Ok(Some(Frame { header: announced.header, head, body }))
    }

    /// Bytes of the frame that has begun and is not whole yet; 0 if its header is not there.
    pub(crate) fn announced_bytes(&self) -> usize {
        self.announced.map_or(0, |frame| HEADER_BYTES + frame.head_bytes + frame.body_bytes)
    }

    /// Where the next bytes go. It grows with what arrived, not with what was announced.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        let length = self.bytes.len();
        let wanted =
            self.announced.map_or(HEADER_BYTES, |frame| HEADER_BYTES + frame.head_bytes + frame.body_bytes);
        let missing = wanted.saturating_sub(length).min(length.max(READ_BYTES));
        if self.bytes.capacity() - length < missing.max(READ_BYTES_MIN) {
            self.bytes.reserve(missing.max(READ_BYTES));
        }
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::{Decoder, ErrorCode, Frame, FrameError, HEADER_BYTES, Header, Kind, Payload};
    use bytes::{BufMut, Bytes};

    fn wire(header: Header, head: &[u8], body: &[&[u8]]) -> Vec<u8> {
        let chunks = body.iter().map(|chunk| Bytes::copy_from_slice(chunk)).collect();
        let payload = Payload::new(head.to_vec(), chunks).expect("small enough");
        let mut bytes = header.encode(&payload).to_vec();
        bytes.extend_from_slice(head);
        body.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
        bytes
    }

    fn decode(bytes: &[u8], step_bytes: usize) -> Result<Vec<Frame>, FrameError> {
        let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
        for step in bytes.chunks(step_bytes.max(1)) {
            decoder.room().put_slice(step);
            while let Some(frame) = decoder.next()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn golden_bytes_of_a_request() {
        let header = Header { kind: Kind::Request, code: 0x0101, deadline_ms: 1500, id: 7 };
        let bytes = wire(header, b"head", &[b"bo", b"dy"]);
        assert_eq!(
            hex(&bytes),
            "0fadab06 01010101 dc050000 0700000000000000 04000000 04000000 84b03895 68656164 626f6479"
                .replace(' ', "")
        );
        let frame = Frame { header, head: Bytes::from_static(b"head"), body: Bytes::from_static(b"body") };
        assert_eq!(decode(&bytes, 3), Ok(vec![frame]));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_huge_length_is_refused_and_never_allocated() {
        let payload = Payload { head_length: 0, body_length: u32::MAX, ..Payload::empty() };
        let bytes = Header::ALIVE.encode(&payload);
        assert!(matches!(decode(&bytes, 32), Err(FrameError::TooLong { .. })));

        let payload = Payload { body_length: 200 * 1024 * 1024, ..Payload::empty() };
        let mut decoder = Decoder::default();
        decoder.room().put_slice(&Header::ALIVE.encode(&payload));
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.room().capacity() < 256 * 1024, "grows with what arrives");
    }

    #[test]
    fn error_codes_round_trip() {
        for number in 0..10 {
            assert_eq!(ErrorCode::from_number(number).map_or(number, |code| code as u16), number);
        }
    }

    fn headers() -> impl Strategy<Value = Header> {
        let kinds = prop_oneof![Just(Kind::Request), Just(Kind::Reply), Just(Kind::Error), Just(Kind::Alive)];
        (kinds, any::<u16>(), any::<u32>(), any::<u64>()).prop_map(|(kind, code, deadline_ms, id)| Header {
            kind,
            code,
            deadline_ms,
            id,
        })
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), step in 1..100_usize) {
            let _ = decode(&bytes, step);
        }

        #[test]
        fn frames_round_trip_however_they_are_cut(
            frames in prop::collection::vec(
                (headers(), prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..9000)),
                1..5,
            ),
            step in 1..5000_usize,
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(header, head, body)| wire(*header, head, &[body])).collect();
            let expected: Vec<Frame> = frames
                .into_iter()
                .map(|(header, head, body)| Frame { header, head: Bytes::from(head), body: Bytes::from(body) })
                .collect();
            prop_assert_eq!(decode(&bytes, step), Ok(expected));
        }

        #[test]
        fn a_flipped_bit_is_always_found(
            header in headers(),
            head in prop::collection::vec(any::<u8>(), 0..40),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let mut bytes = wire(header, &head, &[b"body"]);
            bytes[at.index(HEADER_BYTES + head.len() + 4)] ^= 1 << bit;
            prop_assert!(decode(&bytes, 1000).is_err());
        }
    }
}
