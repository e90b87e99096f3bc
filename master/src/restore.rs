//! A master that begins with the state of a backup, where all masters were lost.
//!
//! Owns the way from an empty directory to a vote. What a restored state keeps, and why the lost masters cannot take part any
//! more, is the Raft store's. All masters of `--masters` are started with the same backup, or at least a majority of them: the
//! others, with empty directories, enter the cluster and get the state by snapshot. Invariant: a master votes with a restored
//! state only when a majority of the masters was heard and none of them knows its id by another directory: it might be restored
//! into a cluster in which it voted before.

use std::fs::File;
use std::path::{Path, PathBuf};

use hayrick_protocol::InstanceId;
use hayrick_raft_store::backup::{self, BackupError, RestoreError};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::admission::replaced;
use crate::bootstrap::{ASK_EVERY, ASK_PATIENCE, QUIET, admit};
use crate::cluster::members::greet;
use crate::master::Master;
use crate::meta::{self, Directory, Meta, MetaError, Standing};
use crate::options::Options;
use crate::start::{StartError, in_words, node_options};
use crate::wrong_port;

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
    let disk = hayrick_disk::system();
    disk.create_dir_all(&raft).map_err(|error| MetaError::Directory(raft, error))?;
    let restored = backup::restore(disk, node_options, opened, options.masters.clone()).await;
    let restored = restored.map_err(|error| refused(in_words(&error) + help(&error)))?;
    let cluster = restored.header.config.cluster;
    let meta = Meta { id: options.id, instance, cluster, standing: Standing::Restored };
    directory.save(&meta)?;
    let (objects, entry) = (restored.objects, restored.header.applied.index);
    info!(%cluster, objects, entry, hash = format!("{:032x}", restored.sum.hash), "restored a backup");
    Ok(meta)
}

/// What to do about it, where that is the same whatever is wrong.
fn help(error: &RestoreError) -> &'static str {
    match error {
        RestoreError::Backup(BackupError::Cut(_) | BackupError::Damaged { .. }) | RestoreError::Rows(_) => {
            ". Copy it again from where it was written, or take another backup; --data is as it was before"
        }
        _ => "",
    }
}

/// What is there before a restore, so that a refused one leaves nothing behind: what it made would have the next attempt
/// refused for want of an empty directory.
pub(crate) struct Before {
    data: PathBuf,
    raft: PathBuf,
    /// Of what a restore makes in them, what was there.
    kept: Vec<PathBuf>,
    /// Directories that were not there, the innermost first.
    missing: Vec<PathBuf>,
}

impl Before {
    pub(crate) fn look(options: &Options) -> Self {
        let (data, raft) = (options.data.clone(), node_options(options).dir);
        let missing = raft.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
        let missing = missing.map(Path::to_owned).collect();
        let mut before = Self { data, raft, kept: Vec::new(), missing };
        before.kept = before.made();
        before
    }

    /// What a restore makes that is there now; the lock last, as it is held until then.
    fn made(&self) -> Vec<PathBuf> {
        let in_raft = std::fs::read_dir(&self.raft).into_iter().flatten().flatten().map(|entry| entry.path());
        let beside = meta::FILES.map(|name| self.data.join(name));
        in_raft.chain(beside.into_iter().filter(|path| path.exists())).collect()
    }

    /// Takes away what was made since.
    pub(crate) fn put_back(&self) {
        let made = self.made().into_iter().filter(|path| !self.kept.contains(path));
        let removed = made.map(|path| match path.is_dir() {
            true => std::fs::remove_dir_all(path),
            false => std::fs::remove_file(path),
        });
        // Not those in which somebody else has put something meanwhile.
        let emptied = self.missing.iter().filter(|dir| dir.exists()).map(std::fs::remove_dir);
        for error in removed.chain(emptied).filter_map(Result::err) {
            warn!(%error, "not all that a refused --restore had made could be removed");
        }
    }
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
                Err(error) => silence.push(wrong_port::entry(master, id, &error).await),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hayrick_protocol::NodeId;

    use super::*;

    #[test]
    fn a_refused_restore_takes_away_what_it_made_and_nothing_else() {
        let temporary = tempfile::tempdir().expect("a directory");
        let options = |data: &str| Options::new(NodeId(1), temporary.path().join(data), BTreeMap::new());
        let make = |options: &Options| {
            let raft = options.data.join("raft");
            std::fs::create_dir_all(raft.join("log")).expect("made");
            for path in ["raft/restore.new", "raft/log/1.log", "master.new", "lock"] {
                std::fs::write(options.data.join(path), "x").expect("written");
            }
        };
        let list = |dir: &Path| {
            let entries = std::fs::read_dir(dir).expect("it is there");
            let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
            names.sort();
            names
        };

        let new = options("a/b");
        let before = Before::look(&new);
        make(&new);
        before.put_back();
        assert!(list(temporary.path()).is_empty(), "no directory was there");

        let old = options("old");
        std::fs::create_dir_all(old.data.join("raft/lost+found")).expect("made");
        std::fs::write(old.data.join("lock"), "").expect("written");
        std::fs::write(old.data.join("mine"), "").expect("written");
        let before = Before::look(&old);
        make(&old);
        before.put_back();
        assert_eq!(list(&old.data), ["lock", "mine", "raft"]);
        assert_eq!(list(&old.data.join("raft")), ["lost+found"]);
    }
}
