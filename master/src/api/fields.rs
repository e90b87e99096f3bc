//! Header fields: conditions and kept ones on the way in, an object's description on the way out.
//!
//! Owns their parsing and writing. Leaves deciding a condition to apply.

use std::time::{Duration, SystemTime};

use hayrick_protocol::command::Precondition;
use hayrick_protocol::record::{Headers, ObjectRecord, is_kept_header};
use hayrick_raft_store::Cluster;
use hayrick_web::Problem;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::etags::Etags;
use super::problem::bad_request;

/// Of an object that was put without one.
pub(super) const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// ETags in one `If-Match`.
const ETAGS_MAX: usize = 64;

pub(super) const VERSION: HeaderName = HeaderName::from_static("hayrick-version");
const NEEDLE: HeaderName = HeaderName::from_static("hayrick-needle");
const PLACEMENT: HeaderName = HeaderName::from_static("hayrick-placement");
pub(super) const SERVED_BY: HeaderName = HeaderName::from_static("hayrick-served-by");

/// The condition of a PUT or DELETE.
pub(super) fn precondition(fields: &HeaderMap) -> Result<Precondition, Problem> {
    let if_match = Etags::of(fields, &header::IF_MATCH)?;
    let if_none_match = Etags::of(fields, &header::IF_NONE_MATCH)?;
    if if_match.is_none() && fields.contains_key(header::IF_UNMODIFIED_SINCE) {
        return Err(bad_request(
            "If-Unmodified-Since on a write is not taken, as a date cannot tell two writes of one second apart; \
             name the ETag with If-Match",
        ));
    }
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::None),
        (None, Some(Etags::Any)) => Ok(Precondition::Absent),
        (None, Some(Etags::Listed(_))) => {
            Err(bad_request("If-None-Match on a write takes `*` only: create, do not replace"))
        }
        (Some(Etags::Any), None) => Ok(Precondition::Present),
        (Some(Etags::Listed(tags)), None) if tags.len() > ETAGS_MAX => {
            Err(bad_request(format!("If-Match names {} ETags; at most {ETAGS_MAX} are taken", tags.len())))
        }
        // A weak one matches nothing here (RFC 9110, section 13.1.1), nor does somebody else's.
        (Some(Etags::Listed(tags)), None) => Ok(Precondition::Matches(
            tags.into_iter().filter(|tag| !tag.weak).filter_map(|tag| tag.md5).collect(),
        )),
        (Some(_), Some(_)) => {
            Err(bad_request("If-Match and If-None-Match on one write contradict each other"))
        }
    }
}

/// An MD5 as an ETag.
pub(super) fn etag(md5: &[u8; 16]) -> HeaderValue {
    HeaderValue::try_from(format!("\"{}\"", hex::encode(md5))).expect("hex digits are valid in a field")
}

const BEYOND_ASCII: &str = "letters beyond ASCII, of which HTTP leaves open what they are; write them percent-encoded, as %C3%BC, \
                            and decode them where they are read";
/// Those of the kept fields that have one value, which is no list.
const SINGLE: [HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_DISPOSITION, header::EXPIRES];

/// The fields of a PUT that are kept with the object.
pub(super) fn kept(fields: &HeaderMap) -> Result<Headers, Problem> {
    if let Some(name) = SINGLE.iter().find(|name| fields.get_all(*name).iter().nth(1).is_some()) {
        return Err(bad_request(format!("{name} is there more than once; send one")));
    }
    let mut entries = Vec::new();
    for (name, value) in fields.iter().filter(|(name, _)| is_kept_header(name.as_str())) {
        let text = value.to_str().map_err(|_| bad_request(format!("{name} has {BEYOND_ASCII}")))?;
        entries.push((name.as_str().to_owned(), text.to_owned()));
    }
    Headers::new(entries)
        .map_err(|error| Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, error.to_string()))
}

/// What GET and HEAD say of an object besides its bytes, from the index alone: the same at every master.
pub(super) fn describe(record: &ObjectRecord, cluster: &Cluster) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(14);
    for (name, value) in record.headers.iter() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            fields.append(name, value);
        }
    }
    fields.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(CONTENT_TYPE_DEFAULT));
    fields.insert(header::ETAG, etag(&record.md5));
    let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(record.modified_ms);
    if let Ok(value) = HeaderValue::try_from(httpdate::fmt_http_date(modified)) {
        fields.insert(header::LAST_MODIFIED, value);
    }
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(VERSION, HeaderValue::from(record.version.0));
    fields.insert(NEEDLE, HeaderValue::from(record.needle.0));
    if let Some(placement) = cluster.table.placement(record.placement) {
        let members: Vec<String> = placement.members.iter().map(ToString::to_string).collect();
        let text = format!(
            "partition={}; placement={}; volumes={}",
            placement.partition,
            placement.id,
            members.join(",")
        );
        fields
            .insert(PLACEMENT, HeaderValue::try_from(text).expect("digits and commas are valid in a field"));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let named = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(named).collect()
    }

    #[test]
    fn conditions_are_read_or_refused() {
        let md5 = [0x11; 16];
        let is = |pairs: &[_], wanted| assert_eq!(precondition(&fields(pairs)).ok(), wanted);
        is(&[], Some(Precondition::None));
        is(&[("if-none-match", "*")], Some(Precondition::Absent));
        is(&[("if-match", "*")], Some(Precondition::Present));
        is(
            &[("if-match", "W/\"22\", \"11111111111111111111111111111111\", \"no-md5\"")],
            Some(Precondition::Matches(vec![md5])),
        );
        is(&[("if-none-match", "\"11111111111111111111111111111111\"")], None);
        is(&[("if-none-match", "*"), ("if-match", "*")], None);
        let date = ("if-unmodified-since", "Tue, 14 Nov 2023 22:13:19 GMT");
        is(&[date], None);
        is(&[date, ("if-match", "*")], Some(Precondition::Present));
        is(&[("if-match", "unquoted")], None);
        is(&[("if-none-match", "unquoted")], None);
    }

    #[test]
    fn what_has_one_value_is_there_once() {
        let twice = |name| kept(&fields(&[(name, "a"), (name, "b")]));
        for name in ["content-type", "content-disposition", "expires"] {
            assert_eq!(twice(name).expect_err("it is there twice").status, StatusCode::BAD_REQUEST, "{name}");
        }
        assert!(twice("cache-control").is_ok() && twice("hayrick-meta-a").is_ok());
    }

    #[test]
    fn only_kept_fields_are_kept_and_too_many_bytes_are_refused() {
        let headers =
            kept(&fields(&[("content-type", "image/png"), ("cookie", "x"), ("hayrick-meta-a", "b")]));
        let headers = headers.expect("within the limits");
        assert_eq!(headers.get("content-type"), Some("image/png"));
        assert_eq!(headers.iter().count(), 2);
    }
}
