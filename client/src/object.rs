//! GET and HEAD: an object's description, and its bytes as they come.

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LAST_MODIFIED, RANGE};
use reqwest::{Response, StatusCode};

use crate::client::key_path;
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

/// How to read an object.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// Only these bytes.
    pub range: Option<ByteRange>,
    /// Take what this master knows, without asking whether it is the newest (`?consistency=stale`).
    pub stale: bool,
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
    response: Response,
}

impl Client {
    /// Reads an object; linearizable.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; [`Error::Refused`] or [`Error::NoMaster`] if no master can tell.
    pub async fn get(&self, key: &str) -> Result<Object, Error> {
        self.get_with(key, &GetOptions::default()).await
    }

    /// The same, of a range, or stale.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_with(&self, key: &str, options: &GetOptions) -> Result<Object, Error> {
        let target = target(key, options)?;
        let range = options.range.map(ByteRange::header);
        let request = |url| {
            let request = self.reads.get(url);
            match &range {
                Some(range) => request.header(RANGE, range),
                None => request,
            }
        };
        let answer = self.send(Kind::Read, &target, request).await?;
        if range.is_some() && answer.response.status() != StatusCode::PARTIAL_CONTENT {
            let message = format!("a range was asked for, the answer is {}", answer.response.status());
            return Err(Error::BadAnswer { master: self.masters()[answer.master].clone(), message });
        }
        Ok(Object { meta: ObjectMeta::of(&answer.response), response: answer.response })
    }

    /// What is known of an object, without its bytes.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn head(&self, key: &str) -> Result<ObjectMeta, Error> {
        let target = key_path(key)?;
        let answer = self.send(Kind::Read, &target, |url| self.reads.head(url)).await?;
        Ok(ObjectMeta::of(&answer.response))
    }
}

impl Object {
    /// What the answer says of it.
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    /// All its bytes.
    ///
    /// # Errors
    /// [`Error::Body`] if they break off.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        self.response.bytes().await.map_err(|error| Error::body(&error))
    }

    /// Its bytes as they come; an error means that what came before is not the whole object.
    pub fn stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + Unpin {
        Box::pin(self.response.bytes_stream().map_err(|error| Error::body(&error)))
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

fn target(key: &str, options: &GetOptions) -> Result<String, Error> {
    let path = key_path(key)?;
    Ok(if options.stale { format!("{path}?consistency=stale") } else { path })
}
