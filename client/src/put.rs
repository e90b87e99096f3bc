//! PUT: one object, whole, maybe under a condition.
//!
//! Owns what a PUT says and what its answer means; `source` has the bytes. Invariant: what is acknowledged is what was
//! sent: the MD5 goes with it where it is known before, and the ETag of the answer is compared with it in any case.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hayrick_protocol::limits::OBJECT_BYTES_MAX;
use http::header::{CONTENT_LENGTH, ETAG, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode};

use crate::client::key_path;
use crate::retry::Kind;
use crate::source::Told;
use crate::{Client, Error, Source, headers};

/// The header with the index's version (http-api.md).
const VERSION: &str = "hayrick-version";
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// When a write shall take place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    #[default]
    None,
    /// Only if there is no such object (`If-None-Match: *`).
    Absent,
    /// Only if the object still has this ETag, without quotes (`If-Match`).
    Matches(String),
    /// Only if there is such an object, whatever it is (`If-Match: *`).
    Present,
}

/// How to put an object.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// `application/octet-stream` unless said.
    pub content_type: Option<String>,
    /// Kept with the object and returned: `Content-Encoding`, `Content-Disposition`, `Content-Language`, `Cache-Control`,
    /// `Expires`. Names and values of all that is kept have at most 2 KiB.
    pub headers: Vec<(String, String)>,
    /// The caller's own, in the same way: `author` is sent as `Hayrick-Meta-author`.
    pub meta: Vec<(String, String)>,
    /// When to put it.
    pub condition: Condition,
}

/// What a PUT did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// Whether the key is new; else an object was replaced.
    pub created: bool,
    /// The MD5 of the bytes, in hex.
    pub etag: String,
    /// The index's version after it.
    pub version: u64,
}

impl Client {
    /// Stores `body` under `key`; it is durable on all its replicas when this returns.
    ///
    /// # Errors
    /// [`Error::Unknown`] if it may have happened all the same; [`Error::Damaged`] if it did, and with other bytes; any other
    /// error means that it did not.
    pub async fn put(&self, key: &str, body: impl Into<Bytes>) -> Result<PutOutcome, Error> {
        self.put_with(key, body, &PutOptions::default()).await
    }

    /// The same, with headers or under a condition.
    ///
    /// # Errors
    /// As [`Client::put`]; [`Error::PreconditionFailed`] if the condition does not hold.
    pub async fn put_with(
        &self,
        key: &str,
        body: impl Into<Bytes>,
        options: &PutOptions,
    ) -> Result<PutOutcome, Error> {
        self.put_from(key, &Source::bytes(body).await, options).await
    }

    /// The same of a file or a stream, which is sent as it is read.
    ///
    /// ```
    /// # mod played { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/master.rs")); }
    /// # const CREATED: &str = "HTTP/1.1 201 Created\r\nETag: \"900150983cd24fb0d6963f7d28e17f72\"\r\nContent-Length: 1\r\n\r\nk";
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let master = played::master(&[CREATED]).await?;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("cat.jpg");
    /// # std::fs::write(&path, "abc")?;
    /// use hayrick_client::{Client, PutOptions, Source};
    ///
    /// let client = Client::new([master])?;
    /// let options = PutOptions {
    ///     content_type: Some("image/jpeg".to_owned()),
    ///     meta: vec![("author".to_owned(), "me".to_owned())],
    ///     ..PutOptions::default()
    /// };
    /// let outcome = client.put_from("photos/cat.jpg", &Source::file(&path).await?, &options).await?;
    /// assert_eq!(outcome.etag, "900150983cd24fb0d6963f7d28e17f72");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Client::put_with`]; [`Error::Source`] if it could not be read to its end, of which nothing is stored.
    pub async fn put_from(
        &self,
        key: &str,
        source: &Source,
        options: &PutOptions,
    ) -> Result<PutOutcome, Error> {
        let path = key_path(key)?;
        let mut fields = headers::of(options)?;
        if let Some(bytes) = source.bytes_known() {
            // Said in words: for an empty body hyper would leave it out, and a PUT without a length is refused.
            fields.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        if let Some(md5) = source.md5_known() {
            let text = HeaderValue::try_from(BASE64_STANDARD.encode(md5));
            fields.insert(CONTENT_MD5, text.expect("base64 is valid in a field"));
        }
        let timeout = self.put_timeout(source.bytes_known().unwrap_or(OBJECT_BYTES_MAX as u64));
        let told = Arc::new(Told::default());
        let request =
            |url| self.writes.put(url).timeout(timeout).headers(fields.clone()).body(source.body(&told));
        let sent = self.send_while(Kind::Write, &path, request, || source.can_be_sent()).await;
        let answer = match (sent, told.failure()) {
            (Ok(answer), _) => answer,
            // A body that ends too early stores nothing (http-api.md).
            (Err(Error::Unknown { .. }), Some(message)) => return Err(Error::Source { message }),
            (Err(error), _) => return Err(error),
        };
        let response = &answer.response;
        let (expected, found) =
            (source.etag_known().unwrap_or_else(|| told.md5()), etag(response).unwrap_or_default());
        if found != expected {
            return Err(Error::Damaged { key: key.to_owned(), expected, found });
        }
        Ok(PutOutcome {
            created: response.status() == StatusCode::CREATED,
            etag: found,
            version: version(response).unwrap_or_default(),
        })
    }
}

/// The ETag without its quotes.
pub(crate) fn etag(response: &Response) -> Option<String> {
    Some(response.headers().get(ETAG)?.to_str().ok()?.trim_matches('"').to_owned())
}

pub(crate) fn version(response: &Response) -> Option<u64> {
    response.headers().get(VERSION)?.to_str().ok()?.parse().ok()
}
