//! How far the moves are, for people to look at.
//!
//! Owns what counts as done, and how fast it goes of late. What a newcomer held when it began, as it does under a leader that
//! goes on with another one's moves, is done, and says nothing about how fast it goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hayrick_protocol::PlacementId;
use hayrick_protocol::messages::moves::{Move, Moves};
use hayrick_protocol::messages::volume::Pulled;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::plan::{Group, Size};

/// What goes into a rate: long enough that a few large needles do not make it jump.
const WINDOW: Duration = Duration::from_secs(10);

/// One group of placements that is being moved.
pub(super) struct Progress {
    group: Group,
    counted: Mutex<Counted>,
    all: Arc<Mutex<Meter>>,
}

struct Counted {
    /// Bytes that were pulled, by when.
    pulled: Meter,
    /// Needles that the newcomer held when it was asked to pull them.
    there: u64,
}

impl Progress {
    /// Nothing is done yet; what will be is counted with `all`, too.
    pub(super) fn new(group: Group, all: Arc<Mutex<Meter>>) -> Self {
        Self { group, counted: Mutex::new(Counted { pulled: Meter::new(), there: 0 }), all }
    }

    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    /// Takes in one page. From other sources than the first one comes what lacks; what is there was counted.
    pub(super) fn pulled(&self, pulled: &Pulled, is_first_source: bool) {
        self.all.lock().add(pulled.bytes);
        let mut counted = self.counted.lock();
        counted.pulled.add(pulled.bytes);
        if is_first_source {
            counted.there += pulled.listed.saturating_sub(pulled.needles + pulled.failed);
        }
    }

    /// As it is told.
    pub(super) fn shown(&self) -> Move {
        let counted = self.counted.lock();
        // Of what was there only the number is known.
        let there = counted.there.saturating_mul(self.group.bytes) / self.group.needles.max(1);
        let done = counted.pulled.total.saturating_add(there).min(self.group.bytes);
        let bytes_per_s = counted.pulled.bytes_per_s();
        Move {
            kind: self.group.kind,
            placement: self
                .group
                .placements
                .first()
                .map_or(PlacementId(0), |(examined, _)| examined.placement),
            placements: self.group.placements.len() as u64,
            from: self.group.out,
            to: self.group.newcomer,
            done,
            total: self.group.bytes,
            bytes_per_s,
            eta_ms: eta_ms(self.group.bytes - done, bytes_per_s),
        }
    }
}

/// All that is told of what is moved: what runs, and beside that what is `planned`, by its size.
pub(super) fn told(
    running: &[Arc<Progress>],
    planned: &BTreeMap<PlacementId, Size>,
    all: &Meter,
    move_rate: u64,
) -> Moves {
    let at_work: BTreeSet<PlacementId> = running
        .iter()
        .flat_map(|progress| &progress.group().placements)
        .map(|(examined, _)| examined.placement)
        .collect();
    let running: Vec<Move> = running.iter().map(|progress| progress.shown()).collect();
    let later = planned.iter().filter(|(id, _)| !at_work.contains(id));
    let (mut placements_left, mut bytes_left) = (at_work.len() as u64, 0);
    for (_, size) in later {
        placements_left += 1;
        bytes_left += size.bytes;
    }
    bytes_left += running.iter().map(|step| step.total - step.done).sum::<u64>();
    let bytes_per_s = if placements_left == 0 { 0 } else { all.bytes_per_s() };
    let eta_ms = eta_ms(bytes_left, bytes_per_s).filter(|_| placements_left > 0);
    Moves { running, waiting: Vec::new(), placements_left, bytes_left, bytes_per_s, eta_ms, move_rate }
}

fn eta_ms(bytes: u64, bytes_per_s: u64) -> Option<u64> {
    bytes.saturating_mul(1000).checked_div(bytes_per_s)
}

/// How fast something grows, of late.
#[derive(Debug)]
pub(super) struct Meter {
    total: u64,
    /// Totals by when they were reached, the oldest first: the last one from before the window, and those in it.
    marks: VecDeque<(Instant, u64)>,
}

/// Marks are at least so far apart, which bounds their number.
const MARKS_APART: Duration = Duration::from_millis(200);

impl Meter {
    /// Begins now.
    pub(super) fn new() -> Self {
        Self { total: 0, marks: [(Instant::now(), 0)].into() }
    }

    pub(super) fn add(&mut self, bytes: u64) {
        let now = Instant::now();
        self.total += bytes;
        let is_first = self.marks.len() <= 1;
        match self.marks.back_mut() {
            Some((at, total)) if !is_first && now.duration_since(*at) < MARKS_APART => {
                *total = self.total;
            }
            _ => self.marks.push_back((now, self.total)),
        }
        while self.marks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.marks.pop_front();
        }
    }

    /// Bytes a second within the window; where nothing came in it, with what came last before.
    pub(super) fn bytes_per_s(&self) -> u64 {
        let now = Instant::now();
        let is_before = |at: &Instant| now.duration_since(*at) >= WINDOW;
        let bases = self.marks.iter().rev().skip(1);
        let base = bases.clone().find(|(at, _)| is_before(at)).or(self.marks.front());
        let Some((at, total)) = base else { return 0 };
        let ms = u64::try_from(now.duration_since(*at).as_millis()).unwrap_or(u64::MAX).max(1);
        (self.total - total).saturating_mul(1000) / ms
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::command::Examined;
    use hayrick_protocol::messages::moves::MoveKind;
    use hayrick_protocol::{Generation, VolumeId};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn progress(placements: &[u32], needles: u64, bytes: u64) -> Progress {
        let examined = |id: &u32| Examined { placement: PlacementId(*id), generation: Generation(1) };
        let group = Group {
            kind: MoveKind::Repair,
            newcomer: VolumeId(4),
            sources: vec![VolumeId(2), VolumeId(3)],
            out: Some(VolumeId(1)),
            placements: placements.iter().map(|id| (examined(id), false)).collect(),
            needles,
            bytes,
        };
        Progress::new(group, Arc::new(Mutex::new(Meter::new())))
    }

    fn page(listed: u64, needles: u64, bytes: u64) -> Pulled {
        Pulled { next: None, listed, needles, bytes, failed: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_there_is_done_and_says_nothing_about_how_fast_it_goes() {
        let progress = progress(&[7], 100, 10_000);
        assert_eq!((progress.shown().done, progress.shown().eta_ms), (0, None));
        progress.pulled(&page(60, 0, 0), true);
        let shown = progress.shown();
        assert_eq!((shown.done, shown.bytes_per_s, shown.eta_ms), (6000, 0, None));
        for _ in 0..4 {
            tokio::time::advance(SECOND).await;
            progress.pulled(&page(5, 5, 500), true);
        }
        let shown = progress.shown();
        assert_eq!((shown.done, shown.bytes_per_s, shown.eta_ms), (8000, 500, Some(4000)));
        // The second source lists what is there now, too.
        progress.pulled(&page(50, 10, 1000), false);
        assert_eq!(progress.shown().done, 9000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_of_late_and_does_not_end_between_two_large_needles() {
        let mut meter = Meter::new();
        for _ in 0..100 {
            tokio::time::advance(SECOND).await;
            meter.add(1000);
        }
        assert_eq!(meter.bytes_per_s(), 1000);
        for _ in 0..20 {
            tokio::time::advance(SECOND).await;
            meter.add(5000);
        }
        assert_eq!(meter.bytes_per_s(), 5000);
        assert!(meter.marks.len() <= 12, "{}", meter.marks.len());
        tokio::time::advance(59 * SECOND).await;
        meter.add(60 * 64);
        tokio::time::advance(59 * SECOND).await;
        assert!((30..=65).contains(&meter.bytes_per_s()), "{}", meter.bytes_per_s());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_what_runs_and_what_is_planned_once_each() {
        let one = Arc::new(progress(&[1, 2], 20, 2000));
        let all = Arc::clone(&one.all);
        let size = Size { needles: 10, bytes: 1000 };
        let planned = [1, 2, 3].map(|id| (PlacementId(id), size)).into();
        let running = [Arc::clone(&one)];
        let told = |running: &[Arc<Progress>], planned| super::told(running, planned, &all.lock(), 77);
        let before = told(&running, &planned);
        assert_eq!((before.placements_left, before.bytes_left, before.eta_ms), (3, 3000, None));
        tokio::time::advance(SECOND).await;
        one.pulled(&page(5, 5, 500), true);
        let after = told(&running, &planned);
        assert_eq!((after.placements_left, after.bytes_left, after.bytes_per_s), (3, 2500, 500));
        assert_eq!((after.eta_ms, after.move_rate), (Some(5000), 77));
        assert_eq!(told(&[], &BTreeMap::new()), Moves { move_rate: 77, ..Moves::default() });
    }
}
