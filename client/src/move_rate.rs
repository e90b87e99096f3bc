//! How fast copies are made and moved, which is the cluster's to say and can be changed while it serves.

use serde::Deserialize;

use crate::retry::Kind;
use crate::{Client, Error};

/// How fast copies are made and moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MoveRate {
    /// Bytes a second that each volume gives or takes at most.
    pub bytes_per_s: u64,
    /// Nobody has set it: it is the `--move-rate` of the master that answered.
    #[serde(rename = "default")]
    pub is_default: bool,
}

impl Client {
    /// The rate that holds now.
    ///
    /// # Errors
    /// [`Error::NoMaster`] if no master can say.
    pub async fn move_rate(&self) -> Result<MoveRate, Error> {
        self.look_json("/-/move-rate").await
    }

    /// Sets it; none is each master's own `--move-rate` again. The server's words.
    ///
    /// # Errors
    /// [`Error::Refused`] with 400 when the rate is too low or too high.
    pub async fn set_move_rate(&self, bytes_per_s: Option<u64>) -> Result<String, Error> {
        let body = bytes_per_s.map_or_else(|| "default".to_owned(), |rate| rate.to_string());
        let request = |url| self.writes.put(url).timeout(self.write_timeout(0)).body(body.clone());
        let answer = self.send(Kind::Change, "/-/move-rate", request).await?;
        let text = answer.response.text().await.map_err(|error| Error::body(&error))?;
        Ok(text.trim().to_owned())
    }
}
