//! Every copy of every object is there and right, once repair had nothing left to do: what `hayrick check --deep` found.
//!
//! A run in which that check could not be run is one in which the copies are not known to be right: a violation, unless the
//! record says why it was left out.

use crate::record::Record;
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "replicas-complete";
const PROMISE: &str = "When it is quiet, every object has all its copies, and they are the same.";

/// Looks at what the check said of copies.
pub(crate) fn check(record: &Record) -> Verdict {
    let Some(check) = &record.quiet.check else {
        return match record.left_out.iter().find(|left_out| left_out.contains("check")) {
            Some(why) => Verdict::skipped(NAME, PROMISE, why),
            None => {
                let evidence = vec![Evidence::says("`hayrick check --deep` could not be run to its end")];
                Verdict::of(NAME, PROMISE, "no object was looked at", evidence)
            }
        };
    };
    let mut evidence: Vec<Evidence> = check.wrong_copies.iter().map(Evidence::says).collect();
    let there = record.quiet.found.values().filter(|values| values.iter().any(Option::is_some)).count();
    if check.objects == 0 && there > 0 {
        let what = format!("`hayrick check --deep` looked at no object, and {there} are there");
        evidence.push(Evidence::says(what));
    }
    let figures = format!("{} objects, {} wrong copies", check.objects, check.wrong_copies.len());
    Verdict::of(NAME, PROMISE, figures, evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{assert_proved, assert_violated, record, record_found, value};
    use crate::record::CheckSeen;
    use crate::verdict::Outcome;

    #[test]
    fn a_check_without_findings_proves_it() {
        assert_proved(&check(&record(Vec::new())));
    }

    #[test]
    fn each_wrong_copy_is_shown() {
        let mut record = record(Vec::new());
        let wrong = vec!["k lacks its copy on volume 3".to_owned()];
        record.quiet.check = Some(CheckSeen { objects: 5, wrong_copies: wrong, ..CheckSeen::default() });
        assert_violated(&check(&record), "k lacks its copy on volume 3");
    }

    #[test]
    fn a_check_that_saw_nothing_proves_nothing() {
        let mut record = record_found(Vec::new(), "k", &[Some(value(1))]);
        record.quiet.check = Some(CheckSeen::default());
        assert_violated(&check(&record), "looked at no object");
    }

    #[test]
    fn a_check_that_did_not_run_is_a_violation_unless_it_was_left_out() {
        let mut record = record(Vec::new());
        record.quiet.check = None;
        assert_violated(&check(&record), "could not be run");
        record.left_out.push("no check --deep: this build has none".to_owned());
        let verdict = check(&record);
        assert_eq!(verdict.outcome, Outcome::Skipped);
        assert_eq!(verdict.figures, record.left_out[0]);
    }
}
