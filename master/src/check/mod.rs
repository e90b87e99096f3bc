//! The volumes against the index: what every needle on every volume is, what lacks, and with `deep` whether its bytes are
//! what was stored.
//!
//! Placements are looked at in portions. Of each portion the index is seen in one view, taken after a read-index, and then
//! all volumes list what they hold of it: so no view is held for long, however long the check takes, and every needle of a
//! placement is judged by one state. Works on any master. Owns the portions and the order. Leaves the pages of one volume to
//! `listing`, and what is said of it to `findings`. Invariants: nothing is changed; memory does not grow with what there is;
//! what seems to lack is looked at once more in a view of its own, as it may have died while the check went on.

mod findings;
mod listing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use futures_util::{StreamExt, stream};
use hayrick_protocol::answers::check::{Progress, Report};
use hayrick_protocol::cluster_map::VolumeState;
use hayrick_protocol::limits::LIST_PLACEMENTS_MAX;
use hayrick_protocol::{PlacementId, VolumeId};
use hayrick_raft_store::{Audit, Copies};
use tokio::time::{Duration, Instant};

use self::findings::Findings;
use self::listing::{Listed, Unseen};
use crate::gateway::read_index::{NotLinearizable, linearize};
use crate::master::Master;

/// Needles of one portion: each volume's are remembered while it is looked at.
const PORTION_NEEDLES_MAX: u64 = 500_000;
/// Volumes that list at the same time: looking up what they list must not crowd out requests. Those that read all bytes list
/// slowly.
const VOLUMES_AT_ONCE: usize = 2;
const VOLUMES_AT_ONCE_DEEP: usize = 8;
/// What a read-index may take.
const INDEX_PATIENCE: Duration = Duration::from_secs(10);
/// How often what seems to lack is looked at once more.
const LOOKS_MAX: u32 = 3;
/// Bytes of one portion whose every byte is read: its view of the index is held as long as that takes.
const PORTION_BYTES_MAX_DEEP: u64 = 1 << 30;
/// Needles that lack and are named, in one check.
const NAMED_MAX: usize = 20;

/// How far a check is, for whoever looks.
#[derive(Default)]
pub(crate) struct Counters {
    volume: AtomicU32,
    needles: AtomicU64,
    bytes: AtomicU64,
    placements_done: AtomicU64,
    placements: AtomicU64,
}

impl Counters {
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            volume: self.volume.load(Ordering::Relaxed),
            needles: self.needles.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            placements_done: self.placements_done.load(Ordering::Relaxed),
            placements: self.placements.load(Ordering::Relaxed),
        }
    }

    fn listed(&self, volume: VolumeId, needles: u64, bytes: u64) {
        self.volume.store(volume.0, Ordering::Relaxed);
        self.needles.fetch_add(needles, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Checks everything; a sentence where it cannot go on.
pub(crate) async fn run(master: &Arc<Master>, deep: bool, counters: &Counters) -> Result<Report, String> {
    let began = Instant::now();
    linearized(master).await?;
    let table = Arc::clone(&master.node.cluster().table);
    let copies = master.node.copies().await.map_err(|error| error.to_string())?;
    let all: Vec<PlacementId> = table.placements.keys().copied().collect();
    counters.placements.store(all.len() as u64, Ordering::Relaxed);
    let mut check = Check { master, deep, counters, findings: Findings::default(), unseen: BTreeMap::new() };
    let bytes_max = if deep { PORTION_BYTES_MAX_DEEP } else { u64::MAX };
    for portion in portions(&all, &copies, bytes_max) {
        check.portion(portion).await?;
        counters.placements_done.fetch_add(portion.len() as u64, Ordering::Relaxed);
    }
    check.missing().await?;
    let cluster = master.node.cluster();
    let status = |id| master.heartbeats.seen(id).map(|seen| seen.status);
    let mut report = check.findings.report(&cluster, &check.unseen, status);
    report.node = master.options.id.0;
    report.deep = deep;
    report.placements = all.len() as u64;
    report.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

async fn linearized(master: &Arc<Master>) -> Result<(), String> {
    let linearized = linearize(master, Instant::now() + INDEX_PATIENCE).await;
    linearized.map_err(|NotLinearizable(text)| text)
}

/// As many placements as one list may name, and as many needles as may be remembered, but one placement at least.
fn portions<'a>(
    all: &'a [PlacementId],
    copies: &BTreeMap<PlacementId, Copies>,
    bytes_max: u64,
) -> impl Iterator<Item = &'a [PlacementId]> {
    let held = |id| copies.get(id).copied().unwrap_or_default();
    let mut rest = all;
    std::iter::from_fn(move || {
        let (mut needles, mut bytes) = (0, 0);
        let fit = rest.iter().take(LIST_PLACEMENTS_MAX).take_while(|id| {
            let Copies { live, garbage, .. } = held(*id);
            needles += live.count + garbage.count;
            bytes += live.bytes + garbage.bytes;
            needles <= PORTION_NEEDLES_MAX && bytes <= bytes_max
        });
        let (portion, behind) = rest.split_at(fit.count().max(1).min(rest.len()));
        rest = behind;
        (!portion.is_empty()).then_some(portion)
    })
}

/// A check under way.
struct Check<'a> {
    master: &'a Arc<Master>,
    deep: bool,
    counters: &'a Counters,
    findings: Findings,
    /// Volumes that did not show all that they hold, and why; they are asked no more.
    unseen: BTreeMap<VolumeId, String>,
}

impl Check<'_> {
    async fn portion(&mut self, placements: &[PlacementId]) -> Result<(), String> {
        let audit = self.audit(placements).await?;
        let volumes = audit.cluster().map.volumes.values();
        for volume in volumes.clone().filter(|volume| volume.state == VolumeState::Down) {
            self.unseen.entry(volume.id).or_insert_with(|| "it is down".to_owned());
        }
        let asked = volumes.filter(|volume| volume.state != VolumeState::Removed).map(|volume| volume.id);
        let asked: Vec<VolumeId> = asked.filter(|id| !self.unseen.contains_key(id)).collect();
        let (master, counters, deep) = (self.master, self.counters, self.deep);
        let mut listings = stream::iter(asked)
            .map(|volume| listing::list(master, &audit, volume, deep, counters))
            .buffer_unordered(if deep { VOLUMES_AT_ONCE_DEEP } else { VOLUMES_AT_ONCE });
        let mut lacking: BTreeMap<VolumeId, Vec<PlacementId>> = BTreeMap::new();
        while let Some((volume, listed)) = listings.next().await {
            match listed {
                Ok(listed) => {
                    let lacks = listed.holding.outcome().filter(|(_, compared)| !compared.is_complete());
                    lacking.insert(volume, lacks.map(|(id, _)| id).collect());
                    self.findings.listed(&listed);
                }
                Err(Unseen::Index(why)) => return Err(why),
                Err(Unseen::Volume(why)) => drop(self.unseen.insert(volume, why)),
            }
        }
        drop(listings);
        self.findings.placements(&audit);
        drop(audit);
        for (volume, placements) in lacking {
            self.look_again(volume, placements).await?;
        }
        Ok(())
    }

    /// Counts the objects that nobody has, and names the first of them.
    async fn missing(&mut self) -> Result<(), String> {
        let (count, mut named) = (self.master.node.status().counters.missing, 0);
        let mut from = (count > 0).then(String::new);
        while let Some(start) = from.filter(|_| named < NAMED_MAX as u64 && named < count) {
            let (keys, next) = self.master.node.missing(start).await.map_err(|error| error.to_string())?;
            named += keys.len() as u64;
            keys.iter().for_each(|key| self.findings.missing(key));
            from = next;
        }
        self.findings.count_missing(count);
        Ok(())
    }

    /// What is acknowledged by now, in one view.
    async fn audit(&self, placements: &[PlacementId]) -> Result<Arc<Audit>, String> {
        linearized(self.master).await?;
        self.master.node.audit(placements.to_vec()).await.map_err(|error| error.to_string())
    }

    /// What lacks still is noted: of fewer and fewer placements, as something of many may be reaped each time they are looked at.
    async fn look_again(&mut self, volume: VolumeId, mut placements: Vec<PlacementId>) -> Result<(), String> {
        for left in (0..LOOKS_MAX).rev() {
            if placements.is_empty() {
                break;
            }
            let audit = self.audit(&placements).await?;
            let nothing_more = Counters::default();
            let listed = match listing::list(self.master, &audit, volume, false, &nothing_more).await.1 {
                Ok(listed) => listed,
                Err(Unseen::Index(why)) => return Err(why),
                Err(Unseen::Volume(why)) => {
                    self.unseen.insert(volume, why);
                    return Ok(());
                }
            };
            let lacking = listed.holding.outcome().filter(|(_, compared)| !compared.is_complete());
            let lacking: Vec<_> = lacking.collect();
            placements = lacking.iter().map(|(id, _)| *id).collect();
            if left == 0 && !placements.is_empty() {
                lacking.iter().for_each(|(id, compared)| self.findings.lacks(volume, *id, compared));
                self.name_lacking(&audit, &listed, &placements).await;
            }
        }
        Ok(())
    }

    /// Names what another member has, and this volume does not, as long as few were named.
    async fn name_lacking(&mut self, audit: &Arc<Audit>, of: &Listed, placements: &[PlacementId]) {
        let table = &audit.cluster().table;
        for placement in placements {
            let room = NAMED_MAX.saturating_sub(self.findings.named());
            let rows = table.placement(*placement).into_iter();
            let others = rows.flat_map(|row| row.members.iter().copied());
            let other =
                others.into_iter().find(|id| *id != of.holding.volume() && !self.unseen.contains_key(id));
            let Some(other) = other.filter(|_| room > 0) else { continue };
            // Who does not answer names nothing; that there is something to be named is known.
            if let Ok(names) = listing::lacking_names(self.master, audit, other, *placement, of, room).await {
                self.findings.name(of.holding.volume(), *placement, names);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::digest::SetDigest;

    use super::*;

    #[test]
    fn portions_are_small_and_miss_nothing() {
        let all: Vec<PlacementId> = (1..=1000).map(PlacementId).collect();
        let held = |count| Copies { live: SetDigest { count, bytes: 0, sum: 0 }, ..Copies::default() };
        for count in [0, 1, 10_000, PORTION_NEEDLES_MAX, 3 * PORTION_NEEDLES_MAX] {
            let copies = all.iter().map(|id| (*id, held(count))).collect();
            let portions: Vec<_> = portions(&all, &copies, u64::MAX).collect();
            assert_eq!(portions.concat(), all);
            for portion in portions {
                let needles = portion.len() as u64 * count;
                assert!(portion.len() <= LIST_PLACEMENTS_MAX);
                assert!(needles <= PORTION_NEEDLES_MAX || portion.len() == 1);
            }
        }
        assert_eq!(portions(&[], &BTreeMap::new(), u64::MAX).count(), 0);
    }
}
