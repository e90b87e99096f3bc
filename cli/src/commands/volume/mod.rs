//! `hayrick volume`: one data directory full of needles, and its two ports; and the commands about volumes.

mod manage;

use std::path::PathBuf;

use anyhow::Result;
use hayrick_volume::Options;

use crate::addresses::{self, Address, Masters};
use crate::exit::{Exit, WrongUse};
use crate::server::{self, Common};
use crate::units;

/// Run a volume: it keeps the bytes; or look at the volumes, drain and remove them
///
/// A volume gets its number from the cluster when it first registers, and keeps it in its data directory. One process
/// per disk is a good rule; name the machine or rack in --zone, and copies go to different ones.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  How the volumes fare:
    hayrick volume ls
  On the first of three machines:
    hayrick volume --data /var/lib/hayrick/volume --zone rack-1 \\
        --listen 0.0.0.0:9091 --advertise 10.0.0.1:9091 \\
        --peer-listen 0.0.0.0:9093 --peer-advertise 10.0.0.1:9093 \\
        --masters 10.0.0.1:9092,10.0.0.2:9092,10.0.0.3:9092
  The same from a file:
    hayrick volume --config /etc/hayrick/volume.toml
      data = \"/var/lib/hayrick/volume\"
      masters = [\"10.0.0.1:9092\", \"10.0.0.2:9092\", \"10.0.0.3:9092\"]"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<manage::Command>,
    /// Its data directory; belongs to this volume and its cluster
    #[arg(long, env = "HAYRICK_DATA", value_name = "DIR", required = true)]
    data: Option<PathBuf>,
    /// Peer addresses of masters; the string that masters take, 1=HOST:PORT,…, will do as well
    #[arg(long, env = "HAYRICK_MASTERS", value_name = "HOST:PORT,…", required = true)]
    masters: Option<Masters>,
    /// Where readers are served, HTTP
    #[arg(long, env = "HAYRICK_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9091")]
    listen: Address,
    /// Where masters and volumes are served
    #[arg(long, env = "HAYRICK_PEER_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9093")]
    peer_listen: Address,
    /// How others reach --listen [default: the same]
    #[arg(long, env = "HAYRICK_ADVERTISE", value_name = "ADDR", value_parser = addresses::reachable)]
    advertise: Option<Address>,
    /// How others reach --peer-listen [default: the same]
    #[arg(long, env = "HAYRICK_PEER_ADVERTISE", value_name = "ADDR", value_parser = addresses::reachable)]
    peer_advertise: Option<Address>,
    /// What it fails together with, such as a machine or rack: copies go to different zones first
    #[arg(long, env = "HAYRICK_ZONE", value_name = "NAME", default_value = "", value_parser = addresses::zone)]
    zone: String,
    /// Bytes it may hold, and so its share of the data; at least 8MiB [default: what the file system has free, less 5 %]
    #[arg(long, env = "HAYRICK_CAPACITY", value_name = "SIZE", value_parser = units::parse_size)]
    capacity: Option<u64>,
    /// Bytes of a segment file, 1MiB to 16GiB, less where --capacity holds fewer than eight; a needle that does not fit gets a larger one of its own
    #[arg(long, env = "HAYRICK_SEGMENT_SIZE", value_name = "SIZE", default_value = "1GiB", value_parser = units::parse_size)]
    segment_size: u64,
    /// Bytes a second that are read again and verified at most; 0 for none. Slower where all of it takes less than a week
    #[arg(long, env = "HAYRICK_SCRUB_RATE", value_name = "SIZE", default_value = "50MiB", value_parser = units::parse_size)]
    scrub_rate: u64,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    if let Some(command) = args.command {
        return manage::run(command);
    }
    let common = args.common.clone();
    let options = options(args)?;
    server::run(&common, |signals| server::serve(signals, hayrick_volume::start(options)))
}

/// What the flags say, if it can work together.
pub(crate) fn options(args: Args) -> Result<Options> {
    let missing = |flag: &str| WrongUse(format!("a volume is started with {flag}"));
    let data = args.data.ok_or_else(|| missing("--data"))?;
    let masters = args.masters.ok_or_else(|| missing("--masters"))?;
    let mut options = Options::new(data, masters.addresses());
    options.listen = args.listen.text();
    options.peer_listen = args.peer_listen.text();
    options.advertise = args.advertise.map(|address| address.text());
    options.peer_advertise = args.peer_advertise.map(|address| address.text());
    options.zone = args.zone;
    options.capacity_bytes = args.capacity;
    options.segment_bytes = args.segment_size;
    options.scrub_bytes_per_s_max = args.scrub_rate;
    options.check().map_err(WrongUse)?;
    Ok(options)
}
