//! The cluster that is measured, what lies in it, and which needles one volume holds.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_launcher::Cluster;

use crate::load::{Connection, Load, Sample, Until};

const READY_TIMEOUT: Duration = Duration::from_secs(40);
/// Clients while objects are put in before reads are measured.
const FILL_CLIENTS: usize = 64;
/// Epochs are handed out from 1; few are used up by a cluster that has just started.
const EPOCHS_TRIED: u64 = 64;
/// After so many ids in a row that a volume does not have, an epoch is taken to have ended.
const MISSES_MAX: u64 = 256;

/// The cluster that is measured: three masters and some volumes.
pub(crate) struct Target {
    pub(crate) cluster: Cluster,
    next_key: AtomicU64,
}

impl Target {
    /// With three volumes each of them holds everything.
    pub(crate) fn start(dir: &Path, volumes: u32, master_args: &[&str]) -> Result<Self> {
        let binary = match std::env::var_os("HAYRICK_BIN") {
            Some(path) => path.into(),
            None => std::env::current_exe()?.with_file_name("hayrick"),
        };
        let builder = Cluster::builder(binary).masters(3).volumes(volumes).dir(dir).segment_size("1GiB");
        let builder = master_args.iter().fold(builder, |builder, arg| builder.master_arg(*arg));
        let cluster = builder.start()?;
        cluster.wait_ready(READY_TIMEOUT)?;
        Ok(Self { cluster, next_key: AtomicU64::new(0) })
    }

    pub(crate) fn masters(&self) -> Vec<SocketAddr> {
        self.cluster.client_addrs()
    }

    /// Puts objects of `bytes` under new keys.
    pub(crate) fn put_new(&self, bytes: &[u8], clients: usize, until: Until) -> Result<Sample> {
        let request = |_, _: &mut _, request: &mut Vec<u8>| {
            let number = self.next_key.fetch_add(1, Ordering::Relaxed);
            put(&format!("/bench/new/{number}"), bytes, request);
        };
        Load { targets: &self.masters(), clients, until, request: &request, answer_bytes: None }.run()
    }

    /// Puts `count` objects of `bytes` at [`read_path`].
    pub(crate) fn fill(&self, bytes: &[u8], count: u64) -> Result<()> {
        let request =
            |number, _: &mut _, request: &mut Vec<u8>| put(&read_path(bytes.len(), number), bytes, request);
        let (targets, until) = (self.masters(), Until::Count(count));
        let load =
            Load { targets: &targets, clients: FILL_CLIENTS, until, request: &request, answer_bytes: None };
        let sample = load.run()?;
        ensure!(sample.failed == 0, "{} of {count} objects could not be put", sample.failed);
        Ok(())
    }

    /// The ids of up to `count` needles of `size_bytes` on the first volume, found by trying: an id is an epoch in its
    /// upper half and a number that grows by one in its lower.
    pub(crate) fn needles(&self, size_bytes: usize, count: usize) -> Result<Vec<u64>> {
        let addr = self.cluster.volume(1).http_addr();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ids = runtime.block_on(async {
            let mut connection = Connection::open(addr).await?;
            let mut ids = Vec::new();
            for epoch in 0..EPOCHS_TRIED {
                let (mut seq, mut misses) = (0, 0);
                while misses < MISSES_MAX && ids.len() < count {
                    let id = epoch << 32 | seq;
                    let (status, body_bytes) = connection.answer(&get(&needle_path(id))).await?;
                    misses = if status == 200 { 0 } else { misses + 1 };
                    if status == 200 && body_bytes == size_bytes {
                        ids.push(id);
                    }
                    seq += 1;
                }
            }
            anyhow::Ok(ids)
        })?;
        ensure!(!ids.is_empty(), "the volume serves no needle of {size_bytes} bytes by id");
        Ok(ids)
    }

    /// Binds a running process to one core, or to all with `None`.
    pub(crate) fn pin(pid: u32, core: Option<usize>) -> Result<()> {
        let last = cores_online()? - 1;
        let cores = core.map_or_else(|| format!("0-{last}"), |core| core.to_string());
        let status = Command::new("taskset")
            .args(["-a", "-c", "-p", &cores, &pid.to_string()])
            .stdout(std::process::Stdio::null())
            .status()
            .context("cannot run taskset")?;
        ensure!(status.success(), "taskset cannot bind {pid} to {cores}");
        Ok(())
    }
}

/// Where the objects lie that are read.
pub(crate) fn read_path(size_bytes: usize, number: u64) -> String {
    format!("/bench/{size_bytes}/{number}")
}

pub(crate) fn needle_path(id: u64) -> String {
    format!("/-/needles/{id}")
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes()
}

fn put(path: &str, bytes: &[u8], request: &mut Vec<u8>) {
    let head = format!("PUT {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n", bytes.len());
    request.extend_from_slice(head.as_bytes());
    request.extend_from_slice(bytes);
}

/// How many cores the machine has; `available_parallelism` would tell how many this process is bound to.
fn cores_online() -> Result<usize> {
    let info = std::fs::read_to_string("/proc/cpuinfo").context("only Linux is measured")?;
    Ok(info.lines().filter(|line| line.starts_with("processor")).count().max(1))
}
