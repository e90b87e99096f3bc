//! Volumes that are there are looked after, one thing at a time each: mended when they say that something is damaged or was
//! not compared, swept when something may have died on them.
//!
//! Owns when, and what this leader knows of who is whole: a volume counts so once everything that it must hold was found on
//! it, under this leader, in its present process, and as long as it says of no damage. Invariants: what failed rests before it is
//! tried again, longer each time; sweeping takes no more than a twentieth of the time, as it looks at everything; and nothing is
//! swept before this leader has led for the grace that garbage has, so that an index that was restored from the wrong backup
//! can be told before what it does not name goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hayrick_protocol::cluster_map::VolumeState;
use hayrick_protocol::{EpochId, VolumeId};
use hayrick_raft_store::Cluster;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::copying::Trouble;
use super::sweep::Swept;
use super::{mend, sweep};
use crate::cluster::heartbeats::Seen;
use crate::cluster::reap;
use crate::master::Master;

/// Between two looks at what volumes say.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What failed is tried again after this, and each time that it fails again after twice as long.
const REST_MIN: Duration = Duration::from_secs(15);
const REST_MAX: Duration = Duration::from_secs(300);
/// Volumes that are looked after at the same time.
const VOLUMES_MAX: usize = 4;
/// A sweep is followed by so many times what it took without one, and by this much at least.
const SWEEP_PAUSES: u32 = 19;
const SWEEP_PAUSE_MIN: Duration = Duration::from_secs(10);

/// What is done for a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Everything is compared, or what it knows to be damaged.
    Mend {
        all: bool,
    },
    Sweep,
}

/// What was done, for whom, by which process of it, since when, and what came of it.
type Ended = (VolumeId, u64, Deed, Instant, Result<Swept, Trouble>);

/// What each volume said last.
type Heard<'a> = dyn Fn(VolumeId) -> Option<Seen> + 'a;

/// Looks after volumes for as long as this master leads.
pub(super) async fn run(master: &Arc<Master>) {
    let sweeps_from = Some(Instant::now() + reap::grace(&master.options));
    let mut care = Care { sweeps_from, ..Care::default() };
    let mut running = JoinSet::<Ended>::new();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(ended) = running.join_next() => match ended {
                Ok(ended) => care.ended(ended),
                Err(error) => {
                    warn!(%error, "looking after a volume broke off, which is a defect; beginning anew");
                    running.shutdown().await;
                    care = Care { sweeps_from, ..Care::default() };
                }
            },
        }
        let (cluster, seen) = (master.node.cluster(), |id| master.heartbeats.seen(id));
        let missing = master.node.status().counters.missing;
        care.note_causes(&cluster, master.repair.ended.load(Ordering::Relaxed), missing);
        let whole = care.whole(&cluster, &seen);
        for (volume, process, deed) in care.due(&cluster, &seen, running.len()) {
            let (master, whole) = (Arc::clone(master), whole.clone());
            running.spawn(async move {
                let began = Instant::now();
                let result = match deed {
                    Deed::Mend { all } => mend::run(&master, volume, all).await.map(|()| Swept::default()),
                    Deed::Sweep => sweep::run(&master, volume, &whole).await,
                };
                (volume, process, deed, began, result)
            });
        }
        master.repair.shown.lock().caring = care.waiting();
    }
}

/// Volumes that were found to hold everything, each in this process of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Whole(BTreeMap<VolumeId, u64>);

impl Whole {
    /// Those of whom that is still true: a sweep takes its time, and volumes die and rot meanwhile.
    pub(super) fn now(&self, master: &Master) -> BTreeSet<VolumeId> {
        let (cluster, heard) = (master.node.cluster(), |id| master.heartbeats.seen(id));
        let still = self.0.iter().filter(|(id, process)| is_whole(&cluster, &heard, **id, **process));
        still.map(|(id, _)| *id).collect()
    }
}

/// Whether the volume is up, in this process, and knows of nothing that is wrong with it.
fn is_whole(cluster: &Cluster, heard: &Heard<'_>, id: VolumeId, process: u64) -> bool {
    let state = cluster.map.volumes.get(&id).map(|volume| volume.state);
    let is_up = state.is_some_and(|state| state.serves_reads() && state != VolumeState::Draining);
    is_up && heard(id).is_some_and(|seen| seen.process == process && is_well(&seen))
}

/// What the leader remembers of volumes.
#[derive(Default)]
struct Care {
    /// Raised whenever something may have died: an epoch was fenced, a move ended, a volume was mended.
    cause: u64,
    epochs: Vec<EpochId>,
    moves_ended: u64,
    /// Objects that were missing at the last look.
    missing: u64,
    /// Nothing is swept before.
    sweeps_from: Option<Instant>,
    volumes: BTreeMap<VolumeId, Looked>,
}

/// How it stands with one volume.
#[derive(Default)]
struct Looked {
    busy: bool,
    /// What it said before is of before the last deed.
    heed_from: Option<Instant>,
    /// The process in which all of it was compared under this leader.
    compared: Option<u64>,
    /// Whether that is of use, as somebody else has copies of what it should hold.
    asked_for: bool,
    /// The cause up to which it was swept; by which process.
    swept: Option<(u64, u64)>,
    sweep_from: Option<Instant>,
    /// It keeps what is missing, damaged: what becomes of that is up to somebody.
    keeps: bool,
    /// Until when it is not mended, how long that was, and why.
    rests: Option<(Instant, Duration, Option<String>)>,
}

impl Care {
    /// Takes in what may have killed needles since the last look.
    fn note_causes(&mut self, cluster: &Cluster, moves_ended: u64, missing: u64) {
        if missing != self.missing {
            // What was kept may be nobody's now, or wanted no more.
            self.missing = missing;
            self.volumes.values_mut().filter(|looked| looked.keeps).for_each(|looked| looked.rests = None);
        }
        let fenced = self.epochs.iter().any(|epoch| !cluster.epochs.contains_key(epoch));
        if fenced || moves_ended != self.moves_ended {
            self.cause += 1;
        }
        self.epochs = cluster.epochs.keys().copied().collect();
        self.moves_ended = moves_ended;
        self.volumes.retain(|volume, _| cluster.map.volumes.contains_key(volume));
    }

    /// Who is up and holds all that it must, for all that is known, and the process of which that is known.
    fn whole(&self, cluster: &Cluster, heard: &Heard<'_>) -> Whole {
        let compared = self.volumes.iter().filter_map(|(id, looked)| Some((*id, looked.compared?)));
        let mut whole = Whole(compared.collect());
        whole.0.retain(|id, process| is_whole(cluster, heard, *id, *process));
        whole
    }

    /// What is to be begun now.
    fn due(&mut self, cluster: &Cluster, heard: &Heard<'_>, running: usize) -> Vec<(VolumeId, u64, Deed)> {
        let now = Instant::now();
        let mut due = Vec::new();
        for volume in cluster.map.volumes.values() {
            let looked = self.volumes.entry(volume.id).or_default();
            if !volume.state.serves_reads() {
                // What it missed nobody knows.
                looked.swept = None;
            }
            let Some(seen) = heard(volume.id) else { continue };
            let is_news = looked.heed_from.is_none_or(|from| seen.at > from);
            if looked.busy || !is_news || running + due.len() >= VOLUMES_MAX {
                continue;
            }
            let wants_mend = !is_well(&seen) || looked.asked_for && looked.compared != Some(seen.process);
            let rests = looked.rests.as_ref().is_some_and(|(until, ..)| *until > now);
            let may_sweep = [looked.sweep_from, self.sweeps_from].iter().flatten().all(|from| *from <= now);
            let deed = if wants_mend && !rests && volume.state == VolumeState::Up {
                Deed::Mend { all: seen.status.uncompared || looked.asked_for }
            } else if may_sweep
                && sweep::can_drop(volume.state)
                && looked.swept != Some((self.cause, seen.process))
            {
                looked.swept = Some((self.cause, seen.process));
                Deed::Sweep
            } else {
                continue;
            };
            looked.busy = true;
            due.push((volume.id, seen.process, deed));
        }
        due
    }

    fn ended(&mut self, (volume, process, deed, began, result): Ended) {
        let now = Instant::now();
        let looked = self.volumes.entry(volume).or_default();
        looked.busy = false;
        looked.heed_from = Some(now);
        if deed == Deed::Sweep {
            looked.sweep_from = Some(now + (began.elapsed() * SWEEP_PAUSES).max(SWEEP_PAUSE_MIN));
        }
        let unsure = match (deed, result) {
            (Deed::Mend { all }, Ok(_)) => {
                looked.rests = None;
                if all {
                    looked.compared = Some(process);
                    looked.asked_for = false;
                }
                // What was pulled may have died while it came.
                self.cause += 1;
                return;
            }
            (Deed::Mend { .. }, Err(trouble)) => {
                debug!(volume = volume.0, %trouble, "mending a volume goes on later");
                let before = looked.rests.as_ref().map_or(Duration::ZERO, |(_, rest, _)| *rest);
                let is_kept = matches!(trouble, Trouble::Kept);
                looked.keeps = is_kept;
                let rest = if is_kept { REST_MAX } else { (2 * before).clamp(REST_MIN, REST_MAX) };
                // It is not to be known as whole before somebody has decided what becomes of that.
                looked.asked_for &= !is_kept;
                let why = (!matches!(trouble, Trouble::Changed)).then(|| trouble.to_string());
                looked.rests = Some((now + rest, rest, why));
                return;
            }
            (Deed::Sweep, Err(trouble)) => {
                debug!(volume = volume.0, %trouble, "sweeping a volume goes on later");
                looked.swept = None;
                return;
            }
            (Deed::Sweep, Ok(swept)) => {
                if swept.needles > 0 {
                    info!(
                        volume = volume.0,
                        needles = swept.needles,
                        bytes = swept.bytes,
                        "dead needles were dropped"
                    );
                }
                if swept.missed || !swept.unsure.is_empty() {
                    looked.swept = None;
                }
                swept.unsure
            }
        };
        for member in unsure {
            self.volumes.entry(member).or_default().asked_for = true;
        }
    }

    /// What cannot be mended, and why.
    fn waiting(&self) -> Vec<String> {
        let resting =
            self.volumes.iter().filter_map(|(volume, looked)| Some((volume, looked.rests.as_ref()?)));
        let reasons = resting.filter_map(|(volume, (_, _, why))| Some((volume, why.as_ref()?)));
        reasons
            .map(|(volume, why)| format!("volume {volume} does not hold all that it must: {why}"))
            .collect()
    }
}

/// Whether the volume knows of nothing that is wrong with it.
fn is_well(seen: &Seen) -> bool {
    !seen.status.uncompared && seen.status.bad == 0
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::InstanceId;
    use hayrick_protocol::cluster_map::{ClusterMap, Volume, VolumeStatus};

    use super::*;

    const ONE: VolumeId = VolumeId(1);
    const TWO: VolumeId = VolumeId(2);

    fn cluster(states: [VolumeState; 2]) -> Cluster {
        let volume = |(id, state): (u32, VolumeState)| Volume {
            id: VolumeId(id),
            instance: InstanceId::UNKNOWN,
            addr: String::new(),
            peer: String::new(),
            zone: String::new(),
            capacity_bytes: 1,
            state,
        };
        let volumes = (1..).zip(states).map(volume).map(|volume| (volume.id, volume)).collect();
        Cluster { map: Arc::new(ClusterMap { version: 1, volumes }), ..Cluster::default() }
    }

    fn said(bad: u64, uncompared: bool) -> Seen {
        let status = VolumeStatus { bad, uncompared, ..VolumeStatus::default() };
        Seen { at: Instant::now(), status, process: 7 }
    }

    fn mended(care: &mut Care, volume: VolumeId, all: bool, result: Result<Swept, Trouble>) {
        care.ended((volume, 7, Deed::Mend { all }, Instant::now(), result));
    }

    async fn seconds(count: u64) {
        tokio::time::advance(Duration::from_secs(count)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_damaged_is_mended_and_then_everything_is_swept_once() {
        let (mut care, both) = (Care::default(), cluster([VolumeState::Up, VolumeState::Down]));
        let heard = |bad, uncompared| move |id| (id == ONE).then(|| said(bad, uncompared));
        assert_eq!(care.due(&both, &heard(1, false), 0), [(ONE, 7, Deed::Mend { all: false })]);
        assert_eq!(care.due(&both, &heard(1, false), 1), [], "one thing at a time");
        let before = said(1, false);
        seconds(1).await;
        mended(&mut care, ONE, false, Ok(Swept::default()));
        assert_eq!(care.due(&both, &|id| (id == ONE).then(|| before.clone()), 0), [], "that is of before");
        seconds(1).await;
        assert_eq!(care.due(&both, &heard(0, false), 0), [(ONE, 7, Deed::Sweep)]);
        care.ended((ONE, 7, Deed::Sweep, Instant::now(), Ok(Swept::default())));
        seconds(100).await;
        assert_eq!(care.due(&both, &heard(0, false), 0), [], "nothing may have died since");
        care.note_causes(&both, 1, 0);
        assert_eq!(care.due(&both, &heard(0, false), 0), [(ONE, 7, Deed::Sweep)], "a move has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_mended_rests_ever_longer_and_is_swept_meanwhile() {
        let (mut care, both) = (Care::default(), cluster([VolumeState::Up, VolumeState::Down]));
        let heard = |id| (id == ONE).then(|| said(1, false));
        for rest in [15, 30, 60, 120, 240, 300, 300] {
            assert_eq!(care.due(&both, &heard, 0), [(ONE, 7, Deed::Mend { all: false })]);
            mended(&mut care, ONE, false, Err(Trouble::Lacks { needles: 3 }));
            assert!(care.waiting()[0].contains("3 needles"));
            seconds(1).await;
            if let [(ONE, 7, Deed::Sweep)] = care.due(&both, &heard, 0)[..] {
                care.ended((ONE, 7, Deed::Sweep, Instant::now(), Ok(Swept::default())));
            } else {
                assert!(rest > 15, "after the first time it is swept");
            }
            seconds(rest - 2).await;
            assert_eq!(care.due(&both, &heard, 0), []);
            seconds(2).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_damaged_is_looked_at_again_as_soon_as_something_else_is_missing() {
        let (mut care, both) = (Care::default(), cluster([VolumeState::Up, VolumeState::Down]));
        let heard = |id| (id == ONE).then(|| said(1, false));
        care.note_causes(&both, 0, 2);
        assert_eq!(care.due(&both, &heard, 0), [(ONE, 7, Deed::Mend { all: false })]);
        mended(&mut care, ONE, false, Err(Trouble::Kept));
        seconds(1).await;
        let swept = care.due(&both, &heard, 0);
        assert_eq!(swept, [(ONE, 7, Deed::Sweep)], "it rests");
        care.ended((ONE, 7, Deed::Sweep, Instant::now(), Ok(Swept::default())));
        seconds(60).await;
        care.note_causes(&both, 0, 2);
        assert_eq!(care.due(&both, &heard, 0), []);
        care.note_causes(&both, 0, 1);
        assert_eq!(care.due(&both, &heard, 0), [(ONE, 7, Deed::Mend { all: false })]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_volume_is_whole_once_it_was_compared_in_its_process_and_knows_of_no_damage() {
        let (mut care, both) = (Care::default(), cluster([VolumeState::Up, VolumeState::Up]));
        let heard = |_| Some(said(0, false));
        assert_eq!(
            care.whole(&both, &heard),
            Whole::default(),
            "it may have been compared with another index"
        );
        // Somebody else has copies of what volume 2 should hold.
        let swept = Swept { unsure: [TWO].into(), ..Swept::default() };
        care.ended((ONE, 7, Deed::Sweep, Instant::now(), Ok(swept)));
        seconds(1).await;
        let due = care.due(&both, &heard, 0);
        assert!(due.contains(&(TWO, 7, Deed::Mend { all: true })), "{due:?}");
        mended(&mut care, TWO, true, Ok(Swept::default()));
        assert_eq!(care.whole(&both, &heard), Whole([(TWO, 7)].into()));
        assert_eq!(care.whole(&both, &|_| Some(said(1, false))), Whole::default());
        assert_eq!(care.whole(&both, &|_| Some(Seen { process: 8, ..said(0, false) })), Whole::default());
        for state in [VolumeState::Down, VolumeState::Suspect, VolumeState::Draining] {
            assert_eq!(care.whole(&cluster([VolumeState::Up, state]), &heard), Whole::default(), "{state}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sweep_that_failed_or_missed_something_is_made_again_and_pauses_in_between() {
        let (mut care, both) = (Care::default(), cluster([VolumeState::Full, VolumeState::Down]));
        let heard = |id| (id == ONE).then(|| said(0, false));
        let missed = || Ok(Swept { missed: true, ..Swept::default() });
        for result in [Err(Trouble::Changed), missed()] {
            assert_eq!(care.due(&both, &heard, 0), [(ONE, 7, Deed::Sweep)]);
            let began = Instant::now();
            seconds(2).await;
            care.ended((ONE, 7, Deed::Sweep, began, result));
            seconds(37).await;
            assert_eq!(care.due(&both, &heard, 0), [], "it took two seconds");
            seconds(2).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_swept_before_the_grace_is_over() {
        let sweeps_from = Some(Instant::now() + Duration::from_secs(3600));
        let mut care = Care { sweeps_from, ..Care::default() };
        let (both, heard) =
            (cluster([VolumeState::Up, VolumeState::Down]), |id| (id == ONE).then(|| said(0, false)));
        seconds(3599).await;
        assert_eq!(care.due(&both, &heard, 0), []);
        seconds(1).await;
        assert_eq!(care.due(&both, &heard, 0), [(ONE, 7, Deed::Sweep)]);
    }
}
