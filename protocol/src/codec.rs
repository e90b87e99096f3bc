//! The one place that knows bincode: a version byte, then the fields in order.
//!
//! Owns the encoding of everything that is not hot enough to be laid out by hand: commands, messages, small state
//! rows. Invariant: decoding is bounded by the input's own length, refuses trailing bytes, and never panics.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::limits::FRAME_HEAD_BYTES_MAX;

/// First byte of everything encoded here. Raised when a field's meaning changes without its type.
pub const VERSION: u8 = 1;

type Config = Configuration<LittleEndian, Varint, Limit<FRAME_HEAD_BYTES_MAX>>;
const CONFIG: Config = bincode::config::standard()
    .with_little_endian()
    .with_variable_int_encoding()
    .with_limit::<FRAME_HEAD_BYTES_MAX>();

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

/// Decodes what [`encode`] made, all of it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (&version, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let (value, used) = bincode::serde::decode_from_slice(rest, CONFIG)?;
    match rest.len() - used {
        0 => Ok(value),
        left => Err(DecodeError::TrailingBytes(left)),
    }
}
