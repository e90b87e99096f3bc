//! `hayrick master ls | add | remove | transfer`: who the masters are, and who leads them.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;
use clap::builder::BoolishValueParser;
use hayrick_client::{Client, Error, MasterAdded, MasterStatus, Status};
use hayrick_protocol::ids::NodeId;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::addresses::{self, Address};
use crate::commands::connect::Connect;
use crate::exit::Exit;
use crate::output::{self, Align};
use crate::units;

/// Between two looks whether a new master votes.
const ASK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the masters: who leads, who votes, who lags
    #[command(after_help = "\
Examples:
  hayrick master ls
  hayrick master ls --json | jq '.masters[] | select(.role == \"unreachable\")'")]
    Ls {
        /// Print JSON
        #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
        json: bool,
        #[command(flatten)]
        connect: Connect,
    },
    /// Take in a master that was started with --join, and wait until it votes
    ///
    /// A master that is started with --join asks by itself. This asks for it, says what is in the way, and tells when it is
    /// done. Repeating it does no harm.
    #[command(after_help = "\
Examples:
  hayrick master add 4 10.0.0.4:9092
  hayrick master add 4 10.0.0.4:9092 --wait 10m")]
    Add {
        /// Its id, which was never used in this cluster
        #[arg(value_parser = addresses::master_id)]
        id: NodeId,
        /// Its peer address, as others reach it
        #[arg(value_name = "HOST:PORT", value_parser = addresses::reachable)]
        peer: Address,
        /// How long to wait until it answers, has caught up and votes
        #[arg(long, env = "HAYRICK_WAIT", value_name = "TIME", default_value = "1m", value_parser = units::parse_time)]
        wait: Duration,
        #[command(flatten)]
        connect: Connect,
    },
    /// Take a master out for good: its id never comes back
    ///
    /// Works on a dead master and on one that runs, which ends then and says why. A leader hands leadership over first.
    #[command(after_help = "\
Examples:
  hayrick master remove 3
  Replace a master whose disk is lost, id 3, by a new one, id 4:
    hayrick master remove 3
    hayrick master --id 4 --data DIR --join 10.0.0.1:9092 …    on the new machine")]
    Remove {
        /// Its id
        #[arg(value_parser = addresses::master_id)]
        id: NodeId,
        #[command(flatten)]
        connect: Connect,
    },
    /// Hand leadership to another master
    #[command(after_help = "\
Examples:
  hayrick master transfer 2")]
    Transfer {
        /// The id of who is to lead
        #[arg(value_parser = addresses::master_id)]
        id: NodeId,
        #[command(flatten)]
        connect: Connect,
    },
}

pub(super) fn run(command: Command) -> Result<Exit> {
    match command {
        Command::Ls { json, connect } => connect.run(|client| ls(client, json)),
        Command::Add { id, peer, wait, connect } => {
            connect.run(|client| async move { add(&client, id, &peer.text(), wait).await })
        }
        Command::Remove { id, connect } => connect.run(|client| async move {
            client.remove_master(id.0).await?;
            output::line(&format!("master {id} is removed"))?;
            Ok(Exit::Done)
        }),
        Command::Transfer { id, connect } => connect.run(|client| async move {
            client.transfer_leader(id.0).await?;
            output::line(&format!("master {id} leads"))?;
            Ok(Exit::Done)
        }),
    }
}

async fn ls(client: Client, as_json: bool) -> Result<Exit> {
    let answer = client.status_json().await?;
    if as_json {
        output::json(&json!({ "leader": answer["leader"], "masters": answer["masters"] }))?;
        return Ok(Exit::Done);
    }
    let status = Status::deserialize(&answer).context("the master's answer cannot be understood")?;
    output::line(&table(&status.masters))?;
    Ok(Exit::Done)
}

/// The masters, one a line.
pub(crate) fn table(masters: &[MasterStatus]) -> String {
    let columns = [
        ("master", Align::Right),
        ("role", Align::Left),
        ("lag", Align::Right),
        ("client", Align::Left),
        ("peer", Align::Left),
    ];
    let row = |master: &MasterStatus| {
        vec![
            master.id.to_string(),
            master.role.clone(),
            // What is not known must not look like none.
            master.lag.map_or_else(String::new, |lag| lag.to_string()),
            master.client.clone(),
            master.peer.clone(),
        ]
    };
    output::table(&columns, &masters.iter().map(row).collect::<Vec<_>>())
}

async fn add(client: &Client, id: NodeId, peer: &str, wait: Duration) -> Result<Exit> {
    let deadline = Instant::now() + wait;
    let mut told = String::new();
    loop {
        let reason = match client.add_master(id.0, peer).await {
            Ok(MasterAdded::Votes) => {
                output::line(&format!("master {id} votes"))?;
                return Ok(Exit::Done);
            }
            Ok(MasterAdded::CatchesUp(reason)) => reason,
            Err(error @ Error::Refused { status: 503, .. }) if Instant::now() + ASK_EVERY >= deadline => {
                return Err(error.into());
            }
            Err(Error::Refused { status: 503, message }) => message,
            Err(error) => return Err(error.into()),
        };
        if Instant::now() + ASK_EVERY >= deadline {
            anyhow::bail!("{reason}, which it has not within {wait:?} (--wait)");
        }
        if reason != told {
            eprintln!("waiting: {reason}");
            told = reason;
        }
        sleep(ASK_EVERY).await;
    }
}
