//! The rows of the table, and by whom each is measured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::{self, ClusterRows};
use crate::engine::{self, EngineRows};
use crate::etcd::Call;
use crate::raft::{self, RaftRows};
use crate::repair;
use crate::report::Result as Measured;

pub(crate) const KIB: usize = 1024;
/// Objects to read among, at 1 KiB.
const OBJECTS: u64 = 100_000;
/// At 64 KiB so many fill 20 GB with their three copies and nginx's, which leaves the page cache and measures the disk.
const OBJECTS_64K: u64 = 20_000;
const CLIENTS: usize = 32;
const MIB: f64 = 1024.0 * 1024.0;

/// A row of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    kind: Kind,
    /// What must be reached, as the issue gives it.
    pub(crate) floor: Floor,
}

/// What a row must reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Floor {
    None,
    RatioAtLeast(f64),
    RatioAtMost(f64),
    ValueAtLeast(f64),
    ValueAtMost(f64),
}

#[derive(Clone, Copy)]
enum Kind {
    Cluster(cluster::Kind),
    Engine(engine::Kind),
    Raft(raft::Kind),
    Repair(repair::Verb),
}

const fn of_cluster(name: &'static str, kind: cluster::Kind, floor: Floor) -> Row {
    Row { name, kind: Kind::Cluster(kind), floor }
}

const fn of_engine(name: &'static str, kind: engine::Kind, floor: Floor) -> Row {
    Row { name, kind: Kind::Engine(kind), floor }
}

const fn of_raft(name: &'static str, kind: raft::Kind, floor: Floor) -> Row {
    Row { name, kind: Kind::Raft(kind), floor }
}

const fn of_repair(name: &'static str, verb: repair::Verb) -> Row {
    Row { name, kind: Kind::Repair(verb), floor: Floor::RatioAtMost(2.0) }
}

const fn get(size_bytes: usize, objects: u64) -> cluster::Kind {
    cluster::Kind::Get { size_bytes, objects, clients: CLIENTS }
}

const fn put(size_bytes: usize, clients: usize) -> cluster::Kind {
    cluster::Kind::Put { size_bytes, clients }
}

const fn append(size_bytes: usize, writers: usize) -> engine::Kind {
    engine::Kind::Append { size_bytes, writers }
}

/// All rows, in the order in which they are measured: what is measured by itself first, while there is no cluster yet; then idle, on a
/// cluster that has done nothing yet.
pub(crate) const ALL: [Row; 32] = [
    of_engine("engine-append-1k-w1", append(KIB, 1), Floor::RatioAtLeast(0.8)),
    of_engine("engine-append-1k-w32", append(KIB, 32), Floor::RatioAtLeast(10.0)),
    of_engine("engine-append-1k-w128", append(KIB, 128), Floor::RatioAtLeast(14.0)),
    of_engine("engine-append-1m", engine::Kind::AppendLarge, Floor::RatioAtLeast(0.8)),
    of_engine("engine-read-1k", engine::Kind::Read, Floor::RatioAtLeast(0.6)),
    of_engine("engine-open-10m", engine::Kind::Open, Floor::ValueAtMost(4.0)),
    of_engine("engine-memory-10m", engine::Kind::Memory, Floor::ValueAtMost(16.0)),
    of_engine("engine-space-1k", engine::Kind::Space, Floor::ValueAtMost(1.06)),
    of_engine("engine-append-p99-compacting", engine::Kind::Compacting, Floor::RatioAtMost(3.0)),
    of_raft("raft-commit-c64", raft::Kind::Commit, Floor::RatioAtLeast(4.0)),
    of_raft("raft-commit-c1", raft::Kind::CommitAlone, Floor::RatioAtMost(4.0)),
    of_raft("raft-commit-p99", raft::Kind::CommitTail, Floor::RatioAtMost(6.0)),
    of_raft("raft-read-c64", raft::Kind::Read { writers: 0 }, Floor::ValueAtLeast(100_000.0)),
    of_raft("raft-read-c64-writers", raft::Kind::Read { writers: 16 }, Floor::ValueAtLeast(40_000.0)),
    of_raft("raft-apply", raft::Kind::Apply, Floor::ValueAtLeast(80_000.0)),
    of_raft("raft-restart-1m", raft::Kind::Restart, Floor::ValueAtMost(3.0)),
    of_raft("raft-snapshot-1m", raft::Kind::Snapshot, Floor::ValueAtMost(20.0)),
    of_raft("raft-space-key", raft::Kind::SpaceOfKeys, Floor::ValueAtMost(150.0)),
    of_raft("raft-space-overwrites", raft::Kind::SpaceOfOverwrites, Floor::None),
    of_raft("etcd-put", raft::Kind::Against(Call::Put), Floor::RatioAtLeast(3.0)),
    of_raft("etcd-get", raft::Kind::Against(Call::Get), Floor::RatioAtLeast(3.0)),
    of_raft("table-50x4096", raft::Kind::Table { volumes: 50, partitions: 4096 }, Floor::ValueAtMost(100.0)),
    of_repair("repair-put-p99", repair::Verb::Put),
    of_repair("repair-get-p99", repair::Verb::Get),
    of_cluster("idle-cpu", cluster::Kind::IdleCpu, Floor::ValueAtMost(1.0)),
    of_cluster("idle-memory", cluster::Kind::IdleMemory, Floor::ValueAtMost(60.0 * MIB)),
    of_cluster("put-1k-c32", put(KIB, CLIENTS), Floor::RatioAtLeast(0.5)),
    of_cluster("put-1k-c1", put(KIB, 1), Floor::RatioAtMost(8.0)),
    of_cluster("put-64k-c32", put(64 * KIB, CLIENTS), Floor::None),
    of_cluster("get-1k-c32", get(KIB, OBJECTS), Floor::RatioAtLeast(0.08)),
    of_cluster("get-64k-c32", get(64 * KIB, OBJECTS_64K), Floor::None),
    of_cluster(
        "volume-get-1k-c32",
        cluster::Kind::VolumeGet { objects: OBJECTS, clients: CLIENTS },
        Floor::RatioAtLeast(0.9),
    ),
];

/// How large a run is. Less than the rows ask for is for trying the bench itself.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Fewer objects than a row asks for, from `BENCH_OBJECTS`.
    pub(crate) objects_max: u64,
    /// For how long each row is measured, from `BENCH_SECONDS`.
    pub(crate) measured: Duration,
}

impl Scale {
    fn of_environment() -> Result<Self> {
        Ok(Self {
            objects_max: number("BENCH_OBJECTS")?.unwrap_or(u64::MAX),
            measured: Duration::from_secs(number("BENCH_SECONDS")?.unwrap_or(6)),
        })
    }
}

fn number(variable: &str) -> Result<Option<u64>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{variable} is a number, not {text:?}"))
}

/// What measures the rows. The cluster is started for the first row that needs it.
pub(crate) struct Bench {
    dir: PathBuf,
    scale: Scale,
    engine: EngineRows,
    raft: RaftRows,
    cluster: Option<ClusterRows>,
}

impl Bench {
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let scale = Scale::of_environment()?;
        let (engine, raft) = (EngineRows::new(dir, scale)?, RaftRows::new(dir, scale)?);
        Ok(Self { dir: dir.to_owned(), scale, engine, raft, cluster: None })
    }

    pub(crate) fn run(&mut self, row: &Row) -> Result<Measured> {
        match row.kind {
            Kind::Engine(kind) => self.engine.run(row, kind),
            Kind::Raft(kind) => {
                self.engine.clear()?;
                self.raft.run(row, kind)
            }
            Kind::Repair(verb) => {
                self.engine.clear()?;
                repair::run(&self.dir, self.scale, row, verb)
            }
            Kind::Cluster(kind) => {
                self.engine.clear()?;
                let cluster = match self.cluster.take() {
                    Some(cluster) => cluster,
                    None => ClusterRows::start(&self.dir, self.scale)?,
                };
                self.cluster.insert(cluster).run(row, kind)
            }
        }
    }
}
