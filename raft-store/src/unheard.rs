//! A leader that hears nobody falls silent, so that others may take its place.
//!
//! Its heartbeats and entries may still arrive where no answer comes back, a network that is broken one way, and a follower that
//! hears a leader neither stands for election nor votes. So while no majority answers, a leader sends them in turns: nothing
//! for long enough that another is elected, then again, as silence would never be answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::sleep;

use crate::machine::Machine;
use crate::observe;
use crate::types::Types;

/// Looks in the time in which followers count on a leader.
const LOOKS: u32 = 5;
/// So many of the longest election timeouts: they forget it, wait their own, and may split the votes once.
const SILENT: u32 = 3;

/// Whether this node, as a leader, sends nothing; the network heeds it.
pub(crate) type Silent = Arc<AtomicBool>;

/// Runs until Raft stops. `election` is the longest election timeout.
pub(crate) async fn run(raft: Raft<Types, Machine>, silent: Silent, election: Duration) {
    while raft.metrics().borrow_watched().running_state.is_ok() {
        sleep(election / LOOKS).await;
        let leads = raft.server_metrics().borrow_watched().state.is_leader();
        if leads && !observe::has_quorum(&raft, election) {
            tracing::warn!(
                "no majority answers this leader: it is silent for a while, so that another may be elected"
            );
            silent.store(true, Ordering::Relaxed);
            sleep(election * SILENT).await;
            silent.store(false, Ordering::Relaxed);
            sleep(election).await;
        }
    }
}
