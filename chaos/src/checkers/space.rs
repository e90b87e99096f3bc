//! Every needle and every byte on the volumes is accounted for, once clean-up had nothing left to do.

use crate::record::Record;
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "space-accounted-for";
const PROMISE: &str = "When it is quiet, nothing lies on a volume that nobody accounts for.";

/// Looks at what `hayrick check --deep` said of space. That it did not run is for `replicas` to judge.
pub(crate) fn check(record: &Record) -> Verdict {
    let Some(check) = &record.quiet.check else {
        return Verdict::skipped(NAME, PROMISE, "`hayrick check --deep` did not run to its end");
    };
    let evidence = check.unaccounted.iter().map(Evidence::says).collect();
    let figures = format!("{} objects, {} findings", check.objects, check.unaccounted.len());
    Verdict::of(NAME, PROMISE, figures, evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{assert_proved, assert_violated, record};
    use crate::verdict::Outcome;

    #[test]
    fn a_check_without_findings_proves_it() {
        assert_proved(&check(&record(Vec::new())));
    }

    #[test]
    fn what_nobody_accounts_for_is_shown() {
        let mut record = record(Vec::new());
        let seen = record.quiet.check.get_or_insert_default();
        seen.unaccounted.push("volume 2: 3 needles that no object names".to_owned());
        assert_violated(&check(&record), "volume 2: 3 needles");
    }

    #[test]
    fn without_a_check_it_is_skipped() {
        let mut record = record(Vec::new());
        record.quiet.check = None;
        record.quiet.unfinished.push("the check of all copies did not end in time".to_owned());
        assert_eq!(check(&record).outcome, Outcome::Skipped);
    }
}
