//! What a node can be told when it is opened.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use hayrick_protocol::NodeId;

/// The least [`Options::log_file_bytes`]: half of it holds the most small records that are written at once, and a
/// membership.
pub const LOG_FILE_BYTES_MIN: u64 = 1 << 20;

/// Settings of one node; [`Options::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// This master.
    pub node: NodeId,
    /// Directory of log and state; created if need be. The caller holds whatever lock guards it.
    pub dir: PathBuf,
    /// Which Raft group; 0 while there is one. For logs only: the transport names it on the wire.
    pub group: u16,
    /// How often a leader is heard of.
    pub heartbeat: Duration,
    /// A follower that hears of no leader stands for election after the upper bound and a random time within.
    pub election: Range<Duration>,
    /// Whether it stands for election from the start; else once [`crate::Node::stand_for_election`] is called.
    pub elects: bool,
    /// Bytes of the index that are kept in memory.
    pub index_cache_bytes: usize,
    /// Changed rows after which the state is made durable. Four times as many are kept in memory at most.
    pub checkpoint_after_rows: usize,
    /// Bytes of memory that changed rows take after which the state is made durable, and a quarter of the most.
    pub checkpoint_after_bytes: usize,
    /// Entries applied since the last purge after which the log is purged again.
    pub snapshot_after_entries: u64,
    /// Entries that stay in the log for followers that lag; who lags more comes back by snapshot.
    pub log_keep_entries: u64,
    /// Bytes of one log file; at least [`LOG_FILE_BYTES_MIN`]. An entry that is larger gets a larger file.
    pub log_file_bytes: u64,
    /// Bytes of recent entries that are kept in memory for replication.
    pub log_cache_bytes: usize,
    /// Bytes of the log beyond which it is purged even though a snapshot is in transit.
    pub log_bytes_max: u64,
    /// Bytes of one piece of a snapshot on the wire.
    pub snapshot_chunk_bytes: usize,
}

impl Options {
    /// The defaults for master `node` with its files in `dir`.
    pub fn new(node: NodeId, dir: impl Into<PathBuf>) -> Self {
        Self {
            node,
            dir: dir.into(),
            group: 0,
            heartbeat: Duration::from_millis(150),
            election: Duration::from_millis(500)..Duration::from_secs(1),
            elects: true,
            index_cache_bytes: 256 << 20,
            checkpoint_after_rows: 100_000,
            checkpoint_after_bytes: 32 << 20,
            snapshot_after_entries: 50_000,
            log_keep_entries: 100_000,
            log_file_bytes: 64 << 20,
            log_cache_bytes: 32 << 20,
            log_bytes_max: 4 << 30,
            snapshot_chunk_bytes: 1 << 20,
        }
    }
}
