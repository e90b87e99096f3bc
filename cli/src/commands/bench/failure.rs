//! Requests that failed, counted by what that means.
//!
//! Invariant: what failed is counted once and never among what was answered.

use hayrick_client::Error;

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The masters could not serve it now; it had no effect.
    Refused,
    /// A write that may have happened.
    Unknown,
    /// No master answered, or not to the end.
    NoAnswer,
    /// Other bytes than were put, or another ETag, or no such object.
    Wrong,
    /// Whatever else the masters said.
    Other,
}

impl Failure {
    /// All of them, in the order in which they are told.
    pub(super) const ALL: [Self; 5] =
        [Self::Refused, Self::Unknown, Self::NoAnswer, Self::Wrong, Self::Other];

    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Refused { status: 503, .. } => Self::Refused,
            Error::Unknown { .. } => Self::Unknown,
            // Of a write they would be unknown.
            Error::Refused { status: 500 | 502 | 504, .. } | Error::NoMaster { .. } | Error::Body(_) => {
                Self::NoAnswer
            }
            Error::NotFound { .. } | Error::BadAnswer { .. } | Error::Damaged { .. } => Self::Wrong,
            _ => Self::Other,
        }
    }

    /// For people.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Refused => "refused (503)",
            Self::Unknown => "outcome unknown (504, or cut off)",
            Self::NoAnswer => "no answer",
            Self::Wrong => "wrong answer",
            Self::Other => "other",
        }
    }

    /// For programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused_503",
            Self::Unknown => "outcome_unknown_504",
            Self::NoAnswer => "no_answer",
            Self::Wrong => "wrong_answer",
            Self::Other => "other",
        }
    }
}

/// A request that failed: what that means, and the words.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) failure: Failure,
    pub(super) words: String,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { failure: Failure::of(&error), words: format!("{:#}", anyhow::Error::new(error)) }
    }
}

/// How many failed in which way, and the words of the first of each.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures {
    counts: [u64; Failure::ALL.len()],
    first: [Option<String>; Failure::ALL.len()],
}

impl Failures {
    pub(super) fn add(&mut self, failed: Failed) {
        let at = failed.failure as usize;
        self.counts[at] += 1;
        self.first[at].get_or_insert(failed.words);
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn count(&self, failure: Failure) -> u64 {
        self.counts[failure as usize]
    }

    /// Those that there were: how many, and what the first one was told.
    pub(super) fn told(&self) -> impl Iterator<Item = (Failure, u64, &str)> {
        Failure::ALL
            .into_iter()
            .map(|failure| {
                let words = self.first[failure as usize].as_deref().unwrap_or_default();
                (failure, self.count(failure), words)
            })
            .filter(|(_, count, _)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_what_they_mean() {
        let refused = |status| Error::Refused { status, message: "words".into() };
        let of = |error: Error| Failure::of(&error);
        assert_eq!(of(refused(503)), Failure::Refused);
        assert_eq!(of(refused(504)), Failure::NoAnswer);
        assert_eq!(of(refused(507)), Failure::Other);
        assert_eq!(of(Error::Unknown { message: String::new() }), Failure::Unknown);
        assert_eq!(of(Error::NoMaster { tried: Vec::new() }), Failure::NoAnswer);
        assert_eq!(of(Error::NotFound { key: "k".into() }), Failure::Wrong);
        let (expected, found) = ("abc".to_owned(), "def".to_owned());
        assert_eq!(of(Error::Damaged { key: "k".into(), expected, found }), Failure::Wrong);

        let mut failures = Failures::default();
        for words in ["first", "second"] {
            failures.add(Failed { failure: Failure::Wrong, words: words.to_owned() });
        }
        failures.add(refused(503).into());
        let told: Vec<_> = failures.told().collect();
        assert_eq!(told, [(Failure::Refused, 1, "words (status 503)"), (Failure::Wrong, 2, "first")]);
        assert_eq!(failures.total(), 3);
    }

    #[test]
    fn each_kind_of_failure_has_a_place_of_its_own() {
        for (at, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, at);
        }
    }
}
