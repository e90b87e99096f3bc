//! What is read of the applied state.
//!
//! Every read of more than one row takes one view; what may take longer than microseconds is done where it holds nobody up, or
//! says that it is not for async threads. What the rows mean is told where each of these is made. Invariant: nothing here
//! waits for what is not applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hayrick_protocol::command::Examined;
use hayrick_protocol::messages::volume::Listed;
use hayrick_protocol::record::{Garbage, ObjectRecord};
use hayrick_protocol::{AppliedVersion, ObjectKey, PlacementId, VolumeId};
use tokio::time::Instant;

use super::Node;
use crate::audit::Audit;
use crate::backup::Backup;
use crate::cluster::Cluster;
use crate::complete::Completeness;
use crate::dead::{self, Dead, GarbageNames};
use crate::deleted::{Deleted, DeletedPage};
use crate::errors::ReadError;
use crate::listing::{Listing, Page};
use crate::status::Copies;
use crate::view::{Frozen, View};

impl Node {
    /// The record of a key in the applied state. Takes microseconds and may be called from async code.
    pub fn get(&self, key: &ObjectKey) -> Result<Option<ObjectRecord>, ReadError> {
        Ok(self.inner.machine.object(key)?)
    }

    /// A page of a listing, from one view. Long ones take milliseconds: not for async threads.
    pub fn list(&self, listing: &Listing) -> Result<Page, ReadError> {
        Ok(self.frozen()?.list(listing)?)
    }

    /// Some of the keys that an undelete would bring back, from one view. Not for async threads.
    pub fn deleted_page(
        &self,
        prefix: &str,
        after: AppliedVersion,
        limit: usize,
    ) -> Result<DeletedPage, ReadError> {
        Ok(self.frozen()?.deleted_page(prefix, after, limit)?)
    }

    /// At most `limit` garbage rows above version `after`, oldest first, from one view. Not for async threads.
    pub fn garbage(
        &self,
        after: AppliedVersion,
        limit: usize,
    ) -> Result<Vec<(AppliedVersion, Garbage)>, ReadError> {
        Ok(self.frozen()?.garbage(after, limit)?)
    }

    /// What the key's last delete took away, if that can be brought back, from one view. Costs up to one scan of the garbage.
    pub async fn deleted(&self, key: ObjectKey, deadline: Instant) -> Result<Deleted, ReadError> {
        self.look(move |view| view.deleted(&key, deadline)).await
    }

    /// Config, map, table, masters and open epochs as last applied. Costs a reference count.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.inner.machine.cluster()
    }

    /// What each placement's members must hold, from one view; placements that hold nothing are left out.
    pub async fn copies(&self) -> Result<BTreeMap<PlacementId, Copies>, ReadError> {
        let view = self.view().await?;
        Ok(BTreeMap::clone(&view.state.copies))
    }

    /// Closed placements that nothing names any more, from one view.
    pub async fn empty_placements(&self) -> Result<Vec<Examined>, ReadError> {
        let view = self.view().await?;
        Ok(view.state.empty_placements())
    }

    /// What these placements must hold, from one view, to be compared with what a volume lists.
    pub async fn completeness(&self, placements: Vec<PlacementId>) -> Result<Completeness, ReadError> {
        self.look(move |view| Ok(Completeness::new(view, &placements)?)).await
    }

    /// These placements in one view, to be compared with what volumes list of them.
    pub async fn audit(&self, placements: Vec<PlacementId>) -> Result<Arc<Audit>, ReadError> {
        self.look(move |view| Ok(Arc::new(Audit::new(view, placements)?))).await
    }

    /// Objects from this key on that nobody has, of some of the records; and where the next begin, if there are any.
    pub async fn missing(&self, start: String) -> Result<(Vec<ObjectKey>, Option<String>), ReadError> {
        self.look(move |view| Ok(view.missing(&start)?)).await
    }

    /// Those of the needles that are dead on this volume, by what is applied here: for whoever has made sure that this is
    /// all that was acknowledged before the volume listed them.
    /// `whole` are those that are up and are known to hold all that they must; `names` what an earlier page gave, or none.
    pub async fn dead(
        &self,
        volume: VolumeId,
        listed: Vec<Listed>,
        whole: BTreeSet<VolumeId>,
        mut names: GarbageNames,
    ) -> Result<(Dead, GarbageNames), ReadError> {
        self.look(move |view| {
            let dead = dead::dead(&view, volume, &listed, &whole, &mut names)?;
            Ok((dead, names))
        })
        .await
    }

    /// The hash of the whole applied state, and the index it was taken at: equal on all nodes at equal indexes.
    /// Reads everything.
    pub async fn state_hash(&self) -> Result<(u64, String), ReadError> {
        self.look(|view| Ok((view.applied.index(), format!("{:032x}", view.hash()?)))).await
    }

    /// The whole state at the entry applied last, to be told as a backup; none before a cluster is formed. `taken_ms` is the
    /// time that it shall say.
    pub async fn backup(&self, taken_ms: u64) -> Result<Option<Backup>, ReadError> {
        let view = self.view().await?;
        Ok(Backup::new(view, taken_ms))
    }

    fn frozen(&self) -> Result<Frozen, ReadError> {
        self.inner.machine.frozen().map_err(|error| ReadError::Index(error.to_string()))
    }

    async fn view(&self) -> Result<Arc<View>, ReadError> {
        self.inner.machine.view().await.map_err(|error| ReadError::Index(error.to_string()))
    }

    /// Looks at one view, where that holds nobody up.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(Arc<View>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let view = self.view().await?;
        let looked = tokio::task::spawn_blocking(move || look(view)).await;
        looked.map_err(|error| ReadError::Index(error.to_string()))?
    }
}
