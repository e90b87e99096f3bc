//! `make cluster`: a cluster of real processes on this machine, until Ctrl-C.
//!
//! Usage: `cluster [BASE_PORT] [DIR]`, or the same from the environment; the binary `hayrick` is the one that
//! `HAYRICK_BIN` names, else the one next to this program. Three masters and four volumes in cli.md's layout of ports.
//! A process that dies is reported with the end of its log and the others run on; starting it again is left to the
//! user (run the command again: the data stays).
//!
//! The first signal stops everything cleanly, the second kills it. Only SIGKILL on this program itself leaves the
//! servers running, by the pids it printed: Linux can tie a child's life to its parent's *thread* only, and asking for
//! that takes `unsafe` code between fork and exec, which this project forbids.

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hayrick_launcher::{Cluster, Deadline, Process};
use tokio::signal::unix::{Signal, SignalKind, signal};

const DEFAULT_BASE_PORT: u16 = 9090;
const DEFAULT_DIR: &str = "./hayrick-cluster";
/// How long the cluster may take until its masters serve: a new one waits ten seconds for volumes (http-api.md).
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the children are looked after.
const WATCH_PERIOD: Duration = Duration::from_millis(200);
/// What a shell shows for a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let base_port = setting(args.next(), "BASE_PORT").unwrap_or_else(|| DEFAULT_BASE_PORT.to_string());
    let base_port: u16 =
        base_port.parse().with_context(|| format!("BASE_PORT is a port, not {base_port:?}"))?;
    let dir = PathBuf::from(setting(args.next(), "DIR").unwrap_or_else(|| DEFAULT_DIR.to_owned()));

    // Before anything is started: from here on no signal ends this program without ending the children.
    let mut signals = Signals::catch()?;

    println!("starting 3 masters and 4 volumes, data under {} …", dir.display());
    let cluster = Cluster::builder(binary()?).dir(&dir).base_port(base_port).own_process_groups().build()?;
    let cluster = Arc::new(cluster);
    let starting = {
        let cluster = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || start(&cluster))
    };
    let started = tokio::select! {
        () = signals.next() => Ok(()),
        started = starting => started.context("the starter never panics")?.map(|took| announce(&cluster, took)),
    };
    if started.is_ok() && !signals.came {
        tokio::select! {
            () = signals.next() => {}
            () = watch(&cluster) => {}
        }
    }
    println!("\nstopping …");
    stop(&cluster, &mut signals).await?;
    println!("stopped; the data stays in {}", dir.display());
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

fn start(cluster: &Cluster) -> Result<Duration, hayrick_launcher::Error> {
    let took = Deadline::after(READY_TIMEOUT);
    cluster.start_all()?;
    cluster.wait_ready(READY_TIMEOUT)?;
    Ok(took.elapsed())
}

fn setting(arg: Option<String>, variable: &str) -> Option<String> {
    arg.or_else(|| std::env::var(variable).ok()).filter(|value| !value.is_empty())
}

fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HAYRICK_BIN") {
        return Ok(path.into());
    }
    Ok(std::env::current_exe().context("cannot find this program")?.with_file_name("hayrick"))
}

fn announce(cluster: &Cluster, took: Duration) {
    println!("ready after {:.1} s\n", took.as_secs_f64());
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
    let [first, second, third] = [1, 2, 3].map(|id| cluster.master(id).http_addr());
    println!("\ntry:");
    println!("  curl -T README.md http://{first}/docs/readme.md");
    println!("  curl http://{second}/docs/readme.md");
    println!("  curl 'http://{third}/?list'");
    println!("  curl -X DELETE http://{first}/docs/readme.md");
    println!(
        "  export HAYRICK_SERVER={first},{second},{third}    # for target/release/hayrick put, get, ls, status"
    );
    println!("\nCtrl-C stops everything; run it again, and it finds its data.");
}

/// Tells of every process that ends, once, and goes on.
async fn watch(cluster: &Cluster) {
    let mut alive: Vec<&Process> = cluster.processes().collect();
    let mut tick = tokio::time::interval(WATCH_PERIOD);
    loop {
        tick.tick().await;
        alive.retain(|process| {
            let Some(status) = process.exit_status() else { return true };
            println!("\n{} ended with {status}; the others run on. The end of its log:", process.name());
            println!("{}", process.log_tail());
            println!("(all of it: {})", process.log_path().display());
            false
        });
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
