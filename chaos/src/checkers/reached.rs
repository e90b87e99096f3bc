//! The run reached what it was made for: a run without a single election says nothing of elections.

use crate::record::Record;
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "reached";
const PROMISE: &str = "Everything that the mix is there to reach was reached at least once.";

/// Looks at what the plan names.
pub(crate) fn check(record: &Record) -> Verdict {
    let wanted = &record.plan.must_reach;
    if wanted.is_empty() {
        return Verdict::skipped(NAME, PROMISE, "the mix names nothing that must be reached");
    }
    let times = |name: &String| record.reached.get(name).copied().unwrap_or_default();
    let missed = wanted.iter().filter(|name| times(name) == 0);
    let evidence =
        missed.map(|name| Evidence::says(format!("proved nothing: {name} was never reached"))).collect();
    let figures: Vec<_> = wanted.iter().map(|name| format!("{name} {}", times(name))).collect();
    Verdict::of(NAME, PROMISE, figures.join(", "), evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{assert_proved, assert_violated, record};
    use crate::verdict::Outcome;

    fn elections_reached(times: Option<u64>) -> Verdict {
        let mut record = record(Vec::new());
        record.plan.must_reach = vec!["elections".to_owned()];
        record.reached.extend(times.map(|times| ("elections".to_owned(), times)));
        check(&record)
    }

    #[test]
    fn what_was_reached_is_counted() {
        let verdict = elections_reached(Some(3));
        assert_proved(&verdict);
        assert_eq!(verdict.figures, "elections 3");
    }

    #[test]
    fn what_was_never_reached_proves_nothing() {
        for times in [None, Some(0)] {
            assert_violated(&elections_reached(times), "proved nothing: elections was never reached");
        }
    }

    #[test]
    fn a_mix_that_names_nothing_is_not_looked_at() {
        assert_eq!(check(&record(Vec::new())).outcome, Outcome::Skipped);
    }
}
