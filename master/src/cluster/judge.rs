//! When a volume is trusted and when not: the pure part of `detect`.
//!
//! Owns the rules from up over suspect to down and back. Leaves heartbeats, probes and proposals to `detect`, and
//! draining and removed volumes alone: those are the operator's. Invariant: nothing is decided against a volume
//! without a probe that failed, and nothing for it without one that succeeded.

use std::fmt;
use std::time::Duration;

use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::cluster_map::{VolumeState, VolumeStatus};
use tokio::time::Instant;

/// Between two probes of a volume that gives cause for them.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A write or sync that goes on for this long is worth a probe.
const STALLED_MS: u64 = 1000;
/// A volume that was up for this long has its relapses forgotten.
const RELAPSES_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Good probes that a volume owes at most, one second each, however often it relapsed.
const GOOD_PROBES_OWED_MAX: u32 = 10;

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It appended and synced.
    Works,
    /// It refuses appends, as its reserve would be touched.
    Full,
    /// It refuses appends, as a sync failed.
    ReadOnly,
    /// It did not answer in time, or not as it should.
    Fails(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("a probe was appended and synced"),
            Self::Full => f.write_str("it has no room for an append"),
            Self::ReadOnly => f.write_str("it takes no appends, as its disk failed"),
            Self::Fails(why) => write!(f, "a probe failed: {why}"),
        }
    }
}

/// What the leader remembers of a volume since it began to lead or the volume registered.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Silence is counted from here if no heartbeat came later.
    since: Instant,
    last_probe: Option<Instant>,
    failing_since: Option<Instant>,
    good_in_a_row: u32,
    relapses: u32,
    up_since: Instant,
}

impl Record {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            last_probe: None,
            failing_since: None,
            good_in_a_row: 0,
            relapses: 0,
            up_since: now,
        }
    }

    /// How long the volume has been silent.
    pub(crate) fn silent(&self, last_beat: Option<Instant>, now: Instant) -> Duration {
        now.duration_since(last_beat.map_or(self.since, |at| at.max(self.since)))
    }

    /// Whether the volume is to be probed now.
    pub(crate) fn wants_probe(
        &self,
        state: VolumeState,
        silent: Duration,
        status: Option<&VolumeStatus>,
        down_after: Duration,
        now: Instant,
    ) -> bool {
        if self.last_probe.is_some_and(|at| now.duration_since(at) < PROBE_EVERY) {
            return false;
        }
        let lost = silent >= down_after;
        match state {
            VolumeState::Up | VolumeState::Full | VolumeState::ReadOnly => {
                lost || status.is_some_and(|status| status.stalled_ms >= STALLED_MS)
            }
            VolumeState::Suspect => true,
            VolumeState::Down => !lost,
            VolumeState::Draining | VolumeState::Removed => false,
        }
    }

    /// A probe begins.
    pub(crate) fn probing(&mut self, now: Instant) {
        self.last_probe = Some(now);
    }

    /// The state that follows from a probe's finding; the same when nothing does.
    pub(crate) fn judge(
        &mut self,
        state: VolumeState,
        finding: &Finding,
        silent: Duration,
        down_after: Duration,
        now: Instant,
    ) -> VolumeState {
        if matches!(state, VolumeState::Draining | VolumeState::Removed) {
            return state;
        }
        let healthy = match finding {
            Finding::Works => VolumeState::Up,
            Finding::Full => VolumeState::Full,
            Finding::ReadOnly => VolumeState::ReadOnly,
            Finding::Fails(_) => return self.judge_failure(state, silent, down_after, now),
        };
        self.good_in_a_row += 1;
        self.failing_since = None;
        if state.serves_reads() {
            return healthy;
        }
        if self.good_in_a_row < self.good_probes_owed() || silent >= down_after {
            return state;
        }
        self.up_since = now;
        healthy
    }

    fn judge_failure(
        &mut self,
        state: VolumeState,
        silent: Duration,
        down_after: Duration,
        now: Instant,
    ) -> VolumeState {
        self.good_in_a_row = 0;
        let failing_since = *self.failing_since.get_or_insert(now);
        if state.serves_reads() {
            if now.duration_since(self.up_since) >= RELAPSES_FORGOTTEN_AFTER {
                self.relapses = 0;
            }
            self.relapses += 1;
        }
        let failing = now.duration_since(failing_since);
        match state {
            VolumeState::Down => VolumeState::Down,
            _ if silent >= down_after || failing >= down_after => VolumeState::Down,
            _ => VolumeState::Suspect,
        }
    }

    /// One, and one more for each relapse, so that a volume which comes and goes is not trusted every second.
    fn good_probes_owed(&self) -> u32 {
        (1 + self.relapses).min(GOOD_PROBES_OWED_MAX)
    }
}

/// What a trusted volume says of itself needs no probe.
pub(crate) fn by_status(state: VolumeState, status: &VolumeStatus) -> VolumeState {
    if !matches!(state, VolumeState::Up | VolumeState::Full | VolumeState::ReadOnly) {
        return state;
    }
    if status.read_only.is_some() {
        VolumeState::ReadOnly
    } else if status.full || state == VolumeState::Full && planted::is(Bug::FullForEver) {
        VolumeState::Full
    } else {
        VolumeState::Up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN_AFTER: Duration = Duration::from_secs(3);
    const SOON: Duration = Duration::from_millis(200);

    fn fails() -> Finding {
        Finding::Fails("connection refused".to_owned())
    }

    fn second(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn silence_alone_takes_no_volume_down() {
        let start = Instant::now();
        let mut record = Record::new(start);
        let late = second(start, 4);
        let silent = record.silent(None, late);
        assert_eq!(silent, Duration::from_secs(4));
        assert!(!record.wants_probe(VolumeState::Up, SOON, None, DOWN_AFTER, start));
        assert!(record.wants_probe(VolumeState::Up, silent, None, DOWN_AFTER, late));
        assert_eq!(record.judge(VolumeState::Up, &Finding::Works, silent, DOWN_AFTER, late), VolumeState::Up);
        assert_eq!(record.judge(VolumeState::Up, &fails(), silent, DOWN_AFTER, late), VolumeState::Down);
    }

    #[test]
    fn a_new_leader_gives_every_volume_a_fresh_grace() {
        let start = Instant::now();
        let record = Record::new(second(start, 10));
        assert_eq!(record.silent(Some(start), second(start, 12)), Duration::from_secs(2));
    }

    #[test]
    fn a_failed_probe_makes_suspect_at_once_and_down_in_time_though_heartbeats_go_on() {
        let start = Instant::now();
        let mut record = Record::new(start);
        let mut state = VolumeState::Up;
        for (at, wanted) in [
            (0, VolumeState::Suspect),
            (1, VolumeState::Suspect),
            (2, VolumeState::Suspect),
            (3, VolumeState::Down),
            (4, VolumeState::Down),
        ] {
            state = record.judge(state, &fails(), SOON, DOWN_AFTER, second(start, at));
            assert_eq!(state, wanted, "after {at} s");
        }
    }

    #[test]
    fn hanging_syncs_are_probed_though_heartbeats_go_on() {
        let start = Instant::now();
        let mut record = Record::new(start);
        let stalled = VolumeStatus { stalled_ms: 1500, ..VolumeStatus::default() };
        assert!(record.wants_probe(VolumeState::Up, SOON, Some(&stalled), DOWN_AFTER, start));
        record.probing(start);
        assert!(!record.wants_probe(VolumeState::Up, SOON, Some(&stalled), DOWN_AFTER, start + SOON));
        assert!(record.wants_probe(VolumeState::Up, SOON, Some(&stalled), DOWN_AFTER, second(start, 1)));
    }

    #[test]
    fn each_relapse_costs_one_more_good_probe() {
        let start = Instant::now();
        let mut record = Record::new(start);
        let mut state = VolumeState::Up;
        for relapse in 1..=3 {
            state = record.judge(state, &fails(), SOON, DOWN_AFTER, start);
            assert_eq!(state, VolumeState::Suspect);
            for good in 1..=relapse + 1 {
                assert_eq!(state, VolumeState::Suspect, "relapse {relapse}, good probe {good}");
                state = record.judge(state, &Finding::Works, SOON, DOWN_AFTER, start);
            }
            assert_eq!(state, VolumeState::Up);
        }
        let later = second(start, 61);
        state = record.judge(state, &fails(), SOON, DOWN_AFTER, later);
        state = record.judge(state, &Finding::Works, SOON, DOWN_AFTER, later);
        state = record.judge(state, &Finding::Works, SOON, DOWN_AFTER, later);
        assert_eq!(state, VolumeState::Up, "a minute without one is forgiven");
    }

    #[test]
    fn a_down_volume_is_probed_once_it_beats_again_and_needs_both() {
        let start = Instant::now();
        let mut record = Record::new(start);
        let lost = Duration::from_secs(9);
        assert!(!record.wants_probe(VolumeState::Down, lost, None, DOWN_AFTER, start));
        assert!(record.wants_probe(VolumeState::Down, SOON, None, DOWN_AFTER, start));
        assert_eq!(
            record.judge(VolumeState::Down, &Finding::Works, lost, DOWN_AFTER, start),
            VolumeState::Down
        );
        assert_eq!(
            record.judge(VolumeState::Down, &Finding::Works, SOON, DOWN_AFTER, start),
            VolumeState::Up
        );
    }

    #[test]
    fn full_and_read_only_come_and_go_by_heartbeat() {
        let full = VolumeStatus { full: true, ..VolumeStatus::default() };
        let broken =
            VolumeStatus { read_only: Some("EIO".to_owned()), full: true, ..VolumeStatus::default() };
        let fine = VolumeStatus::default();
        assert_eq!(by_status(VolumeState::Up, &full), VolumeState::Full);
        assert_eq!(by_status(VolumeState::Full, &broken), VolumeState::ReadOnly);
        assert_eq!(by_status(VolumeState::Full, &fine), VolumeState::Up);
        for untrusted in
            [VolumeState::Suspect, VolumeState::Down, VolumeState::Draining, VolumeState::Removed]
        {
            assert_eq!(by_status(untrusted, &fine), untrusted);
        }
    }

    #[test]
    fn the_operators_states_are_left_alone() {
        let start = Instant::now();
        let mut record = Record::new(start);
        for state in [VolumeState::Draining, VolumeState::Removed] {
            assert!(!record.wants_probe(state, Duration::from_secs(99), None, DOWN_AFTER, start));
            assert_eq!(record.judge(state, &fails(), Duration::from_secs(99), DOWN_AFTER, start), state);
        }
    }
}
