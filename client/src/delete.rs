//! DELETE: one object, maybe under a condition, or many at once; and undelete, which takes it back.

use hayrick_protocol::ObjectKey;
use hayrick_protocol::limits::DELETE_KEYS_MAX;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;

use crate::client::key_path;
use crate::retry::Kind;
use crate::{Client, Condition, Error, headers};

/// What became of one key of many.
#[derive(Deserialize)]
struct Outcome {
    key: String,
    status: u16,
    #[serde(default)]
    detail: String,
}

impl Client {
    /// Deletes `key`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; [`Error::Unknown`] if it may have happened all the same.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.delete_with(key, &Condition::None).await
    }

    /// Deletes `key` if the condition holds.
    ///
    /// # Errors
    /// As [`Client::delete`]; [`Error::PreconditionFailed`] if the condition does not hold.
    pub async fn delete_with(&self, key: &str, condition: &Condition) -> Result<(), Error> {
        let path = key_path(key)?;
        let fields: HeaderMap = headers::condition(condition)?.into_iter().collect();
        let request = |url| self.writes.delete(url).timeout(self.write_timeout(0)).headers(fields.clone());
        self.send(Kind::Write, &path, request).await.map(drop)
    }

    /// Deletes many keys, a thousand in a request, and says of each what became of it, in the order given: the errors are those
    /// of [`Client::delete`]. Where a request was refused, those behind it are not sent and have its error, too.
    ///
    /// ```
    /// # mod played { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/master.rs")); }
    /// # const DELETED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 55\r\n\r\n\
    /// #     [{\"key\":\"a\",\"status\":204},{\"key\":\"b\",\"status\":404}]    ";
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let master = played::master(&[DELETED]).await?;
    /// use hayrick_client::{Client, Error};
    ///
    /// let client = Client::new([master])?;
    /// let ends = client.delete_all(&["a", "b"]).await;
    /// assert!(ends[0].is_ok());
    /// assert!(matches!(&ends[1], Err(Error::NotFound { key }) if key == "b"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn delete_all<S: AsRef<str>>(&self, keys: &[S]) -> Vec<Result<(), Error>> {
        let mut ends = Vec::with_capacity(keys.len());
        let count = keys.len();
        for keys in keys.chunks(DELETE_KEYS_MAX) {
            let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
            match self.delete_some(&keys).await {
                Ok(some) => ends.extend(some),
                Err(error @ Error::Unknown { .. }) => ends.extend(keys.iter().map(|_| Err(error.clone()))),
                Err(error) => {
                    ends.resize_with(count, || Err(error.clone()));
                    break;
                }
            }
        }
        ends
    }

    /// As many as one request takes.
    async fn delete_some(&self, keys: &[&str]) -> Result<Vec<Result<(), Error>>, Error> {
        // What is no key is not sent: its error is the one of `delete`, whatever the server calls it.
        let checked: Vec<Result<ObjectKey, Error>> =
            keys.iter().map(|key| ObjectKey::new(key).map_err(Error::Key)).collect();
        let sent: Vec<&str> = checked.iter().flatten().map(ObjectKey::as_str).collect();
        if sent.is_empty() {
            return Ok(checked.into_iter().map(|key| key.map(drop)).collect());
        }
        let body = serde_json::to_string(&sent).expect("texts are valid JSON");
        let timeout = self.write_timeout(body.len() as u64);
        let request = |url| {
            let request = self.writes.post(url).timeout(timeout);
            request.header(CONTENT_TYPE, "application/json").body(body.clone())
        };
        let answer = self.send(Kind::Write, "/-/delete", request).await?;
        let master = self.masters()[answer.master].clone();
        // It was done, and what became of which key is not known.
        let lost = |message: String| Error::Unknown { message: format!("{master}: {message}") };
        let outcomes: Vec<Outcome> = self.read_json(answer).await.map_err(|error| lost(error.to_string()))?;
        if !outcomes.iter().map(|outcome| outcome.key.as_str()).eq(sent.iter().copied()) {
            return Err(lost("its answer is about other keys than were sent".to_owned()));
        }
        let mut outcomes = outcomes.into_iter();
        let end = |key: Result<ObjectKey, Error>| {
            key.and_then(|_| outcomes.next().map_or(Ok(()), Outcome::into_result))
        };
        Ok(checked.into_iter().map(end).collect())
    }

    /// Brings back what the last delete of `key` took away.
    ///
    /// # Errors
    /// [`Error::NothingToBringBack`] if that was longer ago than the servers' `--reap-after`, or there never was anything;
    /// [`Error::Taken`] if something newer has the key; [`Error::Unknown`] if it may have happened all the same.
    pub async fn undelete(&self, key: &str) -> Result<(), Error> {
        let path = format!("/-/undelete{}", key_path(key)?);
        let request = |url| self.writes.post(url).timeout(self.write_timeout(0)).body("");
        match self.send(Kind::Write, &path, request).await {
            Ok(_) => Ok(()),
            Err(Error::Refused { status, message }) => Err(match StatusCode::from_u16(status) {
                Ok(StatusCode::NOT_FOUND) => Error::NothingToBringBack { message },
                Ok(StatusCode::CONFLICT) => Error::Taken { message },
                _ => Error::Refused { status, message },
            }),
            Err(error) => Err(error),
        }
    }
}

impl Outcome {
    fn into_result(self) -> Result<(), Error> {
        match StatusCode::from_u16(self.status) {
            Ok(status) if status.is_success() => Ok(()),
            Ok(StatusCode::NOT_FOUND) => Err(Error::NotFound { key: self.key }),
            Ok(StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) => {
                Err(Error::Unknown { message: self.detail })
            }
            _ => Err(Error::Refused { status: self.status, message: self.detail }),
        }
    }
}
