//! `hayrick status`: the cluster at a glance, as one master sees it. `watch` shows it time and again.

mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::builder::BoolishValueParser;
use hayrick_client::{Client, MoveStatus, RepairStatus, Status, VolumeStatus};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::commands::connect::Connect;
use crate::commands::master::members;
use crate::exit::Exit;
use crate::output::{self, Align};
use crate::units::{about, bytes};

/// Show the cluster at a glance: masters, volumes, objects, and copies that are being made
///
/// Asks the first master that answers, whether it has a leader or not. What is being copied it has from the leader.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick status
  hayrick status --server 10.0.0.2:9090,10.0.0.3:9090
  hayrick status --watch
  hayrick status --json | jq '.volumes[] | select(.state != \"up\")'")]
pub(crate) struct Args {
    /// Print the master's whole answer, JSON
    #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    /// Show it anew every second, until Ctrl-C
    #[arg(long, env = "HAYRICK_WATCH", value_parser = BoolishValueParser::new(), conflicts_with = "json")]
    watch: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    args.connect.run(|client| async move {
        if args.watch {
            return watch::run(&client).await;
        }
        if args.json {
            output::json(&ask(&client).await?)?;
        } else {
            output::line(&Look::take(&client).await?.told(None))?;
        }
        Ok(Exit::Done)
    })
}

/// What a master said, and when.
struct Look {
    status: Status,
    /// Why it cannot serve, if it cannot.
    ready: Result<(), String>,
    at: Instant,
}

async fn ask(client: &Client) -> Result<Value> {
    let answer = client.status_json().await?;
    if answer["node"].as_u64().is_none_or(|node| node == 0) {
        bail!("what answers there is no master: name the client port of one with --server");
    }
    Ok(answer)
}

impl Look {
    async fn take(client: &Client) -> Result<Self> {
        let answer = ask(client).await?;
        let at = Instant::now();
        let ready = client.ready().await.map_err(|error| error.to_string());
        let status = Status::deserialize(&answer).context("the master's answer cannot be understood")?;
        Ok(Self { status, ready, at })
    }

    /// At a glance; with the rates since the look `before`, if there was one.
    fn told(&self, before: Option<&Look>) -> String {
        let rates = before.and_then(|before| watch::rates(before, self));
        let Status { masters, volumes: all, moves: under_way, .. } = &self.status;
        let mut parts =
            vec![summary(&self.status, &self.ready, rates), members::table(masters), volumes(all, false)];
        if !under_way.is_empty() {
            parts.push(moves(under_way));
        }
        parts.join("\n\n")
    }
}

fn moves(moves: &[MoveStatus]) -> String {
    let columns = [
        ("move", Align::Left),
        ("placements", Align::Right),
        ("from", Align::Right),
        ("to", Align::Right),
        ("done", Align::Right),
        ("of", Align::Right),
        ("a-second", Align::Right),
        ("left", Align::Right),
    ];
    let row = |of: &MoveStatus| {
        vec![
            of.kind.clone(),
            of.placements.to_string(),
            of.from.map(|id| id.to_string()).unwrap_or_default(),
            of.to.to_string(),
            bytes(of.done),
            bytes(of.total),
            bytes(of.bytes_per_s),
            of.eta_ms.map(|ms| format!("{}s", ms.div_ceil(1000))).unwrap_or_default(),
        ]
    };
    output::table(&columns, &moves.iter().map(row).collect::<Vec<_>>())
}

fn summary(status: &Status, ready: &Result<(), String>, rates: Option<String>) -> String {
    let leader = match status.leader {
        Some(id) => format!("master {id}, term {}", status.term),
        None => format!("none that master {} knows of: no writes, no linearizable reads", status.node),
    };
    let mut rows = vec![
        (
            "cluster",
            format!("{}, as master {} sees it (version {})", status.cluster, status.node, status.version),
        ),
        ("ready", ready.as_ref().map_or_else(|why| format!("no: {why}"), |()| "yes".to_owned())),
        ("leader", leader),
        ("index", format!("applied {} of {} committed", status.applied, status.committed)),
        ("objects", format!("{}, {}", status.objects, bytes(status.object_bytes))),
    ];
    rows.extend(rates.map(|rates| ("a second", rates)));
    rows.push((
        "copies",
        format!(
            "{} each, {} needed for a write; {} partitions",
            status.replicas, status.min_replicas, status.partitions
        ),
    ));
    if status.placements_by_copies.values().any(|count| *count > 0) {
        rows.push(("placements", placements(&status.placements_by_copies)));
    }
    if status.under_replicated > 0 {
        rows.push((
            "warning",
            format!(
                "{} objects have fewer than {} copies that can be read",
                status.under_replicated, status.replicas
            ),
        ));
    }
    rows.extend(status.volumes.iter().filter(|volume| volume.bad > 0).map(|volume| {
        let fate = if volume.state == "up" { "being mended" } else { "mended once it is up" };
        ("warning", format!("{} damaged needles on volume {}, {fate}", volume.bad, volume.id))
    }));
    if status.repair.placements > 0 {
        rows.push(("repair", repair(&status.repair)));
    }
    if status.garbage.needles > 0 {
        let garbage = &status.garbage;
        rows.push((
            "garbage",
            format!("{} overwritten or deleted, {}, to be reaped", garbage.needles, bytes(garbage.bytes)),
        ));
    }
    rows.extend(status.waiting.iter().map(|reason| ("waiting", reason.clone())));
    let rows: Vec<(String, String)> =
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    output::pairs(&rows)
}

/// By the number of their copies, the most first, without those that there are none of.
fn placements(by_copies: &BTreeMap<u8, u64>) -> String {
    let some = by_copies.iter().rev().filter(|(_, count)| **count > 0);
    let parts: Vec<String> = some.map(|(copies, count)| format!("{count} with {copies}")).collect();
    format!("{} copies that can be read", parts.join(", "))
}

/// What is to be copied, all together.
fn repair(left: &RepairStatus) -> String {
    let to_go = format!("{} placements, {} to go", left.placements, bytes(left.bytes_left));
    match left.eta_ms {
        Some(ms) => {
            format!("{to_go} at {}/s, {}", bytes(left.bytes_per_s), about(Duration::from_millis(ms)))
        }
        None => to_go,
    }
}

/// The state of a volume that never comes back.
pub(crate) const REMOVED: &str = "removed";

/// The volumes, one a line; those that were removed only where all are wanted.
pub(crate) fn volumes(volumes: &[VolumeStatus], all: bool) -> String {
    let columns = [
        ("volume", Align::Right),
        ("state", Align::Left),
        ("needles", Align::Right),
        ("used", Align::Right),
        ("free", Align::Right),
        ("bad", Align::Right),
        ("zone", Align::Left),
        ("http", Align::Left),
        ("peer", Align::Left),
    ];
    let row = |volume: &VolumeStatus| {
        vec![
            volume.id.to_string(),
            volume.state.clone(),
            volume.needles.to_string(),
            bytes(volume.used),
            bytes(volume.free),
            volume.bad.to_string(),
            volume.zone.clone(),
            volume.addr.clone(),
            volume.peer.clone(),
        ]
    };
    let shown = volumes.iter().filter(|volume| all || volume.state != REMOVED);
    output::table(&columns, &shown.map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is told of a master that is ready and says this.
    pub(super) fn look(status: &Value, at: Instant) -> Look {
        Look { status: Status::deserialize(status).expect("a status"), ready: Ok(()), at }
    }

    #[test]
    fn a_cluster_is_seen_at_a_glance() {
        let status = json!({
            "cluster": "c0ffee", "node": 2, "version": "0.1.0", "leader": 1, "term": 7, "committed": 9, "applied": 8,
            "replicas": 3, "min_replicas": 2, "partitions": 4096, "objects": 5, "object_bytes": 2048,
            "under_replicated": 1, "waiting": ["repair of 14 placements: no other volume has 3 MiB free; add a volume"],
            "placements_by_copies": { "3": 4, "2": 1, "1": 0, "0": 0 },
            "repair": { "placements": 14, "bytes_left": 1_288_490_189, "bytes_per_s": 50_331_648, "eta_ms": 24_100 },
            "moves": [{ "kind": "repair", "placement": 7, "placements": 128, "from": 3, "to": 4, "done": 1024, "total": 4096,
                "bytes_per_s": 512, "eta_ms": 6000 }],
            "masters": [{ "id": 1, "role": "leader", "client": "a:1", "lag": 0 }, { "id": 2, "role": "unreachable", "reached_ms": 9200 },
                { "id": 3, "role": "unreachable" }],
            "volumes": [{ "id": 3, "state": "down", "used": 1536 }, { "id": 4, "state": "up", "bad": 3 },
                { "id": 5, "state": "removed" }],
        });
        let expected = "\
cluster     c0ffee, as master 2 sees it (version 0.1.0)
ready       yes
leader      master 1, term 7
index       applied 8 of 9 committed
objects     5, 2.0 KiB
copies      3 each, 2 needed for a write; 4096 partitions
placements  4 with 3, 1 with 2 copies that can be read
warning     1 objects have fewer than 3 copies that can be read
warning     3 damaged needles on volume 4, being mended
repair      14 placements, 1.2 GiB to go at 48.0 MiB/s, about 25 s
waiting     repair of 14 placements: no other volume has 3 MiB free; add a volume

master  role         reached  lag  client  peer
     1  leader           now    0  a:1     -
     2  unreachable   9s-ago    -  -       -
     3  unreachable    never    -  -       -

volume  state  needles     used  free  bad  zone  http  peer
     3  down         0  1.5 KiB   0 B    0  -     -     -
     4  up           0      0 B   0 B    3  -     -     -

move    placements  from  to     done       of  a-second  left
repair         128     3   4  1.0 KiB  4.0 KiB     512 B    6s";
        assert_eq!(look(&status, Instant::now()).told(None), expected);
    }
}
