//! The conditions of a GET or HEAD (RFC 9110, section 13): is the object sent, and may a range of it be?
//!
//! Owns their precedence and the comparison of validators. Conditions of a write are decided inside apply instead.
//! Invariant: a date beside an entity tag, which is the better validator, does not count.

use std::time::{Duration, SystemTime};

use hayrick_protocol::record::ObjectRecord;
use hayrick_web::Problem;
use http::{HeaderMap, HeaderName, Method, header};

use super::etags::{Etag, Etags};
use super::fields::etag;

/// The conditions of one request.
#[derive(Debug)]
pub(super) struct Conditions {
    if_match: Option<Etags>,
    if_none_match: Option<Etags>,
    if_modified_since_s: Option<u64>,
    if_unmodified_since_s: Option<u64>,
}

/// What the conditions make of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send it.
    Send,
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client means, because this field's condition does not hold.
    Failed(HeaderName),
}

impl Conditions {
    /// As the fields of the request state them.
    pub(super) fn of(fields: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            if_match: Etags::of(fields, &header::IF_MATCH)?,
            if_none_match: Etags::of(fields, &header::IF_NONE_MATCH)?,
            if_modified_since_s: seconds(fields, &header::IF_MODIFIED_SINCE),
            if_unmodified_since_s: seconds(fields, &header::IF_UNMODIFIED_SINCE),
        })
    }

    /// Weighs them in the order of section 13.2.2.
    pub(super) fn weigh(&self, record: &ObjectRecord) -> Verdict {
        let modified_s = record.modified_ms / 1000;
        if let Some(etags) = &self.if_match {
            // A weak tag does not say that the bytes are the same.
            if !etags.name(record, |tag| !tag.weak) {
                return Verdict::Failed(header::IF_MATCH);
            }
        } else if self.if_unmodified_since_s.is_some_and(|limit_s| modified_s > limit_s) {
            return Verdict::Failed(header::IF_UNMODIFIED_SINCE);
        }
        if let Some(etags) = &self.if_none_match {
            if etags.name(record, |_| true) {
                return Verdict::NotModified;
            }
        } else if self.if_modified_since_s.is_some_and(|limit_s| modified_s <= limit_s) {
            return Verdict::NotModified;
        }
        Verdict::Send
    }
}

impl Etags {
    /// Whether they name the record, by a tag that `counts`.
    fn name(&self, record: &ObjectRecord, counts: impl Fn(&Etag) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|tag| tag.md5 == Some(record.md5) && counts(tag)),
        }
    }
}

/// Whether a `Range` counts: only on a GET (RFC 9110, section 14.2), and not if an `If-Range` names another version, as
/// the parts would not fit together.
pub(super) fn range_counts(method: &Method, fields: &HeaderMap, record: &ObjectRecord) -> bool {
    if *method != Method::GET {
        return false;
    }
    let Some(validator) = fields.get(header::IF_RANGE) else { return true };
    validator.as_bytes().trim_ascii() == etag(&record.md5).as_bytes()
}

/// A date in seconds since 1970; one that does not parse is no condition.
fn seconds(fields: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let date = httpdate::parse_http_date(fields.get(name)?.to_str().ok()?).ok()?;
    Some(date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::record::Headers;
    use hayrick_protocol::{AppliedVersion, NeedleId, PlacementId};
    use http::HeaderValue;

    use super::*;

    const OWN: &str = "\"11111111111111111111111111111111\"";
    const WEAK: &str = "W/\"11111111111111111111111111111111\"";

    fn record() -> ObjectRecord {
        ObjectRecord {
            needle: NeedleId(1),
            placement: PlacementId(1),
            size: 4,
            crc: 0,
            md5: [0x11; 16],
            version: AppliedVersion(1),
            modified_ms: 1_700_000_000_500,
            missing: false,
            headers: Headers::default(),
        }
    }

    fn fields(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn conditions_are_weighed_in_their_order() {
        let weigh = |pairs: &[_]| Conditions::of(&fields(pairs)).expect("in order").weigh(&record());
        let failed = Verdict::Failed;
        let (modified, before) = ("Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:19 GMT");
        assert_eq!(weigh(&[]), Verdict::Send);
        assert_eq!(weigh(&[(header::IF_NONE_MATCH, OWN)]), Verdict::NotModified);
        assert_eq!(weigh(&[(header::IF_NONE_MATCH, "*")]), Verdict::NotModified);
        assert_eq!(weigh(&[(header::IF_NONE_MATCH, WEAK)]), Verdict::NotModified);
        assert_eq!(
            weigh(&[(header::IF_NONE_MATCH, "\"x\", \"11111111111111111111111111111111\"")]),
            Verdict::NotModified
        );
        assert_eq!(weigh(&[(header::IF_NONE_MATCH, "\"x\"")]), Verdict::Send);
        assert_eq!(weigh(&[(header::IF_MATCH, OWN)]), Verdict::Send);
        assert_eq!(weigh(&[(header::IF_MATCH, "*")]), Verdict::Send);
        assert_eq!(weigh(&[(header::IF_MATCH, WEAK)]), failed(header::IF_MATCH));
        assert_eq!(weigh(&[(header::IF_MATCH, "\"x\"")]), failed(header::IF_MATCH));
        assert_eq!(weigh(&[(header::IF_MODIFIED_SINCE, modified)]), Verdict::NotModified);
        assert_eq!(weigh(&[(header::IF_MODIFIED_SINCE, before)]), Verdict::Send);
        assert_eq!(weigh(&[(header::IF_UNMODIFIED_SINCE, before)]), failed(header::IF_UNMODIFIED_SINCE));
        // An ETag is the better validator: the date beside it does not count.
        assert_eq!(weigh(&[(header::IF_MATCH, OWN), (header::IF_UNMODIFIED_SINCE, before)]), Verdict::Send);
        assert_eq!(
            weigh(&[(header::IF_NONE_MATCH, "\"x\""), (header::IF_MODIFIED_SINCE, modified)]),
            Verdict::Send
        );
    }

    #[test]
    fn a_range_of_another_version_is_not_served() {
        let counts = |pairs: &[_]| range_counts(&Method::GET, &fields(pairs), &record());
        assert!(counts(&[]) && counts(&[(header::IF_RANGE, OWN)]));
        assert!(!counts(&[(header::IF_RANGE, "\"zz\"")]));
        assert!(!counts(&[(header::IF_RANGE, WEAK)]));
        assert!(!range_counts(&Method::HEAD, &fields(&[]), &record()), "a HEAD has no ranges");
    }
}
