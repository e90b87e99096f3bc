//! Registration: where a volume gets its id and cluster from, and says where it is.
//!
//! Owns whom to ask and when to ask again. Who decides is the leader, which any master forwards to. Invariant: the id
//! and the cluster are on disk before anything is appended under them.

use std::time::Duration;

use futures_util::future::join_all;
use hayrick_protocol::ObjectKey;
use hayrick_protocol::command::RegisterVolume;
use hayrick_protocol::ids::{ClusterId, InstanceId, VolumeId};
use hayrick_protocol::messages::Identity;
use hayrick_protocol::messages::master::{Register, RegisterError, Registered, Resolve};
use hayrick_rpc::{CallError, Client, RefusalReason};
use tokio::time::{Instant, sleep};

/// What a first look at the masters may take: it is in the way of each start.
const GLANCE: Duration = Duration::from_secs(1);
/// A master that has not answered by then is left for the next.
const DEADLINE: Duration = Duration::from_secs(3);
/// The pause after a round of all masters; it doubles from the first to the last.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Masters that are started with this volume need a moment; what stands in the way for longer is told.
const QUIET: Duration = Duration::from_secs(2);

/// Masters that follow hear of a registration a moment after the leader has answered it, and those of a new cluster may
/// have to hear of the cluster first: who of them asks for a registration sooner after one than this is not done waiting.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);

/// What a volume says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Applicant {
    pub(crate) instance: InstanceId,
    pub(crate) process: u64,
    pub(crate) addr: String,
    pub(crate) peer: String,
    pub(crate) zone: String,
    pub(crate) capacity_bytes: u64,
}

/// Refuses where all masters are of another cluster than the data directory, as far as they answer: whom it would be asked for next
/// nobody knows yet.
pub(crate) async fn no_strangers(masters: &[Client]) -> Result<(), String> {
    // Any question will do: who is of another cluster refuses the connection.
    let key = ObjectKey::new("-").expect("a key");
    let question = Resolve { key, fields: Vec::new(), stale: true };
    let until = Instant::now() + GLANCE;
    let answers = join_all(masters.iter().map(|master| master.call(&question, Vec::new(), until))).await;
    let strangers = masters.iter().zip(answers).map(|(master, answer)| stranger(master, &answer.err()?));
    match strangers.collect::<Option<Vec<String>>>() {
        Some(mut all) if !all.is_empty() => Err(all.swap_remove(0)),
        _ => Ok(()),
    }
}

/// What is said of a master of another cluster, if that is what it is.
fn stranger(master: &Client, error: &CallError) -> Option<String> {
    let CallError::Refused(refusal) = error else { return None };
    (refusal.reason == RefusalReason::OtherCluster).then(|| {
        format!(
            "the master at {} is of another cluster than this data directory ({refusal}); name the masters of its own cluster, \
             or give this volume an empty --data",
            master.address()
        )
    })
}

impl Applicant {
    fn message(&self, known: Option<(VolumeId, ClusterId)>) -> Register {
        Register {
            volume: RegisterVolume {
                instance: self.instance,
                volume: known.map(|(volume, _)| volume),
                addr: self.addr.clone(),
                peer: self.peer.clone(),
                zone: self.zone.clone(),
                capacity_bytes: self.capacity_bytes,
            },
            process: self.process,
            cluster: known.map_or(ClusterId::UNKNOWN, |(_, cluster)| cluster),
        }
    }

    /// Asks one master after the other until one says yes, or one says never, or all are of another cluster: then why.
    /// One such stranger alone, at an address that a master of ours gave up, is passed over.
    pub(crate) async fn register(
        &self,
        masters: &[Client],
        known: Option<(VolumeId, ClusterId)>,
    ) -> Result<Registered, String> {
        let message = self.message(known);
        let mut pause = PAUSE_MIN;
        let mut told = String::new();
        let began = Instant::now();
        loop {
            let mut reasons = Vec::new();
            let mut strangers = Vec::new();
            for master in masters {
                let address = master.address();
                match master.call(&message, Vec::new(), Instant::now() + DEADLINE).await {
                    Ok((Ok(registered), _)) => return Ok(registered),
                    Ok((Err(RegisterError::Never(reason)), _)) => return Err(reason),
                    Ok((Err(RegisterError::Later(reason)), _)) => {
                        reasons.push(format!("{address}: {reason}"))
                    }
                    Err(error) => {
                        reasons.push(reason(master, &error));
                        strangers.extend(stranger(master, &error));
                    }
                }
            }
            if strangers.len() == masters.len()
                && let Some(stranger) = strangers.pop()
            {
                return Err(stranger);
            }
            let reasons = reasons.join("; ");
            if reasons != told && began.elapsed() >= QUIET {
                tracing::warn!("not registered yet, asking again: {reasons}");
                told = reasons;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Why what is at the address of a master does not answer as one.
fn reason(master: &Client, error: &CallError) -> String {
    let address = master.address();
    match (error, master.peer().map(|peer| peer.identity)) {
        // Its words begin with the address.
        (CallError::NotSent { why }, _) => why.clone(),
        (CallError::Refused(refusal), _) => format!("{address}: {refusal}"),
        (CallError::UnknownMethod, Some(Identity::Volume(id))) => format!(
            "{address}: that is the peer port of volume {id}; --masters takes those of masters, by default 9092, which \
             `hayrick master ls` shows"
        ),
        _ => format!("{address}: {error}"),
    }
}
