//! Who is up: the leader's decisions about volumes.
//!
//! Owns looking at heartbeats, probing, and proposing what follows. Leaves the rules to `judge`, and what becomes of
//! the table to `place`. Invariant: at most one probe of a volume is under way, and all who report it share that one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hayrick_metrics as metrics;
use hayrick_protocol::cluster_map::VolumeState;
use hayrick_protocol::command::{Command, StateChange};
use hayrick_protocol::messages::master::Verdict;
use hayrick_protocol::messages::volume::{AppendError, Probe};
use hayrick_protocol::{PlacementId, VolumeId};
use hayrick_rpc::CallError;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info};

use crate::cluster::judge::{Finding, Record, by_status};
use crate::master::Master;

/// What a probe may take: a durable append takes milliseconds.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// A broken connection is made again once before a probe counts as failed.
const PROBE_ATTEMPTS: usize = 2;
/// What committing a decision may take.
const DECIDE_PATIENCE: Duration = Duration::from_secs(2);
/// Looks within `--down-after`.
const LOOKS: u32 = 10;

/// What the leader remembers of volumes, and the probes under way.
pub(crate) struct Detect {
    records: Mutex<BTreeMap<VolumeId, Record>>,
    probes: Mutex<HashMap<VolumeId, watch::Receiver<Option<VolumeState>>>>,
}

/// Looks at all volumes, again and again, for as long as this master leads.
pub(crate) async fn run(master: &Arc<Master>) {
    // A new leader gives every volume a fresh grace.
    master.detect.records.lock().clear();
    let every =
        (master.options.down_after / LOOKS).clamp(Duration::from_millis(50), Duration::from_millis(500));
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        master.detect.look(master).await;
    }
}

impl Detect {
    pub(crate) fn new() -> Self {
        Self { records: Mutex::new(BTreeMap::new()), probes: Mutex::new(HashMap::new()) }
    }

    /// A gateway's append to `volume` failed: looks for itself. When it answers `Avoided`, the table that avoids the
    /// volume has been proposed.
    pub(crate) async fn report(
        &self,
        master: &Arc<Master>,
        volume: VolumeId,
        placement: PlacementId,
        cause: &str,
    ) -> Verdict {
        if !master.leads() {
            return Verdict::NotLeader;
        }
        let cluster = master.node.cluster();
        let state = cluster.map.volumes.get(&volume).map(|volume| volume.state);
        let is_member = cluster.table.placement(placement).is_some_and(|row| row.members.contains(&volume));
        if !is_member || !cluster.table.is_current(placement) {
            return Verdict::Avoided;
        }
        if !state.is_some_and(VolumeState::takes_writes) {
            // What could not be committed now is by the next look at the map.
            let _ = master.place.replan(master).await;
            return Verdict::Avoided;
        }
        info!(volume = volume.0, cause, "an append failed; probing");
        let mut probe = self.examine(master, volume);
        let state = match probe.wait_for(Option::is_some).await {
            Ok(state) => *state,
            Err(_) => None,
        };
        match state {
            Some(state) if state.takes_writes() => Verdict::Works,
            _ => Verdict::Avoided,
        }
    }

    async fn look(&self, master: &Arc<Master>) {
        let now = Instant::now();
        let down_after = master.options.down_after;
        let (mut probes, mut states) = (Vec::new(), Vec::new());
        for volume in master.node.cluster().map.volumes.values() {
            let seen = master.heartbeats.seen(volume.id);
            let mut records = self.records.lock();
            let record = records.entry(volume.id).or_insert_with(|| Record::new(now));
            let silent = record.silent(seen.as_ref().map(|seen| seen.at), now);
            let recent = seen.filter(|seen| now.duration_since(seen.at) < down_after).map(|seen| seen.status);
            if record.wants_probe(volume.state, silent, recent.as_ref(), down_after, now) {
                record.probing(now);
                probes.push(volume.id);
            } else if let Some(status) = recent {
                let state = by_status(volume.state, &status);
                if state != volume.state {
                    states.push(StateChange { volume: volume.id, from: volume.state, to: state });
                }
            }
        }
        for volume in probes {
            // The probe's task acts on what it finds.
            drop(self.examine(master, volume));
        }
        decide(master, states).await;
    }

    /// Probes the volume and acts on what is found; joins a probe that is under way. The volume's state afterwards.
    fn examine(&self, master: &Arc<Master>, volume: VolumeId) -> watch::Receiver<Option<VolumeState>> {
        let mut probes = self.probes.lock();
        if let Some(under_way) = probes.get(&volume)
            && under_way.has_changed().is_ok()
        {
            return under_way.clone();
        }
        let (found, state) = watch::channel(None);
        probes.insert(volume, state.clone());
        let master = Arc::clone(master);
        tokio::spawn(async move {
            let finding = probe(&master, volume).await;
            let state = master.detect.settle(&master, volume, &finding).await;
            master.detect.probes.lock().remove(&volume);
            found.send_replace(Some(state));
        });
        state
    }

    /// The volume's state after a probe's finding: committed, or at least proposed.
    async fn settle(&self, master: &Arc<Master>, volume: VolumeId, finding: &Finding) -> VolumeState {
        let Some(state) = master.node.cluster().map.volumes.get(&volume).map(|volume| volume.state) else {
            return VolumeState::Removed;
        };
        let now = Instant::now();
        let last_beat = master.heartbeats.seen(volume).map(|seen| seen.at);
        let next = {
            let mut records = self.records.lock();
            let record = records.entry(volume).or_insert_with(|| Record::new(now));
            let silent = record.silent(last_beat, now);
            record.judge(state, finding, silent, master.options.down_after, now)
        };
        if next != state {
            info!(volume = volume.0, from = %state, to = %next, %finding, "a volume's state changes");
            match next {
                VolumeState::Suspect => metrics::VOLUMES_SUSPECTED.increment(),
                VolumeState::Down => metrics::VOLUMES_DOWNED.increment(),
                _ => {}
            }
            decide(master, vec![StateChange { volume, from: state, to: next }]).await;
        }
        next
    }
}

/// Commits new states, and the table that follows from them.
async fn decide(master: &Arc<Master>, states: Vec<StateChange>) {
    if states.is_empty() {
        return;
    }
    let deadline = Instant::now() + DECIDE_PATIENCE;
    match master.node.propose(vec![Command::SetVolumeStates(states)], deadline).await {
        // What could not be committed now is by the next look at the map.
        Ok(_) => {
            let _ = master.place.replan(master).await;
        }
        Err(error) => debug!(%error, "new states of volumes were not committed; looking again"),
    }
}

async fn probe(master: &Master, volume: VolumeId) -> Finding {
    let deadline = Instant::now() + PROBE_PATIENCE;
    let mut why = "its address is not known".to_owned();
    for _ in 0..PROBE_ATTEMPTS {
        let Some(client) = master.peers.probe(volume) else { break };
        match client.call(&Probe, Vec::new(), deadline).await {
            Ok((Ok(status), _)) => {
                let finding = match (&status.read_only, status.full) {
                    (Some(_), _) => Finding::ReadOnly,
                    (None, true) => Finding::Full,
                    (None, false) => Finding::Works,
                };
                master.heartbeats.correct(volume, |known| *known = status);
                return finding;
            }
            Ok((Err(AppendError::Busy), _)) => return Finding::Works,
            Ok((Err(AppendError::Full { .. }), _)) => {
                master.heartbeats.correct(volume, |known| known.full = true);
                return Finding::Full;
            }
            Ok((Err(AppendError::ReadOnly(cause)), _)) => {
                master.heartbeats.correct(volume, |known| known.read_only = Some(cause));
                return Finding::ReadOnly;
            }
            Ok((Err(error), _)) => return Finding::Fails(error.to_string()),
            Err(error @ (CallError::Deadline { .. } | CallError::Refused(_))) => {
                return Finding::Fails(error.to_string());
            }
            Err(error) => why = error.to_string(),
        }
    }
    Finding::Fails(why)
}
