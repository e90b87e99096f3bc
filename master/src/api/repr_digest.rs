//! `Want-Repr-Digest` of a GET or HEAD, and the `Repr-Digest` that answers it (RFC 9530, sections 3 and 4).
//!
//! Owns the choice of algorithm. The MD5 is in the record; a SHA-256 is made only of bytes that are at hand anyway, so
//! that nothing is read for it. Invariant: a digest is of the whole object, also in the answer to a range.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hayrick_protocol::record::ObjectRecord;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");
/// The most that an algorithm can be preferred.
const PREFERENCE_MAX: u8 = 10;

/// How much each algorithm is wanted; not at all by 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wanted {
    md5: u8,
    sha256: u8,
}

impl Wanted {
    /// As the fields of the request say. A field that is malformed is ignored as a whole (RFC 9651, section 4.2).
    pub(super) fn of(fields: &HeaderMap) -> Self {
        let mut wanted = Self::default();
        for line in fields.get_all(WANT_REPR_DIGEST) {
            for member in line.to_str().unwrap_or("malformed").split(',') {
                let Some((algorithm, preference)) = preference(member) else { return Self::default() };
                match algorithm {
                    "md5" => wanted.md5 = preference,
                    "sha-256" => wanted.sha256 = preference,
                    _ => {}
                }
            }
        }
        wanted
    }

    /// The digest that is wanted most of those that can be had; with `whole`, all bytes of the object, also SHA-256.
    pub(super) fn digest(self, record: &ObjectRecord, whole: Option<&[u8]>) -> Option<HeaderValue> {
        let text = match whole {
            Some(bytes) if self.sha256 > 0 && self.sha256 >= self.md5 => {
                format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(bytes)))
            }
            _ if self.md5 > 0 => format!("md5=:{}:", BASE64_STANDARD.encode(record.md5)),
            _ => return None,
        };
        Some(HeaderValue::try_from(text).expect("base64 is valid in a field"))
    }
}

/// One member of the field: an algorithm and its preference, whose parameters mean nothing here.
fn preference(member: &str) -> Option<(&str, u8)> {
    let (algorithm, preference) = member.trim().split_once('=')?;
    let digits = preference.split(';').next()?.trim_end();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let preference = digits.parse().ok().filter(|preference| is_number && *preference <= PREFERENCE_MAX)?;
    Some((algorithm, preference))
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::record::Headers;
    use hayrick_protocol::{AppliedVersion, NeedleId, PlacementId};

    use super::*;

    const MD5: &str = "md5=:EREREREREREREREREREREQ==:";
    const SHA256_OF_A: &str = "sha-256=:ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=:";

    /// What answers these lines of the field; with the object's bytes at hand, and without.
    fn answers(lines: &[&'static str]) -> [Option<String>; 2] {
        let record = ObjectRecord {
            needle: NeedleId(1),
            placement: PlacementId(1),
            size: 1,
            crc: 0,
            md5: [0x11; 16],
            version: AppliedVersion(1),
            modified_ms: 0,
            missing: false,
            headers: Headers::default(),
        };
        let fields = lines.iter().map(|line| (WANT_REPR_DIGEST, HeaderValue::from_static(line))).collect();
        let wanted = Wanted::of(&fields);
        [Some(&b"a"[..]), None].map(|whole| {
            let value = wanted.digest(&record, whole)?;
            Some(value.to_str().expect("text").to_owned())
        })
    }

    #[test]
    fn the_digest_is_the_one_that_is_wanted_most_of_those_at_hand() {
        let (md5, sha256) = (Some(MD5.to_owned()), Some(SHA256_OF_A.to_owned()));
        let both = |answer: &Option<String>| [answer.clone(), answer.clone()];
        assert_eq!(answers(&[]), [None, None]);
        assert_eq!(answers(&["md5=1"]), both(&md5));
        assert_eq!(answers(&["sha-256=1"]), [sha256.clone(), None], "what is not listed is not acceptable");
        assert_eq!(answers(&["sha-256=3, md5=10, sha-512=10"]), both(&md5));
        assert_eq!(answers(&["md5=5,sha-256=5"]), [sha256.clone(), md5.clone()]);
        assert_eq!(answers(&["md5=1", "sha-256=9;why=not"]), [sha256.clone(), md5.clone()]);
        assert_eq!(answers(&["sha-512=10"]), [None, None]);
    }

    #[test]
    fn a_preference_of_0_means_not_wanted() {
        let sha256 = Some(SHA256_OF_A.to_owned());
        assert_eq!(answers(&["md5=0"]), [None, None]);
        assert_eq!(answers(&["md5=0, sha-256=0"]), [None, None]);
        assert_eq!(answers(&["md5=0, sha-256=1"]), [sha256, None]);
        assert_eq!(answers(&["md5=3, md5=0"]), [None, None], "the last of a name counts");
    }

    #[test]
    fn a_malformed_wish_is_no_wish() {
        for line in
            ["md5", "md5=", "md5=11", "md5=-1", "md5=1.0", "md5=+1", "md5=one", "md5=1,", "md5=1, \"a\""]
        {
            assert_eq!(answers(&[line]), [None, None], "{line}");
        }
    }
}
