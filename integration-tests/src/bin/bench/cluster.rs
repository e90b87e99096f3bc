//! The rows that measure a whole cluster over HTTP.

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
use crate::rows::{KIB, Row, Scale};
use crate::target::{Target, get, needle_path, read_path};
use crate::{idle, machine};

pub(crate) const WARM_UP: Duration = Duration::from_secs(1);
/// Before and after a row, so that a change of the machine's mood meets both.
const BASELINE_MEASURED: Duration = Duration::from_secs(2);
/// With the load on one core and the server on the other.
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// What a row measures.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    IdleCpu,
    IdleMemory,
    Put { size_bytes: usize, clients: usize },
    Get { size_bytes: usize, objects: u64, clients: usize },
    VolumeGet { objects: u64, clients: usize },
}

/// The cluster that is measured and what has been put into it.
pub(crate) struct ClusterRows {
    dir: PathBuf,
    target: Target,
    /// The sizes whose objects to read lie there already.
    filled: BTreeSet<usize>,
    scale: Scale,
}

impl ClusterRows {
    pub(crate) fn start(dir: &Path, scale: Scale) -> Result<Self> {
        let target = Target::start(&dir.join("cluster"), 3, &[])?;
        Ok(Self { dir: dir.to_owned(), target, filled: BTreeSet::new(), scale })
    }

    pub(crate) fn run(&mut self, row: &Row, kind: Kind) -> Result<Measured> {
        match kind {
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
            Kind::Get { size_bytes, objects, clients } => self.get(row, size_bytes, objects, clients),
            Kind::VolumeGet { objects, clients } => self.volume_get(row, objects, clients),
        }
    }

    fn master_pids(&self) -> Vec<u32> {
        self.target.cluster.masters().iter().filter_map(hayrick_launcher::Process::pid).collect()
    }

    fn put(&self, row: &Row, size_bytes: usize, clients: usize) -> Result<Measured> {
        let bytes = random_bytes(size_bytes);
        let before = machine::fdatasync(&self.dir)?;
        let until = Until::Time { warm_up: WARM_UP, measured: self.scale.measured };
        let sample = self.target.put_new(&bytes, clients, until)?;
        let baseline = before.and(machine::fdatasync(&self.dir)?);
        let ratio = if clients == 1 { Ratio::P50 } else { Ratio::Rate };
        Ok(Measured::rate(row, &sample, Some(("fdatasync", &baseline)), ratio))
    }

    fn get(&mut self, row: &Row, size_bytes: usize, objects: u64, clients: usize) -> Result<Measured> {
        let (bytes, objects) = (random_bytes(size_bytes), objects.min(self.scale.objects_max));
        self.fill(&bytes, objects)?;
        let nginx = self.nginx(&bytes, objects, None)?;
        let measure_nginx = || nginx.as_ref().map(|nginx| read_files(nginx, size_bytes, clients)).transpose();
        let before = measure_nginx()?;
        let path = |rng: &mut SmallRng| read_path(size_bytes, rng.random_range(0..objects));
        let sample = read(&self.target.masters(), size_bytes, clients, self.scale.measured, &path)?;
        let baseline = before.zip(measure_nginx()?).map(|(before, after)| before.and(after));
        Ok(Measured::rate(row, &sample, baseline.as_ref().map(|sample| ("nginx", sample)), Ratio::Rate))
    }

    fn volume_get(&mut self, row: &Row, objects: u64, clients: usize) -> Result<Measured> {
        let (bytes, objects) = (random_bytes(KIB), objects.min(self.scale.objects_max));
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
        let measure_nginx = || nginx.as_ref().map(|nginx| read_files(nginx, KIB, clients)).transpose();
        let before = measure_nginx()?;
        let path = |rng: &mut SmallRng| needle_path(needles[rng.random_range(0..needles.len())]);
        let sample = read(&[volume.http_addr()], KIB, clients, self.scale.measured, &path)?;
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

fn read_files(nginx: &Nginx, size_bytes: usize, clients: usize) -> Result<Sample> {
    let path = |rng: &mut SmallRng| nginx::path(rng.random_range(0..nginx.files));
    read(&[nginx.addr], size_bytes, clients, BASELINE_MEASURED, &path)
}

/// Reads random paths.
pub(crate) fn read(
    targets: &[SocketAddr],
    size_bytes: usize,
    clients: usize,
    measured: Duration,
    path: &(dyn Fn(&mut SmallRng) -> String + Sync),
) -> Result<Sample> {
    let request = |_, rng: &mut SmallRng, request: &mut Vec<u8>| request.extend_from_slice(&get(&path(rng)));
    let until = Until::Time { warm_up: WARM_UP, measured };
    Load { targets, clients, until, request: &request, answer_bytes: Some(size_bytes) }.run()
}

pub(crate) fn random_bytes(size_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; size_bytes];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn has_taskset() -> bool {
    let version = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}
