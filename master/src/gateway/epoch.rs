//! This gateway's epochs: needle ids, and the sessions that make its commands count once.
//!
//! Owns the numbering and what is resolved. A *ticket* is one seq; it is resolved when it is dropped, which its
//! holder does once the request was answered. Every command carries `resolved_below`, below which apply may
//! forget its answers. An epoch is opened at start and every hour, or when a commit finds it fenced; the old one
//! is fenced once nothing of it is in flight. Invariant: a seq is never given twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use hayrick_protocol::command::{Command, Reply, Session};
use hayrick_protocol::limits::SESSION_WINDOW;
use hayrick_protocol::{EpochId, NeedleId, Seq};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant, sleep, timeout_at};
use tracing::{debug, info, warn};

use crate::leader;
use crate::master::Master;

/// How long one epoch is used.
const EPOCH_AGE: Duration = Duration::from_secs(3600);
/// Seqs of an epoch that are used before the next is opened early; far below what a `Seq` holds.
const EPOCH_SEQS_MAX: u32 = u32::MAX / 2;
/// Pause between two attempts to open an epoch while there is no leader.
const RETRY: Duration = Duration::from_millis(100);
/// How long one attempt to open or fence an epoch may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// All epochs of this gateway: one in use, older ones on their way out.
pub(crate) struct Epochs {
    current: watch::Sender<Option<Arc<Epoch>>>,
    /// Told when the current epoch must be replaced before its hour.
    replace: Notify,
}

/// One epoch.
pub(crate) struct Epoch {
    id: EpochId,
    seqs: Mutex<Seqs>,
    /// Told whenever a seq is resolved.
    resolved: Notify,
}

struct Seqs {
    next: u32,
    unresolved: BTreeSet<u32>,
}

/// One seq of an epoch, unresolved until dropped.
pub(crate) struct Ticket {
    epoch: Arc<Epoch>,
    seq: Seq,
}

/// No epoch was open, or its window was full, until the deadline.
pub(crate) struct NoEpoch;

impl Epochs {
    pub(crate) fn new() -> Self {
        Self { current: watch::Sender::new(None), replace: Notify::new() }
    }

    /// Whether an epoch is open.
    pub(crate) fn is_open(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// A new seq of the current epoch.
    pub(crate) async fn take(&self, deadline: Instant) -> Result<Arc<Ticket>, NoEpoch> {
        let mut current = self.current.subscribe();
        let waiting = async {
            loop {
                let epoch = current.borrow_and_update().clone();
                match epoch {
                    None => current.changed().await.map_err(|_| NoEpoch)?,
                    Some(epoch) => {
                        // Made before the look, so that nothing that is resolved after it is missed.
                        let resolved = epoch.resolved.notified();
                        if let Some(seq) = epoch.next() {
                            drop(resolved);
                            return Ok(Arc::new(Ticket { epoch, seq }));
                        }
                        resolved.await;
                    }
                }
            }
        };
        timeout_at(deadline, waiting).await.map_err(|_| NoEpoch)?
    }

    /// A commit of `ticket` found its epoch fenced: take no more of it.
    pub(crate) fn fenced(&self, ticket: &Ticket) {
        let was_current = self.current.send_if_modified(|current| {
            let is_it = current.as_ref().is_some_and(|epoch| epoch.id == ticket.epoch.id);
            if is_it {
                *current = None;
            }
            is_it
        });
        if was_current {
            info!(epoch = ticket.epoch.id.0, "the epoch was fenced; opening another");
            self.replace.notify_one();
        }
    }

    /// Opens epochs until the master stops, then fences the last once nothing of it is in flight.
    pub(crate) async fn run(&self, master: Arc<Master>) {
        let mut at_start = true;
        while let Some(id) = open(&master, at_start).await {
            at_start = false;
            let epoch = Arc::new(Epoch::new(id));
            let former = self.current.send_replace(Some(Arc::clone(&epoch)));
            if let Some(former) = former {
                tokio::spawn(retire(Arc::clone(&master), former));
            }
            tokio::select! {
                () = epoch.used_up() => {}
                () = self.replace.notified() => {}
                () = master.stopping.cancelled() => break,
            }
        }
        if let Some(last) = self.current.send_replace(None) {
            retire(master, last).await;
        }
    }
}

/// Asks for an epoch until there is one; `None` when the master stops first. The nonce makes repeating safe. It waits
/// until the master is registered: a master that acknowledged a write is one whose wiped directory is recognised.
async fn open(master: &Master, at_start: bool) -> Option<EpochId> {
    let mut progress = master.node.watch();
    tokio::select! {
        // A node that is gone answers nothing either, below.
        _ = progress.wait_for(|_| master.is_registered()) => {}
        () = master.stopping.cancelled() => return None,
    }
    let nonce = rand::random();
    let command = Command::OpenEpoch { master: master.options.id, at_start, nonce };
    while !master.stopping.is_cancelled() {
        let reply =
            leader::propose_until(master, vec![command.clone()], Instant::now() + ATTEMPT, true).await;
        match reply.as_deref() {
            Ok([Reply::EpochOpened(id)]) => {
                debug!(epoch = id.0, "opened an epoch");
                return Some(*id);
            }
            Ok(other) => debug!(?other, "no epoch yet"),
            Err(error) => debug!(%error, "no epoch yet"),
        }
        tokio::select! {
            () = sleep(RETRY) => {}
            () = master.stopping.cancelled() => {}
        }
    }
    None
}

/// Fences `epoch` once nothing of it is in flight.
async fn retire(master: Arc<Master>, epoch: Arc<Epoch>) {
    loop {
        let resolved = epoch.resolved.notified();
        if epoch.seqs.lock().unresolved.is_empty() {
            break;
        }
        resolved.await;
    }
    let deadline = Instant::now() + ATTEMPT;
    if let Err(error) =
        leader::propose_until(&master, vec![Command::FenceEpoch(epoch.id)], deadline, true).await
    {
        warn!(epoch = epoch.id.0, %error, "could not fence an epoch that is no longer used; the leader will");
    }
}

impl Epoch {
    fn new(id: EpochId) -> Self {
        Self { id, seqs: Mutex::new(Seqs { next: 1, unresolved: BTreeSet::new() }), resolved: Notify::new() }
    }

    /// The next seq; `None` while the window is full.
    fn next(&self) -> Option<Seq> {
        let mut seqs = self.seqs.lock();
        let seq = seqs.next;
        if seq - seqs.resolved_below() >= SESSION_WINDOW - 1 {
            return None;
        }
        seqs.next += 1;
        seqs.unresolved.insert(seq);
        Some(Seq(seq))
    }

    /// Returns when the epoch is old or most of its seqs are taken.
    async fn used_up(&self) {
        let opened = Instant::now();
        let check = Duration::from_secs(10);
        while opened.elapsed() < EPOCH_AGE && self.seqs.lock().next < EPOCH_SEQS_MAX {
            sleep(check).await;
        }
    }
}

impl Seqs {
    fn resolved_below(&self) -> u32 {
        self.unresolved.first().copied().unwrap_or(self.next)
    }
}

impl Ticket {
    /// The needle that this seq names.
    pub(crate) fn needle(&self) -> NeedleId {
        NeedleId::new(self.epoch.id, self.seq)
    }

    /// What a command of this seq carries, as of now.
    pub(crate) fn session(&self) -> Session {
        let resolved_below = Seq(self.epoch.seqs.lock().resolved_below());
        Session { epoch: self.epoch.id, seq: self.seq, resolved_below }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.epoch.seqs.lock().unresolved.remove(&self.seq.0);
        // Those who wait for room in the window, and the one who retires the epoch.
        self.epoch.resolved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(epoch: &Arc<Epoch>) -> Ticket {
        Ticket { epoch: Arc::clone(epoch), seq: epoch.next().expect("the window is open") }
    }

    #[test]
    fn resolved_below_is_the_oldest_unresolved_seq() {
        let epoch = Arc::new(Epoch::new(EpochId(3)));
        let (first, second, third) = (ticket(&epoch), ticket(&epoch), ticket(&epoch));
        assert_eq!(third.needle(), NeedleId::new(EpochId(3), Seq(3)));
        drop(second);
        assert_eq!(third.session().resolved_below, Seq(1));
        drop(first);
        assert_eq!(third.session().resolved_below, Seq(3));
        drop(third);
        assert_eq!(ticket(&epoch).session().resolved_below, Seq(4));
    }

    #[test]
    fn a_full_window_gives_no_seq_until_the_oldest_is_resolved() {
        let epoch = Arc::new(Epoch::new(EpochId(1)));
        let oldest = ticket(&epoch);
        let mut others: Vec<Ticket> = Vec::new();
        while let Some(seq) = epoch.next() {
            others.push(Ticket { epoch: Arc::clone(&epoch), seq });
        }
        assert_eq!(others.len(), SESSION_WINDOW as usize - 2);
        drop(oldest);
        assert!(epoch.next().is_some());
    }
}
