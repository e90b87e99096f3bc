//! One volume's list of a portion of the placements, page by page, with each page looked up in the audit's view.
//!
//! A shallow check lists; a deep one has the volume read and verify what it lists, at its own pace. Owns the pages, and what is
//! wrong with single needles. Invariant: of a volume that does not answer to the end nothing is said but that.

use std::sync::Arc;

use hayrick_protocol::messages::volume::{
    List, ListPosition, Listed as Row, Listing, ReadError, Verified, Verify,
};
use hayrick_protocol::{PlacementId, VolumeId, limits};
use hayrick_raft_store::{Audit, Class, Holding, Identified};
use tokio::task::spawn_blocking;
use tokio::time::{Duration, Instant};

use super::Counters;
use crate::master::Master;

/// What one page may take: reading a large needle of a volume with much to do, at a slow pace, included.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a page is asked for again, and the pause before.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// Needles with something wrong that are remembered of one volume and portion.
const WRONG_MAX: usize = 20;

/// Why nothing can be said.
pub(super) enum Unseen {
    /// The volume did not show all that it holds.
    Volume(String),
    /// This master cannot read its index, which ends the check.
    Index(String),
}

/// What one volume holds of a portion.
pub(super) struct Listed {
    pub(super) holding: Holding,
    /// Needles that cannot be read, or are not what the index says: how many, and the first of them.
    pub(super) wrong: u64,
    pub(super) wrong_lines: Vec<String>,
}

/// What the volume holds.
pub(super) async fn list(
    master: &Arc<Master>,
    audit: &Arc<Audit>,
    volume: VolumeId,
    deep: bool,
    counters: &Counters,
) -> (VolumeId, Result<Listed, Unseen>) {
    let listed = Listed { holding: audit.of(volume), wrong: 0, wrong_lines: Vec::new() };
    (volume, pages(master, audit, listed, deep, counters).await)
}

async fn pages(
    master: &Arc<Master>,
    audit: &Arc<Audit>,
    mut listed: Listed,
    deep: bool,
    counters: &Counters,
) -> Result<Listed, Unseen> {
    let volume = listed.holding.volume();
    let mut from = ListPosition::default();
    loop {
        let Verified { listing, checks } = page(master, volume, audit.placements(), from, deep).await?;
        let Listing { needles, next } = listing;
        let bytes = needles.iter().map(|one| u64::from(one.bytes)).sum();
        counters.listed(volume, needles.len() as u64, bytes);
        listed = looked_up(listed, needles, checks).await?;
        match next {
            None => return Ok(listed),
            Some(next) if next > from => from = next,
            Some(_) => return Err(Unseen::Volume("its list does not go on".to_owned())),
        }
    }
}

/// One page; a shallow one has no checks.
async fn page(
    master: &Arc<Master>,
    volume: VolumeId,
    placements: &[PlacementId],
    from: ListPosition,
    deep: bool,
) -> Result<Verified, Unseen> {
    let mut why = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let Some(client) = master.peers.volume(volume) else {
            return Err(Unseen::Volume("its address is not known".to_owned()));
        };
        let (placements, deadline) = (placements.to_vec(), Instant::now() + PATIENCE);
        let answer = if deep {
            let request = Verify { placements, from, bytes_max: limits::VERIFY_PAGE_BYTES_MAX };
            client.call(&request, Vec::new(), deadline).await.map(|(page, _)| page)
        } else {
            let list = client.call(&List { placements, from, only_looks: true }, Vec::new(), deadline).await;
            list.map(|(page, _)| page.map(|listing| Verified { listing, checks: Vec::new() }))
        };
        match answer {
            Ok(Ok(page)) if deep && page.checks.len() != page.listing.needles.len() => {
                why = "it does not say of each needle how it reads".to_owned();
            }
            Ok(Ok(page)) => return Ok(page),
            Ok(Err(error)) => why = error.to_string(),
            Err(error) => why = error.to_string(),
        }
    }
    Err(Unseen::Volume(why))
}

/// Looks a page up in the index, on a thread that may wait for it.
async fn looked_up(
    mut listed: Listed,
    needles: Vec<Row>,
    checks: Vec<Result<u32, ReadError>>,
) -> Result<Listed, Unseen> {
    let looked_up = spawn_blocking(move || {
        let identified = listed.holding.add(&needles)?;
        for (at, (needle, identified)) in needles.iter().zip(&identified).enumerate() {
            if let Some(what) = wrong(identified, checks.get(at)) {
                listed.note_wrong(needle, &what);
            }
        }
        Ok::<_, hayrick_raft_store::ReadError>(listed)
    });
    let looked_up = looked_up.await.map_err(|_| Unseen::Index("this master is stopping".to_owned()))?;
    looked_up.map_err(|error| Unseen::Index(error.to_string()))
}

/// What is wrong with a needle that somebody may want to read.
fn wrong(identified: &Identified, check: Option<&Result<u32, ReadError>>) -> Option<String> {
    let crc = identified.crc?;
    match check {
        Some(Err(ReadError::Damaged)) => Some("its bytes fail their checksums".to_owned()),
        // Dropped, or moved, since it was listed.
        Some(Err(ReadError::NotFound)) => None,
        Some(Err(error)) => Some(error.to_string()),
        Some(Ok(found)) if *found != crc => Some("it holds other bytes than the index says".to_owned()),
        _ if !identified.fits => Some("it is not as long as the index says".to_owned()),
        _ => None,
    }
}

impl Listed {
    fn note_wrong(&mut self, needle: &Row, what: &str) {
        self.wrong += 1;
        if self.wrong_lines.len() < WRONG_MAX {
            let (volume, Row { placement, needle, key, .. }) = (self.holding.volume(), needle);
            self.wrong_lines
                .push(format!("volume {volume}: needle {needle} of {key} (placement {placement}): {what}"));
        }
    }
}

/// The first needles of a placement that are live or garbage on this member, and that the other volume did not list.
pub(super) async fn lacking_names(
    master: &Arc<Master>,
    audit: &Arc<Audit>,
    member: VolumeId,
    placement: PlacementId,
    of: &Listed,
    at_most: usize,
) -> Result<Vec<String>, Unseen> {
    let (mut from, mut names) = (ListPosition::default(), Vec::new());
    loop {
        let page = page(master, member, &[placement], from, false).await?.listing;
        let missing: Vec<Row> = page.needles.into_iter().filter(|one| !of.holding.has(one.needle)).collect();
        let mut holding = audit.of(member);
        let identified = spawn_blocking(move || (holding.add(&missing), missing)).await;
        let (identified, missing) =
            identified.map_err(|_| Unseen::Index("this master is stopping".to_owned()))?;
        let identified = identified.map_err(|error| Unseen::Index(error.to_string()))?;
        let is_wanted = |class| matches!(class, Class::Live | Class::Garbage);
        let named = missing.iter().zip(identified).filter(|(_, one)| is_wanted(one.class));
        names.extend(named.map(|(one, _)| format!("needle {} of {}", one.needle, one.key)));
        match page.next {
            Some(next) if next > from && names.len() < at_most => from = next,
            _ => break,
        }
    }
    names.truncate(at_most);
    Ok(names)
}
