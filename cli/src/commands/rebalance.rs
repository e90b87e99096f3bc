//! `hayrick rebalance`: what was written before volumes joined moves to where its partitions lie now.

use anyhow::Result;
use clap::builder::BoolishValueParser;

use crate::commands::connect::Connect;
use crate::exit::Exit;
use crate::output;
use crate::units::{bytes, minutes};

/// Move what was written before volumes joined to where it would be written now
///
/// New objects go to a new volume at once; this moves old ones, too, and no more of them than balance asks for. It goes on by
/// itself, at the rate of `hayrick move-rate`, until there is nothing left to move; `hayrick status --watch` shows how far it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick rebalance --dry-run
  hayrick rebalance
  hayrick rebalance --stop")]
pub(crate) struct Args {
    /// Only say what would move
    #[arg(long, env = "HAYRICK_DRY_RUN", value_parser = BoolishValueParser::new())]
    dry_run: bool,
    /// Move no more; what was moved stays where it is
    #[arg(long, env = "HAYRICK_STOP", value_parser = BoolishValueParser::new(), conflicts_with = "dry_run")]
    stop: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    args.connect.run(|client| async move {
        let text = if args.dry_run {
            let found = client.rehearse_rebalance().await?;
            format!(
                "would move {} placements: {} needles, {}, in {}",
                found.placements,
                found.needles,
                bytes(found.bytes),
                minutes(found.minutes)
            )
        } else {
            client.rebalance(!args.stop).await?
        };
        output::line(&text)?;
        Ok(Exit::Done)
    })
}
