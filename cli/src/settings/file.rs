//! Where settings come from: flag beats variable beats file beats default.
//!
//! Owns reading the file: a server's `--config FILE` is TOML whose keys are the server's flags without the dashes in front.
//! What neither the command line nor a variable says is put on the command line before it is read, so that it passes through
//! the same checks, those of flags that exclude or need each other among them, and is refused in the same words. Invariant: an
//! unknown key is refused, never ignored.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command};
use toml::{Table, Value};

use super::flags;
use crate::nearest::nearest;

/// The flag that names the file.
const CONFIG: &str = "config";
/// The customary variable for log filters: it beats the file's `log`, as every variable does.
const RUST_LOG: &str = "RUST_LOG";

/// Reads the command line, with what its `--config` file adds to it.
pub(crate) fn matches(command: Command, args: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let (mut args, mut of_file) = (args.to_vec(), None);
    if let Some((name, path)) = file_named_by(&command, &args)
        && let Some(server) = command.find_subcommand(&name)
        && let Some(at) = args.iter().skip(1).position(|word| *word == *name)
    {
        match words(server, &path, &args) {
            // Right behind the command's name, which is the first word after the program's.
            Ok(words) => {
                args.splice(at + 2..at + 2, words.iter().cloned());
                of_file = Some((path, words));
            }
            Err(message) => {
                return Err(clap::Error::raw(ErrorKind::InvalidValue, format!("{}\n", message.trim_end())));
            }
        }
    }
    command.try_get_matches_from(args).map_err(|error| match of_file {
        Some((path, words)) if is_of(&error, &words) => in_file(&path, &error),
        _ => error,
    })
}

/// Whether it is about the value that one of these words has.
fn is_of(error: &clap::Error, words: &[OsString]) -> bool {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return false };
    let flag = flag.split(' ').next().unwrap_or_default();
    matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue)
        && words.iter().any(|word| word.to_string_lossy().split('=').next() == Some(flag))
}

/// The same with the name of the file, where what is wrong stands.
fn in_file(path: &Path, error: &clap::Error) -> clap::Error {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    clap::Error::raw(error.kind(), format!("{}: {text}", path.display()))
}

/// The subcommand and its `--config`, if it is a server with one. Whatever is wrong with the rest is told when it is read in
/// earnest.
fn file_named_by(command: &Command, args: &[OsString]) -> Option<(String, PathBuf)> {
    let matches = command.clone().ignore_errors(true).try_get_matches_from(args).ok()?;
    let (name, matches) = matches.subcommand()?;
    let path = matches.try_get_one::<PathBuf>(CONFIG).ok()??;
    // `hayrick master ls` starts no server, though a variable names a file for one.
    matches.subcommand_name().is_none().then(|| (name.to_owned(), path.clone()))
}

/// What the file says and nobody who beats it, in words of the command line.
fn words(server: &Command, path: &Path, args: &[OsString]) -> Result<Vec<OsString>, String> {
    let shown = path.display();
    let begin = format!("`hayrick config {}` prints a file to begin with", server.get_name());
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("cannot read {shown}: {error}; {begin}"))?;
    let not_toml =
        |error: toml::de::Error| format!("{shown} is not TOML: {}\n{begin}", error.to_string().trim_end());
    let table: Table = text.parse().map_err(not_toml)?;
    if let Some((key, value)) = table.iter().find(|(key, _)| flags(server).all(|(known, _)| known != *key)) {
        return Err(format!("{shown}: {}", unknown(server, key, value)));
    }
    // In the order of the flags, which is that of most command lines: what is refused names them in it.
    let mut words = Vec::new();
    for (key, arg) in flags(server) {
        let Some(value) = table.get(key) else { continue };
        let word = word(arg, key, value).map_err(|why| format!("{shown}: {why}"))?;
        if !is_beaten(arg, key, args) {
            words.extend(word);
        }
    }
    Ok(words)
}

/// Whether a flag or a variable says it. Both are looked for themselves, and not in what clap made of them: what cannot be
/// read is to be refused, and not to give way to the file.
fn is_beaten(arg: &Arg, key: &str, args: &[OsString]) -> bool {
    let flag = format!("--{key}");
    let is_flag = |word: &OsString| {
        let rest = word.as_encoded_bytes().strip_prefix(flag.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
    };
    let is_set = |variable: &OsStr| std::env::var_os(variable).is_some();
    args.iter().any(is_flag)
        || arg.get_env().is_some_and(is_set)
        || (key == "log" && is_set(OsStr::new(RUST_LOG)))
}

/// A line of the file as it would stand on the command line; nothing for a switch that is off.
fn word(arg: &Arg, key: &str, value: &Value) -> Result<Option<OsString>, String> {
    if !arg.get_action().takes_values() {
        return match value {
            Value::Boolean(true) => Ok(Some(format!("--{key}").into())),
            Value::Boolean(false) => Ok(None),
            _ => Err(format!("{key} must be true or false")),
        };
    }
    let text = match value {
        Value::Array(values) => {
            values.iter().map(text_of).collect::<Option<Vec<_>>>().map(|all| all.join(","))
        }
        value => text_of(value),
    };
    let text = text.ok_or_else(|| format!("{key} must be a text, a number or a list of them"))?;
    Ok(Some(format!("--{key}={text}").into()))
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        // As it was written: what must be a whole number is none with a point.
        Value::Float(number) => Some(format!("{number:?}")),
        _ => None,
    }
}

/// What is said of a key that there is not: the one that is meant, perhaps, and where all of them are.
fn unknown(server: &Command, key: &str, value: &Value) -> String {
    let name = server.get_name();
    let all = format!("hayrick config {name} prints all settings");
    if value.is_table() {
        return format!(
            "there is no setting {key:?} that has lines of its own; settings stand by themselves; {all}"
        );
    }
    match nearest(key, flags(server).map(|(known, _)| known)) {
        Some(known) => format!("there is no setting {key:?}; {known} is one; {all}"),
        None => format!("there is no setting {key:?} of hayrick {name}; {all}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Sub,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Sub {
        Serve(Serve),
    }

    #[derive(Debug, Args)]
    struct Serve {
        #[arg(long, required = true)]
        id: Option<u64>,
        #[arg(long, env = "HAYRICK_DOWN_AFTER_OF_A_TEST", default_value = "3s")]
        down_after: String,
        #[arg(long)]
        masters: Option<String>,
        #[arg(long, conflicts_with = "masters")]
        join: Option<String>,
        #[arg(long, conflicts_with = "join", requires = "masters")]
        restore: Option<String>,
        #[arg(long)]
        fast: bool,
        #[arg(long)]
        config: Option<PathBuf>,
    }

    fn read(args: impl IntoIterator<Item = OsString>) -> Result<Serve, String> {
        let args: Vec<OsString> = ["hayrick", "serve"].map(OsString::from).into_iter().chain(args).collect();
        let matches = matches(<Cli as clap::CommandFactory>::command(), &args).map_err(|e| e.to_string())?;
        let Sub::Serve(serve) = Cli::from_arg_matches(&matches).map_err(|e| e.to_string())?.command;
        Ok(serve)
    }

    fn parse(file: &str, args: &[&str]) -> Result<Serve, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hayrick.toml");
        std::fs::write(&path, file).expect("a file");
        let head = ["--config".into(), path.into_os_string()];
        read(head.into_iter().chain(args.iter().map(OsString::from)))
    }

    const FILE: &str = "id = 7\nmasters = [\"1=a:1\", \"2=b:2\"]\ndown-after = \"9s\"\n";

    #[test]
    fn the_file_gives_what_the_command_line_leaves_out() {
        let serve = parse(FILE, &[]).expect("complete");
        assert_eq!((serve.id, serve.masters.as_deref()), (Some(7), Some("1=a:1,2=b:2")));
        assert_eq!(serve.down_after, "9s");
        assert!(serve.config.is_some() && !serve.fast);
    }

    #[test]
    fn a_flag_beats_the_file() {
        let serve = parse(FILE, &["--id", "8", "--down-after=1s"]).expect("complete");
        assert_eq!((serve.id, serve.down_after.as_str()), (Some(8), "1s"));
    }

    #[test]
    fn a_flag_that_cannot_be_read_does_not_give_way_to_the_file() {
        assert!(parse(FILE, &["--id", "eight"]).expect_err("no number").contains("invalid value 'eight'"));
        assert!(parse(FILE, &["--unknown", "--id", "8"]).expect_err("unknown").contains("--unknown"));
    }

    #[test]
    fn what_the_file_leaves_out_keeps_its_default_or_is_missed() {
        assert_eq!(parse("id = 7", &[]).expect("complete").down_after, "3s");
        assert!(parse("masters = \"a:1\"", &[]).expect_err("no id").contains("--id"));
    }

    #[test]
    fn switches_and_numbers_with_a_point_are_taken_where_they_fit() {
        assert!(parse("id = 7\nfast = true", &[]).expect("a switch").fast);
        assert!(!parse("id = 7\nfast = false", &[]).expect("a switch").fast);
        assert_eq!(parse("id = 7\ndown-after = 2.50", &[]).expect("a number").down_after, "2.5");
        assert!(parse("id = 7.0", &[]).expect_err("not whole").contains("invalid value '7.0'"));
        assert!(
            parse("id = 7\nfast = \"yes\"", &[])
                .expect_err("no switch")
                .contains("fast must be true or false")
        );
    }

    #[test]
    fn what_excludes_or_needs_each_other_is_refused_in_the_words_of_the_command_line() {
        for pair in [["masters", "join"], ["join", "restore"], ["restore", "restore"]] {
            let flags = pair.map(|key| format!("--{key}=a:1"));
            let mut flags = flags.to_vec();
            flags.dedup();
            let args = ["--id=7".to_owned()].into_iter().chain(flags);
            let on_the_command_line = read(args.map(OsString::from)).expect_err("not together");

            let mut lines = pair.map(|key| format!("{key} = \"a:1\"\n")).to_vec();
            lines.dedup();
            let in_the_file = parse(&format!("id = 7\n{}", lines.concat()), &[]).expect_err("not together");
            // What follows is how the command is used, where the file is named, too.
            let told = |error: &str| error.split_once("\n\nUsage:").expect("usage").0.to_owned();
            assert_eq!(told(&in_the_file), told(&on_the_command_line), "{pair:?}");

            let half = parse(&format!("id = 7\n{}", lines[0]), &[&format!("--{}=a:1", pair[1])]);
            if pair[0] != pair[1] {
                assert_eq!(told(&half.expect_err("not together")), told(&on_the_command_line), "{pair:?}");
            }
        }
        assert!(parse("id = 7\nmasters = \"a:1\"", &["--restore=x"]).is_ok(), "the file has what it needs");
    }

    #[test]
    fn unknown_keys_and_values_that_do_not_fit_are_refused() {
        let error = |file: &str| parse(file, &[]).expect_err("refused");
        let all = "hayrick config serve prints all settings";
        let slip = format!("there is no setting \"dwon-after\"; down-after is one; {all}");
        assert!(error("dwon-after = \"3s\"").contains(&slip));
        assert!(error("down_after = \"3s\"").contains("down-after is one"));
        assert!(
            error("zebra = 1").contains(&format!("there is no setting \"zebra\" of hayrick serve; {all}"))
        );
        assert!(error("config = \"x\"").contains("there is no setting \"config\""));
        assert!(
            error("[master]\nid = 1").contains("there is no setting \"master\" that has lines of its own")
        );
        assert!(error("id = true").contains("id must be a text"));
        assert!(error("id = [[1]]").contains("id must be a text"));
        assert!(error("id = 1979-05-27").contains("id must be a text"));
        let of_file = error("id = \"x\"\nmasters = \"a:1\"");
        assert!(of_file.contains("hayrick.toml: invalid value 'x' for '--id <ID>'"), "{of_file}");
        let of_flag = parse("masters = \"a:1\"", &["--id=x"]).expect_err("no number");
        assert!(of_flag.starts_with("error: invalid value 'x'"), "{of_flag}");
        assert!(error("id = ").contains("is not TOML"));
        assert!(parse("id = true", &["--id", "8"]).expect_err("a wrong file").contains("id must be a text"));
    }
}
