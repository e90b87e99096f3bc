//! A leader whose disk does not answer lets another one lead.
//!
//! Heartbeats need no disk, so that nobody would elect another leader, and two synced followers are a majority, so that
//! commits go on for a while: until what waits for this disk fills the memory that there is for it. Then all would stop.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::master::Master;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Far longer than a busy disk takes for one sync.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// What an attempt may take. While it lasts nothing is proposed.
const HAND_OVER: Duration = Duration::from_secs(2);
/// Between two attempts: where all disks stall, nobody can take over.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A duty of the leader.
pub(crate) async fn run(master: &Master) {
    loop {
        let before = Instant::now();
        sleep(LOOK_EVERY).await;
        let waited = master.node.unsynced_for();
        // Where the whole process stood still, the disk had nobody to answer to.
        if waited < STALLED_AFTER || before.elapsed() > 2 * LOOK_EVERY {
            continue;
        }
        let ms = waited.as_millis();
        warn!(ms, "the disk of the Raft log has not answered a sync for so long; another master shall lead");
        match master.node.hand_over(Instant::now() + HAND_OVER).await {
            Ok(to) => info!(to = to.0, "leadership was handed over"),
            Err(error) => warn!(%error, "nobody could take over"),
        }
        sleep(RETRY_AFTER).await;
    }
}
