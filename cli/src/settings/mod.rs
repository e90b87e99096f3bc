//! What can be set of a server, by flag, variable or file.
//!
//! Everything is read off the command's own definition, so that there is no second list.

pub(crate) mod file;

use clap::{Arg, Command};

/// Flags that make no sense in a file: the one that names it, and those that clap has for itself.
const NOT_SET: [&str; 3] = ["config", "help", "version"];

/// Flags of a server that may stand in its file.
pub(crate) fn flags(server: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    server
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?, arg)))
        .filter(|(long, _)| !NOT_SET.contains(long))
}
