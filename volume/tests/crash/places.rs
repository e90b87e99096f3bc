//! Where scrub was in a history, and so where it may be after a crash.
//!
//! Invariant: a place counts as kept once a minute was waited behind it, as docs/format.md has it, or it was written down at
//! the end of a round or of scrub.

use std::time::Duration;

use hayrick_volume::Store;

/// How much waiting may be done again after a crash.
const SAVED_AFTER: Duration = Duration::from_secs(60);

/// A place of scrub; places ascend as it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    round: u64,
    done_bytes: u64,
}

impl Place {
    pub(crate) fn of(store: &Store) -> Self {
        let scrubbed = store.scrubbed();
        Self { round: scrubbed.round, done_bytes: scrubbed.done_bytes }
    }

    /// Where the next round begins.
    pub(crate) fn next_round(self) -> Self {
        Self { round: self.round + 1, done_bytes: 0 }
    }
}

/// What was seen of scrub since a start.
#[derive(Debug, Default)]
struct Life {
    /// The step of the disk at which it began.
    begun: u64,
    /// Waited in all.
    waited: Duration,
    /// Where scrub was: at which step of the disk, and after how much waiting.
    seen: Vec<(u64, Duration, Place)>,
}

/// Where scrub was, life by life.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<Life>);

impl Places {
    /// A start that began at this step found scrub there.
    pub(crate) fn opened(&mut self, begun: u64, place: Place) {
        self.0.push(Life { begun, ..Life::default() });
        self.saved(begun, place);
    }

    /// Scrub is about to wait.
    pub(crate) fn waits(&mut self, step: u64, place: Place, wait: Duration) {
        let life = self.0.last_mut().expect("it was opened");
        life.seen.push((step, life.waited, place));
        life.waited += wait;
    }

    /// Scrub has written down where it is.
    pub(crate) fn saved(&mut self, step: u64, place: Place) {
        self.waits(step, place, SAVED_AFTER);
        self.waits(step, place, Duration::ZERO);
    }

    /// After a crash at this step.
    pub(crate) fn assert_may_be_found(&self, place: Place, step: u64) {
        // A crash amid the first start finds nothing.
        let start =
            Life { seen: vec![(0, Duration::ZERO, Place { round: 1, done_bytes: 0 })], ..Life::default() };
        let life = self.0.iter().rfind(|life| life.begun <= step).unwrap_or(&start);
        let happened = life.seen.iter().take_while(|(at, ..)| *at <= step);
        let waited = happened.clone().map(|(_, waited, _)| *waited).max().unwrap_or_default();
        let is_kept = |then: &Duration| *then + SAVED_AFTER <= waited;
        let kept = happened.clone().filter(|(_, then, _)| is_kept(then)).map(|(.., place)| *place).max();
        // It may have been on its way to where it was seen next.
        let until = (happened.count() + 1).min(life.seen.len());
        assert!(
            life.seen[..until].iter().any(|(.., seen)| *seen == place),
            "scrub was never there: {place:?}, {life:?}"
        );
        assert!(kept <= Some(place), "scrub went back from {kept:?} to {place:?}: {life:?}");
    }
}
