//! `hayrick volume ls | drain | undrain | remove`: how volumes fare, and what becomes of them.

use anyhow::Result;
use clap::Subcommand;
use clap::builder::BoolishValueParser;
use hayrick_client::{Client, VolumeChange, VolumeRehearsal};
use serde_json::json;

use crate::addresses::volume_id;
use crate::commands::connect::Connect;
use crate::commands::status;
use crate::exit::Exit;
use crate::output;
use crate::units::{bytes, minutes};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the volumes: which are up, how full they are, what is damaged
    #[command(after_help = "\
Examples:
  hayrick volume ls
  hayrick volume ls --all
  hayrick volume ls --json | jq '.[] | select(.state != \"up\")'")]
    Ls {
        /// Also those that were removed for good
        #[arg(long, env = "HAYRICK_ALL", value_parser = BoolishValueParser::new())]
        all: bool,
        /// Print JSON
        #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
        json: bool,
        #[command(flatten)]
        connect: Connect,
    },
    /// Move everything on a volume elsewhere, so that it can be stopped
    ///
    /// It takes no more writes, serves reads to the end, and every object has all its copies all the time. What is moved can
    /// be watched in `hayrick status`; repeat the command to hear whether it is done. `hayrick volume undrain` ends it.
    #[command(after_help = "\
Examples:
  hayrick volume drain 3 --dry-run
  hayrick volume drain 3
  When it says that the volume is drained: stop the process, and then
    hayrick volume remove 3")]
    Drain(Change),
    /// Let a volume that is being drained take writes again; what was moved stays where it is
    #[command(after_help = "\
Examples:
  hayrick volume undrain 3")]
    Undrain(Change),
    /// Take a volume out for good, once it is drained, or when it is dead and never comes back
    ///
    /// What a dead volume held is copied from the others at once, without waiting for --repair-after. Refused when it has the
    /// only copy of something.
    #[command(after_help = "\
Examples:
  hayrick volume remove 3 --dry-run
  hayrick volume remove 3")]
    Remove(Change),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Change {
    /// Its id, as `hayrick volume ls` shows it
    #[arg(value_parser = volume_id)]
    id: u64,
    /// Only say what it would come to
    #[arg(long, env = "HAYRICK_DRY_RUN", value_parser = BoolishValueParser::new())]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(super) fn run(command: Command) -> Result<Exit> {
    match command {
        Command::Ls { all, json, connect } => connect.run(|client| ls(client, all, json)),
        Command::Drain(change) => make(&change, VolumeChange::Drain),
        Command::Undrain(change) => make(&change, VolumeChange::Undrain),
        Command::Remove(change) => make(&change, VolumeChange::Remove),
    }
}

async fn ls(client: Client, all: bool, as_json: bool) -> Result<Exit> {
    if as_json {
        let answer = client.status_json().await?;
        let volumes = answer["volumes"].as_array().into_iter().flatten();
        let shown: Vec<_> = volumes.filter(|volume| all || volume["state"] != status::REMOVED).collect();
        output::json(&json!(shown))?;
    } else {
        output::line(&status::volumes(&client.status().await?.volumes, all))?;
    }
    Ok(Exit::Done)
}

fn make(change: &Change, to: VolumeChange) -> Result<Exit> {
    let (id, dry_run) = (change.id, change.dry_run);
    change.connect.run(|client| async move {
        let text = if dry_run {
            rehearsed(id, to, &client.rehearse_volume(id, to).await?)
        } else {
            client.change_volume(id, to).await?
        };
        output::line(&text)?;
        Ok(Exit::Done)
    })
}

fn rehearsed(id: u64, to: VolumeChange, found: &VolumeRehearsal) -> String {
    let VolumeRehearsal { changes, placements, needles, bytes: size, .. } = found;
    let time = minutes(found.minutes);
    let holds = format!("{placements} placements with {needles} needles, {}", bytes(*size));
    match to {
        VolumeChange::Drain if *changes => {
            format!("would move {holds} off volume {id}, in {time}")
        }
        VolumeChange::Drain => {
            format!("volume {id} is being drained: {holds} are on it still, {time}")
        }
        VolumeChange::Undrain if *changes => {
            format!("would leave {holds} on volume {id}, and write to it again")
        }
        VolumeChange::Undrain => format!("volume {id} is not being drained"),
        VolumeChange::Remove if *changes => {
            format!("would remove volume {id} for good; {holds} would be copied from others, in {time}")
        }
        VolumeChange::Remove => format!("volume {id} is removed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_says_how_much_and_how_long() {
        let found =
            VolumeRehearsal { changes: true, placements: 12, needles: 300, bytes: 3 << 30, minutes: 1 };
        assert_eq!(
            rehearsed(3, VolumeChange::Drain, &found),
            "would move 12 placements with 300 needles, 3.0 GiB off volume 3, in about a minute"
        );
        let under_way = VolumeRehearsal { changes: false, ..found };
        assert!(rehearsed(3, VolumeChange::Drain, &under_way).starts_with("volume 3 is being drained: 12"));
        assert_eq!(rehearsed(3, VolumeChange::Remove, &under_way), "volume 3 is removed");
    }
}
