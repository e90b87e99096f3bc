//! What an operator decides of volumes. Each of these may be repeated: what is so already is a success.

use serde::Deserialize;

use crate::retry::Kind;
use crate::{Client, Error};

/// What is to become of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeChange {
    /// Move what it holds elsewhere; it takes no more writes.
    Drain,
    /// Let it take writes again, and leave on it what is there.
    Undrain,
    /// It never comes back.
    Remove,
}

/// What a change would come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VolumeRehearsal {
    /// Whether anything would change.
    pub changes: bool,
    /// Placements on the volume that hold something.
    pub placements: u64,
    /// What they hold.
    pub needles: u64,
    /// Its bytes.
    pub bytes: u64,
    /// About how long moving them takes at the masters' `--move-rate`.
    pub minutes: u64,
}

/// What rebalancing would come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RebalanceRehearsal {
    /// Placements of which a copy would move.
    pub placements: u64,
    /// Needles, each as often as a copy of it would move.
    pub needles: u64,
    /// Their bytes.
    pub bytes: u64,
    /// About how long it takes at the masters' `--move-rate`.
    pub minutes: u64,
}

impl VolumeChange {
    fn verb(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Remove => "remove",
        }
    }
}

impl Client {
    /// Makes the change: the server's words about what follows.
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when there is no such volume, with 409 when something is in the way, in words.
    pub async fn change_volume(&self, id: u64, change: VolumeChange) -> Result<String, Error> {
        let request = |url| self.writes.post(url).timeout(self.write_timeout(0)).body("");
        let path = format!("/-/volumes/{id}/{}", change.verb());
        let answer = self.send(Kind::Change, &path, request).await?;
        let text = answer.response.text().await.map_err(|error| Error::body(&error))?;
        Ok(text.trim().to_owned())
    }

    /// Has what lies elsewhere than its partition does now move there, or ends that: the server's words.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::NoMaster`] if no master can do it.
    pub async fn rebalance(&self, on: bool) -> Result<String, Error> {
        let request = |url| self.writes.post(url).timeout(self.write_timeout(0)).body("");
        let path = if on { "/-/rebalance" } else { "/-/rebalance?stop" };
        let answer = self.send(Kind::Change, path, request).await?;
        let text = answer.response.text().await.map_err(|error| Error::body(&error))?;
        Ok(text.trim().to_owned())
    }

    /// What rebalancing would come to; changes nothing.
    ///
    /// # Errors
    /// As [`Client::rebalance`].
    pub async fn rehearse_rebalance(&self) -> Result<RebalanceRehearsal, Error> {
        let request = |url| self.writes.post(url).timeout(self.write_timeout(0)).body("");
        let answer = self.send(Kind::Change, "/-/rebalance?dry-run", request).await?;
        self.read_json(answer).await
    }

    /// What the change would come to; changes nothing.
    ///
    /// # Errors
    /// As [`Client::change_volume`].
    pub async fn rehearse_volume(&self, id: u64, change: VolumeChange) -> Result<VolumeRehearsal, Error> {
        let request = |url| self.writes.post(url).timeout(self.write_timeout(0)).body("");
        let path = format!("/-/volumes/{id}/{}?dry-run", change.verb());
        let answer = self.send(Kind::Change, &path, request).await?;
        self.read_json(answer).await
    }
}
