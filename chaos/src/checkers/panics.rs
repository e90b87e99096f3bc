//! No server panics: who cannot go on says so and ends in order.

use crate::record::Record;
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "nobody-panics";
const PROMISE: &str = "No server panics, whatever is done to it.";

/// Looks at what the servers logged of panics.
pub(crate) fn check(record: &Record) -> Verdict {
    let evidence: Vec<Evidence> = record.panics.iter().map(Evidence::says).collect();
    let figures = format!("the logs of {} processes, {} panics", record.logs.len(), evidence.len());
    if record.logs.is_empty() {
        return Verdict::skipped(NAME, PROMISE, "nobody logged anything");
    }
    Verdict::of(NAME, PROMISE, figures, evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{assert_proved, assert_violated, record};

    #[test]
    fn a_panic_is_shown_with_who_had_it() {
        let mut record = record(Vec::new());
        record.logs.insert("master-2".to_owned(), "master-2.log".into());
        assert_proved(&check(&record));
        record.panics.push("master-2: thread 'main' panicked at src/lib.rs".to_owned());
        assert_violated(&check(&record), "master-2");
    }
}
