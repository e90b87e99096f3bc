//! `hayrick bench`: how fast a running cluster is, from where this runs.
//!
//! Here is what is asked for, and the order of a run: a first object shows that the cluster takes such ones, `limits` measures this
//! machine, `objects` puts what is to be read, `load` measures the cluster, `report` tells it, and `objects` removes all of it
//! again. Invariant: however a run ends, but by a second Ctrl-C or with --keep, what it has put is removed, or it is said that it is
//! not.

mod drawing;
mod failure;
mod limits;
mod load;
mod objects;
mod report;
mod tally;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::builder::BoolishValueParser;
use hayrick_client::Client;
use hayrick_protocol::limits::OBJECT_BYTES_MAX;

use self::drawing::Canvas;
use self::limits::Limits;
use self::load::{Load, Mode};
use self::objects::{Objects, Removal};
use self::report::Report;
use crate::commands::connect::Connect;
use crate::commands::interrupt::{Interrupt, Words};
use crate::commands::teller::Teller;
use crate::exit::{Exit, WrongUse};
use crate::units::{bytes, parse_size_usize, parse_time};
use crate::{descriptors, output};

const CLIENTS_MAX: i64 = 4096;
/// A day.
const SECONDS_MAX: u64 = 86_400;
/// Unless said, so many are put to be read, ...
const READABLE_DEFAULT: u64 = 1000;
/// ... or fewer, that they have so many bytes together.
const READABLE_BYTES_DEFAULT: u64 = 256 << 20;
const READABLE_MAX: u64 = 10_000_000;

/// Measure how fast a running cluster is: rate, latencies, and the share of this machine's own limits
///
/// Clients send requests to the masters of --server, each its next one when the last has ended, and each beginning with another
/// master. What is sent in the warm-up is not counted. Then it says the rate, the time in which 50, 99 and 99.9 of 100 requests
/// were answered, draws all of them as a histogram, and says what failed, and how. What is read is compared with what was
/// put.
///
/// Where a master is on a loopback address, the rate is told as a share of what this machine can do by itself, measured just
/// before: for PUTs how often one stream can write 4 KiB and sync them, for GETs the answers of a bare HTTP server to the same
/// clients. That means something only if all of the cluster runs on this machine.
///
/// Objects are put below a prefix that no other run has, and removed at the end, and on Ctrl-C; a second Ctrl-C leaves them. The
/// cluster stores them as any others: every copy takes its place on a disk until it is reaped.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick bench                                        PUTs of 1 KiB, 32 clients, for 10 s
  hayrick bench --mode get --size 64KiB --clients 128
  hayrick bench --mode mixed --seconds 600 --server 10.0.0.1:9090,10.0.0.2:9090,10.0.0.3:9090
  hayrick bench --limits-dir /srv/hayrick              on the disk of the volumes
  hayrick bench --json | jq '.put | .per_second, .latency_p99_us'

Exit codes: 0 done, 1 more than 1 % failed, an answer was wrong, objects could not be removed,
or it was interrupted; 2 wrong use.")]
pub(crate) struct Args {
    /// What the clients do
    #[arg(long, env = "HAYRICK_MODE", value_enum, default_value_t = Mode::Put)]
    mode: Mode,
    /// How large the objects are, up to what the masters take (--max-object-size)
    #[arg(long, env = "HAYRICK_SIZE", default_value = "1KiB", value_parser = object_size)]
    size: usize,
    /// How many requests are under way at a time, 1 to 4096
    #[arg(long, env = "HAYRICK_CLIENTS", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=CLIENTS_MAX))]
    clients: u16,
    /// How long it is measured, in seconds, up to a day
    #[arg(long, env = "HAYRICK_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
    /// How long the clients run before that, uncounted; 0s for not at all
    #[arg(long, env = "HAYRICK_WARM_UP", value_name = "TIME", default_value = "2s", value_parser = warm_up)]
    warm_up: Duration,
    /// How many objects are put first, of which those that are read are drawn [default: 1000, or as many as have 256 MiB together]
    #[arg(long, env = "HAYRICK_OBJECTS", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=READABLE_MAX))]
    objects: Option<u64>,
    /// What the keys begin with; an id of the run follows
    #[arg(long, env = "HAYRICK_PREFIX", default_value = "bench/")]
    prefix: String,
    /// Leave the objects there
    #[arg(long, env = "HAYRICK_KEEP", value_parser = BoolishValueParser::new())]
    keep: bool,
    /// Where syncs of this machine are measured; best on the disk of the volumes [default: the system's directory for temporary
    /// files]
    #[arg(long, env = "HAYRICK_LIMITS_DIR", value_name = "DIR")]
    limits_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    args.all_matter()?;
    let clients = objects::clients(args.connect.masters())?;
    // Each client has a connection, and the bare server another one to each.
    descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime's threads")?;
    let result = runtime.block_on(bench(&args, clients));
    runtime.shutdown_background();
    result
}

async fn bench(args: &Args, clients: Vec<Client>) -> Result<Exit> {
    let prefix = objects::prefix_of_run(&args.prefix);
    let interrupt = Interrupt::catch(Words {
        first: Some("interrupted; cleaning up (once more to end at once)".to_owned()),
        second: format!("ended at once; `hayrick rm -r {prefix}` removes what is left"),
    })?;
    let mut teller = Teller::new();
    let objects = Objects::begin(clients, prefix.clone(), args.size).await?;
    let objects = Arc::new(objects);
    let report = measure(args, &objects, &interrupt, &mut teller, prefix.clone()).await;
    teller.clear();
    // A reader that has enough of it does not keep the objects from being removed.
    let told = match &report {
        Ok(report) if !args.json => output::line(&report.in_words(Canvas::of_stdout())),
        _ => Ok(()),
    };
    let removal = match args.keep {
        true => None,
        false => Some(objects.remove(args.clients.into(), &mut teller).await),
    };
    teller.clear();
    if removal.is_none() {
        output::noted(&format!(
            "up to {} objects stay; `hayrick rm -r {prefix}` removes them",
            objects.count()
        ));
    }
    let leftover = removal.as_ref().and_then(|removal| leftover(removal, &prefix));
    let report = report.map_err(|error| match &leftover {
        Some(leftover) => anyhow!("{error:#}; {leftover}"),
        None => error,
    })?;
    told?;
    if args.json {
        output::json(&report.json(removal.as_ref(), objects.count()))?;
    }
    let complaints: Vec<String> = report.complaint().into_iter().chain(leftover).collect();
    if complaints.is_empty() { Ok(Exit::Done) } else { Err(anyhow!(complaints.join("; "))) }
}

/// All but the first object and the removal.
async fn measure(
    args: &Args,
    objects: &Arc<Objects>,
    interrupt: &Interrupt,
    teller: &mut Teller,
    prefix: String,
) -> Result<Report> {
    let (mode, clients, masters) = (args.mode, usize::from(args.clients), args.connect.masters());
    teller.tell("this machine", || "measuring what it can do by itself".to_owned());
    let limits_dir = args.limits_dir.clone().unwrap_or_else(std::env::temp_dir);
    let limits = Limits::measure(mode, masters, &limits_dir, objects.content(), clients).await;
    let readable = args.readable();
    if !interrupt.has_come() && mode.gets() {
        objects.fill(readable, clients, interrupt, teller).await?;
    }
    let load = Load {
        mode,
        clients,
        warm_up: args.warm_up,
        measured: Duration::from_secs(args.seconds),
        readable,
        objects: Arc::clone(objects),
    };
    let tallies = load.run(interrupt, teller).await;
    if tallies.elapsed.is_zero() {
        return Err(anyhow!("interrupted before anything was measured"));
    }
    Ok(Report {
        mode,
        size: args.size,
        clients,
        warm_up: args.warm_up,
        masters: masters.to_vec(),
        prefix,
        readable,
        interrupted: interrupt.has_come(),
        tallies,
        limits,
    })
}

impl Args {
    /// A flag that would do nothing is wrong use.
    fn all_matter(&self) -> Result<(), WrongUse> {
        if self.objects.is_some() && !self.mode.gets() {
            return Err(WrongUse(
                "--objects is for objects that are read; give --mode get or mixed".to_owned(),
            ));
        }
        if self.limits_dir.is_some() && !self.mode.puts() {
            return Err(WrongUse(
                "--limits-dir is where syncs are measured, to which PUTs are related; give --mode put or mixed".to_owned(),
            ));
        }
        Ok(())
    }

    /// How many objects are there to be read.
    fn readable(&self) -> u64 {
        self.objects.unwrap_or_else(|| {
            let fitting = READABLE_BYTES_DEFAULT / (self.size as u64).max(1);
            fitting.clamp(1, READABLE_DEFAULT)
        })
    }
}

/// What is to be said of objects that are still there, or may be.
fn leftover(removal: &Removal, prefix: &str) -> Option<String> {
    let why = removal.why.as_ref()?;
    Some(format!(
        "up to {} objects could not be removed: {why}; `hayrick rm -r {prefix}` removes them",
        removal.left
    ))
}

fn object_size(text: &str) -> Result<usize, String> {
    match parse_size_usize(text)? {
        size if size > OBJECT_BYTES_MAX => {
            Err(format!("an object has at most {}, and {text} is more", bytes(OBJECT_BYTES_MAX as u64)))
        }
        size => Ok(size),
    }
}

/// A time, which may be none.
fn warm_up(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" || humantime::parse_duration(text).is_ok_and(|time| time.is_zero()) {
        return Ok(Duration::ZERO);
    }
    match parse_time(text)? {
        time if time > Duration::from_secs(SECONDS_MAX) => {
            Err(format!("{text:?} is longer than a day, which does not work here"))
        }
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_warm_ups_have_their_bounds() {
        assert_eq!(object_size("0"), Ok(0));
        assert_eq!(object_size("256MiB"), Ok(OBJECT_BYTES_MAX));
        assert!(object_size("257MiB").is_err_and(|words| words.contains("256.0 MiB")));
        assert_eq!(warm_up("0s"), Ok(Duration::ZERO));
        assert_eq!(warm_up("1500ms"), Ok(Duration::from_millis(1500)));
        assert!(warm_up("2days").is_err_and(|words| words.contains("a day")));
        assert!(warm_up("soon").is_err());
    }

    #[test]
    fn what_is_left_is_told_with_the_reason() {
        let gone = Removal { removed: 7, left: 0, why: None };
        assert_eq!(leftover(&gone, "bench/1/"), None);
        let left = Removal { removed: 7, left: 2, why: Some("no leader".to_owned()) };
        let told = leftover(&left, "bench/1/").expect("two are left");
        assert_eq!(
            told,
            "up to 2 objects could not be removed: no leader; `hayrick rm -r bench/1/` removes them"
        );
    }
}
