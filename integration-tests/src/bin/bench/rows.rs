//! The rows of the table, and how each is measured.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use hayrick_integration_tests::raw::resident_bytes;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore};

use crate::load::{Load, Sample, Until};
use crate::nginx::{self, Nginx};
use crate::report::{Ratio, Result as Measured};
use crate::target::{Target, get, needle_path, read_path};
use crate::{idle, machine};

const KIB: usize = 1024;
/// Objects to read among, at 1 KiB.
const OBJECTS: u64 = 100_000;
/// At 64 KiB so many fill 20 GB with their three copies and nginx's, which leaves the page cache and measures the disk.
const OBJECTS_64K: u64 = 20_000;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(6);
/// Before and after a row, so that a change of the machine's mood meets both.
const BASELINE_MEASURED: Duration = Duration::from_secs(2);
const CLIENTS: usize = 32;
/// With the load on one core and the server on the other.
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// A row of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    kind: Kind,
    /// What the ratio must reach, as the issue gives it.
    pub(crate) floor: Floor,
}

/// What a row must reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Floor {
    None,
    RatioAtLeast(f64),
    RatioAtMost(f64),
    ValueAtMost(f64),
}

#[derive(Clone, Copy)]
enum Kind {
    IdleCpu,
    IdleMemory,
    Put { size_bytes: usize, clients: usize },
    Get { size_bytes: usize, objects: u64 },
    VolumeGet,
}

/// All rows, in the order in which they are measured: idle first, on a cluster that has done nothing yet.
pub(crate) const ALL: [Row; 8] = [
    Row { name: "idle-cpu", kind: Kind::IdleCpu, floor: Floor::ValueAtMost(1.0) },
    Row { name: "idle-memory", kind: Kind::IdleMemory, floor: Floor::ValueAtMost(60.0 * 1024.0 * 1024.0) },
    Row {
        name: "put-1k-c32",
        kind: Kind::Put { size_bytes: KIB, clients: CLIENTS },
        floor: Floor::RatioAtLeast(0.5),
    },
    Row {
        name: "put-1k-c1",
        kind: Kind::Put { size_bytes: KIB, clients: 1 },
        floor: Floor::RatioAtMost(8.0),
    },
    Row {
        name: "put-64k-c32",
        kind: Kind::Put { size_bytes: 64 * KIB, clients: CLIENTS },
        floor: Floor::None,
    },
    Row {
        name: "get-1k-c32",
        kind: Kind::Get { size_bytes: KIB, objects: OBJECTS },
        floor: Floor::RatioAtLeast(0.08),
    },
    Row {
        name: "get-64k-c32",
        kind: Kind::Get { size_bytes: 64 * KIB, objects: OBJECTS_64K },
        floor: Floor::None,
    },
    Row { name: "volume-get-1k-c32", kind: Kind::VolumeGet, floor: Floor::RatioAtLeast(0.6) },
];

/// The cluster that is measured and what has been put into it.
pub(crate) struct Bench {
    dir: PathBuf,
    target: Target,
    /// The sizes whose objects to read lie there already.
    filled: BTreeSet<usize>,
    /// Fewer objects to read among than a row asks for, from `BENCH_OBJECTS`: for trying the bench itself.
    objects_max: u64,
}

impl Bench {
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let objects_max = match std::env::var("BENCH_OBJECTS") {
            Ok(count) => {
                count.parse().with_context(|| format!("BENCH_OBJECTS is a number, not {count:?}"))?
            }
            Err(_) => u64::MAX,
        };
        Ok(Self { dir: dir.to_owned(), target: Target::start(dir)?, filled: BTreeSet::new(), objects_max })
    }

    pub(crate) fn run(&mut self, row: &Row) -> Result<Measured> {
        match row.kind {
            Kind::IdleCpu => {
                let percents = idle::cpu_percent(&self.master_pids())?;
                Ok(Measured::plain(row, percents.into_iter().fold(0.0, f64::max), "% of a core"))
            }
            Kind::IdleMemory => {
                let resident = self.master_pids().into_iter().map(resident_bytes);
                let most = resident.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or_default();
                Ok(Measured::plain(row, most as f64, "bytes"))
            }
            Kind::Put { size_bytes, clients } => self.put(row, size_bytes, clients),
            Kind::Get { size_bytes, objects } => self.get(row, size_bytes, objects),
            Kind::VolumeGet => self.volume_get(row),
        }
    }

    fn master_pids(&self) -> Vec<u32> {
        self.target.cluster.masters().iter().filter_map(hayrick_launcher::Process::pid).collect()
    }

    fn put(&self, row: &Row, size_bytes: usize, clients: usize) -> Result<Measured> {
        let bytes = random_bytes(size_bytes);
        let before = machine::fdatasync(&self.dir)?;
        let until = Until::Time { warm_up: WARM_UP, measured: MEASURED };
        let sample = self.target.put_new(&bytes, clients, until)?;
        let baseline = before.and(machine::fdatasync(&self.dir)?);
        let ratio = if clients == 1 { Ratio::P50 } else { Ratio::Rate };
        Ok(Measured::rate(row, &sample, Some(("fdatasync", &baseline)), ratio))
    }

    fn get(&mut self, row: &Row, size_bytes: usize, objects: u64) -> Result<Measured> {
        let (bytes, objects) = (random_bytes(size_bytes), objects.min(self.objects_max));
        self.fill(&bytes, objects)?;
        let nginx = self.nginx(&bytes, objects, None)?;
        let measure_nginx = || nginx.as_ref().map(|nginx| read_files(nginx, size_bytes)).transpose();
        let before = measure_nginx()?;
        let path = |rng: &mut SmallRng| read_path(size_bytes, rng.random_range(0..objects));
        let sample = read(&self.target.masters(), size_bytes, MEASURED, &path)?;
        let baseline = before.zip(measure_nginx()?).map(|(before, after)| before.and(after));
        Ok(Measured::rate(row, &sample, baseline.as_ref().map(|sample| ("nginx", sample)), Ratio::Rate))
    }

    fn volume_get(&mut self, row: &Row) -> Result<Measured> {
        let (bytes, objects) = (random_bytes(KIB), OBJECTS.min(self.objects_max));
        self.fill(&bytes, objects)?;
        let needles = self.target.needles(KIB, usize::try_from(objects)?)?;
        let volume = self.target.cluster.volume(1);
        let pid = volume.pid().context("the volume died")?;
        let pinned = has_taskset() && std::thread::available_parallelism()?.get() > LOAD_CORE;
        let core = pinned.then_some(SERVER_CORE);
        let nginx = self.nginx(&bytes, objects, core)?;
        if pinned {
            Target::pin(pid, Some(SERVER_CORE))?;
            Target::pin(std::process::id(), Some(LOAD_CORE))?;
        }
        let measure_nginx = || nginx.as_ref().map(|nginx| read_files(nginx, KIB)).transpose();
        let before = measure_nginx()?;
        let path = |rng: &mut SmallRng| needle_path(needles[rng.random_range(0..needles.len())]);
        let sample = read(&[volume.http_addr()], KIB, MEASURED, &path)?;
        let baseline = before.zip(measure_nginx()?).map(|(before, after)| before.and(after));
        if pinned {
            Target::pin(pid, None)?;
            Target::pin(std::process::id(), None)?;
        }
        Ok(Measured::rate(row, &sample, baseline.as_ref().map(|sample| ("nginx", sample)), Ratio::Rate))
    }

    fn fill(&mut self, bytes: &[u8], objects: u64) -> Result<()> {
        if self.filled.insert(bytes.len()) {
            println!("  putting {objects} objects of {} bytes", bytes.len());
            self.target.fill(bytes, objects)?;
        }
        Ok(())
    }

    fn nginx(&self, bytes: &[u8], files: u64, core: Option<usize>) -> Result<Option<Nginx>> {
        if !nginx::is_installed() {
            println!("  nginx is not installed: no baseline");
            return Ok(None);
        }
        Nginx::start(&self.dir, files, bytes, core).map(Some)
    }
}

fn read_files(nginx: &Nginx, size_bytes: usize) -> Result<Sample> {
    let path = |rng: &mut SmallRng| nginx::path(rng.random_range(0..nginx.files));
    read(&[nginx.addr], size_bytes, BASELINE_MEASURED, &path)
}

/// Reads random paths.
fn read(
    targets: &[SocketAddr],
    size_bytes: usize,
    measured: Duration,
    path: &(dyn Fn(&mut SmallRng) -> String + Sync),
) -> Result<Sample> {
    let request = |_, rng: &mut SmallRng, request: &mut Vec<u8>| request.extend_from_slice(&get(&path(rng)));
    let until = Until::Time { warm_up: WARM_UP, measured };
    Load { targets, clients: CLIENTS, until, request: &request, answer_bytes: Some(size_bytes) }.run()
}

fn random_bytes(size_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; size_bytes];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn has_taskset() -> bool {
    let version = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}
