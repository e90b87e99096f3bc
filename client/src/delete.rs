//! DELETE: one object, maybe under a condition; and undelete, which takes it back.

use http::StatusCode;

use crate::client::key_path;
use crate::put::{condition_header, with_condition};
use crate::retry::Kind;
use crate::{Client, Condition, Error};

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
        let condition = condition_header(condition)?;
        let request = |url| {
            let request = self.writes.delete(url).timeout(self.write_timeout(0));
            with_condition(request, condition.as_ref())
        };
        self.send(Kind::Write, &path, request).await.map(drop)
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
