//! A master that lost what it had promised to remember does not take part any more.

use crate::record::Record;
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "identity";
const PROMISE: &str = "A master whose disk was emptied or set back is not let in under its old id.";

/// Looks at whom the faults started on a disk that was not theirs any more.
pub(crate) fn check(record: &Record) -> Verdict {
    let tried = record.faults.iter().filter(|fault| TRIES.contains(&fault.kind.as_str())).count();
    if tried == 0 && record.let_in.is_empty() {
        return Verdict::skipped(NAME, PROMISE, "no master's disk was emptied or set back");
    }
    let evidence = record.let_in.iter().map(Evidence::says).collect();
    Verdict::of(NAME, PROMISE, format!("{tried} tried it"), evidence)
}

/// The faults that try it.
const TRIES: [&str; 2] = ["wipe-master", "roll-back-master"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{assert_proved, assert_violated, record};
    use crate::history::Moment;
    use crate::record::Fault;
    use crate::verdict::Outcome;

    #[test]
    fn who_was_let_in_breaks_the_promise_and_who_was_not_keeps_it() {
        let mut record = record(Vec::new());
        assert_eq!(check(&record).outcome, Outcome::Skipped);
        let fault = |kind: &str| Fault {
            kind: kind.to_owned(),
            what: "master-1".to_owned(),
            from: Moment(0),
            to: Moment(1),
        };
        record.faults = vec![fault("kill-leader"), fault("wipe-master")];
        assert_proved(&check(&record));
        assert_eq!(check(&record).figures, "1 tried it");
        record.let_in.push("master-1 was let in with an empty disk".to_owned());
        assert_violated(&check(&record), "an empty disk");
    }
}
