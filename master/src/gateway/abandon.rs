//! Needles that a write left behind when it was refused: their bytes are dropped at once where they were acknowledged, so that a
//! cluster that is full, or whose conditional writes lose, does not fill up with what no key names.
//!
//! Owns the request and its bounds. That no commit of the needle can take effect is the caller's to know. What is not dropped,
//! as a volume does not answer or too much is to be dropped at once, is an orphan once the gateway's epoch is fenced.

use std::sync::Arc;

use hayrick_protocol::messages::volume::Delete;
use hayrick_protocol::{NeedleId, VolumeId};
use tokio::runtime::Handle;
use tokio::time::{Duration, Instant};
use tracing::debug;

use crate::master::Master;

/// Needles that are being dropped at the same time.
pub(crate) const ABANDONED_MAX: usize = 256;
/// What dropping one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has these volumes drop the needle, in the background.
pub(crate) fn drop_needle(master: &Arc<Master>, needle: NeedleId, volumes: Vec<VolumeId>) {
    let place = Arc::clone(&master.gateway.abandoned).try_acquire_owned();
    let (Ok(place), Ok(runtime), false) = (place, Handle::try_current(), volumes.is_empty()) else { return };
    let master = Arc::clone(master);
    runtime.spawn(async move {
        let _place = place;
        for volume in volumes {
            let Some(client) = master.peers.volume(volume) else { continue };
            let request = Delete { needles: vec![needle] };
            match client.call(&request, Vec::new(), Instant::now() + PATIENCE).await {
                Ok((Ok(()), _)) => {}
                Ok((Err(error), _)) => {
                    debug!(volume = volume.0, %needle, %error, "a refused write's needle stays")
                }
                Err(error) => debug!(volume = volume.0, %needle, %error, "a refused write's needle stays"),
            }
        }
    });
}
