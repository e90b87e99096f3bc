//! What the leader keeps in order, and the soft state that every master gathers for the day it leads.
//!
//! Owns when the leader's duties begin and end. Each duty is a file. Invariant: duties run on whoever takes itself
//! for the leader, and their decisions count only as applied commands; a former leader's are not proposed, or refused.

pub(crate) mod change;
pub(crate) mod detect;
pub(crate) mod epochs;
pub(crate) mod forget;
pub(crate) mod heartbeats;
mod judge;
pub(crate) mod members;
pub(crate) mod place;
pub(crate) mod reap;
pub(crate) mod repair;
pub(crate) mod seen;
mod stall;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hayrick_protocol::cluster_map::ClusterConfig;
use hayrick_protocol::command::{Command, Reply};
use hayrick_protocol::ids::ClusterId;
use hayrick_raft_store::Role;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use crate::leader;
use crate::master::Master;

/// Between two attempts to form the cluster.
const FORM_RETRY: Duration = Duration::from_millis(100);
/// What one attempt may take.
const FORM_PATIENCE: Duration = Duration::from_secs(2);

/// Between a panic in a duty and its next beginning.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Does the leader's duties whenever this master leads, until it stops.
pub(crate) async fn run(master: Arc<Master>) {
    let mut progress = master.node.watch();
    loop {
        let Ok(elected) = progress.wait_for(|now| now.role == Role::Leader).await.map(|now| *now) else {
            return;
        };
        info!(term = elected.term, "this master leads");
        let duties = AbortOnDropHandle::new(tokio::spawn(lead(Arc::clone(&master))));
        let ended =
            progress.wait_for(|now| now.role != Role::Leader || now.term != elected.term).await.is_err();
        duties.abort();
        // Its only error is being aborted.
        let _ = duties.await;
        if ended {
            return;
        }
        info!("this master does not lead any more");
    }
}

async fn lead(master: Arc<Master>) {
    whatever_happens(|| duties(Arc::clone(&master))).await;
}

async fn duties(master: Arc<Master>) {
    form(&master).await;
    tokio::join!(
        detect::run(&master),
        place::run(&master),
        reap::run(&master),
        epochs::run(&master),
        change::run(&master),
        stall::run(&master),
        forget::run(&master),
        repair::run(&master)
    );
}

/// Does `duties` to their end, and again after a panic: a leader without duties would be worse than none, as nobody
/// takes its place.
async fn whatever_happens<F: Future<Output = ()>>(duties: impl Fn() -> F) {
    while AssertUnwindSafe(duties()).catch_unwind().await.is_err() {
        error!("a duty of the leader panicked, which is a defect; beginning all of them anew");
        sleep(RESTART_PAUSE).await;
    }
}

/// Gives the cluster its name and its fixed numbers, if nobody has yet.
async fn form(master: &Master) {
    let options = &master.options;
    let config = ClusterConfig {
        cluster: ClusterId(rand::random()),
        partitions: options.partitions,
        replicas: options.replicas,
        min_replicas: options.min_replicas,
    };
    while master.node.cluster().config.is_none() {
        let deadline = Instant::now() + FORM_PATIENCE;
        match leader::propose_until(master, vec![Command::FormCluster(config)], deadline, true)
            .await
            .as_deref()
        {
            Ok([Reply::ClusterFormed(cluster)]) => info!(%cluster, "the cluster is formed"),
            Ok([Reply::Refused(refusal)]) => warn!(%refusal, "the cluster could not be formed"),
            Ok(_) => warn!("the cluster could not be formed: the answer does not fit the request"),
            Err(error) => debug!(%error, "the cluster is not formed yet"),
        }
        sleep(FORM_RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn duties_that_panic_are_begun_anew() {
        let begun = &AtomicU32::new(0);
        let started = Instant::now();
        whatever_happens(|| async move {
            sleep(Duration::from_millis(1)).await;
            assert!(begun.fetch_add(1, Ordering::Relaxed) == 2, "on purpose");
        })
        .await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
        assert!(started.elapsed() >= 2 * RESTART_PAUSE, "not in a tight loop");
    }
}
