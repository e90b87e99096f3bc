//! Who the masters are, and who leads them. Each of these may be repeated: what is so already is a success.

use http::StatusCode;

use crate::retry::Kind;
use crate::{Client, Error};

/// How far a new master has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterAdded {
    /// It votes.
    Votes,
    /// It receives the log and votes by itself later: the server's words.
    CatchesUp(String),
}

impl Client {
    /// Takes in the master with this id, which runs at this peer address (`HOST:PORT`) and asks to enter (`--join`).
    ///
    /// # Errors
    /// [`Error::Refused`] with 409 when another change is under way or the id is not free, 503 when it does not answer.
    pub async fn add_master(&self, id: u64, peer: &str) -> Result<MasterAdded, Error> {
        let body = serde_json::json!({ "id": id, "peer": peer }).to_string();
        let request = |url| self.writes.post(url).timeout(self.write_timeout(0)).body(body.clone());
        let answer = self.send(Kind::Change, "/-/masters", request).await?;
        if answer.response.status() != StatusCode::ACCEPTED {
            return Ok(MasterAdded::Votes);
        }
        let text = answer.response.text().await.map_err(|error| Error::body(&error))?;
        Ok(MasterAdded::CatchesUp(text.trim().to_owned()))
    }

    /// Takes a master out for good.
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when there is none with this id, with 409 when another change is under way or the
    /// others could decide nothing without it.
    pub async fn remove_master(&self, id: u64) -> Result<(), Error> {
        let request = |url| self.writes.delete(url).timeout(self.write_timeout(0));
        self.send(Kind::Change, &format!("/-/masters/{id}"), request).await.map(drop)
    }

    /// Hands leadership to this master.
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when there is none with this id, with 409 when it has no vote, with 503 when it does not
    /// answer or lags.
    pub async fn transfer_leader(&self, id: u64) -> Result<(), Error> {
        let request = |url| self.writes.post(url).timeout(self.write_timeout(0)).body("");
        self.send(Kind::Change, &format!("/-/leader/{id}"), request).await.map(drop)
    }
}
