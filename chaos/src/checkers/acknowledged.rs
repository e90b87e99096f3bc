//! An acknowledged PUT is there at the end: of every key that was put once and never deleted, exactly what was put is found
//! through every master; and every key can be read.
//!
//! What nobody could read for want of time is neither there nor lost.
//!
//! For keys with more than one write, what the end may be is for `linearizability`, which takes what was read back as
//! further reads.

use std::collections::BTreeMap;

use super::final_reads::final_reads;
use crate::history::{Answer, Call, Operation, Value};
use crate::record::Record;
use crate::verdict::{Evidence, Outcome, Verdict};

const NAME: &str = "acknowledged-is-durable";
const PROMISE: &str = "An acknowledged PUT is found at the end with every byte, through every master.";

/// Looks at every write-once key, and at every key that could not be read.
pub(crate) fn check(record: &Record) -> Verdict {
    let acknowledged = acknowledged_once(&record.history.operations);
    let quiet = &record.quiet;
    if quiet.found.is_empty() && quiet.unreadable.is_empty() {
        return Verdict::skipped(NAME, PROMISE, "nothing was read back");
    }
    let mut evidence = Vec::new();
    let mut unread = 0_u32;
    for (key, why) in &quiet.unreadable {
        let put = acknowledged.get(key.as_str()).map(|&(put, _)| put);
        evidence.push(about(key, format!("{key} could not be read at the end: {why}"), put));
    }
    let mut read_back: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for read in final_reads(record) {
        if let Some(key) = read.key() {
            read_back.entry(key.to_owned()).or_default().push(read);
        }
    }
    for (&key, &(put, value)) in &acknowledged {
        let reads = read_back.get(key).map_or(&[][..], Vec::as_slice);
        if let Some(other) = reads.iter().find(|read| read.answer != Answer::Found(value)) {
            let what = match other.answer {
                Answer::Found(other) => {
                    format!("{key} was acknowledged as {value}, and is {other} at the end")
                }
                _ => format!("{key} was acknowledged, and is not there at the end"),
            };
            evidence.push(about(key, what, [put, other]));
        } else if reads.is_empty() && !quiet.unreadable.contains_key(key) {
            unread += 1;
        }
    }
    let (once, read) = (acknowledged.len(), quiet.found.len());
    let unreadable = quiet.unreadable.len();
    let mut figures =
        format!("{once} acknowledged keys that were written once; {read} keys read, {unreadable} unreadable");
    if unread > 0 {
        figures += &format!("; {unread} acknowledged keys were not read in time");
    }
    let outcome = match (evidence.is_empty(), unread) {
        (false, _) => Outcome::Violated,
        (true, 1..) => Outcome::NotDecidedInTime,
        (true, 0) => Outcome::Proved,
    };
    Verdict::new(NAME, PROMISE, outcome, figures, evidence)
}

/// The keys with exactly one PUT, which was acknowledged, and no DELETE. An undelete takes nothing away.
fn acknowledged_once(operations: &[Operation]) -> BTreeMap<&str, (&Operation, Value)> {
    let mut writes: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    let undeletes = |operation: &Operation| matches!(operation.call, Call::Undelete { .. });
    for operation in operations.iter().filter(|operation| operation.is_write() && !undeletes(operation)) {
        if let Some(key) = operation.key() {
            writes.entry(key).or_default().push(operation);
        }
    }
    let once = writes.into_iter().filter_map(|(key, writes)| match writes[..] {
        [put] => match (&put.call, &put.answer) {
            (Call::Put { value, .. }, Answer::Stored) => Some((key, (put, *value))),
            _ => None,
        },
        _ => None,
    });
    once.collect()
}

fn about<'a>(key: &str, what: String, history: impl IntoIterator<Item = &'a Operation>) -> Evidence {
    let history: Vec<Operation> = history.into_iter().cloned().collect();
    let at = history.last().map(|operation| operation.ended);
    Evidence { what, at, key: Some(key.to_owned()), history }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{
        assert_proved, assert_violated, delete, put, record, record_found, undelete, value,
    };

    fn acknowledged() -> Vec<Operation> {
        vec![put("k", value(1)).stored()]
    }

    #[test]
    fn what_was_acknowledged_is_found_through_every_master() {
        assert_proved(&check(&record_found(acknowledged(), "k", &[Some(value(1))])));
    }

    #[test]
    fn an_acknowledged_object_that_is_gone_is_lost() {
        let verdict = check(&record_found(acknowledged(), "k", &[None]));
        assert_violated(&verdict, "k was acknowledged, and is not there at the end");
        assert_eq!(verdict.evidence[0].history.len(), 2);
    }

    #[test]
    fn one_master_that_finds_something_else_is_enough() {
        let verdict = check(&record_found(acknowledged(), "k", &[Some(value(1)), Some(value(2))]));
        assert_violated(&verdict, "at the end");
    }

    #[test]
    fn what_nobody_read_is_neither_lost_nor_proved() {
        assert_eq!(check(&record(acknowledged())).outcome, Outcome::Skipped);
        let verdict = check(&record_found(acknowledged(), "other", &[None]));
        assert_eq!(verdict.outcome, Outcome::NotDecidedInTime);
        assert!(verdict.figures.ends_with("; 1 acknowledged keys were not read in time"), "{verdict:?}");
    }

    #[test]
    fn a_key_that_cannot_be_read_is_told_with_the_answer() {
        for operations in [acknowledged(), Vec::new()] {
            let mut record = record(operations);
            record.quiet.unreadable.insert("k".to_owned(), "503 no leader".to_owned());
            let verdict = check(&record);
            assert_violated(&verdict, "503 no leader");
            assert_eq!(verdict.evidence.len(), 1);
        }
    }

    #[test]
    fn keys_that_were_written_more_than_once_or_without_answer_are_not_write_once() {
        let gone = |operations| check(&record_found(operations, "k", &[None]));
        assert_proved(&gone(vec![put("k", value(1)).unknown()]));
        assert_proved(&gone(vec![put("k", value(1)).stored(), delete("k").at(2..3).unknown()]));
        assert_proved(&gone(vec![put("k", value(1)).stored(), put("k", value(2)).at(2..3).stored()]));
    }

    #[test]
    fn an_undelete_takes_nothing_away() {
        let put = || put("k", value(1)).stored();
        let gone = |operations| check(&record_found(operations, "k", &[None]));
        assert_violated(
            &gone(vec![put(), undelete("k").at(2..3).nothing_to_bring_back()]),
            "not there at the end",
        );
        assert_violated(&gone(vec![put(), undelete("k").at(2..3).unknown()]), "not there at the end");
        let deleted = delete("k").at(2..3).deleted();
        assert_proved(&gone(vec![put(), deleted, undelete("k").at(4..5).brought_back()]));
    }
}
