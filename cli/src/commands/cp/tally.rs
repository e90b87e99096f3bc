//! What a copy came to, and what is told of it.
//!
//! Invariant: every copy that has ended is counted once: as copied, as there already, or as failed, the one with which it is given
//! up among these.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tokio::time::Instant;

use super::Copied;
use crate::commands::failures::{Failures, tell_one};
use crate::exit::{self, Exit};
use crate::output;
use crate::units::bytes;

pub(super) struct Tally {
    begun: Instant,
    copied: u64,
    copied_bytes: u64,
    already: u64,
    failures: Failures,
    /// The copy with which it is given up, which is told with that.
    is_last_failed: bool,
    empty_directories: u64,
    /// Files that were being sent into the cluster when it ended.
    pub(super) in_flight: u64,
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
            failures: Failures::default(),
            is_last_failed: false,
            empty_directories: 0,
            in_flight: 0,
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

    pub(super) fn failed(&mut self, what: &str, why: &anyhow::Error) {
        self.failures.add(what, why);
    }

    /// One has failed, and the others will end no better.
    pub(super) fn last_failed(&mut self) {
        self.is_last_failed = true;
    }

    pub(super) fn empty_directory(&mut self) {
        self.empty_directories += 1;
    }

    /// Tells it, and what the command ends with.
    pub(super) fn report(self, ended: Ended) -> Exit {
        const AGAIN: &str = "give the same command again, and it goes on from there";
        self.failures.tell();
        let sum = self.sum();
        let end = match ended {
            Ended::Through if self.not_copied() == 0 => {
                output::said(&sum);
                Exit::Done
            }
            Ended::Through => {
                tell_one(&sum);
                Exit::Failed
            }
            Ended::Interrupted if self.in_flight > 0 => {
                tell_one(&format!(
                    "interrupted: {sum}, and of {} more it is not known whether they are stored; {AGAIN}",
                    self.in_flight
                ));
                Exit::OutcomeUnknown
            }
            Ended::Interrupted => {
                tell_one(&format!("interrupted: {sum}; {AGAIN}"));
                Exit::Failed
            }
            Ended::GivenUp(error) => {
                tell_one(&exit::sentence(&error));
                if self.copied + self.already + self.failures.count() == 0 {
                    return exit::of(&error);
                }
                tell_one(&format!("given up: {sum}; {AGAIN}"));
                exit::worst([Exit::Failed, exit::of(&error)])
            }
        };
        exit::worst([end, self.failures.worst()])
    }

    fn not_copied(&self) -> u64 {
        self.failures.count() + u64::from(self.is_last_failed)
    }

    fn sum(&self) -> String {
        let files = |count: u64| format!("{count} {}", if count == 1 { "file" } else { "files" });
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut parts =
            vec![format!("{} copied, {}, in {seconds:.1} s", files(self.copied), bytes(self.copied_bytes))];
        if self.already > 0 {
            parts.push(format!("{} there already", self.already));
        }
        if self.not_copied() > 0 {
            parts.push(format!("{} not copied", self.not_copied()));
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
    use anyhow::anyhow;
    use hayrick_client::Error;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_sum_tells_what_became_of_everything() {
        let mut tally = Tally::default();
        tally.copied(&Copied::Whole(1 << 20));
        assert_eq!(tally.sum(), "1 file copied, 1.0 MiB, in 0.0 s");
        tally.copied(&Copied::Already);
        tally.failed("a", &anyhow!("no"));
        tally.empty_directory();
        assert_eq!(
            tally.sum(),
            "1 file copied, 1.0 MiB, in 0.0 s; 1 there already; 1 not copied; 1 directory is empty and left out, as \
             objects have none"
        );
        assert_eq!(tally.report(Ended::Through), Exit::Failed);
    }

    #[tokio::test(start_paused = true)]
    async fn the_copy_with_which_it_is_given_up_is_counted() {
        let mut tally = Tally::default();
        tally.failed("a", &anyhow!("no"));
        tally.last_failed();
        assert!(tally.sum().contains("2 not copied"), "{}", tally.sum());
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_happened_is_what_the_exit_code_says() {
        let unknown = || anyhow::Error::from(Error::Unknown { message: "lost".into() });
        let absent = || anyhow::Error::from(Error::NotFound { key: "k".into() });
        let ended = |failed: &[anyhow::Error], ended| {
            let mut tally = Tally::default();
            failed.iter().for_each(|error| tally.failed("a", error));
            tally.report(ended)
        };
        assert_eq!(ended(&[unknown(), anyhow!("no")], Ended::Through), Exit::OutcomeUnknown);
        assert_eq!(ended(&[unknown()], Ended::Interrupted), Exit::OutcomeUnknown);
        assert_eq!(ended(&[absent()], Ended::Through), Exit::Failed, "it was there a moment ago");
        assert_eq!(ended(&[absent()], Ended::GivenUp(unknown())), Exit::OutcomeUnknown);
        assert_eq!(ended(&[], Ended::GivenUp(absent())), Exit::NoSuchKey, "it was all that was wanted");
    }
}
