//! The digests that a client sends along with a body: `Content-MD5`, and `Repr-Digest` and `Content-Digest` of RFC 9530
//! with `sha-256` or `md5`. A PUT stores the bytes as they come, so that both mean the same.
//!
//! Owns their parsing, and the digests made on the way in; the MD5 is always made, as it becomes the ETag. Invariant: a
//! digest that is sent is verified, or the request is refused.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hayrick_web::Problem;
use http::{HeaderMap, HeaderName};
use md5::{Digest, Md5};
use sha2::Sha256;

use super::problem::bad_request;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const RFC_9530: [HeaderName; 2] =
    [HeaderName::from_static("repr-digest"), HeaderName::from_static("content-digest")];

/// The digests of a body that is on its way in, and what they must turn out to be.
pub(super) struct Digests {
    expected: Vec<(HeaderName, Expected)>,
    md5: Md5,
    /// Made only where somebody asks: it costs more than all the rest.
    sha256: Option<Sha256>,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Md5([u8; 16]),
    Sha256([u8; 32]),
}

impl Digests {
    /// As the fields of the request announce them.
    pub(super) fn announced(fields: &HeaderMap) -> Result<Self, Problem> {
        let expected = expected(fields)?;
        let wants_sha256 = expected.iter().any(|(_, digest)| matches!(digest, Expected::Sha256(_)));
        Ok(Self { expected, md5: Md5::new(), sha256: wants_sha256.then(Sha256::new) })
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        self.md5.update(data);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(data);
        }
    }

    /// The MD5 of the body, if all that was announced is true.
    pub(super) fn verify(self) -> Result<[u8; 16], Problem> {
        let md5: [u8; 16] = self.md5.finalize().into();
        let sha256: Option<[u8; 32]> = self.sha256.map(|sha256| sha256.finalize().into());
        let mut wrong = self.expected.iter().filter(|(_, digest)| match digest {
            Expected::Md5(expected) => *expected != md5,
            Expected::Sha256(expected) => sha256.as_ref() != Some(expected),
        });
        match wrong.next() {
            None => Ok(md5),
            Some((name, _)) => Err(bad_request(format!(
                "the body does not match its {name}: it was damaged on the way; nothing was changed"
            ))),
        }
    }
}

fn expected(fields: &HeaderMap) -> Result<Vec<(HeaderName, Expected)>, Problem> {
    let mut found = Vec::new();
    for value in fields.get_all(CONTENT_MD5) {
        let md5 = decoded(value.as_bytes());
        let md5 = md5.ok_or_else(|| bad_request("Content-MD5 is not 16 bytes in base64"))?;
        found.push((CONTENT_MD5, Expected::Md5(md5)));
    }
    for name in RFC_9530 {
        for value in fields.get_all(&name) {
            let text = value.to_str().map_err(|_| bad_request(format!("{name} is not readable text")))?;
            let known = dictionary(&name, text)?;
            if known.is_empty() {
                return Err(bad_request(format!(
                    "{name} has no digest that is verified here; send sha-256 or md5, or leave it out"
                )));
            }
            found.extend(known.into_iter().map(|digest| (name.clone(), digest)));
        }
    }
    Ok(found)
}

/// The digests of one field that are known here; beside those, others may be ignored (RFC 9530, section 2).
fn dictionary(name: &HeaderName, text: &str) -> Result<Vec<Expected>, Problem> {
    let mut known = Vec::new();
    for member in text.split(',') {
        let malformed = || bad_request(format!("{name} is malformed; it is written sha-256=:base64:"));
        let (algorithm, value) = member.trim().split_once('=').ok_or_else(malformed)?;
        let bytes =
            value.strip_prefix(':').and_then(|value| value.strip_suffix(':')).ok_or_else(malformed)?;
        match algorithm {
            "md5" => known.push(Expected::Md5(decoded(bytes.as_bytes()).ok_or_else(malformed)?)),
            "sha-256" => known.push(Expected::Sha256(decoded(bytes.as_bytes()).ok_or_else(malformed)?)),
            _ => {}
        }
    }
    Ok(known)
}

fn decoded<const N: usize>(base64: &[u8]) -> Option<[u8; N]> {
    BASE64_STANDARD.decode(base64).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const MD5_OF_A: &str = "DMF1ucDxtqgxw5niaXcmYQ==";
    const SHA256_OF_A: &str = "ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=";

    /// The status of a PUT of "a" with this field; 0 when it is stored.
    fn put_a(name: &'static str, value: &str) -> u16 {
        put_a_with(&[(name, value)])
    }

    fn put_a_with(sent: &[(&'static str, &str)]) -> u16 {
        let mut fields = HeaderMap::new();
        for (name, value) in sent {
            fields.append(*name, HeaderValue::try_from(*value).expect("valid in a field"));
        }
        let verified = Digests::announced(&fields).and_then(|mut digests| {
            digests.update(b"a");
            digests.verify()
        });
        verified.err().map_or(0, |problem| problem.status.as_u16())
    }

    #[test]
    fn a_digest_that_is_sent_is_verified() {
        assert_eq!(put_a("content-md5", MD5_OF_A), 0);
        assert_eq!(put_a("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="), 400);
        assert_eq!(
            put_a_with(&[("content-md5", MD5_OF_A), ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")]),
            400
        );
        for name in ["repr-digest", "content-digest"] {
            assert_eq!(put_a(name, &format!("md5=:{MD5_OF_A}:")), 0);
            assert_eq!(put_a(name, &format!("sha-256=:{SHA256_OF_A}:, md5=:{MD5_OF_A}:")), 0);
            assert_eq!(put_a(name, &format!("sha-512=:AAAA:, sha-256=:{SHA256_OF_A}:")), 0);
            assert_eq!(put_a(name, &format!("sha-256=:{}:", SHA256_OF_A.replace('y', "z"))), 400);
            assert_eq!(put_a(name, "md5=:AAAAAAAAAAAAAAAAAAAAAA==:"), 400);
        }
    }

    #[test]
    fn a_digest_that_cannot_be_verified_is_refused() {
        for value in ["AAAA", "not base64!"] {
            assert_eq!(put_a("content-md5", value), 400, "{value}");
        }
        for value in ["", "sha-512=:AAAA:", "sha-256=AAAA", "sha-256=:AAAA:", "md5"] {
            assert_eq!(put_a("repr-digest", value), 400, "{value:?}");
        }
    }
}
