//! What can be set of a server, by flag, variable or file, and what is told of each setting.
//!
//! Names, variables, defaults and what a setting does are read off the command's own definition, so that there is no
//! second list of them. Reasons, examples and bounds, for which a flag has no place, are in `reasons`. Leaves reading a file
//! to `file`, and printing one to `example`.

#[cfg(test)]
mod document;
pub(crate) mod example;
pub(crate) mod file;
mod reasons;
pub(crate) mod variables;

use clap::{Arg, Command};

use self::reasons::Told;

/// Flags that make no sense in a file: the one that names it, and those that clap has for itself.
const NOT_SET: [&str; 3] = ["config", "help", "version"];
/// How help begins to tell a default that is no value, but found when the server starts.
const DEFAULT: &str = "[default: ";

/// A setting of a server.
pub(crate) struct Setting<'a> {
    arg: &'a Arg,
    /// What its flag does not say.
    told: &'static Told,
}

/// What holds where nothing is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unset {
    /// This value.
    Value(String),
    /// What is found when the server starts, in words.
    Found(String),
    /// Nothing.
    Nothing,
}

/// Flags of a server that may stand in its file.
pub(crate) fn flags(server: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    server
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?, arg)))
        .filter(|(long, _)| !NOT_SET.contains(long))
}

/// All settings of a server, in the order of its help.
pub(crate) fn of(server: &Command) -> Vec<Setting<'_>> {
    let told = |key| reasons::of(server.get_name(), key).expect("a test looks for each flag of each server");
    flags(server).map(|(key, arg)| Setting { arg, told: told(key) }).collect()
}

impl Setting<'_> {
    /// Its flag without the dashes, which is its key in the file.
    fn key(&self) -> &str {
        self.arg.get_long().unwrap_or_default()
    }

    /// What it does: the help of its flag, without the default.
    fn about(&self) -> String {
        about(self.arg)
    }

    fn unset(&self) -> Unset {
        unset(self.arg)
    }

    /// A value as it stands in the file: the default, or an example where that is no value.
    fn value(&self) -> String {
        match self.unset() {
            Unset::Value(text) if text.parse::<u64>().is_ok() => text,
            Unset::Value(text) => format!("{text:?}"),
            Unset::Found(_) | Unset::Nothing => self.told.example.to_owned(),
        }
    }

    /// Keys that cannot be set together with this one.
    fn excludes<'a>(&self, server: &'a Command) -> Vec<&'a str> {
        let by = |one: &Arg, other: &Arg| {
            server.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
        };
        let others = flags(server).filter(|(_, other)| by(self.arg, other) || by(other, self.arg));
        others.map(|(key, _)| key).collect()
    }
}

/// What a flag does, without its default.
fn about(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let Some((before, after)) = help.split_once(DEFAULT) else { return help };
    let after = after.split_once(']').map_or("", |(_, after)| after);
    format!("{}{after}", before.trim_end())
}

/// What holds without a flag.
fn unset(arg: &Arg) -> Unset {
    let values: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if !values.is_empty() {
        return Unset::Value(values.join(","));
    }
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match help.split_once(DEFAULT).and_then(|(_, rest)| rest.split_once(']')) {
        Some((found, _)) => Unset::Found(found.to_owned()),
        None => Unset::Nothing,
    }
}

/// A text as a sentence.
fn sentence(text: &str) -> String {
    if text.ends_with(['.', '…']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_that_is_found_at_the_start_is_told_apart_from_what_a_flag_does() {
        let arg = Arg::new("seconds").long("seconds").help("How long [default: what is left]; more go by");
        assert_eq!(about(&arg), "How long; more go by");
        assert_eq!(unset(&arg), Unset::Found("what is left".to_owned()));
        let arg = Arg::new("listen").long("listen").help("Where").default_value("a:1");
        assert_eq!((about(&arg), unset(&arg)), ("Where".to_owned(), Unset::Value("a:1".to_owned())));
        let arg = Arg::new("id").long("id").help("Its id");
        assert_eq!((about(&arg), unset(&arg)), ("Its id".to_owned(), Unset::Nothing));
    }

    #[test]
    fn what_excludes_each_other_is_known_of_both() {
        let cli = <crate::Cli as clap::CommandFactory>::command();
        let master = cli.find_subcommand("master").expect("there are masters");
        let excludes = |key: &str| {
            let all = of(master);
            let setting = all.iter().find(|setting| setting.key() == key).expect("it is there");
            setting.excludes(master).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(excludes("join"), ["masters", "restore"]);
        assert_eq!(excludes("masters"), ["join"]);
        assert_eq!(excludes("restore"), ["join"]);
        assert!(excludes("listen").is_empty());
    }
}
