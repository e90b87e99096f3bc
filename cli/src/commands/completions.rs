//! `hayrick completions`: the script with which a shell completes what is typed behind `hayrick`.

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::Exit;
use crate::{Cli, NAME, output};

/// Print the script with which a shell completes commands and flags
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick completions bash > /etc/bash_completion.d/hayrick
  hayrick completions zsh > /usr/local/share/zsh/site-functions/_hayrick
  hayrick completions fish > ~/.config/fish/completions/hayrick.fish
  For this shell alone:
    source <(hayrick completions bash)")]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    output::line(script(args.shell)?.trim_end())?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    String::from_utf8(script).context("the script is no text")
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_is_told_of_every_command_and_flag() {
        let cli = Cli::command();
        for shell in Shell::value_variants() {
            let script = script(*shell).expect("a script");
            for command in cli.get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
            for part in ["--down-after", "--max-object-size", "undrain", "--without", "completions"] {
                assert!(script.contains(part.trim_start_matches('-')), "{shell}: {part}");
            }
        }
    }
}
