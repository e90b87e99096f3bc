//! Every copy of every object is there and right, once repair had nothing left to do: what `hayrick check --deep` found.
//!
//! A run in which repair or that check came to no end is one in which the copies are not known to be right: a violation.

use crate::record::Record;
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "replicas-complete";
const PROMISE: &str = "When it is quiet, every object has all its copies, and they are the same.";

/// Looks at what the check said of copies.
pub(crate) fn check(record: &Record) -> Verdict {
    let mut evidence: Vec<Evidence> = record.quiet.unfinished.iter().map(Evidence::says).collect();
    let Some(check) = &record.quiet.check else {
        if evidence.is_empty() {
            evidence.push(Evidence::says("`hayrick check --deep` could not be run to its end"));
        }
        return Verdict::of(NAME, PROMISE, "no object was looked at", evidence);
    };
    evidence.extend(check.wrong_copies.iter().map(Evidence::says));
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
    fn a_check_that_did_not_run_is_a_violation_whatever_was_left_out() {
        let mut record = record(Vec::new());
        record.quiet.check = None;
        record.left_out.push("a checksum was not checked".to_owned());
        assert_violated(&check(&record), "could not be run");
        record.quiet.unfinished.push("not after 30 s: every object has its copies".to_owned());
        assert_violated(&check(&record), "every object has its copies");
    }

    #[test]
    fn repair_that_came_to_no_end_is_a_violation_whatever_the_check_found() {
        let mut record = record(Vec::new());
        record.quiet.unfinished.push("not after 30 s: every object has its copies".to_owned());
        assert_violated(&check(&record), "every object has its copies");
    }
}
