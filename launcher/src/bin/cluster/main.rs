//! `make cluster`: a cluster of real processes on this machine, until Ctrl-C.
//!
//! Usage: `cluster [BASE_PORT] [DIR]`, or the same from the environment; the binary `hayrick` is the one that
//! `HAYRICK_BIN` names, else the one next to this program. Three masters and four volumes in cli.md's layout of ports.
//! A process that dies is reported and the others run on; SIGUSR1 starts again what has ended.
//!
//! The first signal stops everything cleanly, the second kills it. Only SIGKILL on this program itself leaves the
//! servers running, until it is started on their directory again, which ends them first: Linux can tie a child's life to its
//! parent's *thread* only, and asking for that takes `unsafe` code between fork and exec, which this project forbids.

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod place;
mod watch;

use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hayrick_launcher::{Cluster, Deadline, Error, end_left_over};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::place::Place;
use crate::watch::Watch;

/// How long the cluster may take until its masters serve: a new one waits ten seconds for volumes (http-api.md).
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the children are looked after.
const WATCH_PERIOD: Duration = Duration::from_millis(200);
/// What a shell shows for a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;
/// Wrong use (cli.md).
const EXIT_WRONG_USE: u8 = 2;

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> ExitCode {
    let place = match Place::from_settings() {
        Ok(place) => place,
        Err(error) => {
            eprintln!("{error:#}");
            return EXIT_WRONG_USE.into();
        }
    };
    match run(&place).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(place: &Place) -> Result<()> {
    let cluster = Cluster::builder(binary()?)
        .inherits_settings()
        .dir(&place.dir)
        .base_port(place.base_port)
        .own_process_groups()
        .build()?;
    if !place.dir.exists() {
        // Before anything is made there.
        place.check_ports(&cluster)?;
    }
    let _lock = place.lock()?;
    let ended = end_left_over(&place.dir)?;
    if !ended.is_empty() {
        println!("ended what a cluster that was here left running: {}", ended.join(", "));
    }
    place.check_ports(&cluster)?;

    // Before anything is started: from here on no signal ends this program without ending the children.
    let mut signals = Signals::catch()?;
    let mut again = signal(SignalKind::user_defined1())?;
    println!("starting 3 masters and 4 volumes, data under {} …", place.dir.display());
    let cluster = Arc::new(cluster);
    let starting = {
        let cluster = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || start(&cluster))
    };
    let started = tokio::select! {
        () = signals.next() => Ok(()),
        started = starting => started.context("the starter never panics")?.map(|fares| announce(&cluster, &fares)),
    };
    if started.is_ok() && !signals.came {
        tokio::select! {
            () = signals.next() => {}
            () = run_on(&cluster, &mut again) => {}
        }
    }
    println!("\nstopping …");
    stop(&cluster, &mut signals).await?;
    println!("stopped; the data stays in {}", place.dir.display());
    Ok(started?)
}

/// What asks this program to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Whether one has come.
    came: bool,
}

impl Signals {
    fn catch() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            came: false,
        })
    }

    /// Returns with the next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
        self.came = true;
    }
}

/// How the cluster fares once all its servers listen: ready, or running on although something is amiss.
fn start(cluster: &Cluster) -> Result<String, Error> {
    let took = Deadline::after(READY_TIMEOUT);
    cluster.start_all()?;
    match cluster.wait_ready(READY_TIMEOUT) {
        Ok(()) => Ok(format!("ready after {:.1} s", took.elapsed().as_secs_f64())),
        Err(error @ Error::NotReady { .. }) => Ok(format!("{error}\nIt runs on all the same.")),
        Err(error) => Err(error),
    }
}

fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HAYRICK_BIN") {
        return Ok(path.into());
    }
    Ok(std::env::current_exe().context("cannot find this program")?.with_file_name("hayrick"))
}

fn announce(cluster: &Cluster, fares: &str) {
    println!("{fares}\n");
    println!("{:<10} {:>8}  {:<23} {:<16} log", "process", "pid", "http", "peer");
    for process in cluster.processes() {
        let pid = process.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        println!(
            "{:<10} {pid:>8}  {:<23} {:<16} {}",
            process.name(),
            format!("http://{}", process.http_addr()),
            process.peer_addr().to_string(),
            process.log_path().display(),
        );
    }
    for gone in cluster.processes().filter(|process| process.is_removed()) {
        println!("\n{}", watch::removed(gone));
    }
    let [first, second, third] = [1, 2, 3].map(|id| cluster.master(id).http_addr());
    println!("\ntry:");
    println!("  curl -T README.md http://{first}/docs/readme.md");
    println!("  curl http://{second}/docs/readme.md");
    println!("  curl 'http://{third}/?list'");
    println!("  curl -X DELETE http://{first}/docs/readme.md");
    println!(
        "  export HAYRICK_SERVER={first},{second},{third}    # for target/release/hayrick put, get, ls, status"
    );
    println!("\nkill -9 any of them and go on; this starts again what has ended: {}", watch::again());
    println!("Ctrl-C stops everything; run it again, and it finds its data.");
}

/// Tells of every process that ends, and starts it again when asked to; for ever.
async fn run_on(cluster: &Arc<Cluster>, again: &mut Signal) {
    let mut watch = Watch::new(cluster);
    let mut tick = tokio::time::interval(WATCH_PERIOD);
    let mut starting: Option<JoinHandle<()>> = None;
    loop {
        tokio::select! {
            _ = tick.tick() => watch.look(),
            _ = again.recv() => {
                if starting.as_ref().is_none_or(JoinHandle::is_finished) {
                    let cluster = Arc::clone(cluster);
                    starting = Some(tokio::task::spawn_blocking(move || start_again(&cluster)));
                }
            }
        }
    }
}

fn start_again(cluster: &Cluster) {
    match cluster.start_all() {
        // What has ended again meanwhile is told by the watch, and what is being stopped needs no word.
        Ok(()) | Err(Error::Ended { .. } | Error::Closed { .. }) => {}
        Err(error) => eprintln!("{error}"),
    }
}

/// Stops every server cleanly; a further signal kills them all and ends this program.
async fn stop(cluster: &Arc<Cluster>, signals: &mut Signals) -> Result<()> {
    // The starter may be at work still.
    cluster.close();
    let stopping = {
        let cluster = Arc::clone(cluster);
        tokio::task::spawn_blocking(move || cluster.stop_all())
    };
    tokio::select! {
        stopped = stopping => {
            let Err(error) = stopped.context("stopping never panics")? else { return Ok(()) };
            cluster.kill_all()?;
            bail!("{error}\nIt was killed; what was acknowledged is durable all the same")
        }
        () = signals.next() => {
            println!("second signal: killing what still runs; what was acknowledged is durable all the same");
            if let Err(error) = cluster.kill_all() {
                eprintln!("{error}");
            }
            process::exit(EXIT_INTERRUPTED)
        }
    }
}
