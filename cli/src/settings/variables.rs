//! Variables that look like settings and are none: a slip is never a setting that does nothing without a word.
//!
//! Only those are told that are like a setting there is: others may have `HAYRICK_` variables of their own.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};

use crate::Cli;
use crate::nearest::nearest;

const PREFIX: &str = "HAYRICK_";

/// Warns of each in the log.
pub(crate) fn tell_slips() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (slip, meant) in slips(names, &known(&Cli::command())) {
        tracing::warn!("{slip} is set, and no setting: {meant} is one");
    }
}

/// The variables of all commands.
fn known(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str().map(str::to_owned));
    own.chain(command.get_subcommands().flat_map(known)).collect()
}

/// Each with the one that is meant, perhaps.
fn slips(names: impl Iterator<Item = String>, known: &BTreeSet<String>) -> Vec<(String, String)> {
    let as_flag = |name: &str| name.strip_prefix(PREFIX).map(|rest| rest.to_lowercase().replace('_', "-"));
    let flags: Vec<String> = known.iter().filter_map(|name| as_flag(name)).collect();
    let meant = |name: &String| nearest(&as_flag(name)?, flags.iter().map(String::as_str)).map(str::to_owned);
    let as_variable = |flag: String| format!("{PREFIX}{}", flag.to_uppercase().replace('-', "_"));
    let unknown = names.filter(|name| !known.contains(name));
    unknown.filter_map(|name| meant(&name).map(|flag| (name, as_variable(flag)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_with_what_was_meant_and_nothing_else_is() {
        let known = known(&Cli::command());
        let told = |name: &str| slips([name.to_owned()].into_iter(), &known).pop().map(|(_, meant)| meant);
        assert_eq!(told("HAYRICK_DOWNAFTER").as_deref(), Some("HAYRICK_DOWN_AFTER"));
        assert_eq!(told("HAYRICK_REPAIR_AFTR").as_deref(), Some("HAYRICK_REPAIR_AFTER"));
        for name in [
            "HAYRICK_DOWN_AFTER",
            "HAYRICK_BUG",
            "HAYRICK_BIN",
            "HAYRICK_TEST_SEED",
            "PATH",
            "HAYRICK_TEST_HANG_FILE",
        ] {
            assert_eq!(told(name), None, "{name}");
        }
    }
}
