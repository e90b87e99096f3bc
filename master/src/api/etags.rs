//! Entity tags, as `If-Match` and `If-None-Match` list them (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2).
//!
//! Owns their grammar. Leaves comparing to whoever decides: `conditions` for a read, apply for a write. Invariant: a
//! field that is no list of entity tags is refused, as its condition would silently never hold, or always.

use hayrick_web::Problem;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::problem::bad_request;

/// What a field names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Etags {
    /// `*`: whatever there is.
    Any,
    /// These, at least one.
    Listed(Vec<Etag>),
}

/// One entity tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Etag {
    /// Written `W/"…"`.
    pub(super) weak: bool,
    /// The MD5 that it stands for; one of another form is somebody else's and names nothing here.
    pub(super) md5: Option<[u8; 16]>,
}

impl Etags {
    /// What the fields of this name hold together, if there are any.
    pub(super) fn of(fields: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let Some(first) = fields.get(name) else { return Ok(None) };
        let lines = fields.get_all(name);
        if first.as_bytes().trim_ascii() == b"*" && lines.iter().count() == 1 {
            return Ok(Some(Self::Any));
        }
        let mut tags = Vec::new();
        for line in lines {
            tags.extend(listed(line.as_bytes()).ok_or_else(|| malformed(name, line))?);
        }
        if tags.is_empty() {
            return Err(malformed(name, first));
        }
        Ok(Some(Self::Listed(tags)))
    }
}

/// The tags of one line; none if it is no list. Empty elements count for nothing (section 5.6.1.2).
fn listed(mut rest: &[u8]) -> Option<Vec<Etag>> {
    let mut tags = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if let Some(behind) = rest.strip_prefix(b",") {
            rest = behind;
            continue;
        }
        if rest.is_empty() {
            return Some(tags);
        }
        let (weak, quoted) = rest.strip_prefix(b"W/").map_or((false, rest), |quoted| (true, quoted));
        let opened = quoted.strip_prefix(b"\"")?;
        let end = opened.iter().position(|byte| *byte == b'"')?;
        let (opaque, behind) = (&opened[..end], opened[end + 1..].trim_ascii_start());
        let is_in_order = opaque.iter().all(|byte| matches!(byte, 0x21..=0x7e | 0x80..));
        if !is_in_order || !(behind.is_empty() || behind.starts_with(b",")) {
            return None;
        }
        tags.push(Etag { weak, md5: md5_of(opaque) });
        rest = behind;
    }
}

/// Tags are compared byte by byte, and ours have small letters.
fn md5_of(opaque: &[u8]) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    hex::decode_to_slice(opaque, &mut md5).ok()?;
    opaque.iter().all(|byte| !byte.is_ascii_uppercase()).then_some(md5)
}

fn malformed(name: &HeaderName, value: &HeaderValue) -> Problem {
    let value = String::from_utf8_lossy(value.as_bytes());
    bad_request(format!(
        "{name} is malformed: {value}; an entity tag is written in double quotes, \"etag\" or W/\"etag\", several are \
         parted by commas, and a * that stands alone means any"
    ))
}

#[cfg(test)]
mod tests {
    use http::header::IF_MATCH;

    use super::*;

    const OWN: Etag = Etag { weak: false, md5: Some([0x11; 16]) };
    const WEAK: Etag = Etag { weak: true, ..OWN };
    const OTHER: Etag = Etag { weak: false, md5: None };

    fn of(lines: &[&str]) -> Option<Etags> {
        let lines =
            lines.iter().map(|line| (IF_MATCH, HeaderValue::try_from(*line).expect("valid in a field")));
        Etags::of(&lines.collect(), &IF_MATCH).expect("in order")
    }

    #[test]
    fn lists_of_entity_tags_are_read() {
        let own = format!("\"{}\"", "11".repeat(16));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[" * "]), Some(Etags::Any));
        let listed = |tags: &[Etag]| Some(Etags::Listed(tags.to_vec()));
        assert_eq!(of(&[&own]), listed(&[OWN]));
        assert_eq!(of(&[&format!("W/{own} , {own}")]), listed(&[WEAK, OWN]));
        assert_eq!(of(&[&own, &format!(",, {own},")]), listed(&[OWN, OWN]), "lines of one name are one list");
        assert_eq!(of(&["\"\", \"a,b\", \"*\", \"\u{fc}\""]), listed(&[OTHER; 4]), "a comma may be quoted");
        assert_eq!(of(&[&format!("\"{}\"", "AA".repeat(16))]), listed(&[OTHER]), "ours have small letters");
    }

    #[test]
    fn what_is_no_list_of_entity_tags_is_refused_with_the_way_to_write_one() {
        for lines in [
            &["abc"][..],
            &[""],
            &[","],
            &["\"abc"],
            &["abc\""],
            &["w/\"abc\""],
            &["W/abc"],
            &["\"a\" \"b\""],
            &["\"a b\""],
            &["*, \"a\""],
            &["*", "\"a\""],
            &["*", "*"],
        ] {
            let fields =
                lines.iter().map(|line| (IF_MATCH, HeaderValue::from_static(line))).collect::<HeaderMap>();
            let problem = Etags::of(&fields, &IF_MATCH).expect_err("it is none");
            assert_eq!(problem.status.as_u16(), 400, "{lines:?}");
            assert!(problem.text.starts_with("if-match is malformed") && problem.text.contains("W/\"etag\""));
        }
    }
}
