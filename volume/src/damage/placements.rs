//! Of which placements needles are damaged: what the cluster has to know to mend them.
//!
//! A needle's placement is told by the index file of its segment, and else by its own header, if that still verifies. What
//! was found is remembered as long as the needle is listed there: who asks every minute makes nobody read a bad disk every
//! minute. Invariant: where a needle may be damaged whose placement is not known, it is said that there are others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hayrick_disk::{FileId, Location};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::messages::volume::DamagedPlacements;
use hayrick_protocol::needle::Header;

use crate::damage::REMEMBERED_MAX;
use crate::read;
use crate::recover;
use crate::store::Store;

/// Of each damaged copy, the placement, if it could be told.
pub(super) type Placements = HashMap<(NeedleId, Location), Option<PlacementId>>;

impl Store {
    /// The placements of needles that are known to be damaged. It reads index files.
    pub fn damaged_placements(&self) -> DamagedPlacements {
        let damage = &self.shared.damage;
        // One at a time.
        let mut known = damage.placements.lock();
        let now = damage.snapshot();
        let listed: BTreeSet<_> = now.needles.iter().copied().collect();
        known.retain(|copy, _| listed.contains(copy));
        let mut news: BTreeMap<FileId, Vec<(NeedleId, Location)>> = BTreeMap::new();
        for copy in listed.into_iter().filter(|copy| !known.contains_key(copy)) {
            news.entry(copy.1.file).or_default().push(copy);
        }
        for (segment, copies) in news {
            self.find_placements(segment, copies, &mut known);
        }
        let segments: BTreeSet<_> = now.stretches.iter().map(|stretch| stretch.segment).collect();
        let examiner = &self.housekeeper.indexer.examiner;
        // Where an index file names all that lay in a segment, those needles are listed that a stretch of it hit.
        let hides_some = |segment: &FileId| !examiner.names_all_in(&self.stream, *segment);
        let others = now.needles.len() >= REMEMBERED_MAX
            || known.values().any(Option::is_none)
            || segments.iter().any(hides_some);
        if others {
            damage.is_unsure();
        }
        let placements: BTreeSet<_> = known.values().copied().flatten().collect();
        let any = !now.needles.is_empty() || !now.stretches.is_empty();
        DamagedPlacements { placements: placements.into_iter().collect(), others, any, mark: now.mark }
    }

    fn find_placements(&self, segment: FileId, copies: Vec<(NeedleId, Location)>, known: &mut Placements) {
        let mut by_id: BTreeMap<_, _> = copies.iter().map(|(id, _)| (*id, None)).collect();
        let index = recover::open_any(self.shared.disk.as_ref(), &self.options.dir, segment, u64::MAX);
        let told = index.and_then(|index| {
            index.placements(&mut |placement, id| {
                if let Some(found) = by_id.get_mut(&id) {
                    *found = Some(placement);
                }
            })
        });
        if let Err(error) = told {
            tracing::debug!(%segment, %error, "no index file tells the placements of damaged needles");
        }
        let reader = self.stream.reader(segment);
        for (id, at) in copies {
            let by_header = || {
                let start = read::start(reader.as_ref()?, at, id)?;
                Header::peek(&start).map(|header| header.placement)
            };
            let placement = by_id.get(&id).copied().flatten().or_else(by_header);
            known.insert((id, at), placement);
        }
    }
}
