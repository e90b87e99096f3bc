//! DELETE: one object, maybe under a condition.

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
}
