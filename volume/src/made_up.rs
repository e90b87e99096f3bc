//! What damage hit was made up for: all that must be here is here, whole. So what damage took is nobody's, and its space
//! comes back.
//!
//! Owns what follows from that: needles that are damaged still are dropped, their stretches need not be kept any more, and what
//! rows of the index name in such a stretch is settled when its segment is compacted. Who knows it is the leader, and what
//! stays of a stretch until its segment goes is on the list of `damage`. Invariants: nothing is concluded for what was
//! damaged after the leader asked; a needle is dropped only while its damaged copy is the one that the index names, and
//! nothing of it is on its way; what was dropped stays dropped, though its tombstone cannot be read any more.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use hayrick_disk::{Location, Reader, Stream};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::messages::volume::AppendError;
use hayrick_protocol::needle;

use crate::compact::{Batch, Compactor, Kept, Pause};
use crate::delete::{Dropping, durable};
use crate::index::{Known, Place};
use crate::segment::Needles;
use crate::store::Store;

impl Store {
    /// All that must be here was found here, whole, after this mark was given with what is damaged. Ignored if more is damaged
    /// since. It is durable when the future is done, but for what has to be said again after a restart.
    pub fn made_up(&self, mark: u64) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        let nobodys = shared.damage.at_mark(mark);
        let dropping = nobodys.as_deref().map(|nobodys| self.drop_damaged(nobodys));
        async move {
            let Some(dropping) = dropping else {
                tracing::debug!("more is damaged than was made up for");
                return;
            };
            let dropped = match dropping {
                Ok(dropping) => durable(dropping).await,
                Err(error) => Err(error),
            };
            if let Err(error) = dropped {
                tracing::warn!(%error, "needles that are damaged and nobody's cannot be dropped; they are listed further on");
            } else if shared.damage.make_up(mark) {
                match nobodys.map_or(0, |nobodys| nobodys.len()) {
                    0 => tracing::info!("compared with the index: all that must be here is here"),
                    needles => tracing::info!(
                        needles,
                        "compared with the index: all that must be here is here; damaged copies that nobody needs were dropped"
                    ),
                }
            }
        }
    }

    /// Submits a tombstone for each of these needles whose damaged copy is still the one that counts.
    fn drop_damaged(&self, damaged: &[(NeedleId, Location)]) -> Result<Dropping, AppendError> {
        let mut flights = self.shared.in_flight.lock();
        let index = self.shared.index.read();
        let is_damaged = |(id, at): &&(NeedleId, Location)| {
            flights.is_free(*id)
                && index.get(*id) == Some(Known::Live(*at))
                && self.shared.damage.is_bad(*id, *at)
        };
        let ids = damaged.iter().filter(is_damaged).map(|(id, _)| *id).collect();
        drop(index);
        self.submit_drops(&mut flights, ids)
    }
}

impl Compactor {
    /// Settles what rows name in ranges of a segment that cannot be read and were made up for. Of what was dropped there, the
    /// tombstone is made anew. A needle that is still thought to live there is reported: then the segment is kept.
    pub(crate) fn settle_hidden(
        &self,
        stream: &Stream<Needles>,
        reader: &Reader,
        hidden: &[Range<u64>],
        pause: &mut Pause<'_>,
    ) -> Result<Vec<Place>, Kept> {
        let is_oldest = stream.status().files.first() == Some(&reader.file());
        let (mut batch, mut forgotten, mut from) = (Batch::default(), Vec::new(), Some(NeedleId(0)));
        let mut is_damaged = false;
        while let Some(id) = from {
            let (found, next) = self.shared.index.read().named_in(reader.file(), hidden, id);
            from = next;
            for (id, at) in found {
                if at.len > 0 {
                    if self.shared.report(id, at) == Some(true) {
                        tracing::error!(needle = %id, segment = %at.file, "a needle is damaged; other volumes hold it");
                    }
                    is_damaged = true;
                } else if is_oldest {
                    forgotten.push((id, at));
                } else {
                    batch.push_tombstone(id, at, needle::tombstone(id, PlacementId(0)).into());
                }
            }
            self.move_batch(stream, std::mem::take(&mut batch), pause)?;
        }
        if is_damaged { Err(Kept::Damaged) } else { Ok(forgotten) }
    }
}
