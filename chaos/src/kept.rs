//! Runs that are done, kept beside the report: so that a long series can be interrupted and gone on with.
//!
//! Only what was seen is kept. What it proves is asked anew each time, of today's checkers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::checkers;
use crate::record::{Plan, Record};
use crate::report::Run;

#[derive(Deserialize)]
struct Stored {
    record: Record,
}

#[derive(Serialize)]
struct ToStore<'a> {
    record: &'a Record,
}

/// Keeps a run; a former one of the same mix is replaced.
///
/// # Errors
/// When it cannot be written.
pub fn keep(dir: &Path, run: &Run) -> Result<()> {
    let path = path(dir, &run.record.plan.mix);
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let beside = path.with_extension("new");
    let stored = ToStore { record: &run.record };
    let written = fs::File::create(&beside).map_err(anyhow::Error::from).and_then(|file| {
        let mut file = std::io::BufWriter::new(file);
        serde_json::to_writer(&mut file, &stored)?;
        Ok(std::io::Write::flush(&mut file)?)
    });
    written.with_context(|| beside.display().to_string())?;
    fs::rename(&beside, &path).with_context(|| path.display().to_string())
}

/// The run of this plan that was kept, if there is one: of the same mix, seed, length, binary and bug. It is judged anew, by
/// what this plan says it must have reached.
///
/// # Errors
/// When there is one that cannot be read.
pub fn find(dir: &Path, plan: &Plan) -> Result<Option<Run>> {
    let path = path(dir, &plan.mix);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| path.display().to_string())?,
    };
    let Stored { mut record } =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is no run; remove it", path.display()))?;
    let of = &record.plan;
    if (of.seed, of.seconds, &of.binary, &of.bug) != (plan.seed, plan.seconds, &plan.binary, &plan.bug) {
        return Ok(None);
    }
    record.plan = plan.clone();
    Ok(Some(Run { verdicts: checkers::judge(&record), record }))
}

/// Whether any run of the mix is kept.
pub fn is_any(dir: &Path, mix: &str) -> bool {
    path(dir, mix).exists()
}

/// What a binary is, so that no two are called the same: `build`, and the MD5 of its bytes.
///
/// # Errors
/// When it cannot be read.
pub fn identity(build: &str, binary: &Path) -> Result<String> {
    let mut file = fs::File::open(binary).with_context(|| binary.display().to_string())?;
    let mut digest = Md5::new();
    std::io::copy(&mut file, &mut digest).with_context(|| binary.display().to_string())?;
    Ok(format!("{build}, MD5 {}", hex::encode(digest.finalize())))
}

fn path(dir: &Path, mix: &str) -> PathBuf {
    dir.join(format!("{mix}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::made_up;
    use crate::report::standing::Standing;
    use crate::verdict::Verdict;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    #[test]
    fn a_run_of_another_seed_length_bug_or_binary_is_not_taken_over() {
        let dir = dir();
        let run = made_up::held(10);
        keep(dir.path(), &run).expect("kept");
        let found = |change: &dyn Fn(&mut Plan)| {
            let mut plan = run.record.plan.clone();
            change(&mut plan);
            find(dir.path(), &plan).expect("readable").is_some()
        };
        assert!(found(&|_| ()));
        assert!(!found(&|plan| plan.seed += 1));
        assert!(!found(&|plan| plan.seconds += 1));
        assert!(!found(&|plan| plan.bug = Some("skip-sync".to_owned())));
        assert!(!found(&|plan| plan.binary.push('0')));
        assert!(!found(&|plan| plan.mix.push('0')));
        assert!(is_any(dir.path(), &run.record.plan.mix) && !is_any(dir.path(), "another"));
    }

    #[test]
    fn a_run_that_was_kept_is_judged_anew_by_what_its_mix_asks_for_now() {
        let dir = dir();
        let mut run = made_up::held(10);
        run.verdicts = vec![Verdict::proved("of-yesterday", "Nothing of it is asked any more.", "")];
        run.record.plan.must_reach.clear();
        keep(dir.path(), &run).expect("kept");
        let mut plan = run.record.plan.clone();
        plan.must_reach = vec!["compactions".to_owned()];
        let found = find(dir.path(), &plan).expect("readable").expect("there is one");
        assert_eq!(found.verdicts, checkers::judge(&found.record));
        assert_eq!(crate::report::standing::unreached(&found.record), ["compactions"]);
        assert!(Standing::of(&found) >= Standing::ProvedNothing);
    }

    #[test]
    fn two_binaries_of_one_version_are_told_apart_by_their_bytes() {
        let dir = dir();
        let path = dir.path().join("hayrick");
        let of = |bytes: &str| {
            fs::write(&path, bytes).expect("written");
            identity("hayrick 0.1.0", &path).expect("readable")
        };
        assert_eq!(of("one"), of("one"));
        assert_ne!(of("one"), of("other"));
        assert!(of("one").starts_with("hayrick 0.1.0, MD5 f97c5d29"), "{}", of("one"));
        assert!(identity("hayrick 0.1.0", &dir.path().join("none")).is_err());
    }
}
