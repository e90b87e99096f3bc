//! `hayrick ls`: keys in order, page after page.

use std::io::{self, Write};

use anyhow::Result;
use clap::builder::BoolishValueParser;
use futures_util::TryStreamExt;

use crate::commands::connect::Connect;
use crate::exit::Exit;

/// List keys in order
///
/// Each page of a thousand is a linearizable read; keys that come or go while a longer list is read may be in it or not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick ls                    all keys, one a line
  hayrick ls photos/            those that begin with photos/
  hayrick ls photos/ --json     as a JSON list of texts")]
pub(crate) struct Args {
    /// Only keys that begin with this
    #[arg(default_value = "")]
    prefix: String,
    /// Print a JSON list
    #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    args.connect.run(|client| async move {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let mut keys = std::pin::pin!(client.list_all(&args.prefix));
        let mut first = true;
        while let Some(key) = keys.try_next().await? {
            if args.json {
                write!(out, "{}{}", if first { "[\n" } else { ",\n" }, serde_json::to_string(&key)?)?;
            } else {
                writeln!(out, "{key}")?;
            }
            first = false;
        }
        if args.json {
            writeln!(out, "{}", if first { "[]" } else { "\n]" })?;
        }
        out.flush()?;
        Ok(Exit::Done)
    })
}
