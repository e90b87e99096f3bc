//! Why a key lives where it lives, as some master tells it.

use hayrick_protocol::answers::explanation::Explanation;

use crate::client::key_path;
use crate::retry::Kind;
use crate::{Client, Error};

impl Client {
    /// Where the object lies, why, and what each of its copies is; also of a key without an object. With `without`, also what
    /// would be if that volume died.
    ///
    /// # Errors
    /// [`Error::Refused`] with 400 when there is no such volume, in words.
    pub async fn explain(&self, key: &str, without: Option<u32>) -> Result<Explanation, Error> {
        let without = without.map(|id| format!("?without={id}")).unwrap_or_default();
        let path = format!("/-/explain{}{without}", key_path(key)?);
        let request = |url| self.reads.get(url).header(http::header::ACCEPT, "application/json");
        let answer = self.send(Kind::Look, &path, request).await?;
        self.read_json(answer).await
    }
}
