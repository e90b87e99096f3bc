//! A failure has no effect: a value all of whose PUTs under a key were refused, or failed their condition, is never seen
//! there.

use super::final_reads::final_reads;
use super::observed::{is_failure, observed, puts};
use crate::record::Record;
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "failures-have-no-effect";
const PROMISE: &str =
    "A write that was refused, or whose condition did not hold, has no effect, then or later.";

/// Looks at every observation of a value.
pub(crate) fn check(record: &Record) -> Verdict {
    let mut puts = puts(record.history.operations.iter());
    puts.retain(|_, puts| puts.iter().all(|put| is_failure(put)));
    let read_back = final_reads(record);
    let mut evidence = Vec::new();
    for operation in record.history.operations.iter().chain(&read_back) {
        let Some((key, value)) = observed(operation) else { continue };
        let Some(puts) = puts.get(&(key, value)) else { continue };
        evidence.push(Evidence {
            what: format!("{value} was seen in {key}, though every PUT of it had failed"),
            at: Some(operation.ended),
            key: Some(key.to_owned()),
            history: puts.iter().copied().chain([operation]).cloned().collect(),
        });
    }
    evidence.sort_by_key(|evidence| evidence.at);
    Verdict::of(NAME, PROMISE, format!("{} values of which every PUT failed", puts.len()), evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{
        assert_proved, assert_violated, get, put, put_if, record, record_found, value,
    };
    use crate::history::{Condition, Operation};

    fn failed() -> [Operation; 2] {
        [put("k", value(1)).refused(), put_if("k", value(1), Condition::Absent).at(2..3).condition_failed()]
    }

    #[test]
    fn what_failed_is_not_seen() {
        let other = put("k", value(2)).stored();
        let seen = get("k").at(4..5).found(value(2));
        assert_proved(&check(&record(failed().into_iter().chain([other, seen]).collect())));
    }

    #[test]
    fn what_failed_and_is_seen_contradicts() {
        for failed in failed() {
            let seen = get("k").at(4..5).found(value(1));
            assert_violated(&check(&record(vec![failed.clone(), seen])), "every PUT of it had failed");
            let verdict = check(&record_found(vec![failed], "k", &[Some(value(1))]));
            assert_violated(&verdict, "every PUT of it had failed");
            assert_eq!(verdict.evidence[0].history.len(), 2);
        }
    }

    #[test]
    fn one_put_that_may_have_succeeded_is_enough() {
        let [refused, _] = failed();
        let seen = get("k").at(4..5).found(value(1));
        for other in [put("k", value(1)).at(2..3).unknown(), put("k", value(1)).at(2..3).stored()] {
            assert_proved(&check(&record(vec![refused.clone(), other, seen.clone()])));
        }
    }
}
