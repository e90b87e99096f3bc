//! Taking in the body of a PUT, whole, under the memory budget.
//!
//! Owns the length rules (411, 413, 400) and the digests that are made on the way in. The bytes land once, behind
//! the key, where the needle is made of them. Invariant: a body that is shorter than announced, or does not match its
//! `Content-MD5`, becomes no object.

use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hayrick_protocol::ObjectKey;
use hayrick_protocol::needle;
use hayrick_web::{BodyError, BodyIdle, Problem};
use http::{HeaderMap, HeaderName, StatusCode, header};
use http_body_util::BodyExt;
use md5::{Digest, Md5};

use super::problem::{bad_request, exhausted};
use crate::gateway::budget::Share;
use crate::master::Master;

/// A body of unknown length takes its share of the budget in steps of this.
const STEP_BYTES: usize = 256 * 1024;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// A body, taken in.
pub(super) struct Taken {
    /// Key, data and checksums: the needle but for its header.
    pub(super) needle: needle::Body,
    /// MD5 of the data.
    pub(super) md5: [u8; 16],
    /// Its share of the memory budget, given back when the request is done.
    pub(super) share: Share,
}

/// Reads the whole of `body`.
pub(super) async fn take_in(
    master: &Master,
    key: &ObjectKey,
    fields: &HeaderMap,
    body: Body,
) -> Result<Taken, Problem> {
    let max = master.options.max_object_bytes;
    let announced = announced_bytes(fields)?;
    let announced_md5 = announced_md5(fields)?;
    if announced.is_some_and(|bytes| bytes > max as u64) {
        return Err(too_large(max));
    }
    let budget = &master.gateway.budget;
    let first_share = announced.map_or(STEP_BYTES, |bytes| usize::try_from(bytes).unwrap_or(max));
    let mut share = budget.take(first_share).await.map_err(exhausted)?;
    let key_bytes = key.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(key_bytes.len() + first_share.min(STEP_BYTES) + 64);
    bytes.extend_from_slice(key_bytes);
    let mut md5 = Md5::new();
    let mut body = BodyIdle::new(body);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let total = bytes.len() - key_bytes.len() + data.len();
        if total > max {
            return Err(too_large(max));
        }
        if announced.is_none() {
            budget.grow(&mut share, total.next_multiple_of(STEP_BYTES)).await.map_err(exhausted)?;
        }
        md5.update(&data);
        bytes.extend_from_slice(&data);
    }
    let md5 = md5.finalize().into();
    if announced_md5.is_some_and(|announced| announced != md5) {
        return Err(bad_request(
            "the body does not match its Content-MD5: it was damaged on the way; nothing was stored",
        ));
    }
    Ok(Taken { needle: needle::Body::new(bytes, key_bytes.len()), md5, share })
}

/// What `Content-MD5` says, if it is sent.
fn announced_md5(fields: &HeaderMap) -> Result<Option<[u8; 16]>, Problem> {
    let Some(value) = fields.get(CONTENT_MD5) else { return Ok(None) };
    let md5 = BASE64_STANDARD.decode(value).ok().and_then(|bytes| bytes.try_into().ok());
    md5.map(Some).ok_or_else(|| bad_request("Content-MD5 is not 16 bytes in base64"))
}

/// `Content-Length`, or nothing for a chunked body.
fn announced_bytes(fields: &HeaderMap) -> Result<Option<u64>, Problem> {
    if let Some(length) = fields.get(header::CONTENT_LENGTH) {
        let length = length.to_str().ok().and_then(|text| text.trim().parse().ok());
        return length.map(Some).ok_or_else(|| bad_request("Content-Length is no number"));
    }
    if fields.contains_key(header::TRANSFER_ENCODING) {
        return Ok(None);
    }
    Err(Problem::new(StatusCode::LENGTH_REQUIRED, "say how long the body is: Content-Length, or chunked"))
}

fn too_large(max: usize) -> Problem {
    let text = format!("the body is over the {max} bytes that an object may have here (--max-object-size)");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

fn broken(error: BodyError) -> Problem {
    match error {
        BodyError::Idle { .. } => {
            Problem::new(StatusCode::REQUEST_TIMEOUT, format!("{error}; nothing was stored"))
        }
        BodyError::Broken(_) => bad_request(format!("{error}; nothing was stored")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn content_md5_is_base64_of_16_bytes() {
        let of =
            |value| announced_md5(&HeaderMap::from_iter([(CONTENT_MD5, HeaderValue::from_static(value))]));
        assert_eq!(of("AAAAAAAAAAAAAAAAAAAAAA==").ok(), Some(Some([0; 16])));
        assert!(of("AAAA").is_err() && of("not base64!").is_err());
        assert_eq!(announced_md5(&HeaderMap::new()).ok(), Some(None));
    }

    #[test]
    fn a_body_says_how_long_it_is_or_is_chunked() {
        let of = |name, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        assert_eq!(announced_bytes(&of(header::CONTENT_LENGTH, "12")).ok(), Some(Some(12)));
        assert_eq!(announced_bytes(&of(header::TRANSFER_ENCODING, "chunked")).ok(), Some(None));
        let missing = announced_bytes(&HeaderMap::new()).expect_err("neither");
        assert_eq!(missing.status, StatusCode::LENGTH_REQUIRED);
        assert!(announced_bytes(&of(header::CONTENT_LENGTH, "twelve")).is_err());
    }
}
