//! The Raft store measured by itself, on real files: what `make bench` starts for its `raft-…` rows.
//!
//! Usage: `raft COMMAND DIR …`, see [`USAGE`]. Three nodes are three processes of this program, with the masters' frames
//! between them, allocator, runtime and options as a master has them; the load runs in the process of one of them. It prints one line of
//! JSON, a [`Figure`]. What the machine itself can do is measured by who starts this. Never shipped.

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod apply;
mod clients;
mod commits;
mod figure;
mod group;
mod keys;
mod node;
mod peers;
mod reads;
mod space;
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::clients::Call;
use crate::figure::Figure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage:
  raft commit DIR KEYS TASKS SECONDS             commits a second in the leader's process, beside so many keys that are
                                                 there already
  raft read DIR KEYS READERS WRITERS SECONDS     linearizable gets a second in a follower's process, of so many keys,
                                                 beside so many writers in the leader's
  raft put DIR KEYS CLIENTS SECONDS              commits a second of clients in another process
  raft get DIR KEYS CLIENTS SECONDS              the same of linearizable gets, at all three nodes
  raft apply DIR KEYS                            new keys applied a second, all durable at the end, without log and network
  raft table DIR VOLUMES PARTITIONS              the most milliseconds until a new table is computed, encoded and applied,
                                                 without log and network, as volumes come and go
  raft space-key DIR KEYS                        bytes of the index file in use for each of so many keys
  raft space-overwrites DIR KEYS OVERWRITES      bytes of the index file after so many overwrites of so many keys
  raft restart DIR KEYS                          seconds from the start of a follower that was killed until it serves
  raft snapshot DIR KEYS WRITERS SECONDS         seconds from the start of a follower that lacks so many keys, which are
                                                 in nobody's log any more, until it serves, beside so many writers
  raft node ID DIR ADDRESS [LOG_KEEP]            one node; what it is told is told in node.rs";

/// What comes before the time that counts.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// Entries that a group has at most when it is formed.
const FORMED_WITHIN: u32 = 100;

/// Entries that are kept in the log where that must not hold a million keys.
const SHORT_LOG: u64 = 500;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let figure = match args.as_slice() {
        ["node", id, dir, address, log_keep @ ..] => {
            let log_keep = log_keep.first().map(|entries| number(entries)).transpose()?;
            return node::run(&runtime()?, number(id)?, Path::new(dir), address, log_keep);
        }
        ["commit", dir, keys, tasks, seconds] => {
            let [mut leader, _second, _third] = filled(Path::new(dir), keys)?;
            leader.ask(&format!("commit {tasks} {seconds}"))?
        }
        ["read", dir, keys, readers, writers, seconds] => {
            let [mut leader, mut follower, _third] = filled(Path::new(dir), keys)?;
            if number(writers)? > 0 {
                leader.tell(&format!("commit {writers} {seconds}"))?;
            }
            let figure = follower.ask(&format!("read {readers} {seconds}"))?;
            let written = if number(writers)? > 0 { Some(leader.answer()?.value) } else { None };
            Figure { baseline: written, ..figure }
        }
        [call @ ("put" | "get"), dir, keys, clients, seconds] => {
            let group = filled(Path::new(dir), keys)?;
            let addresses = group.each_ref().map(|node| node.address.clone());
            let keys = u32::try_from(number(keys)?)?;
            let call = if *call == "put" { Call::Put { first: keys + 1 } } else { Call::Get { keys } };
            let measured = Duration::from_secs(number(seconds)?);
            runtime()?.block_on(clients::rate(addresses, call, number(clients)? as usize, measured))?
        }
        ["apply", dir, keys] => apply::rate(&runtime()?, Path::new(dir), u32::try_from(number(keys)?)?)?,
        ["table", dir, volumes, partitions] => {
            let (volumes, partitions) =
                (u32::try_from(number(volumes)?)?, u32::try_from(number(partitions)?)?);
            table::longest(&runtime()?, Path::new(dir), volumes, partitions)?
        }
        ["space-key", dir, keys] => {
            space::of_keys(&runtime()?, Path::new(dir), u32::try_from(number(keys)?)?)?
        }
        ["space-overwrites", dir, keys, overwrites] => {
            let (keys, overwrites) = (u32::try_from(number(keys)?)?, u32::try_from(number(overwrites)?)?);
            space::of_overwrites(&runtime()?, Path::new(dir), keys, overwrites)?
        }
        ["restart", dir, keys] => restart(Path::new(dir), keys)?,
        ["snapshot", dir, keys, writers, seconds] => snapshot(Path::new(dir), keys, writers, seconds)?,
        _ => bail!("{USAGE}"),
    };
    println!("{}", serde_json::to_string(&figure)?);
    Ok(())
}

/// A group with so many keys.
fn filled(dir: &Path, keys: &str) -> Result<[group::Process; 3]> {
    let mut group = group::start(dir, None)?;
    if number(keys)? > 0 {
        fill(&mut group[0], keys)?;
    }
    Ok(group)
}

fn fill(leader: &mut group::Process, keys: &str) -> Result<()> {
    let filled = leader.ask(&format!("fill {keys}"))?;
    eprintln!("filled with {keys} keys, {:.0} a second", filled.value);
    Ok(())
}

/// Seconds from the start of a follower's process, which was killed, until it has answered a linearizable get.
fn restart(dir: &Path, keys: &str) -> Result<Figure> {
    let [_leader, _second, third] = filled(dir, keys)?;
    let again = third.kill()?;
    let begun = Instant::now();
    let mut third = again()?;
    let found = third.ask("serve")?.value;
    let took = begun.elapsed();
    ensure!(found == number(keys)? as f64, "{found} of {keys} keys are there");
    Ok(Figure::plain(took.as_secs_f64()))
}

/// Seconds from the start of a follower's process until it has answered a linearizable get. It has missed all keys, and
/// they are in nobody's log any more.
fn snapshot(dir: &Path, keys: &str, writers: &str, seconds: &str) -> Result<Figure> {
    let [mut leader, _second, third] = group::start(dir, Some(SHORT_LOG))?;
    let again = third.kill()?;
    fill(&mut leader, keys)?;
    if leader.ask("first")?.value < f64::from(FORMED_WITHIN) {
        eprintln!("with so few keys all is in the log still: what follows is no snapshot");
    }
    // From here on its peak counts.
    leader.ask("peak")?;
    leader.tell(&format!("commit {writers} {seconds}"))?;
    let begun = Instant::now();
    let mut third = again()?;
    let found = third.ask("serve")?.value;
    let took = begun.elapsed();
    ensure!(found >= number(keys)? as f64, "{found} of {keys} keys are there");
    let written = leader.answer()?;
    let mib = |peak: Figure| peak.value / f64::from(1 << 20);
    let (sender, receiver) = (mib(leader.ask("peak")?), mib(third.ask("peak")?));
    eprintln!("at most {sender:.0} MiB at the sender and {receiver:.0} MiB at the receiver");
    eprintln!("beside {:.0} commits a second, p99 {:.1} ms", written.value, written.p99_ms.unwrap_or(0.0));
    Ok(Figure::plain(took.as_secs_f64()))
}

/// As a master's: half of the cores, the other half is for what does not run on the runtime.
fn runtime() -> Result<Runtime> {
    let workers = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?)
}

pub(crate) fn number(text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("{text:?} is not a number\n{USAGE}"))
}
