//! Each planted bug with the faults that should make it show, and then the same faults and seeds without a bug.

use std::path::{Path, PathBuf};

use anyhow::Result;
use hayrick_chaos::prove::Options;
use hayrick_chaos::report::{self, Run};
use hayrick_chaos::self_test::{self, Case, Control, Row};
use hayrick_chaos::{bugs, document};
use hayrick_launcher::Deadline;

use super::Args;
use super::interruptible::Underway;
use super::series::{self, so_far};
use crate::commands::teller::Teller;
use crate::exit::Exit;
use crate::output;

/// The table of what was caught in a document.
pub(super) const TABLE: &str = "self-test";

/// The bugs that shall be planted, and the document that shall hold the table of them.
#[derive(Debug)]
pub(super) struct SelfTest {
    pub(super) cases: Vec<Case>,
    pub(super) document: PathBuf,
}

impl SelfTest {
    /// Plants them one by one; then does the same without any.
    pub(super) async fn run(self, options: Options, args: Args, underway: Underway) -> Result<Exit> {
        let begun = Deadline::after(std::time::Duration::MAX);
        let mut rows = Vec::new();
        for case in &self.cases {
            let run = one(case, &options, true, &underway).await;
            let row = Row::of(*case, &run);
            output::said(&row.line());
            keep_if(!row.is_caught(), case, &options, &args.report, &run)?;
            rows.push(row);
        }
        let mut controls = Vec::new();
        for case in self.without_a_bug() {
            let run = one(case, &options, false, &underway).await;
            let control = Control::of(*case, &run);
            output::said(&match &run {
                Ok(run) => series::in_a_line(run),
                Err(error) => format!("{} without a bug  NOT RUN: {error:#}", control.mix),
            });
            keep_if(!control.is_well(), case, &options, &args.report, &run)?;
            controls.push(control);
        }
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        let head = format!("Seed {}, `{}`, {minutes:.0} min in all.", options.seed, options.version);
        self.write(&rows, &controls, &head)?;
        let caught = rows.iter().filter(|row| row.is_caught()).count();
        let quiet = controls.iter().filter(|control| control.is_well()).count();
        output::said(&format!(
            "{caught} of {} planted bugs were caught, {quiet} of {} runs without a bug found nothing. {head}",
            rows.len(),
            controls.len()
        ));
        let is_well = rows.iter().all(Row::is_well) && controls.iter().all(Control::is_well);
        Ok(if is_well { Exit::Done } else { Exit::Failed })
    }

    /// One of those that share their faults and times.
    fn without_a_bug(&self) -> Vec<&Case> {
        let mut cases = Vec::<&Case>::new();
        let same = |one: &Case, other: &Case| {
            (one.planted.mix.name, one.planted.seconds) == (other.planted.mix.name, other.planted.seconds)
        };
        for case in &self.cases {
            if !cases.iter().any(|other| same(other, case)) {
                cases.push(case);
            }
        }
        cases
    }

    /// A table of some of them would take the place of that of all.
    fn write(&self, rows: &[Row], controls: &[Control], head: &str) -> Result<()> {
        if !self.is_all() {
            let (some, all) = (self.cases.len(), bugs::ALL.len());
            output::noted(&format!(
                "{} is left as it is: {some} of {all} planted bugs",
                self.document.display()
            ));
            return Ok(());
        }
        document::replace_table(&self.document, TABLE, &self_test::table(rows, controls, head))
    }

    fn is_all(&self) -> bool {
        self.cases.len() == bugs::ALL.len()
    }
}

async fn one(case: &Case, options: &Options, with_bug: bool, underway: &Underway) -> Result<Run> {
    let mix = case.planted.mix.name;
    let title = if with_bug { case.planted.bug.to_owned() } else { format!("{mix} without a bug") };
    let mut teller = Teller::titled(&title);
    underway.begins(options.dir.join(mix));
    let run =
        self_test::run(case, options, with_bug, |progress| teller.tell(progress.doing, || so_far(progress)))
            .await;
    underway.ended();
    teller.clear();
    run
}

/// A run that did not do what it should is kept with its report, in a directory of its own; of others nothing is.
fn keep_if(keep: bool, case: &Case, options: &Options, report: &Path, run: &Result<Run>) -> Result<()> {
    let mix = case.planted.mix.name;
    let running = options.dir.join(mix);
    let bug = match run {
        Ok(run) => run.record.plan.bug.as_deref().unwrap_or("no-bug"),
        Err(_) => "not-run",
    };
    let kept = report.join(format!("{mix}-{bug}"));
    if kept.exists() {
        std::fs::remove_dir_all(&kept)?;
    }
    if !running.exists() {
        return Ok(());
    }
    if !keep {
        return Ok(std::fs::remove_dir_all(&running)?);
    }
    match run {
        Ok(run) => report::write(&kept, std::slice::from_ref(run), 1)?,
        Err(_) => std::fs::create_dir_all(&kept)?,
    }
    Ok(std::fs::rename(&running, kept.join("cluster"))?)
}

#[cfg(test)]
mod tests {
    use hayrick_chaos::self_test::End;

    use super::*;
    use crate::commands::prove::choice::case;

    const BEFORE: &str =
        "<!-- table self-test: written by a run -->\nThat of all.\n<!-- end of table self-test -->\n";

    #[test]
    fn a_part_of_the_bugs_leaves_the_table_of_all_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let document = dir.path().join("chaos.md");
        let written = |cases: Vec<Case>| {
            std::fs::write(&document, BEFORE).expect("written");
            let rows: Vec<Row> = cases.iter().map(|case| Row { case: *case, end: End::Missed }).collect();
            let test = SelfTest { cases, document: document.clone() };
            test.write(&rows, &[], "Head.").expect("written");
            std::fs::read_to_string(&document).expect("there")
        };
        let all: Vec<Case> = bugs::ALL.iter().map(case).collect();
        assert_eq!(written(all[..all.len() - 1].to_vec()), BEFORE);
        let text = written(all);
        assert!(text.contains("| `skip-sync` |") && !text.contains("That of all."), "{text}");
    }

    #[test]
    fn bugs_that_share_faults_and_times_share_the_run_without_a_bug() {
        let cases: Vec<Case> = bugs::ALL.iter().map(case).collect();
        let all = SelfTest { cases, document: PathBuf::new() };
        let mut mixes: Vec<_> =
            all.without_a_bug().iter().map(|case| (case.planted.mix.name, case.planted.seconds)).collect();
        let count = mixes.len();
        mixes.sort_unstable();
        mixes.dedup();
        assert_eq!(mixes.len(), count);
        assert!(all.cases.iter().all(|case| mixes.contains(&(case.planted.mix.name, case.planted.seconds))));
    }
}
