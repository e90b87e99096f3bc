//! A master that begins with the state of a backup, where all masters were lost.
//!
//! Owns the way from an empty directory to a vote. What a restored state keeps, and why the lost masters cannot take part any
//! more, is the Raft store's. All masters of `--masters` are started with the same backup, or at least a majority of them: the
//! others, with empty directories, enter the cluster and get the state by snapshot. Invariant: a master votes with a restored
//! state only when a majority of the masters was heard and none of them knows its id by another directory: it might be restored
//! into a cluster in which it voted before.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use hayrick_disk::{Disk, RealDisk};
use hayrick_protocol::InstanceId;
use hayrick_raft_store::backup;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::bootstrap::{ASK_EVERY, ASK_PATIENCE, QUIET, admit, replaced};
use crate::cluster::members::greet;
use crate::master::Master;
use crate::meta::{Directory, Meta, MetaError, Standing};
use crate::options::Options;
use crate::start::{StartError, in_words, node_options};

/// Makes an empty directory that of a master with the state of the backup. The file `master` comes last: a directory without
/// it is not started from, whatever else a crash left in it.
pub(crate) async fn restore(
    directory: &Directory,
    options: &Options,
    file: &Path,
    instance: InstanceId,
) -> Result<Meta, StartError> {
    let node_options = node_options(options);
    let raft = node_options.dir.clone();
    directory.check_new(&raft)?;
    let refused = |why: String| StartError(format!("the backup {} was not restored: {why}", file.display()));
    let opened = File::open(file).map_err(|error| refused(error.to_string()))?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    disk.create_dir_all(&raft).map_err(|error| MetaError::Directory(raft, error))?;
    let restored = backup::restore(disk, node_options, opened, options.masters.clone()).await;
    let restored = restored.map_err(|error| refused(in_words(&error)))?;
    let cluster = restored.header.config.cluster;
    let meta = Meta { id: options.id, instance, cluster, standing: Standing::Restored };
    directory.save(&meta)?;
    let (objects, entry) = (restored.objects, restored.header.applied.index);
    info!(%cluster, objects, entry, hash = format!("{:032x}", restored.sum.hash), "restored a backup");
    Ok(meta)
}

/// Waits until this master may vote, or knows that it must not.
pub(crate) async fn meet(master: &Master) {
    let began = Instant::now();
    let mut told = Vec::new();
    while !master.stopping.is_cancelled() {
        let others = master.options.masters.keys().copied().collect();
        let (mut heard, mut silence) = (1, Vec::new());
        for (id, answer) in greet(master, others, ASK_PATIENCE).await {
            match answer {
                Ok(greeting) => {
                    heard += 1;
                    if let Some(other) = greeting.knows_you_as.filter(|known| *known != master.own.instance) {
                        return master.admission.fail(replaced(master.options.id, other));
                    }
                }
                Err(error) => silence.push(format!("master {id}: {error}")),
            }
        }
        if heard > master.options.masters.len() / 2 {
            return admit(master, Standing::Member, master.admission.cluster());
        }
        if began.elapsed() >= QUIET && told != silence {
            told = silence;
            let reasons = told.join("; ");
            info!("waiting for a majority of the masters before the restored state is used: {reasons}");
        }
        tokio::select! {
            () = sleep(ASK_EVERY) => {}
            () = master.stopping.cancelled() => {}
        }
    }
}
