//! What failed of many things.
//!
//! Owns how it is told: the first one by one, of the others how many there are. Invariant: what failed is counted once, and its
//! exit code is looked at, whether it is told or not.

use anyhow::Error;

use crate::exit::{self, Exit};
use crate::output;

/// Failures that are told one by one.
const TOLD_MAX: usize = 20;

#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: u64,
    told: Vec<String>,
    worst: Exit,
}

impl Failures {
    /// One more, of `what`.
    pub(crate) fn add(&mut self, what: &str, error: &Error) {
        self.count += 1;
        self.worst = exit::worst([self.worst, exit::of(error)]);
        if self.told.len() < TOLD_MAX {
            self.told.push(words(what, error));
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// What the gravest of them means; done where there is none.
    pub(crate) fn worst(&self) -> Exit {
        self.worst
    }

    pub(crate) fn tell(&self) {
        for words in &self.told {
            tell_one(words);
        }
        let more = self.count - self.told.len() as u64;
        if more > 0 {
            tell_one(&format!("… and {more} more"));
        }
    }
}

/// Tells one while others go on; what it means for the exit code.
pub(crate) fn tell_at_once(what: &str, error: &Error) -> Exit {
    tell_one(&words(what, error));
    exit::of(error)
}

/// What is said of one thing that failed: which, and why. Some errors name it themselves.
fn words(what: &str, error: &Error) -> String {
    use hayrick_client::Error::{Damaged, NotFound, NothingToBringBack, Taken};
    let names_it = matches!(
        error.downcast_ref(),
        Some(NotFound { .. } | NothingToBringBack { .. } | Taken { .. } | Damaged { .. })
    );
    let sentence = exit::sentence(error);
    if names_it { sentence } else { format!("{}: {sentence}", output::escaped(what.as_bytes())) }
}

pub(crate) fn tell_one(words: &str) {
    output::noted(&format!("hayrick: {words}"));
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn only_the_first_are_told_one_by_one_and_all_are_counted() {
        let mut failures = Failures::default();
        (0..100).for_each(|number| failures.add(&number.to_string(), &anyhow!("no")));
        assert_eq!((failures.told.len(), failures.count()), (TOLD_MAX, 100));
        assert_eq!(failures.worst(), Exit::Failed);
        failures.add("a", &hayrick_client::Error::Unknown { message: String::new() }.into());
        assert_eq!(failures.worst(), Exit::OutcomeUnknown, "also of those that are not told");
    }

    #[test]
    fn a_thing_is_named_once_and_a_terminal_obeys_nothing_of_it() {
        assert_eq!(words("a\u{1b}", &anyhow!("no")), r"a\u{1b}: no");
        let absent = hayrick_client::Error::NotFound { key: "k".into() };
        assert!(words("k", &absent.into()).starts_with("k: there is no such key"));
    }
}
