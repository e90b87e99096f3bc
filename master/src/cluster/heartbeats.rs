//! What each volume last said of itself, and whether two processes say it.
//!
//! Owns the soft state that every master keeps of volumes. Leaves what is decided from it to `detect`. Invariant: a
//! volume is never refused for a restart, only for a process that goes on while another one under its id does.

use std::collections::BTreeMap;
use std::time::Duration;

use hayrick_protocol::cluster_map::{ClusterMap, VolumeState, VolumeStatus};
use hayrick_protocol::ids::VolumeId;
use hayrick_protocol::limits::VOLUMES_MAX;
use hayrick_protocol::messages::master::{Heartbeat, HeartbeatReply, Register, RegisterError};
use parking_lot::Mutex;
use tokio::time::Instant;

/// A process that was silent for this long under heartbeats every 500 ms is gone.
const GONE_AFTER: Duration = Duration::from_millis(2500);
/// Heartbeats of a process that had ended may still be under way for this long.
const UNDER_WAY: Duration = Duration::from_millis(300);
/// So many heartbeats of the first process after the second appeared prove that both run.
const PROOF_HEARTBEATS: u32 = 2;

/// Every volume's last heartbeat.
pub(crate) struct Heartbeats {
    started: Instant,
    beats: Mutex<BTreeMap<VolumeId, Beats>>,
}

/// The last heartbeat of one volume.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// When it came.
    pub(crate) at: Instant,
    /// What it said.
    pub(crate) status: VolumeStatus,
    /// Which process said so.
    pub(crate) process: u64,
}

struct Beats {
    seen: Seen,
    process: u64,
    process_at: Instant,
    challenger: Option<Challenger>,
}

/// A second process under the same id.
struct Challenger {
    process: u64,
    since: Instant,
    /// Heartbeats of the first process since then.
    first_still_beats: u32,
}

/// Whether a process may go on under an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Sole,
    /// Another process was heard of a moment ago.
    Unsettled,
    Copy,
}

impl Heartbeats {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), beats: Mutex::new(BTreeMap::new()) }
    }

    /// The last heartbeat of a volume since this master started.
    pub(crate) fn seen(&self, volume: VolumeId) -> Option<Seen> {
        self.beats.lock().get(&volume).map(|beats| beats.seen.clone())
    }

    /// How long a volume has been silent, since this master started at most.
    pub(crate) fn silent_for(&self, volume: VolumeId) -> Duration {
        self.seen(volume).map_or(self.started, |seen| seen.at).elapsed()
    }

    /// A probe knows better than the last heartbeat, until the next one.
    pub(crate) fn correct(&self, volume: VolumeId, change: impl FnOnce(&mut VolumeStatus)) {
        if let Some(beats) = self.beats.lock().get_mut(&volume) {
            change(&mut beats.seen.status);
        }
    }

    /// Takes a heartbeat in and says what to make of it; who the masters are is for the caller to add.
    pub(crate) fn take(&self, map: &ClusterMap, beat: &Heartbeat) -> HeartbeatReply {
        let Some(volume) = map.volumes.get(&beat.volume) else { return HeartbeatReply::Register };
        if volume.instance != beat.instance {
            let text = format!(
                "volume {} is the data directory {}, not {}; start with an empty directory",
                beat.volume, volume.instance, beat.instance
            );
            return HeartbeatReply::Refused(text);
        }
        if volume.state == VolumeState::Removed {
            return HeartbeatReply::Refused(format!(
                "volume {} was removed from the cluster for good, and what was on it is elsewhere; start it with an empty \
                 --data, as a new volume",
                beat.volume
            ));
        }
        let mut all = self.beats.lock();
        if all.len() >= VOLUMES_MAX && !all.contains_key(&beat.volume) {
            return HeartbeatReply::Known(Vec::new());
        }
        let now = Instant::now();
        let seen = Seen { at: now, status: beat.status.clone(), process: beat.process };
        let beats = all.entry(beat.volume).or_insert_with(|| Beats::first(seen.clone(), beat.process));
        match beats.claim(beat.process, now) {
            Claim::Copy => HeartbeatReply::Refused(copy_text(beat.volume)),
            Claim::Sole | Claim::Unsettled => {
                beats.seen = seen;
                HeartbeatReply::Known(Vec::new())
            }
        }
    }

    /// Whether a volume that asks to be registered may be, as far as processes go.
    pub(crate) fn may_register(&self, map: &ClusterMap, request: &Register) -> Result<(), RegisterError> {
        let Some(known) = map.volumes.values().find(|volume| volume.instance == request.volume.instance)
        else {
            return Ok(());
        };
        let id = known.id;
        let now = Instant::now();
        let mut all = self.beats.lock();
        let Some(beats) = all.get_mut(&id) else {
            // A master that just started cannot know yet whether another process runs at the old address.
            let unheard = now.duration_since(self.started) < GONE_AFTER;
            let moved = known.peer != request.volume.peer;
            return if unheard && moved { Err(wait(id, &known.peer)) } else { Ok(()) };
        };
        // Only one process listens on an address, so whoever registers from there has outlived the other.
        if known.peer == request.volume.peer {
            beats.settle(request.process, now);
            return Ok(());
        }
        match beats.claim(request.process, now) {
            Claim::Sole => Ok(()),
            Claim::Unsettled => Err(wait(id, &known.peer)),
            Claim::Copy => Err(RegisterError::Never(copy_text(id))),
        }
    }
}

fn copy_text(volume: VolumeId) -> String {
    format!(
        "a copy of this data directory is running as volume {volume}; stop it, or start with an empty directory"
    )
}

fn wait(volume: VolumeId, peer: &str) -> RegisterError {
    RegisterError::Later(format!("volume {volume} may still be running at {peer}; asking again in a moment"))
}

impl Beats {
    fn first(seen: Seen, process: u64) -> Self {
        Self { process_at: seen.at, seen, process, challenger: None }
    }

    fn settle(&mut self, process: u64, now: Instant) {
        self.process = process;
        self.process_at = now;
        self.challenger = None;
    }

    /// A sign of life of `process` at `now`.
    fn claim(&mut self, process: u64, now: Instant) -> Claim {
        if process == self.process {
            self.process_at = now;
            if let Some(challenger) = &mut self.challenger
                && now.duration_since(challenger.since) > UNDER_WAY
            {
                challenger.first_still_beats += 1;
            }
            return Claim::Sole;
        }
        if now.duration_since(self.process_at) > GONE_AFTER {
            self.settle(process, now);
            return Claim::Sole;
        }
        match &self.challenger {
            Some(known) if known.process == process => match known.first_still_beats {
                PROOF_HEARTBEATS.. => Claim::Copy,
                _ => Claim::Unsettled,
            },
            _ => {
                self.challenger = Some(Challenger { process, since: now, first_still_beats: 0 });
                Claim::Unsettled
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::cluster_map::Volume;
    use hayrick_protocol::command::RegisterVolume;
    use hayrick_protocol::{ClusterId, InstanceId};

    use super::*;

    fn beats(now: Instant) -> Beats {
        Beats::first(Seen { at: now, status: VolumeStatus::default(), process: 1 }, 1)
    }

    fn after(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn a_volume_is_silent_since_its_last_heartbeat_or_since_the_start() {
        let heartbeats = Heartbeats::new();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(heartbeats.silent_for(VolumeId(1)), Duration::from_secs(3));
        heartbeats.beats.lock().insert(VolumeId(1), beats(Instant::now()));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(heartbeats.silent_for(VolumeId(1)), Duration::from_secs(2));
    }

    #[test]
    fn a_restarted_process_takes_over_once_the_old_one_is_silent() {
        let now = Instant::now();
        let mut beats = beats(now);
        assert_eq!(beats.claim(2, after(now, 1000)), Claim::Unsettled);
        assert_eq!(beats.claim(1, after(now, 1100)), Claim::Sole, "it was still under way");
        assert_eq!(beats.claim(2, after(now, 2000)), Claim::Unsettled);
        assert_eq!(beats.claim(2, after(now, 4000)), Claim::Sole);
        assert_eq!(beats.process, 2);
    }

    #[test]
    fn a_second_process_is_refused_once_the_first_is_proven_to_run() {
        let now = Instant::now();
        let mut beats = beats(now);
        assert_eq!(beats.claim(2, after(now, 500)), Claim::Unsettled);
        for ms in [1000, 2000] {
            assert_eq!(beats.claim(1, after(now, ms)), Claim::Sole);
        }
        assert_eq!(beats.claim(2, after(now, 2500)), Claim::Copy);
        assert_eq!(beats.claim(1, after(now, 3000)), Claim::Sole, "the first goes on");
    }

    fn map() -> ClusterMap {
        let volume = Volume {
            id: VolumeId(1),
            instance: InstanceId([1; 16]),
            addr: "here:9091".to_owned(),
            peer: "here:9093".to_owned(),
            zone: String::new(),
            capacity_bytes: 1,
            state: VolumeState::Up,
        };
        ClusterMap { version: 1, volumes: [(volume.id, volume)].into() }
    }

    fn registering(process: u64, peer: &str) -> Register {
        let volume = RegisterVolume {
            instance: InstanceId([1; 16]),
            volume: Some(VolumeId(1)),
            addr: "here:9091".to_owned(),
            peer: peer.to_owned(),
            zone: String::new(),
            capacity_bytes: 1,
        };
        Register { volume, process, cluster: ClusterId::UNKNOWN }
    }

    fn beating(process: u64) -> Heartbeat {
        let instance = InstanceId([1; 16]);
        Heartbeat { volume: VolumeId(1), instance, process, status: VolumeStatus::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_registers_from_the_known_address_is_settled_at_once() {
        let heartbeats = Heartbeats::new();
        assert_eq!(heartbeats.take(&map(), &beating(1)), HeartbeatReply::Known(Vec::new()));
        assert_eq!(heartbeats.may_register(&map(), &registering(2, "here:9093")), Ok(()));
        // The first process is over: a heartbeat of it that was under way is the stranger's now.
        assert_eq!(heartbeats.beats.lock()[&VolumeId(1)].process, 2);
        assert_eq!(heartbeats.take(&map(), &beating(2)), HeartbeatReply::Known(Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_registers_from_elsewhere_waits_until_the_old_process_is_silent() {
        let heartbeats = Heartbeats::new();
        assert_eq!(heartbeats.take(&map(), &beating(1)), HeartbeatReply::Known(Vec::new()));
        let register = || heartbeats.may_register(&map(), &registering(2, "elsewhere:9093"));
        assert!(matches!(register(), Err(RegisterError::Later(_))));
        tokio::time::advance(GONE_AFTER + Duration::from_millis(1)).await;
        assert_eq!(register(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_registers_from_elsewhere_is_refused_for_good() {
        let heartbeats = Heartbeats::new();
        let register = || heartbeats.may_register(&map(), &registering(2, "elsewhere:9093"));
        assert!(matches!(register(), Err(RegisterError::Later(_))), "nobody was heard of yet");
        assert_eq!(heartbeats.take(&map(), &beating(1)), HeartbeatReply::Known(Vec::new()));
        assert!(matches!(register(), Err(RegisterError::Later(_))));
        for _ in 0..PROOF_HEARTBEATS {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(heartbeats.take(&map(), &beating(1)), HeartbeatReply::Known(Vec::new()));
        }
        assert!(matches!(register(), Err(RegisterError::Never(_))));
    }
}
