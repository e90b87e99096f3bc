//! What a copy came to, and what is told of it.
//!
//! Invariant: everything that was found is counted once: as copied, as there already, or as failed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tokio::time::Instant;

use super::Copied;
use crate::exit::{self, Exit};
use crate::output;
use crate::units::bytes;

/// Failures that are told one by one.
const TOLD_MAX: usize = 20;

pub(super) struct Tally {
    begun: Instant,
    copied: u64,
    copied_bytes: u64,
    already: u64,
    failed: u64,
    told: Vec<String>,
    empty_directories: u64,
    /// Directories whose entries are to be synced.
    pub(super) written_to: BTreeSet<PathBuf>,
}

/// How the whole of it ended.
pub(super) enum Ended {
    Through,
    Interrupted,
    GivenUp(anyhow::Error),
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            copied: 0,
            copied_bytes: 0,
            already: 0,
            failed: 0,
            told: Vec::new(),
            empty_directories: 0,
            written_to: BTreeSet::new(),
        }
    }
}

impl Tally {
    pub(super) fn copied(&mut self, copied: &Copied) {
        match copied {
            Copied::Whole(bytes) => {
                self.copied += 1;
                self.copied_bytes += bytes;
            }
            Copied::Already => self.already += 1,
        }
    }

    pub(super) fn failed(&mut self, what: &str, why: &str) {
        self.failed += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(format!("{}: {why}", output::escaped(what.as_bytes())));
        }
    }

    pub(super) fn empty_directory(&mut self) {
        self.empty_directories += 1;
    }

    /// Tells it, and what the command ends with.
    pub(super) fn report(self, ended: Ended) -> Exit {
        for told in &self.told {
            output::noted(&format!("hayrick: {told}"));
        }
        let more = self.failed - self.told.len() as u64;
        if more > 0 {
            output::noted(&format!("hayrick: … and {more} more"));
        }
        let sum = self.sum();
        match ended {
            Ended::Through if self.failed == 0 => {
                output::said(&sum);
                return Exit::Done;
            }
            Ended::Through => output::noted(&format!("hayrick: {sum}")),
            Ended::Interrupted => output::noted(&format!(
                "hayrick: interrupted: {sum}; give the same command again, and it goes on from there"
            )),
            Ended::GivenUp(error) => {
                output::noted(&format!("hayrick: {error:#}"));
                if self.copied + self.already + self.failed > 0 {
                    let again = "give the same command again, and it goes on from there";
                    output::noted(&format!("hayrick: given up: {sum}; {again}"));
                    return Exit::Failed;
                }
                return exit::of(&error);
            }
        }
        Exit::Failed
    }

    fn sum(&self) -> String {
        let files = |count: u64| format!("{count} {}", if count == 1 { "file" } else { "files" });
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut parts =
            vec![format!("{} copied, {}, in {seconds:.1} s", files(self.copied), bytes(self.copied_bytes))];
        if self.already > 0 {
            parts.push(format!("{} there already", self.already));
        }
        if self.failed > 0 {
            parts.push(format!("{} not copied", self.failed));
        }
        if self.empty_directories > 0 {
            let are = if self.empty_directories == 1 { "directory is" } else { "directories are" };
            parts.push(format!("{} {are} empty and left out, as objects have none", self.empty_directories));
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_sum_tells_what_became_of_everything() {
        let mut tally = Tally::default();
        tally.copied(&Copied::Whole(1 << 20));
        assert_eq!(tally.sum(), "1 file copied, 1.0 MiB, in 0.0 s");
        tally.copied(&Copied::Already);
        tally.failed("a\u{1b}", "no");
        tally.empty_directory();
        assert_eq!(
            tally.sum(),
            "1 file copied, 1.0 MiB, in 0.0 s; 1 there already; 1 not copied; 1 directory is empty and left out, as \
             objects have none"
        );
        assert_eq!(tally.told, [r"a\u{1b}: no"], "a terminal obeys nothing of it");
        assert_eq!(tally.report(Ended::Through), Exit::Failed);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_failures_are_told_one_by_one() {
        let mut tally = Tally::default();
        (0..100).for_each(|number| tally.failed(&number.to_string(), "no"));
        assert_eq!((tally.told.len(), tally.failed), (TOLD_MAX, 100));
    }
}
