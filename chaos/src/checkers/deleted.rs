//! What was deleted stays deleted: a value that was last put, or could last be brought back, before a DELETE began is not
//! seen by an operation that began after that DELETE ended, nor at the end.
//!
//! Plain reasoning about single values, apart from the search of `linearizability`: either finds what the other should.

use std::collections::HashMap;

use super::final_reads::final_reads;
use super::observed::{is_failure, observed, puts};
use crate::history::{Answer, Call, Condition, Moment, Operation};
use crate::record::Record;
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "deleted-stays-deleted";
const PROMISE: &str = "What an acknowledged DELETE removed never comes back, unless somebody brings it back.";

/// Looks at every observation of a value.
pub(crate) fn check(record: &Record) -> Verdict {
    let operations = &record.history.operations;
    let puts = puts(operations.iter());
    let undeletes = undeletes(operations);
    let deletes = Deletes::of(operations);
    let read_back = final_reads(record);
    let mut observations = 0;
    let mut evidence = Vec::new();
    for operation in operations.iter().chain(&read_back) {
        let Some((key, value)) = observed(operation) else { continue };
        observations += 1;
        let Some(puts) = puts.get(&(key, value)) else { continue };
        let undeletes = undeletes.get(key).map_or(&[][..], Vec::as_slice);
        let writes: Vec<&Operation> = puts
            .iter()
            .chain(undeletes)
            .copied()
            .filter(|write| !is_failure(write) && write.begun <= operation.ended)
            .collect();
        let Some(last_end) = last_end(&writes) else { continue };
        let Some(delete) = deletes.between(key, last_end, operation.begun) else { continue };
        let history = writes.into_iter().chain([delete, operation]).cloned().collect();
        evidence.push(Evidence {
            what: format!(
                "{key} was deleted, and {value}, which was put before and not after, nor brought back, was seen again"
            ),
            at: Some(operation.ended),
            key: Some(key.to_owned()),
            history,
        });
    }
    evidence.sort_by_key(|evidence| evidence.at);
    let figures = format!("{} acknowledged deletes, {observations} observations of a value", deletes.count);
    Verdict::of(NAME, PROMISE, figures, evidence)
}

/// When the last of these writes had ended; none if one may still take effect, or if there is none.
fn last_end(writes: &[&Operation]) -> Option<Moment> {
    let have_ended = writes.iter().all(|write| matches!(write.answer, Answer::Stored | Answer::BroughtBack));
    writes.iter().map(|write| write.ended).max().filter(|_| have_ended)
}

/// By key. Any value of a key may be the one that they bring back.
fn undeletes(operations: &[Operation]) -> HashMap<&str, Vec<&Operation>> {
    let mut undeletes: HashMap<&str, Vec<&Operation>> = HashMap::new();
    for operation in operations {
        if let Call::Undelete { key } = &operation.call {
            undeletes.entry(key).or_default().push(operation);
        }
    }
    undeletes
}

/// The DELETEs after which there was nothing: they were acknowledged, or found nothing to delete.
struct Deletes<'a> {
    /// By key, in the order of their beginnings; with each, the one of it and all later ones that ended first.
    by_key: HashMap<&'a str, Vec<(Moment, &'a Operation)>>,
    count: usize,
}

impl<'a> Deletes<'a> {
    fn of(operations: &'a [Operation]) -> Self {
        let mut by_key: HashMap<&str, Vec<(Moment, &Operation)>> = HashMap::new();
        let mut count = 0;
        for operation in operations {
            let Call::Delete { key, condition } = &operation.call else { continue };
            let nothing_left = match operation.answer {
                Answer::Deleted => true,
                Answer::Absent => *condition == Condition::Always,
                _ => false,
            };
            if nothing_left {
                by_key.entry(key).or_default().push((operation.begun, operation));
                count += 1;
            }
        }
        for deletes in by_key.values_mut() {
            deletes.sort_by_key(|&(begun, _)| begun);
            for index in (1..deletes.len()).rev() {
                let first = deletes[index].1;
                if first.ended < deletes[index - 1].1.ended {
                    deletes[index - 1].1 = first;
                }
            }
        }
        Self { by_key, count }
    }

    /// One that began after a moment and ended before another.
    fn between(&self, key: &str, after: Moment, before: Moment) -> Option<&'a Operation> {
        let deletes = self.by_key.get(key)?;
        let first = deletes.partition_point(|&(begun, _)| begun <= after);
        deletes.get(first).map(|&(_, delete)| delete).filter(|delete| delete.ended < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{
        assert_proved, assert_violated, delete, delete_if, get, head, put, put_if, record, record_found,
        undelete, value,
    };

    fn deleted() -> Vec<Operation> {
        vec![put("k", value(1)).at(0..1).stored(), delete("k").at(2..5).deleted()]
    }

    fn then(operation: Operation) -> Verdict {
        check(&record(deleted().into_iter().chain([operation]).collect()))
    }

    #[test]
    fn what_was_deleted_is_not_seen_again() {
        assert_proved(&then(get("k").at(6..7).absent()));
        assert_proved(&check(&record_found(deleted(), "k", &[None])));
    }

    #[test]
    fn any_observation_after_the_delete_contradicts() {
        let matching = Condition::Matches(value(1));
        for back in [
            get("k").at(6..7).found(value(1)),
            head("k").at(6..7).found(value(1)),
            put_if("k", value(2), matching).at(6..7).stored(),
            delete_if("k", matching).at(6..7).deleted(),
        ] {
            let verdict = then(back.clone());
            assert_violated(&verdict, "k was deleted");
            assert_eq!(verdict.evidence[0].history.last(), Some(&back));
        }
        assert_violated(&check(&record_found(deleted(), "k", &[None, Some(value(1))])), "k was deleted");
    }

    #[test]
    fn a_delete_that_found_nothing_counts() {
        let history = vec![
            put("k", value(1)).at(0..1).stored(),
            delete("k").at(2..3).absent(),
            get("k").at(6..7).found(value(1)),
        ];
        assert_violated(&check(&record(history)), "k was deleted");
    }

    #[test]
    fn the_delete_that_ends_first_is_found_among_many() {
        let history = vec![
            put("k", value(1)).at(0..1).stored(),
            delete("k").by(2).at(2..90).deleted(),
            delete("k").by(3).at(3..5).absent(),
            delete("k").by(4).at(4..80).absent(),
            get("k").at(6..7).found(value(1)),
        ];
        assert_violated(&check(&record(history)), "k was deleted");
    }

    #[test]
    fn what_overlaps_or_was_put_again_may_be_seen() {
        assert_proved(&then(get("k").at(5..7).found(value(1))));
        let seen = get("k").at(8..9).found(value(1));
        for again in [
            put("k", value(1)).at(6..7).stored(),
            put("k", value(1)).by(2).at(1..6).stored(),
            put("k", value(1)).by(2).at(0..1).unknown(),
        ] {
            assert_proved(&check(&record([deleted(), vec![again, seen.clone()]].concat())));
        }
        for no_excuse in [put("k", value(1)).at(6..7).refused(), put("k", value(1)).at(10..11).stored()] {
            let verdict = check(&record([deleted(), vec![no_excuse, seen.clone()]].concat()));
            assert_violated(&verdict, "k was deleted");
        }
    }

    #[test]
    fn what_may_have_been_brought_back_may_be_seen_until_it_is_deleted_again() {
        let seen = get("k").at(20..21).found(value(1));
        let then = |undelete: Operation| check(&record([deleted(), vec![undelete, seen.clone()]].concat()));
        for back in [
            undelete("k").at(6..7).brought_back(),
            undelete("k").by(2).at(0..1).unknown(),
            undelete("k").at(6..7).unknown(),
        ] {
            assert_proved(&then(back));
        }
        for not_back in [
            undelete("k").at(6..7).taken(),
            undelete("k").at(6..7).nothing_to_bring_back(),
            undelete("k").at(6..7).refused(),
            undelete("other").at(6..7).brought_back(),
            undelete("k").at(22..23).brought_back(),
            undelete("k").at(22..23).unknown(),
        ] {
            assert_violated(&then(not_back), "k was deleted");
        }
        let back = undelete("k").at(6..7).brought_back();
        let again = vec![back.clone(), delete("k").at(8..9).deleted(), seen.clone()];
        let verdict = check(&record([deleted(), again].concat()));
        assert_violated(&verdict, "k was deleted");
        assert!(verdict.evidence[0].history.contains(&back), "{verdict:#?}");
    }
}
