//! The volume engine measured by itself, in process and on real files: what `make bench` starts for its `engine-…` rows.
//!
//! Usage: `engine COMMAND DIR …`, see [`USAGE`]. Each command is a process of its own, with the server's allocator, so
//! that memory and page faults are its own; it prints one line of JSON, a [`Figure`]. What the machine itself can do is
//! measured beside it: by who starts this, or where the same bytes must be read or written, here. Never shipped.

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod append;
mod compacting;
mod figure;
mod large;
mod needles;
mod open;
mod read;
mod space;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hayrick_disk::RealDisk;
use hayrick_volume::{Store, StoreOptions};
use tokio::runtime::Runtime;

use crate::figure::Figure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage:
  engine append DIR BYTES WRITERS SECONDS    durable appends: so many a second
  engine large DIR SECONDS                   durable appends of 1 MiB, beside a plain file written in turns
  engine read DIR NEEDLES SECONDS            random verified reads of 1 KiB, beside pread
  engine fill DIR NEEDLES                    needles of 100 bytes; then waits to be killed
  engine open DIR                            seconds of an open; then waits to be killed
  engine space DIR NEEDLES                   bytes of the files over bytes of the objects, at 1 KiB
  engine compacting DIR SECONDS              p99 of an append during compaction and zeroing, beside that without";

/// More than any row fills: what ends a store is the room on the file system.
const CAPACITY_BYTES: u64 = 64 << 30;
const KIB: usize = 1024;
const MIB: usize = 1 << 20;

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
    let (runtime, seconds) =
        (Runtime::new()?, |text| Ok::<_, anyhow::Error>(Duration::from_secs(number(text)?)));
    let figure = match args.as_slice() {
        ["append", dir, bytes, writers, time] => {
            let (bytes, writers) = (number(bytes)? as usize, number(writers)? as usize);
            runtime.block_on(append::rate(Path::new(dir), bytes, writers, seconds(time)?))?
        }
        ["large", dir, time] => large::rate(&runtime, Path::new(dir), seconds(time)?)?,
        ["read", dir, needles, time] => {
            read::rate(&runtime, Path::new(dir), number(needles)?, seconds(time)?)?
        }
        ["fill", dir, needles] => {
            let store = runtime.block_on(open::fill(Path::new(dir), number(needles)?))?;
            return wait_to_be_killed(&Figure::default(), &store);
        }
        ["open", dir] => {
            let (figure, store) = open::time(Path::new(dir))?;
            return wait_to_be_killed(&figure, &store);
        }
        ["space", dir, needles] => runtime.block_on(space::overhead(Path::new(dir), number(needles)?))?,
        ["compacting", dir, time] => compacting::p99(&runtime, Path::new(dir), seconds(time)?)?,
        _ => bail!("{USAGE}"),
    };
    println!("{}", serde_json::to_string(&figure)?);
    Ok(())
}

fn number(text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("{text:?} is not a number\n{USAGE}"))
}

/// A volume's own defaults.
fn options(dir: &Path) -> StoreOptions {
    StoreOptions::new(dir, CAPACITY_BYTES)
}

fn open_store(options: StoreOptions) -> Result<Arc<Store>> {
    Ok(Arc::new(Store::open(Arc::new(RealDisk), options)?))
}

/// Says what was found, and stays as it is until it is killed, or until who started it is gone. The store is not closed.
fn wait_to_be_killed(figure: &Figure, _open: &Arc<Store>) -> Result<()> {
    println!("{}", serde_json::to_string(figure)?);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    std::process::abort()
}
