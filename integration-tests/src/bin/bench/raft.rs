//! The rows that measure the Raft store by itself: a program of the master crate (`master/examples/raft`) runs three
//! nodes as processes, with the load in one of them, or in a process of its own beside etcd's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::etcd::{self, Call, Etcd};
use crate::load::Sample;
use crate::machine;
use crate::program::{Figure, Program};
use crate::report::Result as Measured;
use crate::rows::{Row, Scale};

const TASKS: usize = 64;
/// Keys that are there before reads, and commits while state is written behind, are measured.
const KEYS: u64 = 100_000;
const KEYS_APPLIED: u64 = 1_000_000;
/// Keys that are overwritten over and over, and how often together.
const KEYS_OVERWRITTEN: u64 = 10_000;
const OVERWRITES: u64 = 1_000_000;
/// Who commits while a snapshot is sent, and for how long: longer than it may take.
const SNAPSHOT_WRITERS: usize = 16;
const SNAPSHOT_SECONDS: u64 = 20;
/// For so many times as long as other rows, so that there are several checkpoints in it.
const TAIL_TIMES: u32 = 2;
/// What is fed from memory must not have more than one core.
const APPLY_CORE: usize = 0;

/// What a row measures.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Commit,
    CommitAlone,
    CommitTail,
    Read { writers: usize },
    Apply,
    Restart,
    Snapshot,
    SpaceOfKeys,
    SpaceOfOverwrites,
    Against(Call),
    Table { volumes: u32, partitions: u32 },
}

/// The program.
pub(crate) struct RaftRows {
    program: Program,
    dir: PathBuf,
    scale: Scale,
}

impl RaftRows {
    pub(crate) fn new(dir: &Path, scale: Scale) -> Result<Self> {
        Ok(Self { program: Program::example("raft", dir)?, dir: dir.to_owned(), scale })
    }

    pub(crate) fn run(&self, row: &Row, kind: Kind) -> Result<Measured> {
        match kind {
            Kind::Commit => {
                let (figure, sample) = self.beside_syncs(TASKS)?;
                Ok(Measured::figure(row, &figure, "1/s", Some(("fdatasync", sample.per_second()))))
            }
            Kind::CommitAlone => {
                let (figure, sample) = self.beside_syncs(1)?;
                let value = figure.p50_ms.context("nothing was committed")?;
                let baseline = Some(("fdatasync p50", sample.percentile_ms(50)));
                Ok(Measured::figure(row, &Figure { value, ..figure }, "ms", baseline))
            }
            Kind::CommitTail => {
                let figure = self.commit(self.keys(KEYS), TASKS, self.scale.measured * TAIL_TIMES)?;
                println!("  {:.0} commits a second", figure.value);
                let value = figure.p99_ms.context("nothing was committed")?;
                let baseline = figure.p50_ms.map(|value| ("its p50", value));
                Ok(Measured::figure(row, &Figure { value, ..figure }, "ms", baseline))
            }
            Kind::Read { writers } => {
                let args =
                    [self.keys(KEYS), TASKS.to_string(), writers.to_string(), seconds(self.scale.measured)];
                let mut figure = self.program.once("read", &args, None)?;
                if let Some(written) = figure.baseline.take() {
                    println!("  beside {written:.0} commits a second");
                }
                Ok(Measured::figure(row, &figure, "1/s", None))
            }
            Kind::Apply => {
                let figure = self.program.once("apply", &[self.keys(KEYS_APPLIED)], Some(APPLY_CORE))?;
                Ok(Measured::figure(row, &figure, "1/s", None))
            }
            Kind::Restart => {
                let figure = self.program.once("restart", &[self.keys(KEYS_APPLIED)], None)?;
                Ok(Measured::figure(row, &figure, "s", None))
            }
            Kind::Snapshot => {
                let args =
                    [self.keys(KEYS_APPLIED), SNAPSHOT_WRITERS.to_string(), SNAPSHOT_SECONDS.to_string()];
                let figure = self.program.once("snapshot", &args, None)?;
                Ok(Measured::figure(row, &figure, "s", None))
            }
            Kind::SpaceOfKeys => {
                let figure = self.program.once("space-key", &[self.keys(KEYS_APPLIED)], None)?;
                Ok(Measured::figure(row, &figure, "bytes", None))
            }
            Kind::SpaceOfOverwrites => {
                let args = [self.keys(KEYS_OVERWRITTEN), self.keys(OVERWRITES)];
                let figure = self.program.once("space-overwrites", &args, None)?;
                let baseline = figure.baseline.map(|bytes| ("of the first keys", bytes));
                Ok(Measured::figure(row, &figure, "bytes", baseline))
            }
            Kind::Against(call) => self.against(row, call),
            Kind::Table { volumes, partitions } => {
                let args = [volumes.to_string(), partitions.to_string()];
                let figure = self.program.once("table", &args, None)?;
                Ok(Measured::figure(row, &figure, "ms", None))
            }
        }
    }

    /// Commits, and the disk's own syncs before and after.
    fn beside_syncs(&self, tasks: usize) -> Result<(Figure, Sample)> {
        let before = machine::fdatasync(&self.dir)?;
        let figure = self.commit("0".to_owned(), tasks, self.scale.measured)?;
        Ok((figure, before.and(machine::fdatasync(&self.dir)?)))
    }

    fn commit(&self, keys: String, tasks: usize, measured: Duration) -> Result<Figure> {
        self.program.once("commit", &[keys, tasks.to_string(), seconds(measured)], None)
    }

    /// The same calls by clients in another process, to this and to etcd.
    fn against(&self, row: &Row, call: Call) -> Result<Measured> {
        let (command, keys) = match call {
            Call::Put => ("put", "0".to_owned()),
            Call::Get => ("get", self.keys(KEYS)),
        };
        let figure =
            self.program.once(command, &[keys, TASKS.to_string(), seconds(self.scale.measured)], None)?;
        if !etcd::is_installed() {
            println!("  etcd is not installed (etcd-server and etcd-client): no baseline");
            return Ok(Measured::figure(row, &figure, "1/s", None));
        }
        let theirs = Etcd::start(&self.dir)?.measure(call, TASKS, self.scale)?;
        println!("  etcd: p50 {:.3} ms, p99 {:.3} ms", theirs.percentile_ms(50), theirs.percentile_ms(99));
        Ok(Measured::figure(row, &figure, "1/s", Some(("etcd", theirs.per_second()))))
    }

    fn keys(&self, asked: u64) -> String {
        asked.min(self.scale.objects_max).to_string()
    }
}

fn seconds(duration: Duration) -> String {
    duration.as_secs().to_string()
}
