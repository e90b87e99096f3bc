//! One `bytes=` range against a size, and the fields that answer it (RFC 9110, section 14).
//!
//! Owns what a range means; whether it applies (`If-Range`, the method) is the caller's. Invariant: a part is never
//! empty and never reaches beyond the size.

use axum::body::Body;
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};

use crate::Problem;

/// Bytes `first..=last` of something; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first byte's offset.
    pub first: u64,
    /// The last byte's offset, inclusive.
    pub last: u64,
}

impl Range {
    /// How many bytes it covers.
    pub fn len_bytes(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What a request's `Range` asks of something of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeRequest {
    /// All of it, 200: no range, one that does not parse, another unit, several, or any of something empty.
    Full,
    /// A part of it, 206.
    Part(Range),
    /// Nothing of it is in the range, 416.
    Unsatisfiable,
}

impl RangeRequest {
    /// Reads `Range` among the fields of a GET.
    pub fn parse(fields: &HeaderMap, size_bytes: u64) -> Self {
        let mut values = fields.get_all(RANGE).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Self::Full };
        // Some clients send a range with everything; nothing but all of it can be had of an empty object.
        if size_bytes == 0 {
            return Self::Full;
        }
        value.to_str().ok().and_then(|text| one_range(text, size_bytes)).unwrap_or(Self::Full)
    }
}

/// None if it is not one well-formed range of bytes.
fn one_range(text: &str, size_bytes: u64) -> Option<RangeRequest> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let (first, last) = match (first, last) {
        ("", suffix) => match number(suffix)? {
            0 => return Some(RangeRequest::Unsatisfiable),
            suffix_bytes => (size_bytes.saturating_sub(suffix_bytes), size_bytes - 1),
        },
        (first, "") => (number(first)?, u64::MAX),
        (first, last) => (number(first)?, number(last)?),
    };
    if first > last {
        return None;
    }
    if first >= size_bytes {
        return Some(RangeRequest::Unsatisfiable);
    }
    Some(RangeRequest::Part(Range { first, last: last.min(size_bytes - 1) }))
}

/// Digits only; more than fit count as very many.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// `Content-Range` of a 206.
pub fn content_range(range: Range, size_bytes: u64) -> HeaderValue {
    let text = format!("bytes {}-{}/{size_bytes}", range.first, range.last);
    HeaderValue::try_from(text).expect("digits are valid in a field")
}

/// A 416, which names the size.
pub fn unsatisfiable<B>(size_bytes: u64, request: &Request<B>) -> Response<Body> {
    let text = format!("the range lies outside of the object's {size_bytes} bytes; ask for less");
    let mut response = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, text).response(request);
    let field = HeaderValue::try_from(format!("bytes */{size_bytes}")).expect("digits are valid in a field");
    response.headers_mut().insert(CONTENT_RANGE, field);
    response
}

#[cfg(test)]
mod tests {
    use super::{
        CONTENT_RANGE, HeaderMap, HeaderValue, RANGE, Range, RangeRequest, Request, content_range,
        unsatisfiable,
    };

    fn parse(text: &str, size_bytes: u64) -> RangeRequest {
        let mut fields = HeaderMap::new();
        fields.insert(RANGE, HeaderValue::from_str(text).expect("valid"));
        RangeRequest::parse(&fields, size_bytes)
    }

    fn part(first: u64, last: u64) -> RangeRequest {
        RangeRequest::Part(Range { first, last })
    }

    #[test]
    fn a_range_is_cut_to_the_size() {
        for (text, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-", part(0, 9)),
            ("Bytes=2-4", part(2, 4)),
            ("bytes= 9-99 ", part(9, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-99999999999999999999999", part(0, 9)),
            ("bytes=1-99999999999999999999999", part(1, 9)),
        ] {
            assert_eq!(parse(text, 10), expected, "{text}");
        }
    }

    #[test]
    fn a_range_beyond_the_end_is_unsatisfiable() {
        for text in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(parse(text, 10), RangeRequest::Unsatisfiable, "{text}");
        }
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_ignored() {
        let strange = [
            "bytes=5-4",
            "bytes=a-b",
            "bytes=-",
            "bytes=",
            "bytes",
            "items=0-1",
            "bytes=0-1,3-4",
            "bytes=+1-2",
        ];
        for text in strange {
            assert_eq!(parse(text, 10), RangeRequest::Full, "{text}");
        }
        assert_eq!(RangeRequest::parse(&HeaderMap::new(), 10), RangeRequest::Full);
        assert_eq!(parse("bytes=0-", 0), RangeRequest::Full, "of nothing");
    }

    #[test]
    fn the_answering_fields_name_the_size() {
        assert_eq!(content_range(Range { first: 2, last: 4 }, 10), "bytes 2-4/10");
        assert_eq!(Range { first: 2, last: 4 }.len_bytes(), 3);
        let response = unsatisfiable(10, &Request::new(()));
        assert_eq!(response.status().as_u16(), 416);
        assert_eq!(response.headers()[CONTENT_RANGE], "bytes */10");
    }
}
