//! The one place that knows bincode: a version byte, then the fields in order.
//!
//! Owns the encoding of everything that is not hot enough to be laid out by hand: commands, messages, small state
//! rows. Invariant: decoding is bounded by the input's own length, refuses trailing bytes, and never panics.

use bincode::Decode;
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::de::read::Reader;
use bincode::de::{Decoder, DecoderImpl};
use bincode::error::DecodeError as BincodeError;
use bincode::serde::Compat;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::limits::FRAME_HEAD_BYTES_MAX;

/// First byte of everything encoded here. Raised when a field's meaning changes without its type.
pub const VERSION: u8 = 1;

/// What bincode claims for a byte of input at most: an integer of 16 bytes may be encoded in one. It sets room aside for a
/// text before it looks whether that much is there, so the claims are bounded by the input's own length times this;
/// whatever was encoded stays within.
const CLAIM_PER_BYTE_MAX: usize = 16;
/// The claims of the longest input.
const CLAIM_BYTES_MAX: usize = FRAME_HEAD_BYTES_MAX * CLAIM_PER_BYTE_MAX;

type Config = Configuration<LittleEndian, Varint, Limit<CLAIM_BYTES_MAX>>;
const CONFIG: Config = bincode::config::standard()
    .with_little_endian()
    .with_variable_int_encoding()
    .with_limit::<CLAIM_BYTES_MAX>();

/// Why bytes are not what they should be.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// Nothing there.
    #[error("the message is empty")]
    Empty,
    /// Made by another version of Hayrick.
    #[error(
        "encoding version {0} is not known here (this build reads {VERSION}); run the same version everywhere"
    )]
    Version(u8),
    /// Does not parse.
    #[error("the message does not parse: {0}")]
    Malformed(#[from] bincode::error::DecodeError),
    /// Longer than what was decoded.
    #[error("{0} bytes are left over behind the message")]
    TrailingBytes(usize),
}

/// Encodes `value` behind the version byte.
///
/// # Panics
/// Never for our own types: they have known lengths and no failing serializers.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bincode::serde::encode_into_std_write(value, &mut bytes, CONFIG)
        .expect("own types always encode into memory");
    bytes
}

/// Decodes what [`encode`] made, all of it, up to [`FRAME_HEAD_BYTES_MAX`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (&version, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let mut decoder = DecoderImpl::new(Rest(rest), CONFIG, ());
    // The limit is a constant: what this input may not claim is claimed in advance.
    let own_claim = rest.len().min(FRAME_HEAD_BYTES_MAX) * CLAIM_PER_BYTE_MAX;
    decoder.claim_bytes_read(CLAIM_BYTES_MAX - own_claim)?;
    let Compat(value) = Compat::decode(&mut decoder)?;
    match decoder.reader().0.len() {
        0 => Ok(value),
        left => Err(DecodeError::TrailingBytes(left)),
    }
}

/// What is left to read: bincode's own reader does not tell.
struct Rest<'a>(&'a [u8]);

impl Reader for Rest<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<(), BincodeError> {
        let missing = BincodeError::UnexpectedEnd { additional: out.len().saturating_sub(self.0.len()) };
        let (head, rest) = self.0.split_at_checked(out.len()).ok_or(missing)?;
        out.copy_from_slice(head);
        self.0 = rest;
        Ok(())
    }

    fn peek_read(&mut self, len: usize) -> Option<&[u8]> {
        self.0.get(..len)
    }

    fn consume(&mut self, len: usize) {
        self.0 = self.0.get(len..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::ids::AppliedVersion;

    #[test]
    fn a_text_that_is_longer_than_the_input_is_refused_before_room_is_made_for_it() {
        // 0xfc announces a length of four bytes: 15 MiB, and three bytes of it.
        let bytes = [VERSION, 0xfc, 0, 0, 0xf0, 0, b'a', b'b', b'c'];
        let refused = decode::<String>(&bytes).expect_err("there are three bytes");
        assert!(matches!(refused, DecodeError::Malformed(BincodeError::LimitExceeded)), "{refused}");
    }

    #[test]
    fn what_claims_many_times_its_length_is_decoded_nonetheless() {
        // Each version takes one byte and claims eight.
        let command = Command::Doom(vec![AppliedVersion(1); FRAME_HEAD_BYTES_MAX - 16]);
        let bytes = encode(&command);
        assert!(bytes.len() <= FRAME_HEAD_BYTES_MAX);
        assert!(decode::<Command>(&bytes).expect("own bytes") == command);
        let small = encode(&(u128::MIN, u128::MIN, u64::MIN));
        assert_eq!(decode::<(u128, u128, u64)>(&small).expect("own bytes"), (0, 0, 0));
    }
}
