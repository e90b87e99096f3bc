//! The one program, `hayrick`: servers, and a client for people and scripts.
//!
//! Owns the command line: flags, variables, files, help, exit codes, and what is printed. Everything it does is done
//! by `master`, `volume` and `client`; one file in `commands/` per command says which of their calls that is.
//! Invariant: a flag that is taken does something.

mod addresses;
mod commands;
mod descriptors;
mod exit;
mod logging;
mod nearest;
mod output;
mod readiness;
mod screen;
mod server;
mod settings;
mod signals;
mod units;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use hayrick_protocol::key::KeyError;

use crate::exit::Exit;

/// Measured together with the servers: many small allocations on many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What people call it, whichever build it is.
const NAME: &str = "hayrick";

/// Hayrick stores billions of small files and hands each back with one disk read.
///
/// Masters keep the index and take requests; volumes keep the bytes. A file is on the disk of every volume of its
/// placement, and in the log of a majority of the masters, before its PUT is answered.
#[derive(Debug, Parser)]
#[command(
    name = NAME,
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
Servers take a file, too: hayrick config master.

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
    Bench(commands::bench::Args),
    Prove(commands::prove::Args),
    Config(commands::config::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    // The allocator asks for huge pages, and an idle master would take twice the memory. A kernel that knows no such
    // switch has no huge pages to give.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let args: Vec<OsString> = std::env::args_os().collect();
    let parsed = settings::file::matches(Cli::command(), &args).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut Cli::command()))?;
        Ok((cli, matches))
    });
    let (cli, matches) = parsed.unwrap_or_else(|error| of_reserved_key(error).exit());
    let is_said = matches.subcommand_matches("rm").map_or(Ok(()), commands::rm::is_said);
    let result = match cli.command {
        Command::Master(args) => commands::master::run(*args),
        Command::Volume(args) => commands::volume::run(args),
        Command::Dev(args) => commands::dev::run(args),
        Command::Put(args) => commands::put::run(args),
        Command::Get(args) => commands::get::run(args),
        Command::Rm(args) => is_said.map_err(Into::into).and_then(|()| commands::rm::run(args)),
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
        Command::Bench(args) => commands::bench::run(args),
        Command::Prove(args) => commands::prove::run(args),
        Command::Config(args) => commands::config::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Man(args) => commands::man::run(&args),
    };
    let exit = result.unwrap_or_else(|error| {
        let exit = exit::of(&error);
        if exit != Exit::Done {
            output::noted(&format!("hayrick: {}", exit::sentence(&error)));
        }
        exit
    });
    exit.into()
}

/// A key that begins with `-/` is a flag to clap, whose tip is to say that it is none: it would be refused all the same.
fn of_reserved_key(error: clap::Error) -> clap::Error {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) if arg.starts_with("-/") => clap::Error::raw(
            ErrorKind::UnknownArgument,
            format!("bad key: {}; ask for those with curl\n", KeyError::Reserved),
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_system_is_refused_as_a_key_and_not_as_a_flag() {
        let refused = |args: &[&str]| {
            let error = Cli::command().try_get_matches_from(args).expect_err("it is refused");
            of_reserved_key(error).to_string()
        };
        let told = refused(&["hayrick", "get", "-/status"]);
        assert!(told.starts_with("error: bad key: ") && !told.contains("tip"), "{told}");
        assert!(refused(&["hayrick", "get", "--sever", "a"]).contains("--server"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// All commands, at whatever depth, each by what is typed for it.
    fn all_commands() -> Vec<(String, clap::Command)> {
        fn add(command: &clap::Command, typed: &str, all: &mut Vec<(String, clap::Command)>) {
            all.push((typed.to_owned(), command.clone()));
            for part in command.get_subcommands() {
                add(part, &format!("{typed} {}", part.get_name()), all);
            }
        }
        let mut all = Vec::new();
        add(&Cli::command(), NAME, &mut all);
        all
    }

    #[test]
    fn every_command_is_found_at_whatever_depth() {
        let all = all_commands();
        for typed in ["hayrick", "hayrick put", "hayrick volume", "hayrick volume ls", "hayrick inspect raft"]
        {
            assert!(all.iter().any(|(known, _)| known == typed), "{typed}");
        }
    }

    #[test]
    fn every_command_says_what_it_does_and_teaches_with_an_example_of_itself() {
        for (typed, command) in all_commands() {
            assert!(command.get_about().is_some(), "{typed} does not say what it does");
            let help =
                command.get_after_help().unwrap_or_else(|| panic!("{typed} teaches without an example"));
            let help = help.to_string();
            assert!(help.starts_with("Examples:\n"), "{typed} teaches without an example: {help}");
            assert!(help.contains(&typed), "the example of {typed} is none of it: {help}");
        }
    }

    #[test]
    fn every_flag_has_its_variable_and_every_argument_says_what_it_is() {
        for (typed, command) in all_commands() {
            for arg in command.get_arguments() {
                let id = arg.get_id();
                assert!(arg.get_help().is_some(), "{typed}: {id} says nothing of itself");
                if arg.is_positional() {
                    continue;
                }
                let long = arg.get_long().unwrap_or_else(|| panic!("{typed}: {id} has no long name"));
                let variable = format!("HAYRICK_{}", long.to_uppercase().replace('-', "_"));
                let is = arg.get_env().and_then(|name| name.to_str());
                assert_eq!(is, Some(variable.as_str()), "{typed} --{long}");
            }
        }
    }
}
