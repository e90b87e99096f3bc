//! The one program, `hayrick`: servers, and a client for people and scripts.
//!
//! Owns the command line: flags, variables, files, help, exit codes, and what is printed. Everything it does is done
//! by `master`, `volume` and `client`; one file in `commands/` per command says which of their calls that is.
//! Invariant: a flag that is taken does something.

mod addresses;
mod commands;
mod config;
mod descriptors;
mod exit;
mod logging;
mod output;
mod readiness;
mod server;
mod units;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::exit::Exit;

/// Measured together with the servers: many small allocations on many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Hayrick stores billions of small files and hands each back with one disk read.
///
/// Masters keep the index and take requests; volumes keep the bytes. A file is on the disk of every volume of its
/// placement, and in the log of a majority of the masters, before its PUT is answered.
#[derive(Debug, Parser)]
#[command(
    name = "hayrick",
    version = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("HAYRICK_COMMIT"), ")"),
    after_help = EXAMPLES,
    disable_help_subcommand = true,
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  hayrick dev                        a whole cluster in this process
  curl -T cat.jpg http://127.0.0.1:9090/photos/cat.jpg
  hayrick get photos/cat.jpg -o cat.jpg
  hayrick status --server 10.0.0.1:9090,10.0.0.2:9090

Every flag has a variable: --down-after is HAYRICK_DOWN_AFTER.

Exit codes: 0 done, 1 it could not be done, 2 wrong use,
3 there is no such key, 4 a condition failed, 5 outcome unknown,
6 could not be run to its end (prove).";

#[derive(Debug, Subcommand)]
enum Command {
    Master(Box<commands::master::Args>),
    Volume(commands::volume::Args),
    Dev(commands::dev::Args),
    Put(commands::put::Args),
    Get(commands::get::Args),
    Rm(commands::rm::Args),
    Undelete(commands::undelete::Args),
    Ls(commands::ls::Args),
    Cp(commands::cp::Args),
    Stat(commands::stat::Args),
    Status(commands::status::Args),
    Explain(commands::explain::Args),
    Check(commands::check::Args),
    Rebalance(commands::rebalance::Args),
    MoveRate(commands::move_rate::Args),
    Inspect(commands::inspect::Args),
    Backup(commands::backup::Args),
    Prove(commands::prove::Args),
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    // The allocator asks for huge pages, and an idle master would take twice the memory. A kernel that knows no such
    // switch has no huge pages to give.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let args: Vec<OsString> = std::env::args_os().collect();
    let parsed = config::matches(Cli::command(), &args).and_then(|matches| {
        Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut Cli::command()))
    });
    let cli = parsed.unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Master(args) => commands::master::run(*args),
        Command::Volume(args) => commands::volume::run(args),
        Command::Dev(args) => commands::dev::run(args),
        Command::Put(args) => commands::put::run(args),
        Command::Get(args) => commands::get::run(args),
        Command::Rm(args) => commands::rm::run(args),
        Command::Undelete(args) => commands::undelete::run(args),
        Command::Ls(args) => commands::ls::run(args),
        Command::Cp(args) => commands::cp::run(args),
        Command::Stat(args) => commands::stat::run(args),
        Command::Status(args) => commands::status::run(args),
        Command::Explain(args) => commands::explain::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Rebalance(args) => commands::rebalance::run(args),
        Command::MoveRate(args) => commands::move_rate::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Backup(args) => commands::backup::run(args),
        Command::Prove(args) => commands::prove::run(args),
    };
    let exit = result.unwrap_or_else(|error| {
        let exit = exit::of(&error);
        if exit != Exit::Done {
            eprintln!("hayrick: {error:#}");
        }
        exit
    });
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_variable_and_every_command_an_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(command.get_after_help().is_some(), "{name} teaches without an example");
            for part in command.get_subcommands() {
                assert!(
                    part.get_after_help().is_some(),
                    "{name} {} teaches without an example",
                    part.get_name()
                );
            }
            for arg in
                command.get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
            {
                let Some(long) = arg.get_long() else { continue };
                let variable = format!("HAYRICK_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(
                    arg.get_env().and_then(|name| name.to_str()),
                    Some(variable.as_str()),
                    "{name} --{long}"
                );
                assert!(arg.get_help().is_some(), "{name} --{long} says nothing of itself");
            }
        }
    }
}
