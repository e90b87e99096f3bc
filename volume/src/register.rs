//! Registration: where a volume gets its id and cluster from, and says where it is.
//!
//! Owns whom to ask and when to ask again. Who decides is the leader, which any master forwards to. Invariant: the id
//! and the cluster are on disk before anything is appended under them.

use std::time::Duration;

use hayrick_protocol::command::RegisterVolume;
use hayrick_protocol::ids::{ClusterId, InstanceId, VolumeId};
use hayrick_protocol::messages::Identity;
use hayrick_protocol::messages::master::{Register, RegisterError, Registered};
use hayrick_rpc::{CallError, Client, RefusalReason};
use tokio::time::{Instant, sleep};

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
                    Err(CallError::Refused(refusal)) if refusal.reason == RefusalReason::OtherCluster => {
                        reasons.push(format!("{address}: {refusal}"));
                        strangers.push(format!(
                            "the master at {address} is of another cluster than this data directory ({refusal}); name \
                             the masters of its own cluster, or give this volume an empty --data"
                        ));
                    }
                    Err(error) => reasons.push(reason(master, &error)),
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
