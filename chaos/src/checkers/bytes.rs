//! Every byte is right: no answer had bytes that are not those of its ETag, or was a list that no store may give, and no value
//! is seen that nobody put there.

use super::final_reads::final_reads;
use super::observed::{observed, puts};
use crate::history::{Answer, Operation};
use crate::record::Record;
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "every-byte-right";
const PROMISE: &str = "Every read returns exactly the bytes that somebody put under that key.";

/// Looks at every answer.
pub(crate) fn check(record: &Record) -> Verdict {
    let operations = &record.history.operations;
    let puts = puts(operations.iter());
    let read_back = final_reads(record);
    let mut reads = 0;
    let mut evidence = Vec::new();
    for operation in operations.iter().chain(&read_back) {
        if let Answer::Wrong { why } = &operation.answer {
            evidence.push(about(operation, format!("wrong by itself: {why}")));
        } else if let Some((key, value)) = observed(operation) {
            reads += 1;
            if !puts.contains_key(&(key, value)) {
                evidence.push(about(
                    operation,
                    format!("nobody put {value} under {key}{}", elsewhere(record, value)),
                ));
            }
        }
    }
    let quiet = &record.quiet;
    let wrong = quiet.wrong.iter().filter_map(|key| Some((key, quiet.unreadable.get(key)?)));
    evidence.extend(wrong.map(|(key, why)| Evidence {
        what: format!("wrong by itself at the end: {why}"),
        at: None,
        key: Some(key.clone()),
        history: Vec::new(),
    }));
    evidence.sort_by_key(|evidence| evidence.at);
    Verdict::of(NAME, PROMISE, format!("{reads} observations of a value"), evidence)
}

/// Where else the value is from, if that is known.
fn elsewhere(record: &Record, value: crate::history::Value) -> String {
    record.history.values.get(&value).map(|about| format!("; it is: {about}")).unwrap_or_default()
}

fn about(operation: &Operation, what: String) -> Evidence {
    let key = operation.key().map(str::to_owned);
    Evidence { what, at: Some(operation.ended), key, history: vec![operation.clone()] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{
        assert_proved, assert_violated, get, head, put, record, record_found, value,
    };

    #[test]
    fn what_was_put_may_be_read() {
        let history = vec![put("k", value(1)).unknown(), get("k").found(value(1)), head("k").absent()];
        assert_proved(&check(&record_found(history, "k", &[Some(value(1))])));
    }

    #[test]
    fn wrong_bytes_are_told_with_what_is_wrong() {
        assert_violated(&check(&record(vec![get("k").wrong()])), "byte 7 differs");
        let mut at_the_end = record(vec![put("k", value(1)).stored()]);
        at_the_end.quiet.unreadable.insert("k".to_owned(), "through master 1: byte 7 differs".to_owned());
        assert_proved(&check(&at_the_end));
        at_the_end.quiet.wrong.insert("k".to_owned());
        assert_violated(&check(&at_the_end), "byte 7 differs");
    }

    #[test]
    fn a_value_that_nobody_put_there_is_wrong_whoever_reads_it() {
        let elsewhere = put("other", value(1)).stored();
        for read in [get("k").found(value(1)), head("k").found(value(1))] {
            assert_violated(&check(&record(vec![elsewhere.clone(), read])), "nobody put");
        }
        let mut record = record_found(vec![elsewhere], "k", &[Some(value(1))]);
        record.history.values.insert(value(1), "client 1, number 5".to_owned());
        assert_violated(&check(&record), "it is: client 1, number 5");
    }
}
