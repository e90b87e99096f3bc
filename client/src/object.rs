//! GET and HEAD: an object's description, and its bytes as they come.
//!
//! Owns what a read asks for and what its answer says; `body` has the bytes and what happens when they break off.

use bytes::Bytes;
use futures_util::Stream;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use reqwest::{Response, StatusCode};

use crate::body::Body;
use crate::client::key_path;
use crate::headers::header_value;
use crate::put::{etag, version};
use crate::retry::Kind;
use crate::{Client, Error};

/// Which bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first to the last, both counted.
    Closed(u64, u64),
    /// From this one to the end.
    From(u64),
    /// The last so many.
    Last(u64),
}

/// When a read shall be answered with the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReadCondition {
    /// Always.
    #[default]
    None,
    /// Only if the object still has this ETag, without quotes; else [`Error::PreconditionFailed`].
    Matches(String),
    /// Only if it has another ETag by now; else [`Error::NotModified`].
    Differs(String),
    /// Only if it was put after this date, as HTTP writes it; else [`Error::NotModified`].
    ModifiedSince(String),
    /// Only if it was not put after this date; else [`Error::PreconditionFailed`].
    UnmodifiedSince(String),
}

/// How to read an object.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// Only these bytes.
    pub range: Option<ByteRange>,
    /// Take what this master knows, without asking whether it is the newest (`?consistency=stale`).
    pub stale: bool,
    /// Only if this holds.
    pub condition: ReadCondition,
    /// Compare the MD5 of the bytes with the ETag, if all of them are read, and end with [`Error::Damaged`] where they differ.
    /// Masters verify what they send; this is for the way from there.
    pub verify: bool,
}

/// What is known of an object without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The size in bytes of what the answer carries: the object, or the range asked for.
    pub size_bytes: u64,
    /// The MD5 of the whole object, in hex.
    pub etag: String,
    /// As it was put.
    pub content_type: String,
    /// The index's version at which it was put.
    pub version: u64,
    /// When it was put, as HTTP writes it.
    pub modified: String,
    /// `partition=P; placement=N; volumes=1,3,4`
    pub placement: String,
    /// Under which id those volumes serve its bytes (`GET /-/needles/{id}`); 0 if the answer does not say.
    pub needle: u64,
    /// All headers of the answer.
    pub headers: HeaderMap,
}

/// An object that is being read.
#[derive(Debug)]
pub struct Object {
    meta: ObjectMeta,
    body: Body,
}

impl Client {
    /// Reads an object; linearizable.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; [`Error::Refused`] or [`Error::NoMaster`] if no master can tell.
    pub async fn get(&self, key: &str) -> Result<Object, Error> {
        self.get_with(key, &GetOptions::default()).await
    }

    /// The same, of a range, stale, or under a condition.
    ///
    /// # Errors
    /// As [`Client::get`]; [`Error::NotModified`] or [`Error::PreconditionFailed`] if the condition does not hold.
    pub async fn get_with(&self, key: &str, options: &GetOptions) -> Result<Object, Error> {
        let target = target(key, options)?;
        let headers = headers(options)?;
        let request = |url| self.reads.get(url).headers(headers.clone());
        let answer = self.send(Kind::Read, &target, request).await?;
        // Any range of an object of no bytes is answered with all of it.
        let is_empty = || answer.response.content_length() == Some(0);
        if options.range.is_some() && answer.response.status() != StatusCode::PARTIAL_CONTENT && !is_empty() {
            let message = format!("a range was asked for, the answer is {}", answer.response.status());
            return Err(Error::BadAnswer { master: self.masters()[answer.master].clone(), message });
        }
        let meta = ObjectMeta::of(&answer.response);
        let mut body = Body::new(self.clone(), key.to_owned(), target, answer, &meta);
        if options.verify && options.range.is_none() {
            body.verify();
        }
        Ok(Object { meta, body })
    }

    /// What is known of an object, without its bytes.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn head(&self, key: &str) -> Result<ObjectMeta, Error> {
        self.head_with(key, &GetOptions::default()).await
    }

    /// The same, stale or under a condition; a range counts for nothing here.
    ///
    /// # Errors
    /// As [`Client::get_with`].
    pub async fn head_with(&self, key: &str, options: &GetOptions) -> Result<ObjectMeta, Error> {
        let options = GetOptions { range: None, ..options.clone() };
        let headers = headers(&options)?;
        let request = |url| self.reads.head(url).headers(headers.clone());
        let answer = self.send(Kind::Read, &target(key, &options)?, request).await?;
        Ok(ObjectMeta::of(&answer.response))
    }
}

impl Object {
    /// What the answer says of it.
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    /// All its bytes. Where the connection breaks, the rest is read from another master.
    ///
    /// # Errors
    /// [`Error::Body`] if they break off for good.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        self.body.bytes().await
    }

    /// Its bytes as they come, in the same way; an error means that what came before is not the whole object.
    pub fn stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + Unpin + use<> {
        self.body.stream()
    }
}

impl ByteRange {
    fn header(self) -> String {
        match self {
            Self::Closed(first, last) => format!("bytes={first}-{last}"),
            Self::From(first) => format!("bytes={first}-"),
            Self::Last(count) => format!("bytes=-{count}"),
        }
    }
}

impl ObjectMeta {
    fn of(response: &Response) -> Self {
        let headers = response.headers();
        let text = |name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        Self {
            // Of the header, not of the body: the answer to HEAD has none.
            size_bytes: text(CONTENT_LENGTH.as_str()).parse().unwrap_or_default(),
            etag: etag(response).unwrap_or_default(),
            content_type: text(CONTENT_TYPE.as_str()),
            version: version(response).unwrap_or_default(),
            modified: text(LAST_MODIFIED.as_str()),
            placement: text("hayrick-placement"),
            needle: text("hayrick-needle").parse().unwrap_or_default(),
            headers: headers.clone(),
        }
    }
}

impl ReadCondition {
    fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, Error> {
        let (name, value) = match self {
            Self::None => return Ok(None),
            Self::Matches(etag) => (IF_MATCH, format!("\"{etag}\"")),
            Self::Differs(etag) => (IF_NONE_MATCH, format!("\"{etag}\"")),
            Self::ModifiedSince(date) => (IF_MODIFIED_SINCE, date.clone()),
            Self::UnmodifiedSince(date) => (IF_UNMODIFIED_SINCE, date.clone()),
        };
        let value = header_value(name.as_str(), &value)?;
        Ok(Some((name, value)))
    }
}

fn target(key: &str, options: &GetOptions) -> Result<String, Error> {
    let path = key_path(key)?;
    Ok(if options.stale { format!("{path}?consistency=stale") } else { path })
}

fn headers(options: &GetOptions) -> Result<HeaderMap, Error> {
    let mut headers: HeaderMap = options.condition.header()?.into_iter().collect();
    if let Some(range) = options.range {
        headers.insert(RANGE, header_value(RANGE.as_str(), &range.header())?);
    }
    Ok(headers)
}
