//! The rows that measure the volume engine by itself.
//!
//! This crate must not look at the engine, so that is done by a program of the volume crate (`volume/examples/engine`),
//! in a process for each measurement, which prints one line of JSON. What the machine can do is measured here, before and
//! after, except where the same bytes must be read or written: then it comes with that line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::raw::resident_bytes;

use crate::load::Sample;
use crate::machine;
use crate::program::{Figure, Program, Running};
use crate::report::Result as Measured;
use crate::rows::{Row, Scale};

/// Small enough for the page cache, far too many for the processor's.
const NEEDLES_READ: u64 = 500_000;
const NEEDLES_OPENED: u64 = 10_000_000;
/// They fill a segment of the default size, and half of another.
const NEEDLES_STORED: u64 = 1_500_000;
/// So many open the store one after the other; the slowest counts.
const OPENS: usize = 3;

/// What a row measures.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Append { size_bytes: usize, writers: usize },
    AppendLarge,
    Read,
    Open,
    Memory,
    Space,
    Compacting,
}

/// The program, and what it left for other rows.
pub(crate) struct EngineRows {
    program: Program,
    scale: Scale,
    /// Whether the store of ten million needles is there.
    filled: bool,
}

impl EngineRows {
    pub(crate) fn new(dir: &Path, scale: Scale) -> Result<Self> {
        Ok(Self { program: Program::example("engine", dir)?, scale, filled: false })
    }

    pub(crate) fn run(&mut self, row: &Row, kind: Kind) -> Result<Measured> {
        match kind {
            Kind::Append { size_bytes, writers } => {
                let (figure, sample) = self.append(size_bytes, writers)?;
                Ok(Measured::figure(row, &figure, "1/s", Some(("fdatasync", sample.per_second()))))
            }
            Kind::AppendLarge => {
                let figure = self.once("large", &[self.seconds()])?;
                let limit = figure.baseline.map(|value| ("sequential write", value));
                Ok(Measured::figure(row, &figure, "1/s", limit))
            }
            Kind::Read => {
                let figure = self.once("read", &[self.needles(NEEDLES_READ), self.seconds()])?;
                Ok(Measured::figure(row, &figure, "1/s", figure.baseline.map(|value| ("pread", value))))
            }
            Kind::Space => {
                let figure = self.once("space", &[self.needles(NEEDLES_STORED)])?;
                Ok(Measured::figure(row, &figure, "bytes a byte", None))
            }
            Kind::Compacting => {
                let figure = self.once("compacting", &[self.seconds()])?;
                Ok(Measured::figure(row, &figure, "ms", figure.baseline.map(|value| ("in peace", value))))
            }
            Kind::Open => self.open(row),
            Kind::Memory => self.memory(row),
        }
    }

    /// Removes what is kept for other rows.
    pub(crate) fn clear(&mut self) -> Result<()> {
        if std::mem::take(&mut self.filled) {
            std::fs::remove_dir_all(self.filled_dir())?;
        }
        Ok(())
    }

    fn append(&self, size_bytes: usize, writers: usize) -> Result<(Figure, Sample)> {
        let beside = self.program.dir.parent().context("it lies in the bench's directory")?;
        let before = machine::fdatasync(beside)?;
        let figure = self.once("append", &[size_bytes.to_string(), writers.to_string(), self.seconds()])?;
        Ok((figure, before.and(machine::fdatasync(beside)?)))
    }

    fn open(&mut self, row: &Row) -> Result<Measured> {
        self.fill()?;
        let mut slowest: Option<Figure> = None;
        for _ in 0..OPENS {
            let opened = self.program.start("open", &self.filled_dir(), &[])?;
            self.check_filled(&opened)?;
            if slowest.is_none_or(|slowest| slowest.value < opened.figure.value) {
                slowest = Some(opened.figure);
            }
        }
        let slowest = slowest.context("nothing was opened")?;
        Ok(Measured::figure(row, &slowest, "s", None))
    }

    fn memory(&mut self, row: &Row) -> Result<Measured> {
        self.fill()?;
        let full = self.program.start("open", &self.filled_dir(), &[])?;
        self.check_filled(&full)?;
        let with_needles = resident_bytes(full.process.0.id())?;
        drop(full);
        let empty = self.program.start("open", &self.program.dir.join("empty"), &[])?;
        let without = resident_bytes(empty.process.0.id())?;
        drop(empty);
        std::fs::remove_dir_all(self.program.dir.join("empty"))?;
        let bytes = with_needles.saturating_sub(without) as f64;
        Ok(Measured::plain(row, bytes / self.needles_opened() as f64, "bytes"))
    }

    /// Makes the store that is opened, whose process is killed, and reads its files, so that they are in the page cache.
    fn fill(&mut self) -> Result<()> {
        if !self.filled {
            println!("  appending {} needles of 100 bytes", self.needles_opened());
            drop(self.program.start("fill", &self.filled_dir(), &[self.needles(NEEDLES_OPENED)])?);
            self.filled = true;
        }
        for entry in std::fs::read_dir(self.filled_dir())? {
            let mut file = std::fs::File::open(entry?.path())?;
            std::io::copy(&mut file, &mut std::io::sink())?;
        }
        Ok(())
    }

    fn filled_dir(&self) -> PathBuf {
        self.program.dir.join("filled")
    }

    fn needles_opened(&self) -> u64 {
        NEEDLES_OPENED.min(self.scale.objects_max)
    }

    fn check_filled(&self, opened: &Running) -> Result<()> {
        let (found, appended) = (opened.figure.baseline.unwrap_or_default(), self.needles_opened());
        ensure!(found == appended as f64, "{found} of {appended} needles were there");
        Ok(())
    }

    fn needles(&self, asked: u64) -> String {
        asked.min(self.scale.objects_max).to_string()
    }

    fn seconds(&self) -> String {
        self.scale.measured.as_secs().to_string()
    }

    fn once(&self, command: &str, args: &[String]) -> Result<Figure> {
        self.program.once(command, args, None)
    }
}
