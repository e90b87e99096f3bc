//! `hayrick explain`: why a key lives where it lives.

use anyhow::Result;
use clap::builder::BoolishValueParser;
use hayrick_client::Error;

use crate::commands::connect::Connect;
use crate::exit::{Exit, WrongUse};
use crate::output;

/// Show where an object lies and why, which of its copies verify, and what would be without a volume
///
/// A key's hash falls into a partition; the partition's current placement takes its writes, and an object stays in the
/// placement that it was written to. Each member is asked for its copy, which is verified whole. The walk along the ring says
/// of each volume why it was taken or passed over.
///
/// A key without an object is explained, too: where it would be written. The exit code is 3 then.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick explain photos/cat.jpg
  hayrick explain photos/cat.jpg --without 2      what if volume 2 died: where writes go, who gets the copy
  hayrick explain photos/cat.jpg --json | jq '.placement.members[] | {volume, copy}'
  curl http://127.0.0.1:9090/-/explain/photos/cat.jpg")]
pub(crate) struct Args {
    /// The object's key
    key: String,
    /// Also say what would be if this volume died
    #[arg(long, env = "HAYRICK_WITHOUT", value_name = "ID")]
    without: Option<u32>,
    /// Print JSON
    #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    args.connect.run(|client| async move {
        let explanation = match client.explain(&args.key, args.without).await {
            Err(Error::Refused { status: 400, message }) => return Err(WrongUse(message).into()),
            answer => answer?,
        };
        if args.json {
            output::json(&serde_json::to_value(&explanation)?)?;
        } else {
            output::line(explanation.to_string().trim_end())?;
        }
        Ok(if explanation.exists { Exit::Done } else { Exit::NoSuchKey })
    })
}
