//! `hayrick master`: a Raft voter with the index, and a gateway for clients; and the commands about masters.

pub(crate) mod members;
pub(crate) mod seen;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use hayrick_master::Options;
use hayrick_protocol::ids::NodeId;

use crate::addresses::{self, Address, Masters};
use crate::exit::{Exit, WrongUse};
use crate::server::{self, Common};
use crate::units;

/// A log of more entries takes minutes to read at a start.
const LOG_ENTRIES_MAX: u64 = 10_000_000;

/// Run a master: it keeps the index and takes requests; or look at the masters and change them
///
/// Masters are started with the same --masters, each with its own --id and --data. With empty directories they form a
/// cluster as soon as a majority of them says that there is none yet. A master with an empty directory and an id that was
/// never used enters a running cluster with --join.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  What masters there are, and who leads:
    hayrick master ls
  The first of three machines:
    hayrick master --id 1 --data /var/lib/hayrick/master \\
        --listen 0.0.0.0:9090 --advertise 10.0.0.1:9090 --peer-listen 0.0.0.0:9092 \\
        --masters 1=10.0.0.1:9092,2=10.0.0.2:9092,3=10.0.0.3:9092
  A fourth one, that enters the running cluster:
    hayrick master --id 4 --data /var/lib/hayrick/master \\
        --listen 0.0.0.0:9090 --advertise 10.0.0.4:9090 --peer-listen 0.0.0.0:9092 --peer-advertise 10.0.0.4:9092 \\
        --join 10.0.0.1:9092
  The first one from a file:
    hayrick master --config /etc/hayrick/master.toml
      id = 1
      data = \"/var/lib/hayrick/master\"
      masters = [\"1=10.0.0.1:9092\", \"2=10.0.0.2:9092\", \"3=10.0.0.3:9092\"]"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<members::Command>,
    /// This master's number, from 1, its own for the life of the cluster
    #[arg(long, env = "HAYRICK_ID", value_name = "N", value_parser = addresses::master_id, required = true)]
    id: Option<NodeId>,
    /// Its data directory; belongs to this id and this cluster
    #[arg(long, env = "HAYRICK_DATA", value_name = "DIR", required = true)]
    data: Option<PathBuf>,
    /// Peer addresses of the first masters as others reach them, itself among them; to form a cluster
    #[arg(long, env = "HAYRICK_MASTERS", value_name = "1=HOST:PORT,…")]
    masters: Option<Masters>,
    /// Peer address of any master of a running cluster; to enter it. Either is needed for a new directory only
    #[arg(long, env = "HAYRICK_JOIN", value_name = "HOST:PORT", value_parser = addresses::reachable, conflicts_with = "masters")]
    join: Option<Address>,
    /// Form a new cluster from this backup (`hayrick backup`), with an empty --data: where all masters are gone for good
    #[arg(long, env = "HAYRICK_RESTORE", value_name = "FILE", conflicts_with = "join", requires = "masters")]
    restore: Option<PathBuf>,
    /// Where clients are served, HTTP
    #[arg(long, env = "HAYRICK_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9090")]
    listen: Address,
    /// Where masters and volumes are served
    #[arg(long, env = "HAYRICK_PEER_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9092")]
    peer_listen: Address,
    /// How others reach --listen [default: the same]
    #[arg(long, env = "HAYRICK_ADVERTISE", value_name = "ADDR", value_parser = addresses::reachable)]
    advertise: Option<Address>,
    /// How others reach --peer-listen [default: its entry of --masters, else the same]
    #[arg(long, env = "HAYRICK_PEER_ADVERTISE", value_name = "ADDR", value_parser = addresses::reachable)]
    peer_advertise: Option<Address>,
    /// Copies of each object; fixed when the cluster is first formed
    #[arg(long, env = "HAYRICK_REPLICAS", value_name = "N", default_value = "3")]
    replicas: u8,
    /// Copies without which a write is refused; fixed when the cluster is first formed
    #[arg(long, env = "HAYRICK_MIN_REPLICAS", value_name = "N", default_value = "2")]
    min_replicas: u8,
    /// Ranges of the key space, a power of two; fixed when the cluster is first formed
    #[arg(long, env = "HAYRICK_PARTITIONS", value_name = "N", default_value = "4096")]
    partitions: u32,
    /// A volume without a heartbeat for this long that fails a probe is down
    #[arg(long, env = "HAYRICK_DOWN_AFTER", value_name = "TIME", default_value = "3s", value_parser = units::parse_time)]
    down_after: Duration,
    /// A volume that is down for this long is not waited for any more: what it held is copied anew
    #[arg(long, env = "HAYRICK_REPAIR_AFTER", value_name = "TIME", default_value = "30s", value_parser = units::parse_time)]
    repair_after: Duration,
    /// A master that was not heard of for this long is gone: what it has under way is not committed any more, and dropped
    #[arg(long, env = "HAYRICK_FENCE_AFTER", value_name = "TIME", default_value = "60s", value_parser = units::parse_time)]
    fence_after: Duration,
    /// Bytes a second that each volume gives or takes at most when copies are made or moved
    #[arg(long, env = "HAYRICK_MOVE_RATE", value_name = "SIZE", default_value = "50MiB", value_parser = units::parse_size)]
    move_rate: u64,
    /// How long overwritten and deleted bytes are kept at least; never less than twice --request-timeout
    #[arg(long, env = "HAYRICK_REAP_AFTER", value_name = "TIME", default_value = "1h", value_parser = units::parse_time)]
    reap_after: Duration,
    /// Larger objects are refused, 413; at most 256MiB
    #[arg(long, env = "HAYRICK_MAX_OBJECT_SIZE", value_name = "SIZE", default_value = "64MiB", value_parser = units::parse_size_usize)]
    max_object_size: usize,
    /// From a request's last byte to its answer
    #[arg(long, env = "HAYRICK_REQUEST_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = units::parse_time)]
    request_timeout: Duration,
    /// Memory for the bodies of all requests together; who does not fit waits, then gets 503
    #[arg(long, env = "HAYRICK_BODY_MEMORY", value_name = "SIZE", default_value = "256MiB", value_parser = units::parse_size_usize)]
    body_memory: usize,
    /// Memory in which the index may cache its pages
    #[arg(long, env = "HAYRICK_INDEX_CACHE", value_name = "SIZE", default_value = "256MiB", value_parser = units::parse_size_usize)]
    index_cache: usize,
    /// Between two heartbeats of the leader
    #[arg(long, env = "HAYRICK_HEARTBEAT", value_name = "TIME", default_value = "150ms", value_parser = units::parse_time)]
    heartbeat: Duration,
    /// Without a leader for a random time in this range, a master stands for election
    #[arg(long, env = "HAYRICK_ELECTION", value_name = "TIME-TIME", default_value = "500ms-1s", value_parser = units::parse_time_range)]
    election: (Duration, Duration),
    /// Log entries between two snapshots of the index
    #[arg(long, env = "HAYRICK_SNAPSHOT_AFTER", value_name = "N", default_value = "20000", value_parser = clap::value_parser!(u64).range(100..=LOG_ENTRIES_MAX))]
    snapshot_after: u64,
    /// Log entries kept behind a snapshot: a master that missed no more than these catches up without one
    #[arg(long, env = "HAYRICK_LOG_KEEP", value_name = "N", default_value = "20000", value_parser = clap::value_parser!(u64).range(0..=LOG_ENTRIES_MAX))]
    log_keep: u64,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    if let Some(command) = args.command {
        return members::run(command);
    }
    let common = args.common.clone();
    let options = options(args)?;
    server::run(&common, |signals| server::serve(signals, hayrick_master::start(options)))
}

/// What the flags say, if it can work together.
pub(crate) fn options(args: Args) -> Result<Options> {
    let masters = args.masters.map(|masters| masters.by_id().map_err(WrongUse)).transpose()?;
    let missing = |flag: &str| WrongUse(format!("a master is started with {flag}"));
    let (id, data) = (args.id.ok_or_else(|| missing("--id"))?, args.data.ok_or_else(|| missing("--data"))?);
    let mut options = Options::new(id, data, masters.unwrap_or_default());
    options.join = args.join.map(|address| address.text());
    options.restore = args.restore;
    options.listen = args.listen.text();
    options.peer_listen = args.peer_listen.text();
    options.advertise = args.advertise.map(|address| address.text());
    options.peer_advertise = args.peer_advertise.map(|address| address.text());
    options.replicas = args.replicas;
    options.min_replicas = args.min_replicas;
    options.partitions = args.partitions;
    options.down_after = args.down_after;
    options.repair_after = args.repair_after;
    options.fence_after = args.fence_after;
    options.move_bytes_per_s = args.move_rate;
    options.reap_after = args.reap_after;
    options.max_object_bytes = args.max_object_size;
    options.request_timeout = args.request_timeout;
    options.body_memory_bytes = args.body_memory;
    options.index_cache_bytes = args.index_cache;
    options.heartbeat = args.heartbeat;
    options.election = args.election;
    options.snapshot_after_entries = args.snapshot_after;
    options.log_kept_entries = args.log_keep;
    options.check().map_err(WrongUse)?;
    Ok(options)
}
