//! `hayrick inspect raft`: log and index of a master.
//!
//! Owns what is asked; `raft_text` and `raft_json` own how it looks, and the Raft store's own code reads the files. Invariant:
//! nothing is written, whatever state the directory is in.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::builder::BoolishValueParser;
use hayrick_disk::{Disk, RealDisk};
use hayrick_raft_store::inspect::inspect;

use crate::commands::inspect::{raft_json, raft_text};
use crate::exit::Exit;
use crate::output;

/// Show what is in a master's Raft log and index: vote, entries, members, tables, damage
///
/// The index is shown as its last checkpoint has it; what was applied since is in the log alone. While a master works on
/// the directory its log is shown, whose last records may look torn, but not its index, which changes while it is read.
/// Nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick inspect raft /var/lib/hayrick/master
  hayrick inspect raft /var/lib/hayrick/master/raft --json | jq '.log.vote, .index.applied'")]
pub(crate) struct Args {
    /// A master's data directory, or the `raft` in it
    #[arg(value_name = "DIR")]
    path: PathBuf,
    /// Print JSON: one document
    #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let found = inspect(&disk, &args.path)?;
    if args.json {
        output::json(&raft_json::document(&found))?;
    } else {
        output::line(&raft_text::text(&found))?;
    }
    Ok(Exit::Done)
}
