//! The file that `hayrick config` prints: every setting of a server, commented out, with what it does and why its default
//! is what it is.
//!
//! Invariant: it can be given to `--config` as it is, and with any of its settings taken in.

use clap::Command;

use super::{Setting, Unset, sentence};

/// Characters of a line of comment.
const COLUMNS: usize = 100;

/// The file for this server.
pub(crate) fn text(server: &Command) -> String {
    let name = server.get_name();
    let head = [
        format!("Settings of hayrick {name}, for hayrick {name} --config FILE."),
        "Each stands here with its default, or with an example where it has none. It is not set until the # in front of its \
         line is taken away."
            .to_owned(),
        "A flag beats its variable, that beats this file, and that the default: --down-after beats HAYRICK_DOWN_AFTER, and \
         that beats down-after. Sizes are written 64MiB, times 3s or 250ms, both in quotes."
            .to_owned(),
    ];
    let mut text = head.map(|paragraph| comment(&paragraph)).join("#\n");
    for setting in super::of(server) {
        text.push('\n');
        text.push_str(&block(&setting, server));
    }
    text
}

fn block(setting: &Setting<'_>, server: &Command) -> String {
    let mut block = comment(&sentence(&setting.about()));
    let excluded = setting.excludes(server);
    if setting.arg.is_required_set() {
        block.push_str(&comment("It has to be set, here or elsewhere."));
    }
    if !excluded.is_empty() {
        block.push_str(&comment(&format!("Not together with {}.", excluded.join(" or "))));
    }
    if let Some(bounds) = &setting.told.bounds {
        block.push_str(&comment(&format!("What works: {}.", bounds.told)));
    }
    match setting.unset() {
        Unset::Value(_) => block.push_str(&comment(&format!("Why this default: {}", setting.told.why))),
        Unset::Found(found) => {
            block.push_str(&comment(&format!("By default: {found}. {}", setting.told.why)));
        }
        Unset::Nothing => {}
    }
    block + &format!("#{} = {}\n", setting.key(), setting.value())
}

/// A text as lines of comment.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::commands::{master, volume};
    use crate::settings::file;
    use crate::{Cli, Command as Chosen};

    const SERVERS: [&str; 3] = ["master", "volume", "dev"];

    fn printed(server: &str) -> String {
        text(Cli::command().find_subcommand(server).expect("a server"))
    }

    /// Whether a server can be started with this file, and what it needs beside it.
    fn start(server: &str, file: &str) -> Result<(), String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hayrick.toml");
        std::fs::write(&path, file).expect("a file");
        let mut args: Vec<OsString> = ["hayrick", server, "--config"].map(OsString::from).into();
        args.push(path.into_os_string());
        let needed: &[(&str, &str)] = match server {
            "master" => &[("id", "1"), ("data", "/no/such"), ("masters", "1=10.0.0.1:9092")],
            "volume" => &[("data", "/no/such"), ("masters", "10.0.0.1:9092")],
            _ => &[],
        };
        for (key, value) in needed {
            let is_there = |key: &str| file.lines().any(|line| line.starts_with(&format!("{key} = ")));
            // What enters a cluster does not form one.
            let is_in_place = is_there(key) || (*key == "masters" && is_there("join"));
            if !is_in_place {
                args.push(format!("--{key}={value}").into());
            }
        }
        let matches = file::matches(Cli::command(), &args).map_err(|error| error.to_string())?;
        let cli = Cli::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        match cli.command {
            Chosen::Master(args) => master::options(*args).map(drop),
            Chosen::Volume(args) => volume::options(args).map(drop),
            _ => Ok(()),
        }
        .map_err(|error| format!("{error:#}"))
    }

    /// The settings of a printed file, each as a line that is taken in.
    fn settings(file: &str) -> Vec<&str> {
        file.lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| line.contains(" = "))
            .filter(|line| line.starts_with(|letter: char| letter.is_ascii_lowercase()))
            .collect()
    }

    #[test]
    fn the_printed_file_is_taken_as_it_is() {
        for server in SERVERS {
            assert_eq!(start(server, &printed(server)), Ok(()), "{server}");
        }
    }

    #[test]
    fn every_setting_of_the_printed_file_can_be_taken_in() {
        for server in SERVERS {
            let file = printed(server);
            let command = Cli::command();
            let flags = crate::settings::flags(command.find_subcommand(server).expect("a server")).count();
            assert_eq!(settings(&file).len(), flags, "{server}");
            for line in settings(&file) {
                let taken_in = file.replace(&format!("\n#{line}\n"), &format!("\n{line}\n"));
                assert_ne!(taken_in, file, "{line}");
                let alone = if line.starts_with("restore = ") {
                    format!("{taken_in}masters = [\"1=a:1\"]\n")
                } else {
                    taken_in
                };
                assert_eq!(start(server, &alone), Ok(()), "{server}: {line}");
            }
        }
    }

    #[test]
    fn all_settings_of_the_printed_file_work_together_but_for_those_that_exclude_each_other() {
        for server in SERVERS {
            let all = settings(&printed(server)).join("\n");
            let together =
                all.lines().filter(|line| !line.starts_with("join = ")).collect::<Vec<_>>().join("\n");
            assert_eq!(start(server, &together), Ok(()), "{server}");
        }
        let refused =
            start("master", &settings(&printed("master")).join("\n")).expect_err("join and masters");
        assert!(refused.contains("cannot be used with"), "{refused}");
    }

    #[test]
    fn the_values_of_the_printed_file_are_the_defaults() {
        // With all that has a value by default taken in, nothing is other than without the file.
        let server = "master";
        let file = printed(server);
        let defaults: Vec<&str> = settings(&file)
            .into_iter()
            .filter(|line| {
                let key = line.split(' ').next().unwrap_or_default();
                let command = Cli::command();
                let command = command.find_subcommand(server).expect("a server");
                let arg = crate::settings::flags(command)
                    .find(|(known, _)| *known == key)
                    .expect("a flag")
                    .1
                    .clone();
                matches!(crate::settings::unset(&arg), Unset::Value(_))
            })
            .collect();
        assert!(
            defaults.contains(&"down-after = \"3s\"") && defaults.contains(&"replicas = 3"),
            "{defaults:?}"
        );
        let id = "id = 1\ndata = \"/no/such\"\nmasters = \"1=a:1\"\n";
        assert_eq!(options_of(&format!("{id}{}", defaults.join("\n"))), options_of(id));
    }

    fn options_of(file: &str) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hayrick.toml");
        std::fs::write(&path, file).expect("a file");
        let args = ["hayrick".into(), "master".into(), "--config".into(), path.into_os_string()];
        let matches = file::matches(Cli::command(), &args).expect("it can be read");
        match Cli::from_arg_matches(&matches).expect("it is complete").command {
            Chosen::Master(args) => format!("{:?}", master::options(*args).expect("it works")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn comments_are_broken_where_a_line_is_full() {
        let lines = comment(&"word ".repeat(50));
        assert!(lines.lines().all(|line| line.starts_with("# word") && line.len() <= COLUMNS), "{lines}");
        assert_eq!(lines.matches("word").count(), 50);
        assert_eq!(comment("short"), "# short\n");
    }
}
