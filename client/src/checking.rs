//! The volumes against the index, as some master checks them.

use futures_util::TryStreamExt;
use hayrick_protocol::answers::check::{Line, Progress, Report};

use crate::retry::Kind;
use crate::{Client, Error};

/// The longest line that is taken: a report of thousands of volumes.
const LINE_BYTES_MAX: usize = 16 << 20;

impl Client {
    /// Has every volume list all that it holds, and compares that with the index; with `deep` each needle is read and verified
    /// as well, as fast as the volumes' `--scrub-rate` allows. `note` is told how far it is.
    ///
    /// # Errors
    /// [`Error::Refused`] with 429 while the master makes another check; [`Error::Body`] when the check broke off.
    pub async fn check(&self, deep: bool, mut note: impl FnMut(&Progress)) -> Result<Report, Error> {
        let path = if deep { "/-/check?deep" } else { "/-/check" };
        let answer = self.send(Kind::Look, path, |url| self.reads.get(url)).await?;
        let master = self.masters()[answer.master].clone();
        let mut chunks = answer.response.bytes_stream();
        let mut rest: Vec<u8> = Vec::new();
        while let Some(chunk) = chunks.try_next().await.map_err(|error| Error::body(&error))? {
            let mut looked_at = rest.len();
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest[looked_at..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=looked_at + end).collect();
                looked_at = 0;
                let line = serde_json::from_slice(&line).map_err(|error| Error::BadAnswer {
                    master: master.clone(),
                    message: error.to_string(),
                })?;
                match line {
                    Line::Progress(progress) => note(&progress),
                    Line::Report(report) => return Ok(*report),
                    Line::Error(why) => return Err(Error::Body(why)),
                }
            }
            if rest.len() > LINE_BYTES_MAX {
                return Err(Error::BadAnswer { master, message: "a line does not end".to_owned() });
            }
        }
        Err(Error::Body("the check ended without a report".to_owned()))
    }
}
