//! Header fields of a write: what is kept with the object, and its condition.
//!
//! Owns which fields may be sent, by the names that `protocol` keeps: a field that a master would drop is refused here, as
//! its writer would look for it in vain.

use hayrick_protocol::record::is_kept_header;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

use crate::{Condition, Error, PutOptions};

const META_PREFIX: &str = "hayrick-meta-";

/// All fields that the options ask for.
pub(crate) fn of(options: &PutOptions) -> Result<HeaderMap, Error> {
    let mut fields = HeaderMap::new();
    if let Some(value) = &options.content_type {
        fields.insert(CONTENT_TYPE, header_value("Content-Type", value)?);
    }
    for (name, value) in &options.headers {
        fields.append(kept(name, value)?, header_value(name, value)?);
    }
    for (name, value) in &options.meta {
        let name = format!("{META_PREFIX}{name}");
        fields.append(kept(&name, value)?, header_value(&name, value)?);
    }
    if let Some((name, value)) = condition(&options.condition)? {
        fields.insert(name, value);
    }
    Ok(fields)
}

pub(crate) fn condition(condition: &Condition) -> Result<Option<(HeaderName, HeaderValue)>, Error> {
    Ok(match condition {
        Condition::None => None,
        Condition::Absent => Some((IF_NONE_MATCH, HeaderValue::from_static("*"))),
        Condition::Present => Some((IF_MATCH, HeaderValue::from_static("*"))),
        Condition::Matches(etag) => Some((IF_MATCH, header_value("If-Match", &format!("\"{etag}\""))?)),
    })
}

pub(crate) fn header_value(name: &str, value: &str) -> Result<HeaderValue, Error> {
    let why = "cannot be sent: an HTTP header has visible ASCII characters and spaces; write others percent-encoded, ü as %C3%BC, \
               and decode them where it is read";
    let taken = HeaderValue::from_str(value).ok().filter(|value| value.to_str().is_ok());
    taken.ok_or_else(|| bad(name, value, why))
}

fn kept(name: &str, value: &str) -> Result<HeaderName, Error> {
    let why = "is not kept with an object; what is: Content-Type, -Encoding, -Disposition and -Language, Cache-Control, \
               Expires, Hayrick-Meta-…";
    let name = HeaderName::try_from(name)
        .map_err(|_| bad(name, value, "has no name that a header may have: letters, digits, - and _"))?;
    if is_kept_header(name.as_str()) { Ok(name) } else { Err(bad(name.as_str(), value, why)) }
}

fn bad(name: &str, value: &str, why: &'static str) -> Error {
    Error::BadHeader { name: name.to_owned(), value: value.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn what_is_kept_is_sent_and_what_is_not_is_refused() {
        let options = PutOptions {
            content_type: Some("image/jpeg".to_owned()),
            headers: pair("Cache-Control", "no-store"),
            meta: pair("author", "me"),
            condition: Condition::Present,
        };
        let fields = of(&options).expect("all of it is kept");
        let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(text("content-type"), Some("image/jpeg"));
        assert_eq!(text("cache-control"), Some("no-store"));
        assert_eq!(text("hayrick-meta-author"), Some("me"));
        assert_eq!(text("if-match"), Some("*"));

        for (name, value) in [("Cookie", "a"), ("no name", "a"), ("Expires", "a\nb")] {
            let options = PutOptions { headers: pair(name, value), ..PutOptions::default() };
            assert!(matches!(of(&options), Err(Error::BadHeader { .. })), "{name}");
        }
    }
}
