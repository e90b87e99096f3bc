//! Runs that are done, kept beside the report: so that a long series can be interrupted and gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::record::{Plan, Record};
use crate::report::Run;
use crate::verdict::Verdict;

#[derive(Deserialize)]
struct Stored {
    record: Record,
    verdicts: Vec<Verdict>,
}

#[derive(Serialize)]
struct ToStore<'a> {
    record: &'a Record,
    verdicts: &'a [Verdict],
}

/// Keeps a run; a former one of the same mix is replaced.
///
/// # Errors
/// When it cannot be written.
pub fn keep(dir: &Path, run: &Run) -> Result<()> {
    let path = path(dir, &run.record.plan.mix);
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let beside = path.with_extension("new");
    let stored = ToStore { record: &run.record, verdicts: &run.verdicts };
    let written = fs::File::create(&beside).map_err(anyhow::Error::from).and_then(|file| {
        let mut file = std::io::BufWriter::new(file);
        serde_json::to_writer(&mut file, &stored)?;
        Ok(std::io::Write::flush(&mut file)?)
    });
    written.with_context(|| beside.display().to_string())?;
    fs::rename(&beside, &path).with_context(|| path.display().to_string())
}

/// The run of this plan that was kept, if there is one: of the same seed, length, binary and bug.
///
/// # Errors
/// When there is one that cannot be read.
pub fn find(dir: &Path, plan: &Plan) -> Result<Option<Run>> {
    let path = path(dir, &plan.mix);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| path.display().to_string())?,
    };
    let stored: Stored =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is no run; remove it", path.display()))?;
    let of = &stored.record.plan;
    let same =
        (of.seed, of.seconds, &of.binary, &of.bug) == (plan.seed, plan.seconds, &plan.binary, &plan.bug);
    Ok(same.then_some(Run { record: stored.record, verdicts: stored.verdicts }))
}

fn path(dir: &Path, mix: &str) -> PathBuf {
    dir.join(format!("{mix}.json"))
}
