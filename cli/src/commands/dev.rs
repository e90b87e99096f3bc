//! `hayrick dev`: a whole cluster in one process, for a try on one machine.
//!
//! Three masters and three volumes, started by the same calls as separate processes and talking over the same ports.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use futures_util::future::{FutureExt, join_all, select_all, try_join_all};
use hayrick_protocol::ids::NodeId;
use tokio::time::Instant;

use crate::exit::Exit;
use crate::output::{self, Align};
use crate::server::{self, Common, Serving};

/// How many of each.
const SERVERS: u16 = 3;
/// Each machine that is played owns a block of a hundred ports, as in `make cluster`.
const PORTS_PER_MACHINE: u16 = 100;
/// Ports of one machine, from the first of its block.
const MASTER_HTTP: u16 = 0;
const VOLUME_HTTP: u16 = 1;
const MASTER_PEER: u16 = 2;
const VOLUME_PEER: u16 = 3;
/// Small, as three volumes zero ahead on one disk.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Run a whole cluster in this process: 3 masters and 3 volumes
///
/// For a try and for developing against; everything is as durable as in separate processes, but it all stops together.
/// It finds its data when it is started again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick dev
  hayrick dev --port 7000 --data /tmp/hayrick
      masters on 7000, 7100, 7200; then: curl -T cat.jpg http://127.0.0.1:7000/photos/cat.jpg")]
pub(crate) struct Args {
    /// Where the data goes
    #[arg(long, env = "HAYRICK_DATA", value_name = "DIR", default_value = "./hayrick-data")]
    data: PathBuf,
    /// Client port of the first master; the next two have it + 100 and + 200
    #[arg(long, env = "HAYRICK_PORT", value_name = "PORT", default_value = "9090",
          value_parser = clap::value_parser!(u16).range(1..=(u16::MAX - SERVERS * PORTS_PER_MACHINE) as i64))]
    port: u16,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    let common = args.common.clone();
    server::run(&common, |signals| server::serve(signals, start(args)))
}

/// All servers in this process.
struct Cluster {
    masters: Vec<hayrick_master::Running>,
    volumes: Vec<hayrick_volume::Running>,
    data: PathBuf,
    began: Instant,
}

/// Looks before anything is made, so that what is said is about --port.
fn ports_are_free(args: &Args) -> Result<()> {
    for number in 1..=SERVERS {
        for offset in [MASTER_HTTP, MASTER_PEER, VOLUME_HTTP, VOLUME_PEER] {
            let address = address(args, number, offset);
            TcpListener::bind(&address).map_err(|why| {
                let other = args.port.saturating_add(1000);
                anyhow!(
                    "cannot listen on {address}: {why}; choose other ports with --port, as in --port {other}"
                )
            })?;
        }
    }
    Ok(())
}

async fn start(args: Args) -> Result<Cluster> {
    let began = Instant::now();
    ports_are_free(&args)?;
    let masters = (1..=SERVERS).map(|number| {
        let options = master(&args, number);
        async move { hayrick_master::start(options).await.with_context(|| format!("master {number}")) }
    });
    // One after the other, so that the first time each gets the number of its directory.
    let volumes = async {
        let mut volumes = Vec::new();
        for number in 1..=SERVERS {
            let running = hayrick_volume::start(volume(&args, number)).await;
            volumes.push(running.with_context(|| format!("volume {number}"))?);
        }
        Ok(volumes)
    };
    // All masters at once: they need each other, and volumes need them.
    let (masters, volumes) = tokio::try_join!(try_join_all(masters), volumes)?;
    Ok(Cluster { masters, volumes, data: args.data.clone(), began })
}

fn address(args: &Args, number: u16, offset: u16) -> String {
    format!("127.0.0.1:{}", args.port + PORTS_PER_MACHINE * (number - 1) + offset)
}

fn masters(args: &Args) -> BTreeMap<NodeId, String> {
    (1..=SERVERS).map(|number| (NodeId(number.into()), address(args, number, MASTER_PEER))).collect()
}

fn master(args: &Args, number: u16) -> hayrick_master::Options {
    let data = args.data.join(format!("master-{number}"));
    let mut options = hayrick_master::Options::new(NodeId(number.into()), data, masters(args));
    options.listen = address(args, number, MASTER_HTTP);
    options.peer_listen = address(args, number, MASTER_PEER);
    options
}

fn volume(args: &Args, number: u16) -> hayrick_volume::Options {
    let data = args.data.join(format!("volume-{number}"));
    let mut options = hayrick_volume::Options::new(data, masters(args).into_values().collect());
    options.listen = address(args, number, VOLUME_HTTP);
    options.peer_listen = address(args, number, VOLUME_PEER);
    options.segment_bytes = SEGMENT_BYTES;
    options
}

impl Serving for Cluster {
    /// It waits for nobody but itself.
    fn listening(&self) -> Option<String> {
        None
    }

    fn http(&self) -> Vec<SocketAddr> {
        let masters = self.masters.iter().map(|master| master.client);
        masters.chain(self.volumes.iter().map(|volume| volume.http)).collect()
    }

    fn ready(&self) -> String {
        let columns =
            [("server", Align::Left), ("http", Align::Left), ("peer", Align::Left), ("data", Align::Left)];
        let shown = |path: &Path| path.display().to_string();
        let masters = self.masters.iter().map(|master| {
            let name = format!("master {}", master.id);
            let dir = self.data.join(format!("master-{}", master.id));
            vec![name, format!("http://{}", master.client), master.peer.to_string(), shown(&dir)]
        });
        let volumes = self.volumes.iter().zip(1..).map(|(volume, number)| {
            let name = format!("volume {}", volume.id);
            let dir = self.data.join(format!("volume-{number}"));
            vec![name, format!("http://{}", volume.http), volume.peer.to_string(), shown(&dir)]
        });
        let table = output::table(&columns, &masters.chain(volumes).collect::<Vec<_>>());
        let [first, second, third] = [0, 1, 2].map(|at| format!("http://{}", self.masters[at].client));
        format!(
            "ready: dev, client {first}, after {:.1} s\n\n{table}\n\ntry:\n  \
             curl -T README.md {first}/docs/readme.md\n  \
             curl {second}/docs/readme.md\n  \
             curl '{third}/?list'\n  \
             curl -X DELETE {first}/docs/readme.md\n\n\
             Ctrl-C stops everything; run it again, and it finds its data.",
            self.began.elapsed().as_secs_f64()
        )
    }

    async fn failed(&self) -> String {
        let masters = self.masters.iter().map(|master| {
            async move { format!("master {}: {}", master.id, master.failed().await) }.boxed_local()
        });
        let volumes = self.volumes.iter().map(|volume| {
            async move { format!("volume {}: {}", volume.id, volume.refused().await) }.boxed_local()
        });
        select_all(masters.chain(volumes)).await.0
    }

    async fn stop(self) {
        // What masters finish, they finish on the volumes.
        join_all(self.masters.into_iter().map(hayrick_master::Running::stop)).await;
        join_all(self.volumes.into_iter().map(hayrick_volume::Running::stop)).await;
    }
}
