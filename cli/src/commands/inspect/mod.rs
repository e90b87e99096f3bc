//! `hayrick inspect`: what is in a file, offline, read-only.

mod raft;
mod raft_json;
mod raft_text;
mod segment;
mod segment_json;
mod segment_text;

use anyhow::Result;
use clap::Subcommand;

use crate::exit::Exit;

/// Show what is in a file of a data directory, without changing it
///
/// No server is asked: the file may lie anywhere, be damaged, or be in use by a running server.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick inspect segment /var/lib/hayrick/volume/needles
  hayrick inspect segment /var/lib/hayrick/volume/needles/0000000000000001.seg
  hayrick inspect raft /var/lib/hayrick/master")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Segment(segment::Args),
    Raft(raft::Args),
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    match args.what {
        What::Segment(args) => segment::run(&args),
        What::Raft(args) => raft::run(&args),
    }
}
