//! `hayrick master ls | add | remove | transfer`: who the masters are, and who leads them.

use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;
use clap::builder::BoolishValueParser;
use hayrick_client::{Client, Error, MasterAdded, MasterStatus};
use hayrick_protocol::ids::NodeId;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::addresses::{self, Address};
use crate::commands::connect::Connect;
use crate::commands::master::seen::{self, Seen};
use crate::exit::Exit;
use crate::output::{self, Align};
use crate::units;

/// Between two looks whether a new master votes.
const ASK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the masters: who leads, who votes, who lags, who is not reached
    ///
    /// Asks the leader, wherever it is, as it alone knows who lags and whom its log does not reach; or else tells what the first
    /// master of --server that knows the others sees, and says so.
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
        Command::Remove { id, connect } => connect.run(|client| remove(client, id)),
        Command::Transfer { id, connect } => connect.run(|client| async move {
            client.transfer_leader(id.0).await?;
            output::line(&format!("master {id} leads"))?;
            Ok(Exit::Done)
        }),
    }
}

async fn ls(client: Client, as_json: bool) -> Result<Exit> {
    let Seen { answer, status, doubt } = seen::masters(&client).await?;
    if as_json {
        let seen_by = &answer["node"];
        let shown = json!({ "leader": answer["leader"], "seen_by": seen_by, "masters": answer["masters"] });
        output::json(&shown)?;
    } else {
        output::line(&table(&status.masters))?;
    }
    if let Some(doubt) = doubt {
        output::noted(&format!("note: {doubt}"));
    }
    Ok(Exit::Done)
}

async fn remove(client: Client, id: NodeId) -> Result<Exit> {
    client.remove_master(id.0).await?;
    output::line(&format!("master {id} is removed"))?;
    // It is done, whether who is left can be told or not.
    if let Ok(Seen { status, .. }) = seen::masters(&client).await
        && let Some(note) = left(&status.masters, id)
    {
        output::noted(&format!("note: {note}"));
    }
    Ok(Exit::Done)
}

/// What it means that so few are left after `removed` has gone.
fn left(masters: &[MasterStatus], removed: NodeId) -> Option<String> {
    let votes = |master: &&MasterStatus| master.id != removed.0 && master.role != "learner";
    let ids: Vec<String> = masters.iter().filter(votes).map(|master| master.id.to_string()).collect();
    let add = "a new one is started with an id that was never used, an empty --data, and --join";
    match ids.as_slice() {
        [only] => Some(format!(
            "master {only} is the only one left: there is no copy of the index but its own, and when it is down nothing \
             can be read or written; {add}"
        )),
        [one, other] => Some(format!(
            "masters {one} and {other} are left, and both are needed: when either is down nothing can be read or written; \
             {add}"
        )),
        _ => None,
    }
}

/// The masters, one a line.
pub(crate) fn table(masters: &[MasterStatus]) -> String {
    let columns = [
        ("master", Align::Right),
        ("role", Align::Left),
        ("reached", Align::Right),
        ("lag", Align::Right),
        ("client", Align::Left),
        ("peer", Align::Left),
    ];
    let row = |master: &MasterStatus| {
        vec![
            master.id.to_string(),
            master.role.clone(),
            reached(master),
            // What is not known must not look like none.
            master.lag.map_or_else(String::new, |lag| lag.to_string()),
            master.client.clone(),
            master.peer.clone(),
        ]
    };
    output::table(&columns, &masters.iter().map(row).collect::<Vec<_>>())
}

/// Since when it is not reached; a cell without spaces.
fn reached(master: &MasterStatus) -> String {
    match (master.role.as_str(), master.reached_ms) {
        ("unreachable", None) => "never".to_owned(),
        ("unreachable", Some(ms)) => format!("{}s-ago", ms / 1000),
        _ => "now".to_owned(),
    }
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
            output::noted(&format!("waiting: {reason}"));
            told = reason;
        }
        sleep(ASK_EVERY).await;
    }
}
