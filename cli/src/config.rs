//! Where settings come from: flag beats variable beats file beats default.
//!
//! Owns the file: a server's `--config FILE` is TOML whose keys are the server's flags without the dashes in front.
//! Its values become the flags' defaults before the command line is read, so that they pass through the same checks
//! and appear in the same help. Invariant: an unknown key is refused, never ignored.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};
use toml::{Table, Value};

/// The flag that names the file.
const CONFIG: &str = "config";
/// Flags that make no sense in a file.
const NOT_IN_FILE: [&str; 3] = [CONFIG, "help", "version"];
/// The customary variable for log filters: it beats the file's `log`, as every variable does.
const RUST_LOG: &str = "RUST_LOG";

/// Reads the command line, with the defaults that its `--config` file holds.
pub(crate) fn matches(mut command: Command, args: &[OsString]) -> Result<ArgMatches, clap::Error> {
    if let Some((name, path)) = file_named_by(&command, args) {
        let Some(server) = command.find_subcommand(&name).cloned() else {
            return command.try_get_matches_from(args);
        };
        command = match with_file(server, &path) {
            Ok(server) => command.mut_subcommand(&name, |_| server),
            Err(message) => return Err(command.error(ErrorKind::InvalidValue, message)),
        };
    }
    command.try_get_matches_from(args)
}

/// The subcommand and its `--config`, if it has one. Whatever is wrong with the rest is told when it is read in earnest.
fn file_named_by(command: &Command, args: &[OsString]) -> Option<(String, PathBuf)> {
    let matches = command.clone().ignore_errors(true).try_get_matches_from(args).ok()?;
    let (name, matches) = matches.subcommand()?;
    let path = matches.try_get_one::<PathBuf>(CONFIG).ok()??;
    Some((name.to_owned(), path.clone()))
}

fn with_file(mut command: Command, path: &PathBuf) -> Result<Command, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let table: Table = text.parse().map_err(|error| format!("{shown} is not TOML: {error}"))?;
    for (key, value) in table {
        let id = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(&key) && !NOT_IN_FILE.contains(&key.as_str()))
            .map(|arg| arg.get_id().clone())
            .ok_or_else(|| {
                format!("{shown}: there is no setting {key:?}; the settings are {}", settings(&command))
            })?;
        if key == "log" && std::env::var_os(RUST_LOG).is_some() {
            continue;
        }
        let value = text_of(&value)
            .ok_or_else(|| format!("{shown}: {key} must be a text, a number or a list of them"))?;
        command = command.mut_arg(id, |arg| arg.required(false).default_value(value));
    }
    Ok(command)
}

/// A value as it would stand on the command line.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Array(values) => Some(values.iter().map(text_of).collect::<Option<Vec<_>>>()?.join(",")),
        _ => None,
    }
}

fn settings(command: &Command) -> String {
    let names = command.get_arguments().filter_map(clap::Arg::get_long);
    names.filter(|name| !NOT_IN_FILE.contains(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Sub,
    }

    #[derive(clap::Subcommand)]
    enum Sub {
        Serve(Serve),
    }

    #[derive(Args)]
    struct Serve {
        #[arg(long)]
        id: u64,
        #[arg(long, default_value = "3s")]
        down_after: String,
        #[arg(long)]
        masters: String,
        #[arg(long)]
        config: Option<PathBuf>,
    }

    fn parse(file: &str, args: &[&str]) -> Result<Serve, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hayrick.toml");
        std::fs::write(&path, file).expect("a file");
        let head = ["hayrick".into(), "serve".into(), "--config".into(), path.into_os_string()];
        let args: Vec<OsString> = head.into_iter().chain(args.iter().map(OsString::from)).collect();
        let matches = matches(<Cli as clap::CommandFactory>::command(), &args).map_err(|e| e.to_string())?;
        let Sub::Serve(serve) = Cli::from_arg_matches(&matches).map_err(|e| e.to_string())?.command;
        Ok(serve)
    }

    const FILE: &str = "id = 7\nmasters = [\"1=a:1\", \"2=b:2\"]\ndown-after = \"9s\"\n";

    #[test]
    fn the_file_gives_what_the_command_line_leaves_out() {
        let serve = parse(FILE, &[]).expect("complete");
        assert_eq!((serve.id, serve.masters.as_str(), serve.down_after.as_str()), (7, "1=a:1,2=b:2", "9s"));
        assert!(serve.config.is_some());
    }

    #[test]
    fn a_flag_beats_the_file() {
        let serve = parse(FILE, &["--id", "8", "--down-after=1s"]).expect("complete");
        assert_eq!((serve.id, serve.down_after.as_str()), (8, "1s"));
    }

    #[test]
    fn what_the_file_leaves_out_keeps_its_default_or_is_missed() {
        assert_eq!(parse("id = 7\nmasters = \"a:1\"", &[]).expect("complete").down_after, "3s");
        assert!(parse("id = 7", &[]).err().expect("no masters").contains("--masters"));
    }

    #[test]
    fn unknown_keys_and_values_that_do_not_fit_are_refused() {
        let error = |file: &str| parse(file, &[]).err().expect("refused");
        assert!(
            error("dwon-after = \"3s\"")
                .contains("there is no setting \"dwon-after\"; the settings are id, down-after")
        );
        assert!(error("config = \"x\"").contains("there is no setting"));
        assert!(error("[master]\nid = 1").contains("there is no setting \"master\""));
        assert!(error("id = true").contains("id must be a text"));
        assert!(error("id = \"x\"\nmasters = \"a:1\"").contains("invalid value 'x'"));
        assert!(error("id = ").contains("is not TOML"));
    }
}
