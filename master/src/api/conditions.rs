//! The conditions of a GET or HEAD (RFC 9110, section 13): is the object sent, and may a range of it be?
//!
//! Owns their precedence and the comparison of validators. Conditions of a write are decided inside apply instead.

use std::time::{Duration, SystemTime};

use hayrick_protocol::record::ObjectRecord;
use http::{HeaderMap, HeaderName, Method, header};

/// What the conditions make of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send it.
    Send,
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client means.
    Failed,
}

/// Weighs the conditions in the order of section 13.2.2.
pub(super) fn weigh(fields: &HeaderMap, record: &ObjectRecord) -> Verdict {
    let modified_s = record.modified_ms / 1000;
    let since = |name| seconds(fields, name);
    if fields.contains_key(header::IF_MATCH) {
        if !names(fields, header::IF_MATCH, record, false) {
            return Verdict::Failed;
        }
    } else if since(header::IF_UNMODIFIED_SINCE).is_some_and(|limit_s| modified_s > limit_s) {
        return Verdict::Failed;
    }
    if fields.contains_key(header::IF_NONE_MATCH) {
        if names(fields, header::IF_NONE_MATCH, record, true) {
            return Verdict::NotModified;
        }
    } else if since(header::IF_MODIFIED_SINCE).is_some_and(|limit_s| modified_s <= limit_s) {
        return Verdict::NotModified;
    }
    Verdict::Send
}

/// Whether a `Range` counts: only on a GET (RFC 9110, section 14.2), and not if an `If-Range` names another version, as
/// the parts would not fit together.
pub(super) fn range_counts(method: &Method, fields: &HeaderMap, record: &ObjectRecord) -> bool {
    if *method != Method::GET {
        return false;
    }
    let Some(validator) = fields.get(header::IF_RANGE) else { return true };
    validator.to_str().is_ok_and(|text| text.trim() == etag(record))
}

/// Whether the list of ETags names the record: `*`, or one that is equal; a weak one only where that suffices.
fn names(fields: &HeaderMap, name: HeaderName, record: &ObjectRecord, weak_suffices: bool) -> bool {
    let own = etag(record);
    let lists = fields.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).any(|tag| {
        let strong = if weak_suffices { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
        tag == "*" || strong == own
    })
}

fn etag(record: &ObjectRecord) -> String {
    format!("\"{}\"", hex::encode(record.md5))
}

/// A date in seconds since 1970; one that does not parse is no condition.
fn seconds(fields: &HeaderMap, name: HeaderName) -> Option<u64> {
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

    fn record() -> ObjectRecord {
        ObjectRecord {
            needle: NeedleId(1),
            placement: PlacementId(1),
            size: 4,
            crc: 0,
            md5: [0x11; 16],
            version: AppliedVersion(1),
            modified_ms: 1_700_000_000_500,
            headers: Headers::default(),
        }
    }

    fn fields(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn conditions_are_weighed_in_their_order() {
        let weigh = |pairs: &[_]| weigh(&fields(pairs), &record());
        let (modified, before) = ("Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:19 GMT");
        assert_eq!(weigh(&[]), Verdict::Send);
        assert_eq!(weigh(&[(header::IF_NONE_MATCH, OWN)]), Verdict::NotModified);
        assert_eq!(weigh(&[(header::IF_NONE_MATCH, "\"x\", *")]), Verdict::NotModified);
        assert_eq!(weigh(&[(header::IF_NONE_MATCH, "\"x\"")]), Verdict::Send);
        assert_eq!(weigh(&[(header::IF_MATCH, OWN)]), Verdict::Send);
        assert_eq!(weigh(&[(header::IF_MATCH, "W/\"11111111111111111111111111111111\"")]), Verdict::Failed);
        assert_eq!(weigh(&[(header::IF_MODIFIED_SINCE, modified)]), Verdict::NotModified);
        assert_eq!(weigh(&[(header::IF_MODIFIED_SINCE, before)]), Verdict::Send);
        assert_eq!(weigh(&[(header::IF_UNMODIFIED_SINCE, before)]), Verdict::Failed);
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
        assert!(!counts(&[(header::IF_RANGE, "W/\"11111111111111111111111111111111\"")]));
        assert!(!range_counts(&Method::HEAD, &fields(&[]), &record()), "a HEAD has no ranges");
    }
}
