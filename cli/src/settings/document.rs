//! docs/configuration.md: what is below its marker is made from the flags and the reasons of their defaults.
//!
//! `UPDATE_DOCS=1 cargo test -p hayrick-cli --lib configuration_document` writes it anew; the diff is then to be read.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::{Setting, Unset, about, sentence, unset};
use crate::{Cli, NAME};

/// The last line that is written by hand.
const MARKER: &str =
    "<!-- below: written by UPDATE_DOCS=1 cargo test -p hayrick-cli --lib configuration_document -->\n";
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
/// The servers, in this order.
const SERVERS: [&str; 3] = ["master", "volume", "dev"];

#[test]
fn the_configuration_document_is_made_from_the_flags() {
    if cfg!(feature = "chaos") {
        // That build shows flags that are not for users.
        return;
    }
    let is = std::fs::read_to_string(PATH).expect("docs/configuration.md can be read");
    let (by_hand, below) = is.split_once(MARKER).expect("docs/configuration.md has its marker");
    let cli = Cli::command();
    let wanted = generated(&cli);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PATH, format!("{by_hand}{MARKER}{wanted}"))
            .expect("docs/configuration.md can be written");
        return;
    }
    let anew = "write it anew with UPDATE_DOCS=1 cargo test -p hayrick-cli --lib configuration_document";
    for (is, wanted) in below.lines().zip(wanted.lines()) {
        assert_eq!(is, wanted, "docs/configuration.md is not what the flags say; {anew}");
    }
    assert!(below == wanted, "docs/configuration.md is longer or shorter than what the flags say; {anew}");
}

#[test]
fn all_flags_of_all_commands_are_in_the_document() {
    fn look(command: &Command, text: &str) {
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let shown = format!("`{}`", typed(arg));
            assert!(arg.is_positional() || text.contains(&shown), "{} {shown}", command.get_name());
        }
        command.get_subcommands().for_each(|part| look(part, text));
    }
    let cli = Cli::command();
    look(&cli, &generated(&cli));
}

fn generated(cli: &Command) -> String {
    let mut text = String::new();
    for name in SERVERS {
        let server = cli.find_subcommand(name).expect("a server");
        let head = server.get_about().map(ToString::to_string).unwrap_or_default();
        write!(text, "\n## hayrick {name}\n\n{}\n", sentence(&head)).expect("memory");
        // What names the file is none of the settings in it.
        let beside = server
            .get_arguments()
            .filter(|arg| super::NOT_SET.iter().any(|name| arg.get_long() == Some(name)));
        for arg in beside {
            write!(text, "\n`{}`, `{}`: {}\n", typed(arg), variable(arg), sentence(&about(arg)))
                .expect("memory");
        }
        for setting in super::of(server) {
            text.push_str(&section(&setting, server));
        }
    }
    text.push_str(
        "\n## The other commands\n\nThey take flags and variables, and no file. `hayrick COMMAND --help` has what else they \
         take, and examples.\n",
    );
    for part in cli.get_subcommands() {
        other(part, NAME, &mut text);
    }
    text
}

fn section(setting: &Setting<'_>, server: &Command) -> String {
    let key = setting.key();
    let mut text = format!("\n### {key}\n\n{}", marked(&sentence(&setting.about())));
    if setting.arg.is_required_set() {
        text.push_str(" It has to be set.");
    }
    let excluded: Vec<String> = setting.excludes(server).iter().map(|key| format!("`--{key}`")).collect();
    if !excluded.is_empty() {
        write!(text, " Not together with {}.", excluded.join(" or ")).expect("memory");
    }
    let value = setting.value();
    write!(text, "\n\n| flag | variable | in the file |\n|---|---|---|\n").expect("memory");
    writeln!(text, "| `{}` | `{}` | `{key} = {value}` |\n", typed(setting.arg), variable(setting.arg))
        .expect("memory");
    match setting.unset() {
        Unset::Value(value) if value.is_empty() => text.push_str("- **Default: none.** "),
        Unset::Value(value) => write!(text, "- **Default: `{value}`.** ").expect("memory"),
        Unset::Found(found) => write!(text, "- **Default: {}.** ", marked(&found)).expect("memory"),
        Unset::Nothing => text.push_str("- **No default.**"),
    }
    writeln!(text, "{}", marked(setting.told.why)).expect("memory");
    if let Some(bounds) = &setting.told.bounds {
        writeln!(text, "- **What works**: {}.", marked(bounds.told)).expect("memory");
    }
    text
}

/// A command and its parts; of a server only these, as it has a chapter.
fn other(command: &Command, before: &str, text: &mut String) {
    let typed_so_far = format!("{before} {}", command.get_name());
    let is_server = before == NAME && SERVERS.contains(&command.get_name());
    let flags: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && arg.get_long().is_some() && !is_server)
        .collect();
    if !flags.is_empty() {
        write!(
            text,
            "\n### {typed_so_far}\n\n| flag | variable | default | what it does |\n|---|---|---|---|\n"
        )
        .expect("memory");
    }
    for arg in flags {
        let default = match unset(arg) {
            Unset::Value(value) if arg.get_action().takes_values() => format!("`{value}`"),
            Unset::Found(found) => marked(&found),
            Unset::Value(_) | Unset::Nothing => String::new(),
        };
        let cells =
            [format!("`{}`", typed(arg)), format!("`{}`", variable(arg)), default, marked(&about(arg))];
        writeln!(text, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")).expect("memory");
    }
    for part in command.get_subcommands() {
        other(part, &typed_so_far, text);
    }
}

/// A text in which flags stand out.
fn marked(text: &str) -> String {
    let mark = |word: &str| {
        let flag = word.trim_end_matches([',', '.', ';', ':', ')']);
        if flag.starts_with("--") { format!("`{flag}`{}", &word[flag.len()..]) } else { word.to_owned() }
    };
    text.split(' ').map(mark).collect::<Vec<_>>().join(" ")
}

/// A flag as it is typed.
fn typed(arg: &Arg) -> String {
    let long = arg.get_long().unwrap_or_default();
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    if !arg.get_action().takes_values() {
        return format!("{short}--{long}");
    }
    let names: Vec<&str> = arg.get_value_names().into_iter().flatten().map(|name| name.as_str()).collect();
    let value = if names.is_empty() { long.to_uppercase().replace('-', "_") } else { names.join(" ") };
    format!("{short}--{long} {value}")
}

fn variable(arg: &Arg) -> String {
    arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
