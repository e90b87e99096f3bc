//! Heartbeats: every master hears from this volume twice a second, each on a connection of its own.
//!
//! Owns when they are sent and what an answer leads to. What a master makes of silence is the master's. Invariant: a
//! master that is dead or hangs never delays what the others hear.

use std::sync::Arc;
use std::time::Duration;

use hayrick_protocol::ids::{InstanceId, VolumeId};
use hayrick_protocol::messages::master::{Heartbeat, HeartbeatReply};
use hayrick_rpc::Client;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::store::Store;

/// From one heartbeat to the next.
const INTERVAL: Duration = Duration::from_millis(500);
/// A master that has not answered by then is told anew: what it knows is old by now.
const DEADLINE: Duration = Duration::from_secs(1);
/// So many heartbeats in a row that a master does not hear are worth a line: one that is started again, or stopped
/// together with this volume, misses fewer.
const MISSED_TOLD: u32 = 4;

/// What all heartbeats share.
pub(crate) struct Pulse {
    pub(crate) store: Arc<Store>,
    pub(crate) volume: VolumeId,
    pub(crate) instance: InstanceId,
    pub(crate) process: u64,
    /// Asks for another registration.
    pub(crate) register: Notify,
    /// Why the cluster will never use this volume again, once it says so.
    pub(crate) refused: watch::Sender<Option<String>>,
}

impl Pulse {
    /// Tells one master, for ever.
    pub(crate) async fn beat(&self, master: &Client) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missed = 0_u32;
        loop {
            ticks.tick().await;
            let heartbeat = Heartbeat {
                volume: self.volume,
                instance: self.instance,
                process: self.process,
                status: self.store.status(),
            };
            let reply = master.call(&heartbeat, Vec::new(), Instant::now() + DEADLINE).await;
            let before = missed;
            missed = if reply.is_ok() { 0 } else { missed.saturating_add(1) };
            match reply {
                Ok((HeartbeatReply::Known, _)) => {}
                Ok((HeartbeatReply::Register, _)) => self.register.notify_one(),
                Ok((HeartbeatReply::Refused(reason), _)) => {
                    self.refused.send_replace(Some(reason));
                }
                Err(error) if missed == MISSED_TOLD => {
                    tracing::warn!(master = master.address(), %error, "a master does not hear this volume");
                }
                Err(_) => {}
            }
            if missed == 0 && before >= MISSED_TOLD {
                tracing::info!(master = master.address(), "the master hears this volume again");
            }
        }
    }
}
