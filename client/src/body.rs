//! The bytes of an object as they come, and what is done when they break off: the rest is asked for at another master.
//!
//! Invariant: what is given are bytes of one object, in order and each once. The rest is read under the ETag of the
//! beginning (`If-Match`), so that of an object which was replaced meanwhile nothing is put behind what was.

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::header::{CONTENT_RANGE, IF_MATCH, RANGE};
use md5::{Digest, Md5};
use reqwest::{Response, StatusCode};

use crate::put::etag;
use crate::retry::{Answer, Kind};
use crate::{Client, Error, ObjectMeta};

/// How often one body is taken up again: a master may end, and then the next one.
const RESUMES_MAX: u32 = 8;

#[derive(Debug)]
pub(crate) struct Body {
    client: Client,
    key: String,
    target: String,
    etag: String,
    response: Response,
    master: usize,
    /// Of the object's bytes, the first that has not come, and the first that is not wanted; `None` if the answer did not say.
    rest: Option<(u64, u64)>,
    resumes_left: u32,
    hash: Option<Md5>,
}

impl Body {
    pub(crate) fn new(
        client: Client,
        key: String,
        target: String,
        answer: Answer,
        meta: &ObjectMeta,
    ) -> Self {
        let Answer { master, response } = answer;
        let rest = span(&response);
        let etag = meta.etag.clone();
        Self { client, key, target, etag, response, master, rest, resumes_left: RESUMES_MAX, hash: None }
    }

    /// Compares all of it with the ETag at its end.
    pub(crate) fn verify(&mut self) {
        self.hash = Some(Md5::new());
    }

    pub(crate) async fn bytes(mut self) -> Result<Bytes, Error> {
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut all = BytesMut::from(first);
        all.extend_from_slice(&second);
        while let Some(chunk) = self.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    pub(crate) fn stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + Unpin + use<> {
        Box::pin(futures_util::stream::try_unfold(self, |mut body| async move {
            let chunk = body.next().await?;
            Ok(chunk.map(|chunk| (chunk, body)))
        }))
    }

    /// What comes next; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.response.chunk().await {
                Ok(Some(chunk)) => {
                    if let Some((at, _)) = &mut self.rest {
                        *at += chunk.len() as u64;
                    }
                    if let Some(hash) = &mut self.hash {
                        hash.update(&chunk);
                    }
                    return Ok(Some(chunk));
                }
                Ok(None) => {
                    self.compare()?;
                    return Ok(None);
                }
                Err(error) => self.resume(Error::body(&error)).await?,
            }
        }
    }

    /// Asks another master for the rest.
    async fn resume(&mut self, broken: Error) -> Result<(), Error> {
        let Some((at, end)) = self.rest.filter(|(at, end)| at < end) else { return Err(broken) };
        if self.resumes_left == 0 || self.etag.is_empty() {
            return Err(broken);
        }
        self.resumes_left -= 1;
        self.client.pass_over(self.master);
        let (range, tag) = (format!("bytes={at}-{}", end - 1), format!("\"{}\"", self.etag));
        let request = |url| self.client.reads.get(url).header(RANGE, &range).header(IF_MATCH, &tag);
        let answer = match self.client.send(Kind::Read, &self.target, request).await {
            Ok(answer) => answer,
            Err(Error::PreconditionFailed { .. }) => return Err(gone(&broken, "replaced")),
            Err(Error::NotFound { .. }) => return Err(gone(&broken, "deleted")),
            Err(_) => return Err(broken),
        };
        let is_rest = answer.response.status() == StatusCode::PARTIAL_CONTENT
            && span(&answer.response) == Some((at, end))
            && etag(&answer.response).as_deref() == Some(&self.etag);
        if !is_rest {
            let message = format!("the bytes from {at} on were asked for, and others came");
            let master = self.client.masters()[answer.master].clone();
            return Err(Error::BadAnswer { master, message });
        }
        (self.response, self.master) = (answer.response, answer.master);
        Ok(())
    }

    fn compare(&mut self) -> Result<(), Error> {
        let Some(hash) = self.hash.take() else { return Ok(()) };
        let found = hex::encode(hash.finalize());
        if found == self.etag {
            return Ok(());
        }
        Err(Error::Damaged { key: self.key.clone(), expected: self.etag.clone(), found })
    }
}

fn gone(broken: &Error, what: &str) -> Error {
    Error::Body(match broken {
        Error::Body(why) => format!("{why}; and the object was {what} meanwhile"),
        other => other.to_string(),
    })
}

/// The bytes of the object that an answer carries: the first, and the first behind them.
fn span(response: &Response) -> Option<(u64, u64)> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Some((0, response.content_length()?));
    }
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (first, last) = text.strip_prefix("bytes ")?.split('/').next()?.split_once('-')?;
    Some((first.parse().ok()?, last.parse::<u64>().ok()?.checked_add(1)?))
}
