//! PUT: one object, whole, maybe under a condition.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use reqwest::{RequestBuilder, Response, StatusCode};

use crate::client::key_path;
use crate::retry::Kind;
use crate::{Client, Error};

/// The header with the index's version (http-api.md).
pub(crate) const VERSION: &str = "hayrick-version";

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
}

/// How to put an object.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// `application/octet-stream` unless said.
    pub content_type: Option<String>,
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
    /// [`Error::Unknown`] if it may have happened all the same; any other error means that it did not.
    pub async fn put(&self, key: &str, body: impl Into<Bytes>) -> Result<PutOutcome, Error> {
        self.put_with(key, body, &PutOptions::default()).await
    }

    /// The same, with a content type or under a condition.
    ///
    /// # Errors
    /// As [`Client::put`]; [`Error::PreconditionFailed`] if the condition does not hold.
    pub async fn put_with(
        &self,
        key: &str,
        body: impl Into<Bytes>,
        options: &PutOptions,
    ) -> Result<PutOutcome, Error> {
        let path = key_path(key)?;
        let body = body.into();
        let content_type = match &options.content_type {
            Some(value) => Some(header_value("Content-Type", value)?),
            None => None,
        };
        let condition = condition_header(&options.condition)?;
        let answer = self
            .send(Kind::Write, &path, |url| {
                // Said in words: for an empty body hyper would leave it out, and a PUT without a length is refused.
                let mut request = self
                    .writes
                    .put(url)
                    .timeout(self.write_timeout(body.len()))
                    .header(CONTENT_LENGTH, body.len())
                    .body(body.clone());
                if let Some(value) = &content_type {
                    request = request.header(CONTENT_TYPE, value);
                }
                with_condition(request, condition.as_ref())
            })
            .await?;
        let response = &answer.response;
        Ok(PutOutcome {
            created: response.status() == StatusCode::CREATED,
            etag: etag(response).unwrap_or_default(),
            version: version(response).unwrap_or_default(),
        })
    }
}

/// The header that carries a condition.
pub(crate) type ConditionHeader = (http::HeaderName, HeaderValue);

pub(crate) fn condition_header(condition: &Condition) -> Result<Option<ConditionHeader>, Error> {
    Ok(match condition {
        Condition::None => None,
        Condition::Absent => Some((IF_NONE_MATCH, HeaderValue::from_static("*"))),
        Condition::Matches(etag) => Some((IF_MATCH, header_value("If-Match", &format!("\"{etag}\""))?)),
    })
}

pub(crate) fn with_condition(request: RequestBuilder, condition: Option<&ConditionHeader>) -> RequestBuilder {
    match condition {
        Some((name, value)) => request.header(name, value),
        None => request,
    }
}

pub(crate) fn header_value(name: &'static str, value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value).map_err(|_| Error::BadHeader { name, value: value.to_owned() })
}

/// The ETag without its quotes.
pub(crate) fn etag(response: &Response) -> Option<String> {
    Some(response.headers().get(ETAG)?.to_str().ok()?.trim_matches('"').to_owned())
}

pub(crate) fn version(response: &Response) -> Option<u64> {
    response.headers().get(VERSION)?.to_str().ok()?.parse().ok()
}
