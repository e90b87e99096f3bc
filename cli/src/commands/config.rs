//! `hayrick config`: the file that a server can be given, with all its settings, their defaults and the reasons of these.

use anyhow::{Context, Result};
use clap::{CommandFactory, ValueEnum};

use crate::Cli;
use crate::exit::Exit;
use crate::output;
use crate::settings::example;

/// Print a file of settings for a server's --config, with all defaults and their reasons
///
/// Every setting is commented out, so that the file changes nothing as it is: take in the lines that you want to change.
/// docs/configuration.md has the same to read.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick config master > hayrick.toml
  hayrick config volume | less
  And then, with id, data and masters taken in:
    hayrick master --config hayrick.toml")]
pub(crate) struct Args {
    /// For which server
    #[arg(value_name = "SERVER")]
    server: Server,
}

/// Who can be given a file.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Server {
    Master,
    Volume,
    Dev,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let value = args.server.to_possible_value().context("every server has a name")?;
    let cli = Cli::command();
    let server = cli.find_subcommand(value.get_name()).context("every server has its command")?;
    output::line(example::text(server).trim_end())?;
    Ok(Exit::Done)
}
