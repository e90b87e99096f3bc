//! What the Raft store is measured beside: three etcd processes on the same disk, with etcd's defaults, and clients of it
//! in this process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_launcher::{Deadline, free_port};
use tokio::time::Instant;

use crate::grpc::{Connection, put_field};
use crate::load::Sample;
use crate::program::Process;
use crate::rows::Scale;

const NODES: usize = 3;
const START_TIMEOUT: Duration = Duration::from_secs(20);
const WARM_UP: Duration = Duration::from_secs(1);
/// With the key of 32 bytes these are the 150 of a commit.
const VALUE_BYTES: usize = 118;
/// Clients of one connection.
const CLIENTS_SHARING: usize = 8;
const FILL_CLIENTS: usize = 256;
const KEYS: u64 = 100_000;
const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// To the leader.
    Put,
    /// Linearizable, to all three nodes.
    Get,
}

/// A running cluster of it, removed when this is dropped.
pub(crate) struct Etcd {
    /// Dropped before the directory goes.
    processes: Vec<Process>,
    clients: Vec<String>,
    dir: PathBuf,
}

/// Whether both programs are there.
pub(crate) fn is_installed() -> bool {
    ["etcd", "etcdctl"].iter().all(|name| {
        let mut ask = Command::new(name);
        ask.arg(if *name == "etcd" { "--version" } else { "version" }).env("ETCDCTL_API", "3");
        ask.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    })
}

impl Etcd {
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let dir = dir.join("etcd");
        std::fs::create_dir_all(&dir)?;
        let address = |_| Ok(format!("127.0.0.1:{}", free_port()?));
        let clients = (0..NODES).map(address).collect::<Result<Vec<_>>>()?;
        let peers = (0..NODES).map(address).collect::<Result<Vec<_>>>()?;
        let cluster: Vec<_> =
            peers.iter().enumerate().map(|(node, peer)| format!("n{node}=http://{peer}")).collect();
        let mut etcd = Self { processes: Vec::new(), clients, dir };
        for (node, (client, peer)) in etcd.clients.iter().zip(&peers).enumerate() {
            let (client, peer, name) =
                (format!("http://{client}"), format!("http://{peer}"), format!("n{node}"));
            let mut start = Command::new("etcd");
            start.arg("--name").arg(&name).arg("--data-dir").arg(etcd.dir.join(&name));
            start.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            start.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            start.args(["--initial-cluster", &cluster.join(","), "--log-level", "error", "--logger", "zap"]);
            start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            etcd.processes.push(Process(start.spawn().context("cannot start etcd")?));
        }
        Ok(etcd)
    }

    /// So many clients, for as long as a row takes.
    pub(crate) fn measure(&self, call: Call, clients: usize, scale: Scale) -> Result<Sample> {
        let leader = self.leader()?;
        // As many cores as the clients of the other side have.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async {
            let mut load =
                Load { connections: Vec::new(), keys: KEYS.min(scale.objects_max), next: AtomicU64::new(0) };
            for connection in 0..clients.div_ceil(CLIENTS_SHARING) {
                let node = match call {
                    Call::Put => leader,
                    Call::Get => connection % NODES,
                };
                load.connections.push(Connection::open(&self.clients[node]).await?);
            }
            let load = Arc::new(load);
            if call == Call::Get {
                load.fill().await?;
            }
            load.run(call, clients, scale.measured).await
        })
    }

    /// The number of the node that leads, once there is one.
    fn leader(&self) -> Result<usize> {
        let (_keep, pause) = mpsc::channel::<()>();
        let deadline = Deadline::after(START_TIMEOUT);
        while deadline.remaining().is_some() {
            if let Some(leader) = self.ask_for_leader() {
                return Ok(leader);
            }
            let _ = pause.recv_timeout(Duration::from_millis(100));
        }
        ensure!(false, "etcd has no leader");
        Ok(0)
    }

    fn ask_for_leader(&self) -> Option<usize> {
        let mut ask = Command::new("etcdctl");
        ask.env("ETCDCTL_API", "3").args(["endpoint", "status", "--write-out", "json", "--endpoints"]);
        let answer = ask.arg(self.clients.join(",")).stderr(Stdio::null()).output().ok()?;
        let nodes: Vec<serde_json::Value> = serde_json::from_slice(&answer.stdout).ok()?;
        let leads = |node: &serde_json::Value| {
            let status = &node["Status"];
            status["leader"].is_u64() && status["leader"] == status["header"]["member_id"]
        };
        let endpoint = nodes.iter().find(|node| leads(node))?["Endpoint"].as_str()?;
        let all = nodes.len() == NODES;
        self.clients.iter().position(|client| all && client == endpoint)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.processes.clear();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The clients' connections, and what they ask for.
struct Load {
    connections: Vec<Connection>,
    keys: u64,
    next: AtomicU64,
}

impl Load {
    async fn fill(self: &Arc<Self>) -> Result<()> {
        let tasks: Vec<_> = (0..FILL_CLIENTS)
            .map(|client| {
                let load = Arc::clone(self);
                tokio::spawn(async move {
                    loop {
                        let number = load.next.fetch_add(1, Ordering::Relaxed);
                        if number >= load.keys {
                            return anyhow::Ok(());
                        }
                        load.put(client, number).await?;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok(())
    }

    async fn run(self: &Arc<Self>, call: Call, clients: usize, measured: Duration) -> Result<Sample> {
        let from = Instant::now() + WARM_UP;
        let until = from + measured;
        let tasks: Vec<_> = (0..clients)
            .map(|client| {
                let load = Arc::clone(self);
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    loop {
                        let number = load.next.fetch_add(1, Ordering::Relaxed);
                        let begun = Instant::now();
                        match call {
                            Call::Put => load.put(client, number).await?,
                            Call::Get => load.get(client, mixed(number) % load.keys).await?,
                        }
                        let ended = Instant::now();
                        if ended >= until {
                            return anyhow::Ok(latencies);
                        }
                        if ended >= from {
                            latencies.push(ended - begun);
                        }
                    }
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        Ok(Sample::new(latencies, measured, 0))
    }

    async fn put(&self, client: usize, number: u64) -> Result<()> {
        let mut message = Vec::new();
        put_field(&mut message, 1, &key(number));
        put_field(&mut message, 2, &[0x5a; VALUE_BYTES]);
        self.connection(client).call(PUT, &message).await.map(drop)
    }

    /// Linearizable, as all is that does not ask for less.
    async fn get(&self, client: usize, number: u64) -> Result<()> {
        let mut message = Vec::new();
        put_field(&mut message, 1, &key(number));
        let reply = self.connection(client).call(RANGE, &message).await?;
        ensure!(reply.len() > VALUE_BYTES, "etcd does not have key {number}");
        Ok(())
    }

    fn connection(&self, client: usize) -> &Connection {
        &self.connections[client % self.connections.len()]
    }
}

/// 32 bytes, of which the first 16 have no order.
fn key(number: u64) -> Vec<u8> {
    format!("{:016x}{number:016}", mixed(number)).into_bytes()
}

/// A number as one of 64 bits without an order (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
