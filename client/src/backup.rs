//! The whole index, as some master tells it.

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};

use crate::retry::Kind;
use crate::{Client, Error};

impl Client {
    /// A backup of the index, as its bytes come; an error means that what came before is not the whole of it. What the bytes
    /// are is told in docs/format.md.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::NoMaster`] if no master can give one.
    pub async fn backup(&self) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + Unpin, Error> {
        let answer = self.send(Kind::Look, "/-/backup", |url| self.reads.get(url)).await?;
        Ok(Box::pin(answer.response.bytes_stream().map_err(|error| Error::body(&error))))
    }
}
