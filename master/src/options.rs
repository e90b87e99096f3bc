//! What a master is told when it starts.
//!
//! Owns the defaults and which values make sense together. Leaves flags, variables and files to the cli.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hayrick_protocol::ids::NodeId;
use hayrick_protocol::limits::{
    MASTERS_MAX, MOVE_BYTES_PER_S_MAX, MOVE_BYTES_PER_S_MIN, OBJECT_BYTES_DEFAULT, OBJECT_BYTES_MAX,
    PARTITIONS_MAX, REPLICAS_MAX,
};

use crate::meta;

/// Raft entries between two snapshots when nothing else is said.
const SNAPSHOT_AFTER_ENTRIES: u64 = 20_000;
/// Raft entries kept behind a snapshot, so that a master which was away for a moment needs none.
const LOG_KEPT_ENTRIES: u64 = 20_000;

/// Bytes of memory that may be set: more than any machine has, and few enough to be counted with.
const MEMORY_BYTES_MAX: usize = 1 << 40;
/// A few hundred pages of the index.
const INDEX_CACHE_BYTES_MIN: usize = 1 << 20;
const REQUEST_TIMEOUT_MIN: Duration = Duration::from_millis(100);
const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Masters meet every few hundred milliseconds; a pause of a machine may last a second.
const FENCE_AFTER_MIN: Duration = Duration::from_secs(1);
/// Two heartbeats of a volume.
const DOWN_AFTER_MIN: Duration = Duration::from_secs(1);
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);
const ELECTION_SPREAD_MIN: Duration = Duration::from_millis(10);
const ELECTION_MAX: Duration = Duration::from_secs(60);

/// Everything a master is told when it starts. `HOST:PORT` everywhere.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its id, unique for the life of the cluster.
    pub id: NodeId,
    /// Its data directory, of its own.
    pub data: PathBuf,
    /// The backup that a new cluster is formed from.
    pub restore: Option<PathBuf>,
    /// Where clients are served.
    pub listen: String,
    /// Where masters and volumes are served.
    pub peer_listen: String,
    /// Its client address as others reach it; by default where it listens.
    pub advertise: Option<String>,
    /// Its peer address as others reach it; by default its entry of `masters`.
    pub peer_advertise: Option<String>,
    /// Peer addresses of the first masters as others reach them, itself among them. Empty for one that enters, or entered, a
    /// running cluster.
    pub masters: BTreeMap<NodeId, String>,
    /// Peer address of any master of a running cluster that this one is to enter, instead of forming one.
    pub join: Option<String>,
    /// Copies that are aimed at; fixed when the cluster is formed.
    pub replicas: u8,
    /// Copies without which a write is refused; fixed when the cluster is formed.
    pub min_replicas: u8,
    /// A power of two; fixed when the cluster is formed.
    pub partitions: u32,
    /// A volume without a heartbeat for this long that fails a probe is down.
    pub down_after: Duration,
    /// A volume that is down for this long is not waited for any more: what it held is copied anew.
    pub repair_after: Duration,
    /// A master that was not heard of for this long is gone: what it has under way is never committed.
    pub fence_after: Duration,
    /// Bytes a second that each volume gives or takes at most when copies are made or moved.
    pub move_bytes_per_s: u64,
    /// How long garbage stays readable at least.
    pub reap_after: Duration,
    /// Bytes of the largest object that is taken.
    pub max_object_bytes: usize,
    /// From a request's last byte to its answer.
    pub request_timeout: Duration,
    /// Bytes of all bodies of requests that are in memory at a time, and as many of answers.
    pub body_memory_bytes: usize,
    /// Bytes that the index may cache.
    pub index_cache_bytes: usize,
    /// Between two heartbeats of the Raft leader.
    pub heartbeat: Duration,
    /// A follower that hears nothing for a random time between these stands for election.
    pub election: (Duration, Duration),
    /// Raft entries between two snapshots.
    pub snapshot_after_entries: u64,
    /// Raft entries kept behind a snapshot.
    pub log_kept_entries: u64,
}

impl Options {
    /// The defaults of the command line, for this master of these.
    pub fn new(id: NodeId, data: PathBuf, masters: BTreeMap<NodeId, String>) -> Self {
        Self {
            id,
            data,
            restore: None,
            listen: "127.0.0.1:9090".to_owned(),
            peer_listen: "127.0.0.1:9092".to_owned(),
            advertise: None,
            peer_advertise: None,
            masters,
            join: None,
            replicas: 3,
            min_replicas: 2,
            partitions: 4096,
            down_after: Duration::from_secs(3),
            repair_after: Duration::from_secs(30),
            fence_after: Duration::from_secs(60),
            move_bytes_per_s: 50 << 20,
            reap_after: Duration::from_secs(3600),
            max_object_bytes: OBJECT_BYTES_DEFAULT,
            request_timeout: Duration::from_secs(5),
            body_memory_bytes: 256 << 20,
            index_cache_bytes: 256 << 20,
            heartbeat: Duration::from_millis(150),
            election: (Duration::from_millis(500), Duration::from_secs(1)),
            snapshot_after_entries: SNAPSHOT_AFTER_ENTRIES,
            log_kept_entries: LOG_KEPT_ENTRIES,
        }
    }

    /// One plain sentence about the first value that makes no sense, in the words of the command line.
    ///
    /// # Errors
    /// When there is one.
    pub fn check(&self) -> Result<(), String> {
        self.check_masters()?;
        self.check_copies()?;
        self.check_memory()?;
        self.check_times()
    }

    fn check_masters(&self) -> Result<(), String> {
        let refuse = |reason: String| Err(reason);
        if self.id == NodeId(0) {
            return refuse("--id must not be 0".to_owned());
        }
        if !self.masters.is_empty() && !self.masters.contains_key(&self.id) && self.join.is_none() {
            return refuse(format!(
                "--masters does not name master {} itself; every master is started with the same list, its own entry in it",
                self.id
            ));
        }
        if self.masters.is_empty() && self.join.is_none() && !meta::is_there(&self.data) {
            return refuse(self.nobody_named());
        }
        if self.masters.len() > MASTERS_MAX {
            return refuse(format!(
                "--masters names {} masters; at most {MASTERS_MAX} are possible",
                self.masters.len()
            ));
        }
        if let Some(address) = self.masters.values().find(|address| !address.contains(':')) {
            return refuse(format!("--masters holds {address:?}, which is no HOST:PORT"));
        }
        let is_unspecified =
            |text: &str| text.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified());
        if self.advertise.is_none() && is_unspecified(&self.listen) {
            return refuse(format!(
                "--listen {} does not say how others reach this master; set --advertise HOST:PORT",
                self.listen
            ));
        }
        let is_named = self.peer_advertise.is_some() || self.masters.contains_key(&self.id);
        if !is_named && is_unspecified(&self.peer_listen) {
            return refuse(format!(
                "--peer-listen {} does not say how others reach this master; set --peer-advertise HOST:PORT",
                self.peer_listen
            ));
        }
        if self.listen == self.peer_listen && !self.listen.ends_with(":0") {
            return refuse(format!(
                "--listen and --peer-listen are both {}; they are two ports",
                self.listen
            ));
        }
        Ok(())
    }

    /// What is said of a new directory when there is neither `masters` nor `join`.
    pub(crate) fn nobody_named(&self) -> String {
        format!(
            "{} is a new directory: --masters says with whom to form a cluster, or --join which one to enter",
            self.data.display()
        )
    }

    fn check_copies(&self) -> Result<(), String> {
        let refuse = |reason: String| Err(reason);
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            return refuse(format!("--replicas is {}; it lies between 1 and {REPLICAS_MAX}", self.replicas));
        }
        if !(1..=self.replicas).contains(&self.min_replicas) {
            return refuse(format!(
                "--min-replicas is {}; it lies between 1 and --replicas, which is {}",
                self.min_replicas, self.replicas
            ));
        }
        if !self.partitions.is_power_of_two() || self.partitions > PARTITIONS_MAX {
            return refuse(format!(
                "--partitions is {}; it is a power of two up to {PARTITIONS_MAX}",
                self.partitions
            ));
        }
        Ok(())
    }

    fn check_memory(&self) -> Result<(), String> {
        let refuse = |reason: String| Err(reason);
        if !(1..=OBJECT_BYTES_MAX).contains(&self.max_object_bytes) {
            return refuse(format!(
                "--max-object-size is {} bytes; it lies between 1 and {}MiB, as an object is in memory whole while it is \
                 stored",
                self.max_object_bytes,
                OBJECT_BYTES_MAX >> 20
            ));
        }
        if self.body_memory_bytes < self.max_object_bytes {
            return refuse(
                "--body-memory is below --max-object-size: the largest object would never fit".to_owned(),
            );
        }
        if self.body_memory_bytes > MEMORY_BYTES_MAX {
            return refuse(format!(
                "--body-memory is {} bytes; the most is {}TiB, and no machine has more",
                self.body_memory_bytes,
                MEMORY_BYTES_MAX >> 40
            ));
        }
        if !(INDEX_CACHE_BYTES_MIN..=MEMORY_BYTES_MAX).contains(&self.index_cache_bytes) {
            return refuse(format!(
                "--index-cache is {} bytes; it lies between {}MiB, without which every read goes to the disk many times, \
                 and {}TiB",
                self.index_cache_bytes,
                INDEX_CACHE_BYTES_MIN >> 20,
                MEMORY_BYTES_MAX >> 40
            ));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), String> {
        let refuse = |reason: String| Err(reason);
        if !(REQUEST_TIMEOUT_MIN..=REQUEST_TIMEOUT_MAX).contains(&self.request_timeout) {
            return refuse(format!(
                "--request-timeout is {:?}; it lies between {REQUEST_TIMEOUT_MIN:?}, as a write takes a few syncs, and \
                 {REQUEST_TIMEOUT_MAX:?}",
                self.request_timeout
            ));
        }
        if self.down_after < DOWN_AFTER_MIN {
            return refuse(format!(
                "--down-after is {:?}; the least that works is {DOWN_AFTER_MIN:?}, as volumes send a heartbeat twice a second",
                self.down_after
            ));
        }
        if self.fence_after < FENCE_AFTER_MIN {
            return refuse(format!(
                "--fence-after is {:?}; the least that works is {FENCE_AFTER_MIN:?}: a master that is only slow would have to \
                 begin its writes anew",
                self.fence_after
            ));
        }
        check_move_rate(self.move_bytes_per_s).map_err(|why| format!("--move-rate is {why}"))?;
        let (shortest, longest) = self.election;
        if self.heartbeat < HEARTBEAT_MIN {
            return refuse(format!(
                "--heartbeat is {:?}; the least that works is {HEARTBEAT_MIN:?}: a follower syncs between two of them",
                self.heartbeat
            ));
        }
        if shortest / 2 < self.heartbeat {
            return refuse(format!(
                "--election {shortest:?}-{longest:?} must begin at twice --heartbeat ({:?}) or later",
                self.heartbeat
            ));
        }
        if longest < shortest + ELECTION_SPREAD_MIN || longest > ELECTION_MAX {
            return refuse(format!(
                "--election {shortest:?}-{longest:?} must end {ELECTION_SPREAD_MIN:?} after it begins or later, or masters \
                 stand against each other, and at {ELECTION_MAX:?} or earlier, as nothing is written meanwhile"
            ));
        }
        Ok(())
    }
}

/// Whether volumes can give and take so many bytes a second, or why not.
pub(crate) fn check_move_rate(bytes_per_s: u64) -> Result<(), String> {
    if (MOVE_BYTES_PER_S_MIN..=MOVE_BYTES_PER_S_MAX).contains(&bytes_per_s) {
        return Ok(());
    }
    Err(format!(
        "{bytes_per_s} bytes a second; it lies between {}KiB, or a lost copy would take weeks to be made again, and {}TiB",
        MOVE_BYTES_PER_S_MIN >> 10,
        MOVE_BYTES_PER_S_MAX >> 40
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let masters = (1..=3).map(|id| (NodeId(id), format!("127.0.0.1:9{id}92"))).collect();
        Options::new(NodeId(1), PathBuf::from("data"), masters)
    }

    fn join(options: &mut Options) {
        options.masters.clear();
        options.join = Some("m:9092".to_owned());
    }

    #[test]
    fn defaults_make_sense() {
        assert_eq!(options().check(), Ok(()));
    }

    #[test]
    fn values_that_cannot_work_together_are_refused_by_name() {
        let refused = |change: fn(&mut Options), word: &str| {
            let mut options = options();
            change(&mut options);
            let reason = options.check().expect_err("it makes no sense");
            assert!(reason.contains(word), "{reason:?} does not name {word}");
        };
        refused(|o| o.id = NodeId(9), "--masters");
        refused(|o| o.id = NodeId(0), "--id");
        refused(|o| o.replicas = 0, "--replicas");
        refused(|o| o.min_replicas = 4, "--min-replicas");
        refused(|o| o.partitions = 1000, "--partitions");
        refused(|o| o.election = (Duration::from_millis(200), Duration::from_secs(1)), "--election");
        refused(|o| o.body_memory_bytes = 1, "--body-memory");
        refused(|o| o.body_memory_bytes = usize::MAX, "--body-memory");
        refused(|o| o.max_object_bytes = usize::MAX, "--max-object-size");
        refused(|o| o.max_object_bytes = 0, "--max-object-size");
        refused(|o| o.index_cache_bytes = 0, "--index-cache");
        refused(|o| o.request_timeout = Duration::from_millis(1), "--request-timeout");
        refused(|o| o.request_timeout = Duration::from_secs(3600), "--request-timeout");
        refused(|o| o.down_after = Duration::from_millis(1), "--down-after");
        refused(|o| o.move_bytes_per_s = 0, "--move-rate");
        refused(|o| o.move_bytes_per_s = u64::MAX, "--move-rate");
        refused(|o| o.heartbeat = Duration::from_micros(1), "--heartbeat");
        refused(|o| o.election = (Duration::from_millis(500), Duration::from_micros(500_001)), "--election");
        refused(|o| o.election.1 = Duration::from_secs(3600), "--election");
        refused(|o| o.listen = "0.0.0.0:9090".to_owned(), "--advertise");
        refused(|o| o.masters.clear(), "--join");
        refused(|o| (join(o), o.peer_listen = "0.0.0.0:9092".to_owned()).1, "--peer-advertise");
        refused(|o| o.listen.clone_from(&o.peer_listen), "two ports");
        refused(|o| _ = o.masters.insert(NodeId(2), "nowhere".to_owned()), "HOST:PORT");
    }
}
