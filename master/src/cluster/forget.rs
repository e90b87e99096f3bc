//! Closed placements that hold nothing any more are forgotten, so that the table does not grow with every volume that comes or
//! goes.
//!
//! Owns when. Apply looks again, in the generation that was examined: what a gateway has appended under such a placement it
//! cannot commit, and what volumes have of it is nobody's once that gateway's epoch is fenced.

use std::sync::Arc;
use std::time::Duration;

use hayrick_protocol::command::Command;
use hayrick_protocol::limits::FORGET_BATCH_MAX;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::debug;

use crate::master::Master;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What one commit may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Forgets for as long as this master leads.
pub(crate) async fn run(master: &Arc<Master>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let table = &master.node.cluster().table;
        if table.placements.len() == table.current.iter().flatten().count() {
            continue;
        }
        let Ok(empty) = master.node.empty_placements().await else { continue };
        for placements in empty.chunks(FORGET_BATCH_MAX) {
            let command = Command::Forget(placements.to_vec());
            if let Err(error) = master.node.propose(vec![command], Instant::now() + PATIENCE).await {
                debug!(%error, "placements that hold nothing are not forgotten yet");
                break;
            }
        }
    }
}
