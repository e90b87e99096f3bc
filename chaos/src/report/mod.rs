//! The report: one page for people, and the same as JSON for programs.
//!
//! A directory gets `index.html`, which needs nothing else and no network, `report.json`, and the history of each run
//! that somebody will want to look into: `json.rs` says which. The computations ([`figures`], [`series`], [`standing`])
//! know nothing of the page; whoever draws (`page.rs` and what it calls) judges nothing.
//!
//! Keys, log lines and the words of answers come from outside, and the faulty servers of a chaos run may say anything:
//! all text goes through `maud`, which escapes it, and the page forbids every script, its own included.

pub mod figures;
pub mod markdown;
pub mod series;
pub mod standing;

mod history;
mod json;
mod logs;
mod page;
mod processes;
mod resources;
mod svg;
mod table;
mod timeline;
mod words;

#[cfg(test)]
pub(crate) mod made_up;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::record::Record;
use crate::verdict::Verdict;

/// One run of one mix, and what the checkers say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What was seen.
    pub record: Record,
    /// What it says of each promise.
    pub verdicts: Vec<Verdict>,
}

/// Writes the report of `runs`, of so many that are `planned`, into `dir`, which is made if need be: the histories first and the page last, each beside
/// its place and then renamed. Whoever opens a file of an earlier report meanwhile sees all of it.
pub fn write(dir: &Path, runs: &[Run], planned: usize) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let histories = json::history_files(runs);
    for (run, history) in runs.iter().zip(&histories) {
        if let Some(name) = history {
            replace(dir, name, |file| Ok(serde_json::to_writer(file, &run.record.history)?))?;
        }
    }
    let report = json::report(runs, planned, &histories);
    replace(dir, "report.json", |file| Ok(serde_json::to_writer_pretty(file, &report)?))?;
    let page = page::document(runs, planned, &histories);
    replace(dir, "index.html", |file| file.write_all(page.into_string().as_bytes()))
}

/// Puts a file in its place only when all of it is there.
fn replace(
    dir: &Path,
    name: &str,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let beside = dir.join(format!(".{name}.partial"));
    let mut file = BufWriter::new(File::create(&beside)?);
    fill(&mut file)?;
    file.into_inner()?.sync_all()?;
    fs::rename(beside, dir.join(name))
}
