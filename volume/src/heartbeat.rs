//! Heartbeats: every master hears from this volume twice a second, each on a connection of its own.
//!
//! Owns when they are sent and what an answer leads to. What a master makes of silence is the master's. Invariant: a
//! master that is dead or hangs never delays what the others hear.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hayrick_protocol::ids::{InstanceId, VolumeId};
use hayrick_protocol::limits::MASTERS_MAX;
use hayrick_protocol::messages::master::{Heartbeat, HeartbeatReply};
use hayrick_rpc::{Client, Local};
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

/// Addresses that heartbeats go to at most: every master a cluster may have, under its own address and another one, and as
/// many again that were replaced since this volume was started.
const MASTERS_TOLD_MAX: usize = 4 * MASTERS_MAX;

/// What all heartbeats share.
pub(crate) struct Pulse {
    pub(crate) store: Arc<Store>,
    pub(crate) volume: VolumeId,
    pub(crate) instance: InstanceId,
    pub(crate) process: u64,
    /// Asks for another registration.
    pub(crate) register: Notify,
    /// Peer addresses of masters: those of the command line, and whatever masters named since. None is forgotten before the
    /// next start: the one who leaves it out may be the one who is behind.
    pub(crate) masters: watch::Sender<Vec<String>>,
    /// Why the cluster will never use this volume again, once it says so.
    pub(crate) refused: watch::Sender<Option<String>>,
}

impl Pulse {
    /// Tells every master of the command line and every one that a master names, for ever.
    pub(crate) async fn beat_all(self: Arc<Self>, local: Local) {
        let mut masters = self.masters.subscribe();
        // In this task, so that with it all of them let go of the store.
        let mut beating = FuturesUnordered::new();
        loop {
            let known = masters.borrow_and_update().clone();
            for address in known.into_iter().skip(beating.len()) {
                // Connections of their own, so that a heartbeat never waits behind anything else.
                let (pulse, client) = (Arc::clone(&self), Client::new(local.clone(), address, None));
                beating.push(async move { pulse.beat(&client).await });
            }
            tokio::select! {
                changed = masters.changed() => if changed.is_err() { return },
                Some(never) = beating.next() => match never {},
            }
        }
    }

    fn learn(&self, named: Vec<String>) {
        self.masters.send_if_modified(|masters| {
            let before = masters.len();
            for address in named {
                if masters.len() < MASTERS_TOLD_MAX && !masters.contains(&address) {
                    tracing::info!(master = address, "the masters name another one; telling it, too");
                    masters.push(address);
                }
            }
            masters.len() > before
        });
    }

    /// Tells one master, for ever.
    async fn beat(&self, master: &Client) -> Infallible {
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
                Ok((HeartbeatReply::Known(masters), _)) => self.learn(masters),
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

#[cfg(test)]
mod tests {
    use hayrick_disk::{FaultyDisk, Op};
    use hayrick_protocol::cluster_map::VolumeStatus;
    use hayrick_protocol::ids::{ClusterId, NeedleId, NodeId, PlacementId};
    use hayrick_protocol::messages::Identity;
    use hayrick_protocol::needle::Body;
    use hayrick_rpc::{HandleError, Handler, Request, Response};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio::time::timeout;

    use super::*;
    use crate::store::StoreOptions;

    const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
    const DEADLINE_OF_TESTS: Duration = Duration::from_secs(20);

    /// A master that passes on what it hears.
    struct Hears(UnboundedSender<VolumeStatus>);

    impl Handler for Hears {
        async fn handle(&self, request: Request) -> Result<Response, HandleError> {
            let heartbeat: Heartbeat = request.message()?;
            // The test may have seen enough.
            let _ = self.0.send(heartbeat.status);
            Ok(Response::to::<Heartbeat>(&HeartbeatReply::Known(Vec::new()), Vec::new()))
        }
    }

    async fn until(heard: &mut UnboundedReceiver<VolumeStatus>, holds: impl Fn(&VolumeStatus) -> bool) {
        let wait = async { while !holds(&heard.recv().await.expect("it beats")) {} };
        timeout(DEADLINE_OF_TESTS, wait).await.expect("it is told in time");
    }

    #[tokio::test]
    async fn a_hanging_disk_a_failed_sync_and_a_bad_needle_are_told_to_the_masters() {
        let disk = FaultyDisk::new(1);
        // The appends' syncs are the only ones.
        let options = StoreOptions { zero_ahead_bytes: 0, ..StoreOptions::new("/needles", 64 << 20) };
        let store = Arc::new(Store::open(Arc::new(disk.clone()), options).expect("it opens"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let master = listener.local_addr().expect("bound").to_string();
        let (hears, mut heard) = unbounded_channel();
        let local = Local::new(Identity::Master(NodeId(1)), CLUSTER);
        tokio::spawn(hayrick_rpc::serve(listener, local, Arc::new(Hears(hears)), std::future::pending()));
        let pulse = Arc::new(Pulse {
            store: Arc::clone(&store),
            volume: VolumeId(7),
            instance: InstanceId([2; 16]),
            process: 1,
            register: Notify::new(),
            masters: watch::Sender::new(vec![master]),
            refused: watch::Sender::new(None),
        });
        let beating = tokio::spawn(pulse.beat_all(Local::new(Identity::Volume(VolumeId(7)), CLUSTER)));
        let needle = |id| Body::new(vec![7; 5000], 1).with_header(NeedleId(id), PlacementId(1), 0).concat();
        store.append(vec![needle(1).into()]).await.remove(0).expect("a good needle");
        until(&mut heard, |status| status.needles == 1 && status.bad == 0 && status.read_only.is_none())
            .await;

        disk.fail(Op::Read, 1);
        assert!(store.open_needle(NeedleId(1)).is_err());
        until(&mut heard, |status| status.bad == 1).await;

        let gate = disk.gate(Op::Sync.on(".seg"));
        let appending = store.append(vec![needle(2).into()]);
        until(&mut heard, |status| status.stalled_ms > 0).await;
        disk.fail(Op::Sync.on(".seg"), 1);
        gate.open();
        appending.await.remove(0).expect_err("the sync failed");
        until(&mut heard, |status| status.read_only.is_some()).await;
        beating.abort();
    }
}
